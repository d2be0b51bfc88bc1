//! What a test may change about the credential services.

use serde::{Deserialize, Serialize};

use crate::google_auth::files::SUBJECT_TOKEN;
use crate::vertex::PROJECT;

/// The switches of the credential services. `docs/EMULATOR.md` describes every field.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthSettings {
    /// The `error` of every answer of the token endpoint to a client of Vertex AI.
    pub(crate) token_error: Option<String>,
    /// The `error` of every answer of STS.
    pub(crate) sts_error: Option<String>,
    /// The caller may not impersonate the service account.
    pub(crate) iam_denied: bool,
    /// A service account's own JWT is no token.
    pub(crate) refuse_self_signed: bool,
    /// The machine has a service account.
    pub(crate) metadata_account: bool,
    /// The metadata server's answers have `Metadata-Flavor`.
    pub(crate) metadata_flavor: bool,
    /// The metadata server answers 503.
    pub(crate) metadata_starting: bool,
    pub(crate) metadata_project: String,
    pub(crate) universe: Option<String>,
    pub(crate) subject_token: String,
    /// The machine on AWS refuses requests without a session token.
    pub(crate) imdsv2_required: bool,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            token_error: None,
            sts_error: None,
            iam_denied: false,
            refuse_self_signed: false,
            metadata_account: true,
            metadata_flavor: true,
            metadata_starting: false,
            metadata_project: PROJECT.to_owned(),
            universe: None,
            subject_token: SUBJECT_TOKEN.to_owned(),
            imdsv2_required: true,
        }
    }
}
