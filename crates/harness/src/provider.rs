//! The providers of Google's that the proxy speaks to, for cases that hold at each of them.

use code_assist_emulator::{
    self as emulator, GEMINI_API_KEY, Options, Played, VERTEX_LOCATION, VERTEX_PROJECT,
};

use crate::emulator::GoogleEmulator;
use crate::proxy::ProxyBuilder;
use crate::upstream::{ReceivedRequest, ScriptedUpstream};

/// One of Google's APIs for Gemini.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Gemini Code Assist, with a sign-in.
    CodeAssist,
    /// The public Gemini API, with a key.
    GeminiApi,
    /// Vertex AI, with the key of a service account.
    Vertex,
}

impl Provider {
    /// All of them, in the order in which `UPSTREAMS=auto` takes them.
    pub const ALL: [Self; 3] = [Self::CodeAssist, Self::GeminiApi, Self::Vertex];
    /// Those that take a Gemini request as it is, without an envelope.
    pub const BARE: [Self; 2] = [Self::GeminiApi, Self::Vertex];

    /// The name of its upstream.
    pub fn name(self) -> &'static str {
        match self {
            Self::CodeAssist => "code-assist",
            Self::GeminiApi => "gemini-api",
            Self::Vertex => "vertex",
        }
    }

    /// An emulator that plays this provider alone.
    pub fn emulator(self) -> GoogleEmulator {
        let played = match self {
            Self::CodeAssist => Played::CodeAssist,
            Self::GeminiApi => Played::GeminiApi,
            Self::Vertex => Played::Vertex,
        };
        GoogleEmulator::start_with(Options { played, ..Options::default() })
    }

    /// A Gemini answer as this provider sends it.
    pub fn answer(self, gemini: &str) -> String {
        match self {
            Self::CodeAssist => format!(r#"{{"response":{gemini}}}"#),
            Self::GeminiApi | Self::Vertex => gemini.to_owned(),
        }
    }

    /// The bytes of the Gemini request in a request that arrived at this provider.
    #[track_caller]
    pub fn gemini_request(self, received: &ReceivedRequest) -> &str {
        match self {
            Self::CodeAssist => received.inner_request(),
            Self::GeminiApi | Self::Vertex => received.text(),
        }
    }
}

/// Proxies with an account at one provider or at several.
impl ProxyBuilder {
    /// A proxy in front of an emulated provider, with credentials that work.
    pub fn for_provider(provider: Provider, google: &GoogleEmulator) -> Self {
        Self::for_providers(&[provider], google)
    }

    /// A proxy in front of several emulated providers, in order of preference.
    pub fn for_providers(providers: &[Provider], google: &GoogleEmulator) -> Self {
        let names: Vec<&str> = providers.iter().map(|provider| provider.name()).collect();
        let builder = Self::without_upstream().env("UPSTREAMS", names.join(","));
        providers.iter().fold(builder, |builder, provider| match provider {
            Provider::CodeAssist => builder
                .env("CODE_ASSIST_ENDPOINT", google.url())
                .env("OAUTH_TOKEN_URL", google.token_url())
                .env("OAUTH_TOKENINFO_URL", google.tokeninfo_url())
                .credentials(&google.credentials()),
            Provider::GeminiApi => builder.with_gemini_api(&google.url()),
            Provider::Vertex => {
                builder.with_vertex(&google.url()).env("OAUTH_TOKEN_URL", google.token_url())
            }
        })
    }

    /// A proxy in front of a scripted upstream that stands for this provider. Upstream receives only what the
    /// test asks for: a service account signs its tokens itself.
    pub fn for_scripted(provider: Provider, upstream: &ScriptedUpstream) -> Self {
        let builder = match provider {
            Provider::CodeAssist => Self::for_upstream(upstream),
            Provider::GeminiApi => Self::without_upstream().with_gemini_api(&upstream.url()),
            Provider::Vertex => Self::without_upstream().with_vertex(&upstream.url()),
        };
        builder.env("UPSTREAMS", provider.name())
    }

    /// An account of the Gemini API at this base URL.
    #[must_use]
    pub fn with_gemini_api(self, url: &str) -> Self {
        self.env("GEMINI_API_KEY", GEMINI_API_KEY).env("GEMINI_API_ENDPOINT", url)
    }

    /// A service account of Vertex AI at this base URL.
    #[must_use]
    pub fn with_vertex(self, url: &str) -> Self {
        self.env("VERTEX_PROJECT", VERTEX_PROJECT)
            .env("VERTEX_LOCATION", VERTEX_LOCATION)
            .env("VERTEX_ENDPOINT", url)
            .env("VERTEX_CREDENTIALS", emulator::service_account_json(url))
    }
}
