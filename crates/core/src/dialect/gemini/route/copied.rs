//! Paths of the Gemini API that are copied: all that the proxy has no route for, and that can be sent to
//! Google as they are (`docs/reference/upstreams.md` 5.1).

use std::sync::Arc;

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use super::absent::{ABSENT_METHODS, absent_collection};
use super::{ASSIST_VERSION, ApiVersion, ClientMode, LONGEST_PATH, PathForm, model_name};
use crate::dialect::operation::CopiedKind;

/// A path that is copied. Its bytes are the client's, but for what stands before the resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedPath {
    /// The path at Google, without a query. It is safe in a URL as it is.
    pub path: String,
    /// What logs and metrics call it.
    pub kind: CopiedKind,
    /// The first segment of the resource, such as `files`, without a method.
    pub collection: String,
    /// The method that is called, such as `predict`.
    pub verb: Option<String>,
    /// The bare id of the model that the resource belongs to.
    pub model: Option<String>,
    /// The path makes ephemeral tokens, or uses one that was made.
    pub is_token: bool,
}

impl CopiedPath {
    /// The method, or else the collection, for errors.
    pub fn what(&self) -> &str {
        match &self.verb {
            Some(verb) => verb,
            None if self.kind == CopiedKind::LiveSocket => self.kind.label(),
            None => &self.collection,
        }
    }
}

/// What a path without a route is to an upstream that has the whole Gemini API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beyond {
    /// A request to a model for embeddings.
    Embed {
        /// The model as the client wrote it, without prefixes.
        model: Arc<str>,
        /// The version in the path.
        form: PathForm,
        /// Several contents.
        batch: bool,
    },
    /// Anything else.
    Copy(CopiedPath),
}

/// Reads a path that has no route. `None` for what is no path of the Gemini API, or could change the
/// meaning of a URL.
pub fn read(method: &Method, uri: &Uri) -> Option<Beyond> {
    let path = uri.path();
    if path.len() > LONGEST_PATH || !METHODS.contains(method) {
        return None;
    }
    let raw: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let decoded = raw.iter().map(|segment| percent_decode_str(segment).decode_utf8());
    let decoded: Vec<String> =
        decoded.map(|it| it.map(|it| it.into_owned())).collect::<Result<_, _>>().ok()?;
    if !decoded.iter().all(|segment| is_safe(segment)) {
        return None;
    }
    let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let mut before = Before::default();
    let mut at = 0;
    while at < segments.len() && before.takes(segments[at])? {
        at += 1;
    }
    if segments.get(at) == Some(&"ws") {
        let [_, socket] = segments[at..] else { return None };
        return live_socket(socket, raw[at + 1]);
    }
    // `models/` may be repeated or missing (`docs/reference/clients.md` R9).
    while segments.len() > at + 2 && segments[at] == "models" && segments[at + 1] == "models" {
        at += 1;
    }
    let raw = &raw[at..];
    // A segment may hide a slash (`files%2Fabc`).
    let names: Vec<&str> = segments[at..].iter().flat_map(|it| it.split('/')).collect();
    let (first, _) = split(names.first()?);
    let (last, verb) = split(names.last()?);
    let is_bare_model = names.len() == 1 && verb.is_some_and(|verb| ABSENT_METHODS.contains(&verb));
    let collection = if is_bare_model { "models" } else { first };
    let is_known = collection == "models" || is_collection(collection);
    if is_foreign(first) || (!is_known && before.version.is_none() && before.media.is_none()) {
        return None;
    }
    let model = if is_bare_model { Some(last) } else { names.get(1).map(|name| split(name).0) };
    let model = model.filter(|_| collection == "models").and_then(model_name);
    let version = before.version.unwrap_or(ApiVersion::V1Beta);
    if let (Some(verb @ ("embedContent" | "batchEmbedContents")), Some(model)) = (verb, model)
        && *method == Method::POST
        && before.media.is_none()
        && names.len() <= 2
    {
        let form = PathForm { mode: ClientMode::Gemini, version: before.version };
        let batch = verb == "batchEmbedContents";
        return Some(Beyond::Embed { model: model.into(), form, batch });
    }
    let media = before.media.map(|media| format!("/{media}")).unwrap_or_default();
    let models = if is_bare_model { "models/" } else { "" };
    let has = |name: &str| names.iter().any(|segment| split(segment).0 == name);
    Some(Beyond::Copy(CopiedPath {
        path: format!("{media}/{}/{models}{}", version.as_str(), raw.join("/")),
        kind: kind(before.media, (collection, verb), &names, has("operations")),
        collection: collection.to_owned(),
        verb: verb.map(str::to_owned),
        model: model.map(str::to_owned),
        is_token: names.iter().any(|name| is_auth_tokens(name)),
    }))
}

