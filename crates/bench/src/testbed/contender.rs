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
    /// The same from a build with profile-guided optimisation, as it is installed.
    ProxyPgo,
    /// The same from another build, such as the one before a change.
    ProxyBeside,
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
    Envoy,
    /// A gateway for LLMs.
    VllmRouter,
    /// hyper and h2 without a product ([`crate::forwarder`]).
    Forwarder,
}

/// What is measured of a contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Every load, and memory.
    Everything,
    /// What a request costs on a busy core.
    Saturation,
}

impl Contender {
    pub(crate) const ALL: [Self; 16] = [
        Self::Direct,
        Self::DirectTls,
        Self::Proxy,
        Self::ProxyPgo,
        Self::ProxyBeside,
        Self::ProxyHttp1,
        Self::ProxyGeminiApi,
        Self::ProxyVertex,
        Self::ProxyOpenaiChat,
        Self::ProxyOpenaiResponses,
        Self::ProxyAnthropic,
        Self::Nginx,
        Self::Haproxy,
        Self::Envoy,
        Self::VllmRouter,
        Self::Forwarder,
    ];

    /// Its key in the results.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectTls => "direct-tls",
            Self::Proxy => "proxy",
            Self::ProxyPgo => "proxy-pgo",
            Self::ProxyBeside => "proxy-beside",
            Self::ProxyHttp1 => "proxy-http1",
            Self::ProxyGeminiApi => "proxy-gemini-api",
            Self::ProxyVertex => "proxy-vertex",
            Self::ProxyOpenaiChat => "proxy-openai-chat",
            Self::ProxyOpenaiResponses => "proxy-openai-responses",
            Self::ProxyAnthropic => "proxy-anthropic",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::VllmRouter => "vllm-router",
            Self::Forwarder => "forwarder",
        }
    }

    /// Its name in the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "no proxy, HTTP/1.1",
            Self::DirectTls => "no proxy, HTTP/2 + TLS",
            Self::Proxy => "**code-assist-proxy**, `cargo build --release`",
            Self::ProxyPgo => "**code-assist-proxy**, as installed",
            Self::ProxyBeside => "another build of it (`--beside`)",
            Self::ProxyHttp1 => "the release build, HTTP/1.1 to upstream",
            Self::ProxyGeminiApi => "the release build, to the Gemini API",
            Self::ProxyVertex => "the release build, to Vertex AI",
            Self::ProxyOpenaiChat => "the release build, from OpenAI Chat Completions",
            Self::ProxyOpenaiResponses => "the release build, from OpenAI Responses",
            Self::ProxyAnthropic => "the release build, from Anthropic Messages",
            Self::Nginx => "nginx, HTTP/1.1 to upstream",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
            Self::VllmRouter => "vLLM's router, a gateway for LLMs",
            Self::Forwarder => "hyper and h2 alone",
        }
    }

    /// Whether the driver speaks to upstream without a program in between.
    pub(crate) fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::DirectTls)
    }

    /// Whether it needs no program but this one and the release build of the proxy.
    pub(crate) fn is_always_there(self) -> bool {
        self == Self::Proxy || self.is_direct() || self.extent() == Extent::Saturation
    }

    pub(crate) fn extent(self) -> Extent {
        match self {
            Self::ProxyHttp1
            | Self::ProxyGeminiApi
            | Self::ProxyVertex
            | Self::ProxyOpenaiChat
            | Self::ProxyOpenaiResponses
            | Self::ProxyAnthropic
            | Self::Forwarder => Extent::Saturation,
            _ => Extent::Everything,
        }
    }

    /// The most streams that are open at once; with more, they wait for one another.
    pub(crate) fn max_streams(self) -> u32 {
        match self {
            // One connection to upstream, which takes 100 streams.
            Self::VllmRouter => 100,
            _ => u32::MAX,
        }
    }

    pub(crate) fn request_format(self) -> RequestFormat {
        match self {
            Self::Proxy
            | Self::ProxyPgo
            | Self::ProxyBeside
            | Self::ProxyHttp1
            | Self::ProxyGeminiApi
            | Self::ProxyVertex => RequestFormat::Gemini,
            Self::ProxyOpenaiChat | Self::VllmRouter => RequestFormat::OpenaiChat,
            Self::ProxyOpenaiResponses => RequestFormat::OpenaiResponses,
            Self::ProxyAnthropic => RequestFormat::Anthropic,
            Self::Direct
            | Self::DirectTls
            | Self::Envoy
            | Self::Forwarder
            | Self::Haproxy
            | Self::Nginx => RequestFormat::CodeAssist,
        }
    }
}
