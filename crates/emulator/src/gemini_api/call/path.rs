//! Which call a path is.

use http::Method;
use percent_encoding::percent_decode_str;

use crate::gemini_api::call::{
    CallKind, Collection, GeminiCall, InteractionCall, ModelMethod, OpenAiCall, ResourceCall,
    UploadTarget,
};

impl GeminiCall {
    /// The call of a path, if the HTTP method fits.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let path = percent_decode_str(path).decode_utf8().ok()?;
        if let Some(rest) = path.trim_start_matches('/').strip_prefix("ws/") {
            return (method == Method::GET).then(|| live(rest)).flatten();
        }
        if let Some(rest) = path.strip_prefix("/upload/") {
            let (version, rest) = versioned(rest)?;
            return is_write(method)
                .then(|| upload(rest))
                .flatten()
                .map(|target| Self { version, kind: CallKind::Upload(target) });
        }
        let (version, rest) = versioned(path.strip_prefix('/')?)?;
        if let Some(rest) = rest.strip_prefix("openai/") {
            let kind = CallKind::OpenAi(openai(method, rest)?);
            return (version == "v1beta").then_some(Self { version, kind });
        }
        Some(Self { version, kind: native(method, rest)? })
    }
}

fn native(method: &Method, rest: &str) -> Option<CallKind> {
    let is_post = method == Method::POST;
    let is_get = method == Method::GET;
    if rest == "auth_tokens" {
        return is_post.then_some(CallKind::CreateAuthToken);
    }
    if rest == "files:register" {
        return is_post.then_some(CallKind::RegisterFiles);
    }
    if rest == "interactions/live" {
        return is_get.then_some(CallKind::Live { constrained: false });
    }
    if let Some(rest) = rest.strip_prefix("interactions") {
        return interaction(method, rest).map(CallKind::Interaction);
    }
    if is_get && (rest.starts_with("operations/") || rest.contains("/operations/")) {
        return Some(CallKind::Operation(rest.to_owned()));
    }
    if let Some(id) = rest.strip_prefix("files/").and_then(|rest| rest.strip_suffix(":download")) {
        return is_get.then(|| CallKind::DownloadFile(format!("files/{id}")));
    }
    if let Some((name, verb)) = rest.split_once(':')
        && let Some(model) = name
            .strip_prefix("models/")
            .or_else(|| name.starts_with("tunedModels/").then_some(name))
    {
        let model_method = ModelMethod::of(verb)?;
        return is_post.then(|| CallKind::Model(model.to_owned(), model_method));
    }
    let name = rest.split('/').next()?;
    let collection = Collection::ALL.into_iter().find(|collection| collection.name() == name)?;
    let call = match (method.as_str(), rest.strip_prefix(name)?) {
        ("GET", "") => ResourceCall::List,
        ("POST", "") => ResourceCall::Create,
        ("POST", id) => ResourceCall::Cancel(format!("{name}{}", id.strip_suffix(":cancel")?)),
        ("GET", _) => ResourceCall::Get(rest.to_owned()),
        ("DELETE", id) if !id.is_empty() => ResourceCall::Delete(rest.to_owned()),
        ("PATCH", id) if !id.is_empty() => ResourceCall::Update(rest.to_owned()),
        _ => return None,
    };
    collection.offers(&call).then_some(CallKind::Resource(collection, call))
}

fn interaction(method: &Method, rest: &str) -> Option<InteractionCall> {
    if rest.is_empty() {
        return (method == Method::POST).then_some(InteractionCall::Create);
    }
    let id = rest.strip_prefix('/')?;
    match (method.as_str(), id.strip_suffix("/cancel")) {
        ("POST", Some(id)) => Some(InteractionCall::Cancel(id.to_owned())),
        ("GET", None) => Some(InteractionCall::Get(id.to_owned())),
        ("DELETE", None) => Some(InteractionCall::Delete(id.to_owned())),
        _ => None,
    }
}