/// What stands before the resource: a version, and for media `upload` or `download`.
#[derive(Default)]
struct Before {
    version: Option<ApiVersion>,
    media: Option<&'static str>,
}

impl Before {
    /// Takes a segment if it stands before the resource; `None` for a version of another API. Of several
    /// versions the last one counts, which the SDK has added to a base URL that had one.
    fn takes(&mut self, segment: &str) -> Option<bool> {
        match (ApiVersion::named(segment), segment) {
            (Some(ApiVersion::V1Beta1), _) => return None,
            (Some(version), _) => self.version = Some(version),
            (None, "upload") if self.media.is_none() => self.media = Some("upload"),
            (None, "download") if self.media.is_none() => self.media = Some("download"),
            _ => return Some(false),
        }
        Some(true)
    }
}

/// `google.ai.generativelanguage.{v}.GenerativeService.Bidi…`: a socket of the Live API. It has no other
/// version in its path.
fn live_socket(name: &str, raw: &str) -> Option<Beyond> {
    let rest = name.strip_prefix("google.ai.generativelanguage.")?;
    let (version, method) = rest.split_once(".GenerativeService.")?;
    let version = ApiVersion::named(version).filter(|version| *version != ApiVersion::V1Beta1);
    let is_method = method.starts_with("Bidi") && method.bytes().all(|b| b.is_ascii_alphanumeric());
    version.filter(|_| is_method).map(|_| {
        Beyond::Copy(CopiedPath {
            path: format!("/ws/{raw}"),
            kind: CopiedKind::LiveSocket,
            collection: "ws".to_owned(),
            verb: None,
            model: None,
            // The method that only ephemeral tokens may call.
            is_token: method.ends_with("Constrained"),
        })
    })
}

fn kind(
    media: Option<&str>,
    (collection, verb): (&str, Option<&str>),
    names: &[&str],
    of_operations: bool,
) -> CopiedKind {
    match (media, collection, verb) {
        (Some("upload"), _, _) => CopiedKind::Upload,
        (_, "openai", None) => CopiedKind::OpenAi,
        (_, "interactions", _) if names.get(1) == Some(&"live") => CopiedKind::LiveSocket,
        (_, "interactions", _) => CopiedKind::Interactions,
        _ if of_operations => CopiedKind::Operations,
        (_, "batches", _) | (_, _, Some("batchGenerateContent" | "asyncBatchEmbedContent")) => {
            CopiedKind::Batches
        }
        (_, _, Some("fetchPredictOperation" | "predict" | "predictLongRunning")) => {
            CopiedKind::Predict
        }
        (_, "cachedContents", _) => CopiedKind::CachedContents,
        (_, "files" | "generatedFiles" | "media", _) => CopiedKind::Files,
        (_, "fileSearchStores", _) => CopiedKind::FileSearchStores,
        _ => CopiedKind::Other,
    }
}

/// A segment and the method after its colon.
fn split(segment: &str) -> (&str, Option<&str>) {
    match segment.split_once(':') {
        Some((name, verb)) => (name, Some(verb)),
        None => (segment, None),
    }
}

/// True for `auth_tokens`, in any spelling that a lenient server could take for it.
fn is_auth_tokens(segment: &str) -> bool {
    let letters = segment.bytes().filter(u8::is_ascii_alphanumeric);
    letters.map(|byte| byte.to_ascii_lowercase()).take(AUTH_TOKEN.len()).eq(AUTH_TOKEN.bytes())
}

/// True for a collection that is recognised without a version before it.
fn is_collection(name: &str) -> bool {
    absent_collection(name).is_some()
}

/// True for what belongs to another API, or to another dialect of the proxy's.
fn is_foreign(collection: &str) -> bool {
    collection.starts_with(ASSIST_VERSION) || FOREIGN.contains(&collection)
}

