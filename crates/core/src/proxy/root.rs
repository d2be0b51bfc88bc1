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
    let mut monitoring = vec!["GET /health", "GET /live", "GET /ready"];
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
    let mut paths = vec![
        "POST /v1beta/models/{model}:generateContent",
        "POST /v1beta/models/{model}:streamGenerateContent",
        "POST /v1beta/models/{model}:countTokens",
        "GET /v1beta/models",
        "GET /v1beta/models/{model}",
        "POST /v1beta1/projects/{project}/locations/{location}/publishers/google/models/{model}:{method}",
    ];
    let any = |is: fn(&AccountSettings) -> bool| {
        settings.upstreams.iter().any(|upstream| is(&upstream.account))
    };
    if any(|account| matches!(account, AccountSettings::GeminiApi(_))) {
        paths.extend(["* /v1beta/{path}", "* /upload/v1beta/{path}", "GET /ws/{service}"]);
    }
    if any(is_vertex_project) {
        paths.extend([
            "POST /v1beta/models/{model}:embedContent",
            "POST /v1beta/models/{model}:predict",
            "POST /v1beta/models/{model}:predictLongRunning",
            "* /v1beta/cachedContents",
        ]);
    }
    let is_code_assist = any(|account| matches!(account, AccountSettings::CodeAssist(_)));
    if is_code_assist && settings.code_assist_protocol != AllowedProtocol::Off {
        paths.push("POST /v1internal:{method}");
    }
    paths
}

/// Express mode has no more than every provider has.
fn is_vertex_project(account: &AccountSettings) -> bool {
    let AccountSettings::Vertex(VertexSettings { auth, .. }) = account else { return false };
    matches!(auth, VertexAuth::Google(_))
}
