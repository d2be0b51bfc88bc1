//! Paths of Vertex AI on the client's side (`docs/reference/upstreams.md` 8.2).
//!
//! A client's project and location are only wishes: the credential, and so the project, is the
//! operator's. They are checked here and then forgotten.

use super::form::ApiVersion;
use super::{LONGEST_NAME, model_name};

/// A resource or a method of Vertex AI that is no route of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VertexResource {
    /// The version in the path.
    pub version: Option<ApiVersion>,
    /// True for what follows `projects/{p}/locations/{l}/`, false for the form without a project.
    pub in_project: bool,
    /// The path below that, such as `cachedContents/1` or `publishers/google/models/m:predict`. Its
    /// segments are safe in a URL as they are.
    pub rest: String,
}

impl VertexResource {
    /// The resource of these segments, if each of them is safe in a URL.
    pub(super) fn new(
        version: Option<ApiVersion>,
        in_project: bool,
        segments: &[&str],
    ) -> Option<Self> {
        // A client of the Gemini API gives back a name that it got in an answer. Its version is another API's.
        let version = version.filter(|v| !(in_project && *v == ApiVersion::V1Beta));
        let is_known = version.is_none_or(|v| matches!(v, ApiVersion::V1 | ApiVersion::V1Beta1));
        let is_safe = is_known && !segments.is_empty() && segments.iter().all(is_safe);
        is_safe.then(|| Self { version, in_project, rest: segments.join("/") })
    }

    /// The method that is called, such as `predict`, or else the collection, such as `cachedContents`.
    pub fn what(&self) -> &str {
        let last = self.rest.rsplit('/').next().unwrap_or_default();
        if let Some((_, method)) = last.split_once(':') {
            return method;
        }
        match self.model_and_rest() {
            Some((_, Some(below))) => below.split('/').next().unwrap_or_default(),
            _ => self.rest.split('/').next().unwrap_or_default(),
        }
    }

    /// The bare id of the publisher's model that the resource belongs to.
    pub fn model(&self) -> Option<&str> {
        model_name(self.model_and_rest()?.0)
    }

    fn model_and_rest(&self) -> Option<(&str, Option<&str>)> {
        let (_, named) = self.rest.strip_prefix("publishers/")?.split_once("/models/")?;
        let (named, below) = match named.split_once('/') {
            Some((named, below)) => (named, Some(below)),
            None => (named, None),
        };
        Some((named.split(':').next().unwrap_or_default(), below))
    }
}

