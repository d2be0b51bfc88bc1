//! What of Vertex AI is copied, in the operator's project, and what of it may be sent again
//! (`docs/reference/upstreams.md` 5.1, 8.2).
//!
//! The operator's credentials may do more in the project than call models: start jobs of any kind, deploy,
//! grant rights. So only what this table names is copied, and nothing else.

use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use super::path::{VertexPathError, VertexPaths};
use crate::dialect::CopiedKind;
use crate::dialect::gemini::route::{CopiedPath, VertexResource};
use crate::payload::Payload;
use crate::provider::forward;
use crate::provider::gemini_api::copied::Repeats;
use crate::provider::request::{CountedFor, UpstreamRequest};

/// How a request is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyRule {
    /// Whether it may be sent again.
    pub(crate) repeats: Repeats,
    /// Its body may name a project, so that it is read before it is sent.
    pub(crate) has_names: bool,
}

/// The rule for a resource below a project and location; `None` if it is not copied.
pub(crate) fn rule(method: &Method, rest: &str) -> Option<CopyRule> {
    use Repeats as R;
    let reads = *method == Method::GET || *method == Method::HEAD;
    let (posts, deletes) = (*method == Method::POST, *method == Method::DELETE);
    let (before, last) = rest.rsplit_once('/').map_or(("", rest), |(before, last)| (before, last));
    let (name, verb) = match last.split_once(':') {
        Some((name, verb)) => (name, Some(verb)),
        None => (last, None),
    };
    let mut path: Vec<&str> = before.split('/').filter(|segment| !segment.is_empty()).collect();
    path.push(name);
    let plain = |repeats| Some(CopyRule { repeats, has_names: false });
    let named = |repeats| Some(CopyRule { repeats, has_names: true });
    match (&path[..], verb) {
        (["endpoints", _] | ["publishers", _, "models", _], Some(verb)) if posts => of_verb(verb),
        (["endpoints", _, "chat", "completions"], None) if posts => plain(R::Never),
        (["endpoints" | "models"] | ["endpoints" | "models", _], None) if reads => plain(R::Always),
        (["publishers", _, "models"] | ["publishers", _, "models", _], None) if reads => {
            plain(R::Always)
        }
        (["operations"] | [.., "operations", _], None) if reads => plain(R::Always),
        ([.., "operations", _], Some("cancel")) if posts => plain(R::Unsent),
        (["cachedContents"], None) if posts => named(R::Unsent),
        (["cachedContents"] | ["cachedContents", _], None) if reads => plain(R::Always),
        (["cachedContents", _], None) if deletes => plain(R::Always),
        (["cachedContents", _], None) if *method == Method::PATCH => named(R::Unsent),
        (["batchPredictionJobs" | "interactions" | "tuningJobs"], None) if posts => named(R::Never),
        (["batchPredictionJobs" | "tuningJobs"], None) if reads => plain(R::Always),
        (["batchPredictionJobs" | "tuningJobs", _], None) if reads || deletes => plain(R::Always),
        (["batchPredictionJobs" | "tuningJobs", _], Some("cancel")) if posts => plain(R::Unsent),
        (["interactions", _, "cancel"], None) if posts => plain(R::Unsent),
        (["interactions", ..], None) if reads => plain(R::Always),
        (["interactions", _], None) if deletes => plain(R::Never),
        (["ragCorpora", ..], None) if reads => plain(R::Always),
        (["ragCorpora", ..], None | Some("import")) if posts => plain(R::Unsent),
        (["ragCorpora", ..], None) if deletes || *method == Method::PATCH => plain(R::Unsent),
        _ => None,
    }
}

/// The rule for a method of a model, or of a model that the operator has deployed.
fn of_verb(verb: &str) -> Option<CopyRule> {
    let (repeats, has_names) = match verb {
        "generateContent" | "streamGenerateContent" => (Repeats::Never, true),
        "countTokens" | "fetchPredictOperation" => (Repeats::Unsent, true),
        "computeTokens" | "embedContent" => (Repeats::Unsent, false),
        "predict"
        | "predictLongRunning"
        | "rawPredict"
        | "serverStreamingPredict"
        | "streamRawPredict" => (Repeats::Never, false),
        _ => return None,
    };
    Some(CopyRule { repeats, has_names })
}

/// True for a method or collection of the Gemini API that Vertex AI has in a project.
pub(crate) fn has_in_project(what: &str) -> bool {
    what == "cachedContents" || of_verb(what).is_some()
}

/// True for what an upstream at Vertex AI has of the Gemini API's copied paths.
pub(crate) fn copies(kind: CopiedKind) -> bool {
    matches!(kind, CopiedKind::CachedContents | CopiedKind::Predict)
}

/// The resource of Vertex AI that a path of the Gemini API is; `model` is the name at the upstream.
pub(crate) fn of_gemini_path(path: &CopiedPath, model: &str) -> Option<String> {
    match (path.kind, path.verb.as_deref()) {
        (CopiedKind::CachedContents, None) => {
            let (_, rest) = path.path.trim_start_matches('/').split_once('/')?;
            Some(rest.to_owned())
        }
        (CopiedKind::Predict, Some(verb)) if !model.is_empty() => {
            Some(format!("publishers/google/models/{model}:{verb}"))
        }
        _ => None,
    }
}

