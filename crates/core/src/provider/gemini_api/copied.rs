//! Requests that are copied: how they are sent, and which may be sent again
//! (`docs/reference/upstreams.md` 5.1). None is answered from a cache, and none goes to another upstream than
//! the first: what it names belongs to one account.

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderName, Method};

use super::upload;
use crate::dialect::CopiedKind;
use crate::dialect::gemini::route::CopiedPath;
use crate::payload::Payload;
use crate::provider::forward;
use crate::provider::request::{CountedFor, UpstreamRequest, path};

/// Whether a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// After a broken connection too: to carry it out twice does no harm.
    Always,
    /// Not even on another connection: each time that it is carried out costs.
    Never,
    /// If nothing of it was sent.
    Unsent,
}

/// Whether a request with this method and path may be sent again.
pub(crate) fn repeats(method: &Method, path: &CopiedPath) -> Repeats {
    use CopiedKind as K;
    let reads = method == Method::GET || method == Method::HEAD;
    match path.kind {
        K::LiveSocket => Repeats::Never,
        _ if reads => Repeats::Always,
        K::CachedContents | K::Files | K::Batches if method == Method::DELETE => Repeats::Always,
        // Cancelling is no creating.
        K::Batches | K::Interactions if cancels(path) => Repeats::Unsent,
        K::Batches | K::Interactions | K::OpenAi | K::Predict | K::Upload => Repeats::Never,
        K::CachedContents | K::FileSearchStores | K::Files | K::Operations | K::Other => {
            Repeats::Unsent
        }
    }
}

fn cancels(path: &CopiedPath) -> bool {
    path.verb.as_deref() == Some("cancel") || path.path.ends_with("/cancel")
}

/// The request without its body. What belongs to the client's connection and its credentials is left out.
pub(crate) fn request(parts: &Parts, copied: &CopiedPath) -> UpstreamRequest {
    let query = upload::query_at_google(parts.uri.query().unwrap_or_default());
    let target = path(format!("{}{query}", copied.path));
    UpstreamRequest::new(parts.method.clone(), target, Payload::default())
        .with_copied_headers(forward::copied_headers(&parts.headers))
        .passed_through()
        .counted_for(CountedFor::Endpoint)
}

/// The request for a WebSocket. One that `has_token` keeps its ephemeral token, and gets no key.
pub(crate) fn socket_request(
    parts: &Parts,
    copied: &CopiedPath,
    has_token: bool,
) -> UpstreamRequest {
    let mut headers = forward::headers(&parts.headers);
    for name in SOCKET_HEADERS {
        for value in parts.headers.get_all(name) {
            headers.append(HeaderName::from_static(name), value.clone());
        }
    }
    if !has_token {
        return request(parts, copied).with_copied_headers(headers);
    }
    if let Some(token) = parts.headers.get(AUTHORIZATION)
        && token.as_bytes().to_ascii_lowercase().starts_with(b"token ")
    {
        headers.insert(AUTHORIZATION, token.clone());
    }
    let query = parts.uri.query().unwrap_or_default();
    let drops = |name: &str| name != "access_token" && forward::is_dropped(name);
    let query = forward::query_without(query, drops);
    UpstreamRequest::new(Method::GET, path(format!("{}{query}", copied.path)), Payload::default())
        .with_copied_headers(headers)
        .with_own_credential()
        .passed_through()
}

/// The headers of the handshake, in either direction.
pub(crate) const SOCKET_HEADERS: [&str; 5] = [
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::gemini::route::{Beyond, copied};

    #[test]
    fn each_method_and_path_says_whether_it_may_be_sent_again() {
        use Repeats as R;
        for (line, expected) in [
            ("GET /v1beta/files", R::Always),
            ("HEAD /v1beta/files/x", R::Always),
            ("GET /v1beta/files/x:download?alt=media", R::Always),
            ("DELETE /v1beta/files/x", R::Always),
            ("POST /v1beta/files:register", R::Unsent),
            ("POST /upload/v1beta/files", R::Never),
            ("PUT /upload/v1beta/files?upload_id=1", R::Never),
            ("POST /upload/v1beta/fileSearchStores/s:uploadToFileSearchStore", R::Never),
            ("POST /v1beta/cachedContents", R::Unsent),
            ("PATCH /v1beta/cachedContents/c?updateMask=ttl", R::Unsent),
            ("DELETE /v1beta/cachedContents/c", R::Always),
            ("GET /v1beta/cachedContents/c", R::Always),
            ("POST /v1beta/models/m:batchGenerateContent", R::Never),
            ("POST /v1beta/models/m:asyncBatchEmbedContent", R::Never),
            ("POST /v1/batches", R::Never),
            ("GET /v1/batches/b", R::Always),
            ("DELETE /v1/batches/b", R::Always),
            ("POST /v1/batches/b:cancel", R::Unsent),
            ("GET /v1beta/models/m/operations/o", R::Always),
            ("GET /v1beta/operations/o", R::Always),
            ("POST /v1beta/models/imagen:predict", R::Never),
            ("POST /v1beta/models/veo:predictLongRunning", R::Never),
            ("GET /v1beta/fileSearchStores", R::Always),
            ("POST /v1beta/fileSearchStores", R::Unsent),
            ("DELETE /v1beta/fileSearchStores/s?force=True", R::Unsent),
            ("POST /v1beta/fileSearchStores/s:importFile", R::Unsent),
            ("POST /v1/interactions", R::Never),
            ("GET /v1/interactions/i?stream=true", R::Always),
            ("POST /v1/interactions/i/cancel", R::Unsent),
            ("DELETE /v1/interactions/i", R::Never),
            ("GET /v1/interactions/live", R::Never),
            ("POST /v1beta/tunedModels", R::Unsent),
            ("DELETE /v1beta/corpora/c", R::Unsent),
            ("POST /v1beta/models/m:generateAnswer", R::Unsent),
            ("POST /v1beta/webhooks", R::Unsent),
            ("POST /v1beta/openai/chat/completions", R::Never),
            ("GET /v1beta/openai/models", R::Always),
            (
                "GET /ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
                R::Never,
            ),
        ] {
            let (method, target) = line.split_once(' ').unwrap();
            let method: Method = method.parse().unwrap();
            let Some(Beyond::Copy(path)) = copied::read(&method, &target.parse().unwrap()) else {
                panic!("{line}")
            };
            assert_eq!(repeats(&method, &path), expected, "{line}");
        }
    }
}