/// True for a project and a location as Google has them: a project may be an id, a number, or an id
/// with its domain (`example.com:project`).
pub(super) fn is_place(project: &str, location: &str) -> bool {
    let in_project = |byte: u8| byte.is_ascii_alphanumeric() || b":.-".contains(&byte);
    // Google's locations have small letters only. The client's is replaced, so that any word will do.
    let in_location = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    project.len() <= LONGEST_NAME
        && project.bytes().all(in_project)
        && project.starts_with(|c: char| c.is_ascii_alphanumeric())
        && location.len() <= LONGEST_NAME
        && location.bytes().all(in_location)
        && location.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// A name, perhaps with a method after a colon. No segment may change the meaning of the URL that it
/// becomes part of.
fn is_safe(segment: &&str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@:".contains(&byte);
    segment.len() <= 2 * LONGEST_NAME
        && segment.bytes().all(harmless)
        && segment.bytes().filter(|&byte| byte == b':').count() <= 1
        && segment.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::{ClientMode, Framing, PathForm, Route, RouteError, read};
    use super::*;
    use crate::error::Error;

    fn ask(method: &Method, target: &str) -> Result<Route, RouteError> {
        read(method, &target.parse().unwrap())
    }

    fn form(version: Option<ApiVersion>) -> PathForm {
        PathForm { mode: ClientMode::Vertex, version }
    }

    #[test]
    fn a_client_in_vertex_mode_reaches_the_routes_of_a_model() {
        let (v1, v1beta1) = (Some(ApiVersion::V1), Some(ApiVersion::V1Beta1));
        for (before, version) in [
            ("/v1beta1/projects/p/locations/us-central1/publishers/google", v1beta1),
            ("/v1/projects/p/locations/global/publishers/google", v1),
            ("/v1/v1beta1/projects/123/locations/eu/publishers/google", v1beta1),
            ("//v1//projects/example.com%3Ap/locations/us//publishers/google", v1),
            ("/projects/example.com:p-1/locations/us/publishers/google", None),
            // A location that Google does not have is replaced like any other.
            ("/v1/projects/P/locations/L/publishers/google", v1),
            ("/v1beta1/publishers/google", v1beta1),
            ("/v1/publishers/google", v1),
            ("/publishers/google", None),
        ] {
            let form = form(version);
            for (colon, at, written) in [(":", "@", "m-1@001"), ("%3A", "%40", "m-1@001")] {
                let path = |method| format!("{before}/models/m-1{at}001{colon}{method}?alt=sse");
                assert_eq!(
                    ask(&Method::POST, &path("generateContent")),
                    Ok(Route::Generate { model: written.into(), form }),
                    "{before}"
                );
                assert_eq!(
                    ask(&Method::POST, &path("streamGenerateContent")),
                    Ok(Route::Stream { model: written.into(), framing: Framing::Sse, form }),
                    "{before}"
                );
                assert_eq!(
                    ask(&Method::POST, &path("countTokens")),
                    Ok(Route::Count { model: written.into(), form }),
                    "{before}"
                );
            }
            let read_only = Err(RouteError::WrongMethod { allow: "POST" });
            assert_eq!(ask(&Method::GET, &format!("{before}/models/m:countTokens")), read_only);
            let one = Route::Model { model: "m".into(), form };
            assert_eq!(ask(&Method::GET, &format!("{before}/models/m")), Ok(one));
            let all = Route::Models { page_size: Some(7), page_token: None, form };
            assert_eq!(ask(&Method::GET, &format!("{before}/models?pageSize=7")), Ok(all));
        }
    }

    #[test]
    fn what_else_vertex_has_is_a_resource_whatever_the_http_method() {
        let place = "projects/p/locations/us-central1";
        for (path, in_project, rest, what, model) in [
            ("v1/P/cachedContents", true, "cachedContents", "cachedContents", None),
            ("v1beta1/P/cachedContents/12?x=y", true, "cachedContents/12", "cachedContents", None),
            ("v1beta1/P/models?filter=x", true, "models", "models", None),
            (
                "v1beta1/P/batchPredictionJobs",
                true,
                "batchPredictionJobs",
                "batchPredictionJobs",
                None,
            ),
            ("v1/P/tuningJobs/1:cancel", true, "tuningJobs/1:cancel", "cancel", None),
            (
                "v1/P/endpoints/1%3AgenerateContent",
                true,
                "endpoints/1:generateContent",
                "generateContent",
                None,
            ),
            (
                "v1/P/endpoints/openapi/chat/completions",
                true,
                "endpoints/openapi/chat/completions",
                "endpoints",
                None,
            ),
            ("v1beta1/P/interactions/a-b_c", true, "interactions/a-b_c", "interactions", None),
            ("v1beta1/P/ragCorpora/1/ragFiles", true, "ragCorpora/1/ragFiles", "ragCorpora", None),
            ("v1beta1/P/operations/1", true, "operations/1", "operations", None),
            ("v1beta/P/cachedContents/1", true, "cachedContents/1", "cachedContents", None),
            ("v1/P/newThings/1", true, "newThings/1", "newThings", None),
            (
                "v1/P/publishers/google/models/m:embedContent",
                true,
                "publishers/google/models/m:embedContent",
                "embedContent",
                Some("m"),
            ),
            (
                "v1/P/publishers/google/models/m:newMethod",
                true,
                "publishers/google/models/m:newMethod",
                "newMethod",
                Some("m"),
            ),
            (
                "v1/P/publishers/google/models/m/operations/1",
                true,
                "publishers/google/models/m/operations/1",
                "operations",
                Some("m"),
            ),
            (
                "v1/P/publishers/anthropic/models/c@1:streamRawPredict",
                true,
                "publishers/anthropic/models/c@1:streamRawPredict",
                "streamRawPredict",
                Some("c@1"),
            ),
            (
                "publishers/anthropic/models/c%401:rawPredict",
                false,
                "publishers/anthropic/models/c@1:rawPredict",
                "rawPredict",
                Some("c@1"),
            ),
            (
                "v1/publishers/google/models/m:predict",
                false,
                "publishers/google/models/m:predict",
                "predict",
                Some("m"),
            ),
        ] {
            for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
                let route = ask(&method, &format!("/{}", path.replace("P/", &format!("{place}/"))));
                let Ok(Route::VertexResource(resource)) = route else {
                    panic!("{path}: {route:?}")
                };
                assert_eq!((resource.in_project, &*resource.rest), (in_project, rest), "{path}");
                assert_eq!((resource.what(), resource.model()), (what, model), "{path}");
                let version = path.split('/').next().and_then(ApiVersion::named);
                let version = version.filter(|version| *version != ApiVersion::V1Beta);
                assert_eq!(resource.version, version, "{path}");
            }
        }
    }

    #[test]
    fn no_path_of_vertex_can_change_the_url_that_it_becomes_part_of() {
        for path in [
            "/v1/projects/p/locations/us",
            "/v1/projects/p/locations",
            "/v1/projects/p",
            "/v1/projects/../locations/us/cachedContents",
            "/v1/projects/%2e%2e/locations/us/cachedContents",
            "/v1/projects/p%3Fx/locations/us/cachedContents",
            "/v1/projects/p%23/locations/us/cachedContents",
            "/v1/projects/a%2Fb/locations/us/cachedContents",
            "/v1/projects/a@b/locations/us/cachedContents",
            "/v1/projects/p/locations/evil.example/cachedContents",
            "/v1/projects/p/locations/-/cachedContents",
            "/v1/projects/p/locations/us/cachedContents/..",
            "/v1/projects/p/locations/us/cachedContents/%2e%2e%2f1",
            "/v1/projects/p/locations/us/cachedContents/.hidden",
            "/v1/projects/p/locations/us/cachedContents/a%3Fb",
            "/v1/projects/p/locations/us/cachedContents/a%23b",
            "/v1/projects/p/locations/us/cachedContents/a%20b",
            "/v1/projects/p/locations/us/cachedContents/a%25b",
            "/v1/projects/p/locations/us/cachedContents/a%5Cb",
            "/v1/projects/p/locations/us/cachedContents/a:b:c",
            "/v1/projects/p/locations/us/:cancel",
            "/v1/projects/p/locations/us/publishers/google/models/..:newMethod",
            "/v1alpha/projects/p/locations/us/cachedContents",
            "/v1beta/publishers/anthropic/models/c:rawPredict",
            "/v1alpha/publishers/anthropic/models/c:rawPredict",
            &format!("/v1/projects/{}/locations/us/x", "p".repeat(LONGEST_NAME + 1)),
        ] {
            for method in [Method::GET, Method::POST] {
                let answer = ask(&method, path);
                assert!(matches!(answer, Err(RouteError::NotFound { .. })), "{path}: {answer:?}");
            }
        }
    }

    #[test]
    fn a_base_url_taken_for_the_whole_url_is_explained() {
        for target in ["/", "//", "/?key=K"] {
            assert_eq!(ask(&Method::POST, target), Err(RouteError::NoPath), "{target}");
        }
        let error = Error::from(RouteError::NoPath);
        assert_eq!(error.status(), 404);
        let text = error.to_string();
        assert!(text.contains("set its project and location"), "{text}");
        assert!(text.contains("base_url_resource_scope"), "{text}");
    }

    #[test]
    fn a_version_is_read_as_it_is_written() {
        for version in ["v1", "v1alpha", "v1beta", "v1beta1"] {
            assert_eq!(ApiVersion::named(version).map(ApiVersion::as_str), Some(version));
        }
        assert_eq!(ApiVersion::named("v2"), None);
    }
}
