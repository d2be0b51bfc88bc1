//! The body of `GET /`: what the upstreams in use offer, and what each port serves.

use serde_json::json;

use crate::settings::{AccountSettings, AllowedProtocol, Settings, VertexAuth, VertexSettings};

/// The port that a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServedPort {
    /// `ADMIN_PORT`.
    Admin,
    /// The main port where there is an admin port.
    Main,
    /// The main port where there is no other.
    Only,
}

/// Lists the paths that this port serves.
pub(super) fn body(settings: &Settings, port: ServedPort) -> String {
    let paths = match port {
        ServedPort::Admin => Vec::new(),
        ServedPort::Main | ServedPort::Only => offered(settings),
    };
    let mut monitoring = vec!["GET /health", "GET /live", "GET /ready", "GET /usage"];
    if port != ServedPort::Main {
        monitoring.extend(["GET /health/detailed", "GET /metrics"]);
    }
    json!({
        "name": "code-assist-proxy",
        "description": "A transparent proxy in front of Google's Gemini models",
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": {
            "proxy": paths,
            "monitoring": monitoring,
        },
    })
    .to_string()
}

fn offered(settings: &Settings) -> Vec<&'static str> {
    let mut paths = Vec::new();
    if settings.dialects.gemini {
        paths.extend(of_gemini(settings));
    }
    if settings.dialects.openai {
        paths.extend([
            "POST /v1/chat/completions",
            "POST /v1/responses",
            "POST /v1/responses/input_tokens",
            "POST /v1/completions",
        ]);
        if has(settings, is_gemini_api) || has(settings, is_vertex_project) {
            paths.push("POST /v1/embeddings");
        }
    }
    if settings.dialects.anthropic {
        paths.extend(["POST /v1/messages", "POST /v1/messages/count_tokens"]);
    }
    if settings.dialects.openai || settings.dialects.anthropic {
        paths.extend(["GET /v1/models", "GET /v1/models/{model}"]);
    }
    paths
}

fn of_gemini(settings: &Settings) -> Vec<&'static str> {
    let mut paths = vec![
        "POST /v1beta/models/{model}:generateContent",
        "POST /v1beta/models/{model}:streamGenerateContent",
        "POST /v1beta/models/{model}:countTokens",
        "GET /v1beta/models",
        "GET /v1beta/models/{model}",
        "POST /v1beta1/projects/{project}/locations/{location}/publishers/google/models/{model}:{method}",
    ];
    if has(settings, is_gemini_api) {
        paths.extend(["* /v1beta/{path}", "* /upload/v1beta/{path}", "GET /ws/{service}"]);
    }
    if has(settings, is_vertex_project) {
        paths.extend([
            "POST /v1beta/models/{model}:embedContent",
            "POST /v1beta/models/{model}:predict",
            "POST /v1beta/models/{model}:predictLongRunning",
            "* /v1beta/cachedContents",
        ]);
    }
    let is_code_assist = has(settings, |account| matches!(account, AccountSettings::CodeAssist(_)));
    if is_code_assist && settings.code_assist_protocol != AllowedProtocol::Off {
        paths.push("POST /v1internal:{method}");
    }
    paths
}

/// Whether an upstream in use is of a kind.
fn has(settings: &Settings, is: fn(&AccountSettings) -> bool) -> bool {
    settings.upstreams.iter().any(|upstream| is(&upstream.account))
}

fn is_gemini_api(account: &AccountSettings) -> bool {
    matches!(account, AccountSettings::GeminiApi(_))
}

/// Express mode has no more than every provider has.
fn is_vertex_project(account: &AccountSettings) -> bool {
    let AccountSettings::Vertex(VertexSettings { auth, .. }) = account else { return false };
    matches!(auth, VertexAuth::Google(_))
}
