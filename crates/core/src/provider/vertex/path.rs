//! Hosts and paths of Vertex AI (`docs/reference/upstreams.md` 1.2, 1.3, 7.4).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::uri::PathAndQuery;

use crate::dialect::gemini::models::bare;
use crate::dialect::gemini::route::ApiVersion;
use crate::provider::request::{UrlError, path};

/// A location that may become part of a host name, which gets the operator's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(Arc<str>);

/// The text is no location of Vertex AI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a location has small letters, digits and dashes, such as `global` or `europe-west4`")]
pub struct LocationError;

impl Location {
    /// Checks a location.
    pub fn new(text: &str) -> Result<Self, LocationError> {
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_location = text.len() <= LONGEST_LOCATION
            && text.bytes().all(is_plain)
            && text.starts_with(|c: char| c.is_ascii_lowercase());
        if is_location { Ok(Self(text.into())) } else { Err(LocationError) }
    }

    /// The location without a place, which serves every model.
    pub fn global() -> Self {
        Self("global".into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The paths of one upstream at Vertex AI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VertexPaths {
    version: Arc<str>,
    place: Option<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    project: Arc<str>,
    location: Location,
}

/// No path of the upstream leads to a model or resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VertexPathError {
    /// The name has characters that no name of Vertex AI has.
    #[error("Vertex AI has no model or resource of such a name")]
    BadName,
    /// Only a project has it, and the upstream has a key instead.
    #[error("Vertex AI has this in a project only; the upstream has an API key and no project")]
    NeedsProject,
}

/// The project and the location, for the operator.
impl fmt::Display for VertexPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(Place { project, location }) => write!(f, "{project} in {}", location.as_str()),
            None => f.write_str("express mode, without a project"),
        }
    }
}

impl VertexPaths {
    /// The paths of a project, whose id or number is checked.
    pub fn in_project(
        version: &str,
        project: &str,
        location: Location,
    ) -> Result<Self, VertexPathError> {
        if !is_project(project) || !is_segment(version) {
            return Err(VertexPathError::BadName);
        }
        let place = Place { project: project.into(), location };
        Ok(Self { version: version.into(), place: Some(place) })
    }

    /// The paths of express mode: an API key, and neither project nor location.
    pub fn express(version: &str) -> Result<Self, VertexPathError> {
        if !is_segment(version) {
            return Err(VertexPathError::BadName);
        }
        Ok(Self { version: version.into(), place: None })
    }

    /// The paths of an upstream whose project is not known: no name with a project is its own.
    pub(crate) fn without_project(version: &str) -> Self {
        Self { version: version.into(), place: None }
    }

    /// The project; `None` in express mode.
    pub(crate) fn project(&self) -> Option<&str> {
        self.place.as_ref().map(|place| &*place.project)
    }

    /// The path of a method of a model. `version` is the client's, which is kept if Vertex AI has it. `query` has no `?`.
    ///
    /// The model may be a bare id, `models/x`, `publishers/p/models/x`, `anthropic/x`, `endpoints/1`, or
    /// one of the latter within `projects/…/locations/…/`, which becomes the upstream's.
    pub fn method(
        &self,
        version: Option<ApiVersion>,
        model: &str,
        method: &str,
        query: Option<&str>,
    ) -> Result<PathAndQuery, VertexPathError> {
        let name = resource_of(model).ok_or(VertexPathError::BadName)?;
        if !method.bytes().all(|byte| byte.is_ascii_alphanumeric()) || method.is_empty() {
            return Err(VertexPathError::BadName);
        }
        self.below(version, &format!("{name}:{method}"), query)
    }

    /// The path of a model or resource, such as `cachedContents/1` or `publishers/google/models/x`.
    /// `rest` may have a method behind a colon.
    pub fn below(
        &self,
        version: Option<ApiVersion>,
        rest: &str,
        query: Option<&str>,
    ) -> Result<PathAndQuery, VertexPathError> {
        let known = version.filter(|v| matches!(v, ApiVersion::V1 | ApiVersion::V1Beta1));
        let version = known.map_or(&*self.version, |version| version.as_str());
        if !rest.split('/').all(is_segment) {
            return Err(VertexPathError::BadName);
        }
        let mut text = format!("/{version}/");
        match &self.place {
            Some(Place { project, location }) => {
                text.push_str(&format!("projects/{project}/locations/{}/", location.as_str()));
            }
            None if rest.starts_with("publishers/") => {}
            None => return Err(VertexPathError::NeedsProject),
        }
        text.push_str(rest);
        with_query(text, query)
    }

    /// The path of the catalogue of a publisher's models, or of one of them: in every form it is outside of
    /// projects, and only `v1beta1` has the list.
    pub fn catalogue(
        &self,
        model: Option<&str>,
        query: Option<&str>,
    ) -> Result<PathAndQuery, VertexPathError> {
        let name = match model {
            Some(model) => resource_of(model).ok_or(VertexPathError::BadName)?,
            None => Cow::Borrowed("publishers/google/models"),
        };
        with_query(format!("/v1beta1/{name}"), query)
    }

