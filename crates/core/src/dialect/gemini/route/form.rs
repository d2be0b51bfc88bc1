//! Which API a client believes to speak to, as its path shows.

/// The API of a path, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathForm {
    /// The API that the client is configured for.
    pub mode: ClientMode,
    /// The version in the path. Of several the last one counts, which the SDK has added to a base URL
    /// that had one.
    pub version: Option<ApiVersion>,
}

/// The API that a client is configured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMode {
    /// The public Gemini API.
    Gemini,
    /// Vertex AI, with a project or in express mode (`docs/reference/upstreams.md` 8).
    Vertex,
}

/// A version of one of Google's APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiVersion {
    /// `v1`, of both.
    V1,
    /// `v1alpha`, of the public Gemini API.
    V1Alpha,
    /// `v1beta`, of the public Gemini API.
    V1Beta,
    /// `v1beta1`, of Vertex AI.
    V1Beta1,
}

impl PathForm {
    /// The path that nearly all SDKs use.
    pub const USUAL: Self = Self { mode: ClientMode::Gemini, version: Some(ApiVersion::V1Beta) };

    /// The version if the API of [`Self::mode`] has it.
    pub fn known_version(self) -> Option<ApiVersion> {
        let is_known = |version: &ApiVersion| match (self.mode, version) {
            (_, ApiVersion::V1) => true,
            (ClientMode::Gemini, version) => *version != ApiVersion::V1Beta1,
            (ClientMode::Vertex, version) => *version == ApiVersion::V1Beta1,
        };
        self.version.filter(is_known)
    }
}

impl ApiVersion {
    /// The version that a segment names.
    pub fn named(segment: &str) -> Option<Self> {
        Some(match segment {
            "v1" => Self::V1,
            "v1alpha" => Self::V1Alpha,
            "v1beta" => Self::V1Beta,
            "v1beta1" => Self::V1Beta1,
            _ => return None,
        })
    }

    /// The segment.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1Alpha => "v1alpha",
            Self::V1Beta => "v1beta",
            Self::V1Beta1 => "v1beta1",
        }
    }
}