/// The path for a resource of a client in Vertex mode. Without a project in the client's path, what a
/// publisher's models are is read outside of projects.
pub(crate) fn path(
    paths: &VertexPaths,
    parts: &Parts,
    resource: &VertexResource,
) -> Result<PathAndQuery, VertexPathError> {
    let query = forward::query(parts.uri.query().unwrap_or_default());
    let query = query.strip_prefix('?');
    let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
    if is_read && !resource.in_project {
        return paths.outside(&resource.rest, query);
    }
    paths.below(resource.version, &resource.rest, query)
}

/// The request, without its body unless that was `read`. `own` are headers of the upstream's.
pub(crate) fn request(
    parts: &Parts,
    path: PathAndQuery,
    own: HeaderMap,
    read: Option<Payload>,
) -> UpstreamRequest {
    let mut headers = forward::copied_headers(&parts.headers);
    // What Claude's clients say of themselves.
    let of_anthropic = |name: &str| name.starts_with("anthropic-");
    for (name, value) in parts.headers.iter().filter(|(name, _)| of_anthropic(name.as_str())) {
        headers.append(name, value.clone());
    }
    if read.is_some() {
        // It was unpacked to be read.
        headers.remove(CONTENT_ENCODING);
    }
    headers.extend(own);
    UpstreamRequest::new(parts.method.clone(), Ok(path), read.unwrap_or_default())
        .with_copied_headers(headers)
        .passed_through()
        .counted_for(CountedFor::Endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_says_whether_it_is_copied_and_sent_again() {
        use Repeats as R;
        for (line, repeats, has_names) in [
            ("POST cachedContents", R::Unsent, true),
            ("GET cachedContents", R::Always, false),
            ("GET cachedContents/1", R::Always, false),
            ("PATCH cachedContents/1", R::Unsent, true),
            ("DELETE cachedContents/1", R::Always, false),
            ("POST publishers/google/models/m:embedContent", R::Unsent, false),
            ("POST publishers/google/models/m:computeTokens", R::Unsent, false),
            ("POST publishers/google/models/m:predict", R::Never, false),
            ("POST publishers/google/models/m:predictLongRunning", R::Never, false),
            ("POST publishers/google/models/m:fetchPredictOperation", R::Unsent, true),
            ("GET publishers/google/models/m/operations/1", R::Always, false),
            ("POST publishers/anthropic/models/c@1:rawPredict", R::Never, false),
            ("POST publishers/anthropic/models/c@1:streamRawPredict", R::Never, false),
            ("GET publishers/anthropic/models/c@1", R::Always, false),
            ("GET publishers/anthropic/models", R::Always, false),
            ("POST endpoints/1:generateContent", R::Never, true),
            ("POST endpoints/1:streamGenerateContent", R::Never, true),
            ("POST endpoints/1:countTokens", R::Unsent, true),
            ("POST endpoints/1:predict", R::Never, false),
            ("POST endpoints/openapi/chat/completions", R::Never, false),
            ("GET endpoints", R::Always, false),
            ("GET endpoints/1", R::Always, false),
            ("GET models", R::Always, false),
            ("HEAD models/1", R::Always, false),
            ("GET operations/1", R::Always, false),
            ("POST operations/1:cancel", R::Unsent, false),
            ("POST batchPredictionJobs", R::Never, true),
            ("GET batchPredictionJobs/1", R::Always, false),
            ("DELETE batchPredictionJobs/1", R::Always, false),
            ("POST batchPredictionJobs/1:cancel", R::Unsent, false),
            ("POST tuningJobs", R::Never, true),
            ("GET tuningJobs", R::Always, false),
            ("POST tuningJobs/1:cancel", R::Unsent, false),
            ("POST interactions", R::Never, true),
            ("GET interactions/1", R::Always, false),
            ("POST interactions/1/cancel", R::Unsent, false),
            ("DELETE interactions/1", R::Never, false),
            ("POST ragCorpora", R::Unsent, false),
            ("GET ragCorpora/1/ragFiles/2", R::Always, false),
            ("POST ragCorpora/1/ragFiles:import", R::Unsent, false),
            ("DELETE ragCorpora/1", R::Unsent, false),
        ] {
            let (method, rest) = line.split_once(' ').unwrap();
            let expected = Some(CopyRule { repeats, has_names });
            assert_eq!(rule(&method.parse().unwrap(), rest), expected, "{line}");
        }
    }

    #[test]
    fn what_could_do_more_than_call_models_is_not_copied() {
        for line in [
            "POST customJobs",
            "POST pipelineJobs",
            "POST notebookExecutionJobs",
            "GET customJobs",
            "POST endpoints",
            "DELETE endpoints/1",
            "PATCH endpoints/1",
            "POST endpoints/1:deployModel",
            "POST endpoints/1:setIamPolicy",
            "POST models:upload",
            "POST models/1:setIamPolicy",
            "DELETE models/1",
            "POST models/1:export",
            "POST publishers/google/models/m:export",
            "POST publishers/google/models/m:newMethod",
            "GET publishers/google/models/m:predict",
            "POST tuningJobs:rebaseTunedModel",
            "POST cachedContents/1",
            "PUT cachedContents/1",
            "POST ragCorpora/1:setIamPolicy",
            "DELETE operations/1",
            "POST newThings",
        ] {
            let (method, rest) = line.split_once(' ').unwrap();
            assert_eq!(rule(&method.parse().unwrap(), rest), None, "{line}");
        }
    }
}
