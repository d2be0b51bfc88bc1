//! The programs that are compared.

use crate::request::RequestFormat;

/// One of the programs that are compared, or a client without a program in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// The driver speaks HTTP/1.1 to upstream.
    Direct,
    /// The driver speaks HTTP/2 with TLS to upstream, as a client speaks to Google.
    DirectTls,
    /// The proxy, with HTTP/2 and TLS to upstream, as it speaks to Google.
    Proxy,
    /// The same from a build with profile-guided optimisation (`cargo xtask pgo`).
    ProxyPgo,
    /// The proxy, with HTTP/1.1 to upstream.
    ProxyHttp1,
    /// The proxy, with a key of the Gemini API.
    ProxyGeminiApi,
    /// The proxy, with a login of Google Cloud for Vertex AI.
    ProxyVertex,
    /// The proxy, for clients of OpenAI's Chat Completions.
    ProxyOpenaiChat,
    /// The proxy, for clients of OpenAI's Responses.
    ProxyOpenaiResponses,
    /// The proxy, for clients of Anthropic's Messages.
    ProxyAnthropic,
    Nginx,
    Haproxy,
    Worker,
    Litellm,
}

impl Contender {
    pub(crate) const ALL: [Self; 14] = [
        Self::Direct,
        Self::DirectTls,
        Self::Proxy,
        Self::ProxyPgo,
        Self::ProxyHttp1,
        Self::ProxyGeminiApi,
        Self::ProxyVertex,
        Self::ProxyOpenaiChat,
        Self::ProxyOpenaiResponses,
        Self::ProxyAnthropic,
        Self::Nginx,
        Self::Haproxy,
        Self::Worker,
        Self::Litellm,
    ];

    /// Its key in the results.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectTls => "direct-tls",
            Self::Proxy => "proxy",
            Self::ProxyPgo => "proxy-pgo",
            Self::ProxyHttp1 => "proxy-http1",
            Self::ProxyGeminiApi => "proxy-gemini-api",
            Self::ProxyVertex => "proxy-vertex",
            Self::ProxyOpenaiChat => "proxy-openai-chat",
            Self::ProxyOpenaiResponses => "proxy-openai-responses",
            Self::ProxyAnthropic => "proxy-anthropic",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Worker => "js-worker",
            Self::Litellm => "litellm",
        }
    }

    /// Its name in the tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectTls => "direct, HTTP/2 + TLS",
            Self::Proxy => "**code-assist-proxy**, HTTP/2 + TLS to upstream",
            Self::ProxyPgo => "code-assist-proxy, the same, from `cargo xtask pgo`",
            Self::ProxyHttp1 => "code-assist-proxy, HTTP/1.1 to upstream",
            Self::ProxyGeminiApi => "code-assist-proxy, to the Gemini API",
            Self::ProxyVertex => "code-assist-proxy, to Vertex AI",
            Self::ProxyOpenaiChat => "code-assist-proxy, from OpenAI Chat Completions",
            Self::ProxyOpenaiResponses => "code-assist-proxy, from OpenAI Responses",
            Self::ProxyAnthropic => "code-assist-proxy, from Anthropic Messages",
            Self::Nginx => "nginx, plain HTTP/1.1",
            Self::Haproxy => "HAProxy, HTTP/2 + TLS to upstream",
            Self::Worker => "a JavaScript Worker that only forwards (workerd)",
            Self::Litellm => "LiteLLM, Gemini pass-through",
        }
    }

    /// Whether the driver speaks to upstream without a program in between.
    pub(crate) fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::DirectTls)
    }

    pub(crate) fn request_format(self) -> RequestFormat {
        match self {
            Self::Proxy
            | Self::ProxyPgo
            | Self::ProxyHttp1
            | Self::ProxyGeminiApi
            | Self::ProxyVertex => RequestFormat::Gemini,
            Self::ProxyOpenaiChat => RequestFormat::OpenaiChat,
            Self::ProxyOpenaiResponses => RequestFormat::OpenaiResponses,
            Self::ProxyAnthropic => RequestFormat::Anthropic,
            Self::Litellm => RequestFormat::Litellm,
            Self::Direct | Self::DirectTls | Self::Haproxy | Self::Nginx | Self::Worker => {
                RequestFormat::CodeAssist
            }
        }
    }

    /// Whether it is the release build of the proxy, which is always there.
    pub(crate) fn is_release_build(self) -> bool {
        matches!(
            self,
            Self::Proxy
                | Self::ProxyHttp1
                | Self::ProxyGeminiApi
                | Self::ProxyVertex
                | Self::ProxyOpenaiChat
                | Self::ProxyOpenaiResponses
                | Self::ProxyAnthropic
        )
    }

    /// Whether no other contender may run on the same core, not even an idle one: these runtimes use
    /// the processor while they are idle.
    pub(crate) fn needs_idle_core(self) -> bool {
        matches!(self, Self::Litellm | Self::Worker)
    }

    /// The most streams that are opened at once; with more, it fails or takes minutes.
    pub(crate) fn max_streams(self) -> u32 {
        match self {
            Self::Litellm => 100,
            Self::Worker => 1000,
            _ => 5000,
        }
    }
}