/// True for a decoded segment that means the same to everyone who reads the URL. A slash within it is
/// data, but a part that would move up is not.
fn is_safe(segment: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !"%\\?#".contains(c);
    let moves = |part: &str| matches!(part.split([';', ':']).next(), Some("" | "." | ".."));
    segment.chars().all(is_plain) && !segment.split('/').any(moves)
}

/// The methods of the Gemini API. An answer to TRACE would show the operator's key (RFC 9110 9.3.8).
const METHODS: [Method; 6] =
    [Method::DELETE, Method::GET, Method::HEAD, Method::PATCH, Method::POST, Method::PUT];

/// The letters that `auth_tokens` begins with, in small letters.
const AUTH_TOKEN: &str = "authtoken";

/// First segments of other APIs: of OpenAI's, of Anthropic's, and of Vertex AI's.
const FOREIGN: [&str; 8] = [
    "chat",
    "completions",
    "embeddings",
    "messages",
    "projects",
    "publishers",
    "reasoningEngines",
    "responses",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(target: &str) -> Option<Beyond> {
        read(&Method::POST, &target.parse().unwrap())
    }

    fn copied(target: &str) -> CopiedPath {
        match ask(target) {
            Some(Beyond::Copy(path)) => path,
            other => panic!("{target}: {other:?}"),
        }
    }

    #[test]
    fn a_path_is_copied_with_the_clients_bytes() {
        use CopiedKind as K;
        for (target, path, kind, verb, model) in [
            ("/v1beta/files", "/v1beta/files", K::Files, None, None),
            (
                "/v1/files/a-b:download?alt=media",
                "/v1/files/a-b:download",
                K::Files,
                Some("download"),
                None,
            ),
            ("/v1alpha/files%2Fabc", "/v1alpha/files%2Fabc", K::Files, None, None),
            ("/files", "/v1beta/files", K::Files, None, None),
            ("/v1beta//files/", "/v1beta/files", K::Files, None, None),
            ("/v1beta/v1/files", "/v1/files", K::Files, None, None),
            ("/upload/v1beta/files", "/upload/v1beta/files", K::Upload, None, None),
            ("/upload/files", "/upload/v1beta/files", K::Upload, None, None),
            ("/v1beta/upload/v1/files", "/upload/v1/files", K::Upload, None, None),
            (
                "/download/v1beta/files/x:download",
                "/download/v1beta/files/x:download",
                K::Files,
                Some("download"),
                None,
            ),
            (
                "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore",
                "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore",
                K::Upload,
                Some("uploadToFileSearchStore"),
                None,
            ),
            (
                "/openai:predict",
                "/v1beta/models/openai:predict",
                K::Predict,
                Some("predict"),
                Some("openai"),
            ),
            (
                "/v1beta/models/imagen-4:predict",
                "/v1beta/models/imagen-4:predict",
                K::Predict,
                Some("predict"),
                Some("imagen-4"),
            ),
            (
                "/v1beta/models/veo-3%3ApredictLongRunning",
                "/v1beta/models/veo-3%3ApredictLongRunning",
                K::Predict,
                Some("predictLongRunning"),
                Some("veo-3"),
            ),
            (
                "/v1beta/models/models/m:predict",
                "/v1beta/models/m:predict",
                K::Predict,
                Some("predict"),
                Some("m"),
            ),
            (
                "/v1beta/m:predict",
                "/v1beta/models/m:predict",
                K::Predict,
                Some("predict"),
                Some("m"),
            ),
            (
                "/v1beta/models/m:batchGenerateContent",
                "/v1beta/models/m:batchGenerateContent",
                K::Batches,
                Some("batchGenerateContent"),
                Some("m"),
            ),
            (
                "/v1beta/models/veo/operations/x",
                "/v1beta/models/veo/operations/x",
                K::Operations,
                None,
                Some("veo"),
            ),
            ("/v1/batches/b:cancel", "/v1/batches/b:cancel", K::Batches, Some("cancel"), None),
            (
                "/v1beta/openai/chat/completions",
                "/v1beta/openai/chat/completions",
                K::OpenAi,
                None,
                None,
            ),
            ("/v1/interactions/i/cancel", "/v1/interactions/i/cancel", K::Interactions, None, None),
            ("/v1/interactions/live", "/v1/interactions/live", K::LiveSocket, None, None),
            ("/v1beta/cachedContents", "/v1beta/cachedContents", K::CachedContents, None, None),
            (
                "/v1beta/tunedModels/t:generateContent",
                "/v1beta/tunedModels/t:generateContent",
                K::Other,
                Some("generateContent"),
                None,
            ),
            ("/v1beta/somethingNew/x:do", "/v1beta/somethingNew/x:do", K::Other, Some("do"), None),
            (
                "//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=K",
                "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
                K::LiveSocket,
                None,
                None,
            ),
        ] {
            let found = copied(target);
            assert_eq!((&*found.path, found.kind), (path, kind), "{target}");
            assert_eq!((found.verb.as_deref(), found.model.as_deref()), (verb, model), "{target}");
            assert!(!found.is_token, "{target}");
        }
    }

    #[test]
    fn a_model_without_its_collection_may_have_the_name_of_another_collection() {
        let bare = copied("//files:batchGenerateContent/");
        assert_eq!((&*bare.collection, bare.model.as_deref()), ("models", Some("files")));
        assert_eq!(ask(&bare.path), Some(Beyond::Copy(bare)));
    }

    #[test]
    fn embeddings_are_calls_of_a_model() {
        for (target, batch, version) in [
            ("/v1/models/m:embedContent", false, Some(ApiVersion::V1)),
            ("/v1beta/models/m%3AbatchEmbedContents", true, Some(ApiVersion::V1Beta)),
            ("/models/m:embedContent", false, None),
            ("/m:embedContent", false, None),
        ] {
            let form = PathForm { mode: ClientMode::Gemini, version };
            let embed = Beyond::Embed { model: "m".into(), form, batch };
            assert_eq!(ask(target), Some(embed), "{target}");
        }
    }

    #[test]
    fn what_is_no_path_of_the_gemini_api_or_could_change_a_url_is_refused() {
        for target in [
            "/nothing",
            "/v1beta",
            "/v1beta/",
            "/v1beta1/files",
            "/v1/chat/completions",
            "/v1/messages",
            "/v1/responses",
            "/v1beta/v1internal:generateContent",
            "/v1/projects/p/locations/l/x",
            "/v1beta/../files",
            "/v1beta/files/..",
            "/v1beta/files/.",
            "/v1beta/%2e%2e/files",
            "/v1beta/files/%2E%2e",
            "/v1beta/files%2F..%2Fmodels",
            "/v1beta/files/..;x/y",
            "/v1beta/models/..:generateContent",
            "/v1beta/files/:download",
            "/v1beta/files%2F%2Fx",
            "/v1beta/files/a%00",
            "/v1beta/files/a%0d%0ab",
            "/v1beta/files/a%252e",
            "/v1beta/files/a%3Fb",
            "/v1beta/files/a%23b",
            "/v1beta/files/a%5Cb",
            "/v1beta/files/%ff",
            "/ws/google.ai.generativelanguage.v2.GenerativeService.BidiX",
            "/ws/google.ai.generativelanguage.v1beta.GenerativeService.Other",
            "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent",
            "/ws",
            "/ws/a/b",
        ] {
            assert_eq!(ask(target), None, "{target}");
        }
        assert_eq!(ask(&format!("/v1beta/files/{}", "x".repeat(LONGEST_PATH))), None);
        for method in ["TRACE", "CONNECT", "OPTIONS", "PROPFIND", "get"] {
            let method = method.parse().unwrap();
            assert_eq!(read(&method, &Uri::from_static("/v1beta/files")), None, "{method}");
        }
    }

    #[test]
    fn every_way_to_an_ephemeral_token_is_known() {
        for target in [
            "/v1alpha/auth_tokens",
            "/v1alpha/auth%5Ftokens",
            "/v1alpha/AUTH_TOKENS",
            "/v1alpha/authTokens;x=1",
            "/v1alpha/auth_token",
            "/v1alpha/auth_tokens:create",
            "/v1beta/interactions/i/auth_tokens",
            "/v1beta/interactions%2Fi%2Fauth_tokens",
            "/auth_tokens",
            "/upload/v1beta/auth_tokens",
            "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained",
        ] {
            assert!(copied(target).is_token, "{target}");
        }
    }
}