    /// The path of what is outside of projects, such as `publishers/anthropic/models/x`.
    pub(crate) fn outside(
        &self,
        rest: &str,
        query: Option<&str>,
    ) -> Result<PathAndQuery, VertexPathError> {
        if !rest.split('/').all(is_segment) {
            return Err(VertexPathError::BadName);
        }
        with_query(format!("/v1beta1/{rest}"), query)
    }

    /// The full name of a model, as `model` of `cachedContents` has it.
    pub fn full_model_name(&self, model: &str) -> Result<String, VertexPathError> {
        let name = resource_of(model).ok_or(VertexPathError::BadName)?;
        let place = self.place.as_ref().ok_or(VertexPathError::NeedsProject)?;
        Ok(format!("projects/{}/locations/{}/{name}", place.project, place.location.as_str()))
    }

    /// The full name `projects/…/locations/…/{rest}` in the upstream's own project and location. `None`
    /// without a project, or for what is no such name.
    pub fn own_name(&self, name: &str) -> Option<String> {
        let place = self.place.as_ref()?;
        let (_, _, rest) = split_full_name(name)?;
        Some(format!("projects/{}/locations/{}/{rest}", place.project, place.location.as_str()))
    }

    /// True for a full name that may be in the upstream's own project and location.
    ///
    /// Google's answers name a project by its number, whatever a request had. A number and an id cannot be
    /// compared, so either may stand for the other.
    pub fn may_own(&self, name: &str) -> bool {
        let (Some(place), Some((project, location, _))) = (&self.place, split_full_name(name))
        else {
            return false;
        };
        let is_number = |project: &str| project.bytes().all(|byte| byte.is_ascii_digit());
        let may_be_same =
            *place.project == *project || is_number(&place.project) != is_number(project);
        may_be_same && place.location.as_str() == location
    }
}

/// `projects/{p}/locations/{l}/{rest}` in its three parts.
fn split_full_name(name: &str) -> Option<(&str, &str, &str)> {
    let (project, rest) = name.strip_prefix("projects/")?.split_once('/')?;
    let (location, rest) = rest.strip_prefix("locations/")?.split_once('/')?;
    (!project.is_empty() && !location.is_empty() && !rest.is_empty())
        .then_some((project, location, rest))
}

/// The resource that a model's name means, relative to a project and location.
fn resource_of(model: &str) -> Option<Cow<'_, str>> {
    let model = split_full_name(model).map_or(model, |(_, _, rest)| rest);
    let model = bare(model);
    let mut segments = model.split('/');
    let (first, second, third) = (segments.next()?, segments.next(), segments.next());
    let name = match (first, second, third, segments.next(), segments.next()) {
        (id, None, None, None, None) => Cow::Owned(format!("publishers/google/models/{id}")),
        ("endpoints", Some(_), None, None, None) => Cow::Borrowed(model),
        ("publishers", Some(_), Some("models"), Some(_), None) => Cow::Borrowed(model),
        ("publishers" | "projects" | "tunedModels", ..) => return None,
        (publisher, Some(id), None, None, None) => {
            Cow::Owned(format!("publishers/{publisher}/models/{id}"))
        }
        _ => return None,
    };
    let has_method = name.contains(':');
    (!has_method && name.split('/').all(is_segment)).then_some(name)
}

fn with_query(mut text: String, query: Option<&str>) -> Result<PathAndQuery, VertexPathError> {
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        text.push('?');
        text.push_str(query);
    }
    path(text).map_err(|UrlError| VertexPathError::BadName)
}

/// An id, a number, or an id with its domain (`example.com:project`).
fn is_project(project: &str) -> bool {
    project.len() <= LONGEST_SEGMENT
        && project.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":.-".contains(&byte))
        && project.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// One segment of a path, which has the same meaning in a URL as it is written.