fn openai(method: &Method, rest: &str) -> Option<OpenAiCall> {
    match (method.as_str(), rest) {
        ("POST", "chat/completions") => Some(OpenAiCall::Chat),
        ("POST", "embeddings") => Some(OpenAiCall::Embeddings),
        ("GET", "models") => Some(OpenAiCall::Models),
        ("GET", model) => {
            // The ids of the list begin with `models/`; short ones are taken too.
            let id = model.strip_prefix("models/")?;
            Some(OpenAiCall::Model(id.strip_prefix("models/").unwrap_or(id).to_owned()))
        }
        _ => None,
    }
}

fn upload(rest: &str) -> Option<UploadTarget> {
    if rest == "files" {
        return Some(UploadTarget::Files);
    }
    let store = rest.strip_suffix(":uploadToFileSearchStore")?;
    store.starts_with("fileSearchStores/").then(|| UploadTarget::Store(store.to_owned()))
}

/// The Live call of `google.ai.generativelanguage.{version}.GenerativeService.{method}`.
fn live(rest: &str) -> Option<GeminiCall> {
    let rest = rest.strip_prefix("google.ai.generativelanguage.")?;
    let (version, method) = rest.split_once(".GenerativeService.")?;
    let constrained = match method {
        "BidiGenerateContent" => false,
        "BidiGenerateContentConstrained" => true,
        _ => return None,
    };
    let version = VERSIONS.into_iter().find(|known| *known == version)?;
    Some(GeminiCall { version, kind: CallKind::Live { constrained } })
}

fn versioned(path: &str) -> Option<(&'static str, &str)> {
    let (version, rest) = path.split_once('/')?;
    let version = VERSIONS.into_iter().find(|known| *known == version)?;
    Some((version, rest))
}

fn is_write(method: &Method) -> bool {
    method == Method::POST || method == Method::PUT
}

const VERSIONS: [&str; 3] = ["v1", "v1beta", "v1alpha"];

#[cfg(test)]
mod tests {
    use super::*;

    fn name(method: &str, path: &str) -> Option<String> {
        GeminiCall::of(&method.parse().unwrap(), path).map(|call| call.name())
    }

    #[test]
    fn a_path_names_a_call() {
        for (method, path, wanted) in [
            ("POST", "/v1/models/gemini-2.5-flash:generateContent", "generateContent"),
            ("POST", "/v1beta/models/x%3AcountTokens", "countTokens"),
            ("GET", "/v1alpha/models", "models.list"),
            ("GET", "/v1beta/models/x/operations/1", "operations.get"),
            ("GET", "/v1beta/files/x:download", "files.download"),
            ("POST", "/upload/v1/files", "upload"),
            ("POST", "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore", "upload"),
            ("PATCH", "/v1beta/cachedContents/x", "cachedContents.update"),
            ("POST", "/v1beta/batches/x:cancel", "batches.cancel"),
            ("POST", "/v1/interactions/x/cancel", "interactions.cancel"),
            ("POST", "/v1beta/openai/chat/completions", "openai.chat"),
            (
                "GET",
                "//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
                "live",
            ),
        ] {
            assert_eq!(name(method, path).as_deref(), Some(wanted), "{path}");
        }
    }

    #[test]
    fn unknown_versions_methods_and_paths_are_no_call() {
        for (method, path) in [
            ("POST", "/v2/models/x:generateContent"),
            ("POST", "/models/x:generateContent"),
            ("GET", "/v1beta/models/x:generateContent"),
            ("POST", "/v1beta/models/x:generateAnything"),
            ("POST", "/v1beta/models"),
            ("DELETE", "/v1beta/files"),
            ("POST", "/v1/openai/chat/completions"),
        ] {
            assert_eq!(name(method, path), None, "{path}");
        }
    }

    #[test]
    fn an_error_names_the_method_of_the_path_version() {
        let call = GeminiCall::of(&Method::POST, "/v1/models/x:generateContent").unwrap();
        assert_eq!(
            call.method(),
            "google.ai.generativelanguage.v1.GenerativeService.GenerateContent"
        );
    }
}