fn is_segment(segment: &str) -> bool {
    segment.len() <= LONGEST_SEGMENT
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~@:".contains(&byte))
        && segment.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// With `-aiplatform` behind it, a label of a host name has at most 63 characters.
const LONGEST_LOCATION: usize = 63 - "-aiplatform".len();

/// Longer than any name of Google's.
const LONGEST_SEGMENT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        Location::new(text).unwrap()
    }

    fn project() -> VertexPaths {
        VertexPaths::in_project("v1beta1", "p", location("eu")).unwrap()
    }

    fn express() -> VertexPaths {
        VertexPaths::express("v1beta1").unwrap()
    }

    #[test]
    fn nothing_that_ends_a_host_name_early_is_a_location() {
        let long = "a".repeat(LONGEST_LOCATION + 1);
        for text in [
            "",
            "US",
            "1us",
            "-us",
            "us/",
            "us.evil.example",
            "us@evil",
            "us#",
            "us?",
            "üs",
            "us\n",
            &long,
        ] {
            assert_eq!(Location::new(text), Err(LocationError), "{text:?}");
        }
    }

    #[test]
    fn a_model_has_one_path_however_its_name_is_written() {
        let google = "publishers/google/models/gemini-2.5-flash";
        for (model, name) in [
            ("gemini-2.5-flash", google),
            ("models/gemini-2.5-flash", google),
            ("google/gemini-2.5-flash", google),
            (google, google),
            ("projects/other/locations/us/publishers/google/models/gemini-2.5-flash", google),
            ("anthropic/claude@20250101", "publishers/anthropic/models/claude@20250101"),
            ("publishers/meta/models/x", "publishers/meta/models/x"),
        ] {
            assert_eq!(
                project().method(None, model, "generateContent", None).unwrap(),
                &*format!("/v1beta1/projects/p/locations/eu/{name}:generateContent")
            );
            assert_eq!(
                express()
                    .method(Some(ApiVersion::V1), model, "countTokens", Some("alt=sse"))
                    .unwrap(),
                &*format!("/v1/{name}:countTokens?alt=sse")
            );
            assert_eq!(
                express().catalogue(Some(model), None).unwrap(),
                &*format!("/v1beta1/{name}")
            );
            let full = format!("projects/p/locations/eu/{name}");
            assert_eq!(project().full_model_name(model), Ok(full));
        }
        for model in ["endpoints/123", "projects/o/locations/us-east1/endpoints/123"] {
            assert_eq!(
                project().method(Some(ApiVersion::V1), model, "generateContent", None).unwrap(),
                "/v1/projects/p/locations/eu/endpoints/123:generateContent"
            );
            let refused = express().method(None, model, "generateContent", None);
            assert_eq!(refused, Err(VertexPathError::NeedsProject));
        }
    }

    #[test]
    fn a_resource_is_below_the_operators_project_and_location() {
        let list = project().below(None, "cachedContents", Some("pageSize=3")).unwrap();
        assert_eq!(list, "/v1beta1/projects/p/locations/eu/cachedContents?pageSize=3");
        let one = project().below(Some(ApiVersion::V1), "cachedContents/1", None).unwrap();
        assert_eq!(one, "/v1/projects/p/locations/eu/cachedContents/1");
        let express = express();
        let refused = express.below(None, "cachedContents", None);
        assert_eq!(refused, Err(VertexPathError::NeedsProject));
        let model = express.below(None, "publishers/google/models/x:predict", None).unwrap();
        assert_eq!(model, "/v1beta1/publishers/google/models/x:predict");
        let all = project().catalogue(None, Some("pageSize=9")).unwrap();
        assert_eq!(all, "/v1beta1/publishers/google/models?pageSize=9");
    }

    #[test]
    fn a_name_in_the_operators_project_is_told_from_a_foreign_one() {
        let cached = "projects/p/locations/eu/cachedContents/1";
        assert!(project().may_own(cached));
        assert!(project().may_own("projects/123/locations/eu/cachedContents/1"));
        for foreign in [
            "projects/q/locations/eu/cachedContents/1",
            "projects/p/locations/us/cachedContents/1",
            "projects/123/locations/us/cachedContents/1",
            "projects/p/locations/eu/",
            "projects//locations/eu/cachedContents/1",
            "cachedContents/1",
        ] {
            assert!(!project().may_own(foreign), "{foreign}");
        }
        assert!(!express().may_own(cached));
        let other = project().own_name("projects/123/locations/us/cachedContents/1");
        assert_eq!(other.as_deref(), Some(cached));
        assert_eq!(project().own_name("cachedContents/1"), None);
        assert_eq!(express().own_name(cached), None);
    }

    #[test]
    fn no_name_can_change_the_url() {
        for model in [
            "",
            "..",
            "a/../b",
            "a b",
            "a?b",
            "a#b",
            "a%2fb",
            "a:b",
            "publishers/x",
            "tunedModels/x",
            "a/b/c",
            "publishers/../models/x",
            "publishers/x/models/",
            "endpoints/",
            "/x",
            "x/",
        ] {
            let refused = project().method(None, model, "generateContent", None);
            assert_eq!(refused, Err(VertexPathError::BadName), "{model:?}");
        }
        for method in ["", "a:b", "a/b", "a?b"] {
            assert!(project().method(None, "m", method, None).is_err(), "{method:?}");
        }
        for rest in ["", "a//b", "../x", "a/..", "a?b", "a%2e"] {
            assert!(project().below(None, rest, None).is_err(), "{rest:?}");
        }
        for text in ["", "..", "a/b", "a?b", "a#b", "a@b", ".p"] {
            let refused = VertexPaths::in_project("v1", text, location("us"));
            assert_eq!(refused, Err(VertexPathError::BadName), "{text:?}");
        }
        assert!(VertexPaths::in_project("v1", "example.com:p-1", location("us")).is_ok());
        assert!(VertexPaths::express("v1/x").is_err());
        let kept = project().below(Some(ApiVersion::V1Beta), "a", None).unwrap();
        assert_eq!(kept, "/v1beta1/projects/p/locations/eu/a", "Vertex AI has no v1beta");
        assert!(project().below(None, "a", Some("b\nc")).is_err());
    }
}
