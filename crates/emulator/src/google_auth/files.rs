//! Credential files for the emulator's own accounts, and the accounts themselves.

use serde_json::{Value, json};

use crate::oauth::now_ms;
use crate::status::pretty;
use crate::vertex::PROJECT;

/// Where the subject token of an `external_account` file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectSource<'a> {
    /// A file at this path, of plain text. It has to hold [`SUBJECT_TOKEN`].
    TextFile(&'a str),
    /// A file at this path, of JSON with the token in `id_token`.
    JsonFile(&'a str),
    /// The emulator's OIDC endpoint, which answers with plain text.
    TextUrl,
    /// The emulator's OIDC endpoint, which answers with JSON.
    JsonUrl,
    /// The emulator's AWS metadata endpoints.
    Aws,
}

/// The pool of an `external_account` file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityPool {
    /// A workload identity pool.
    #[default]
    Workload,
    /// A workforce pool. It needs a `workforce_pool_user_project`.
    Workforce,
    /// A workforce pool with an OAuth client, which authenticates by HTTP Basic.
    WorkforceClient,
}

/// The text of a `service_account` file for the emulator at `base_url`.
pub fn service_account_json(base_url: &str) -> String {
    pretty(&service_account(base_url))
}

/// The text of an `authorized_user` file for the emulator at `base_url`, as gcloud writes it.
pub fn authorized_user_json(base_url: &str) -> String {
    pretty(&authorized_user(base_url))
}

/// The text of an `external_account` file for the emulator at `base_url`. With `impersonated`, its
/// token is exchanged for one of [`TARGET_ACCOUNT`].
pub fn external_account_json(
    base_url: &str,
    source: SubjectSource<'_>,
    pool: IdentityPool,
    impersonated: bool,
) -> String {
    let mut file = json!({
        "type": "external_account",
        "universe_domain": "googleapis.com",
        "audience": match pool {
            IdentityPool::Workload => WORKLOAD_AUDIENCE,
            IdentityPool::Workforce | IdentityPool::WorkforceClient => WORKFORCE_AUDIENCE,
        },
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{base_url}/v1/token"),
    });
    let oidc = |kind: &str| {
        json!({
            "url": format!("{base_url}/oidc/token?format={kind}"),
            "headers": {"Authorization": format!("bearer {OIDC_REQUEST_TOKEN}")},
        })
    };
    file["credential_source"] = match source {
        SubjectSource::TextFile(path) => json!({"file": path}),
        SubjectSource::JsonFile(path) => json!({"file": path, "format": json_format()}),
        SubjectSource::TextUrl => oidc("text"),
        SubjectSource::JsonUrl => {
            let mut source = oidc("json");
            source["format"] = json_format();
            source
        }
        SubjectSource::Aws => {
            let meta_data = format!("{base_url}/latest/meta-data");
            file["subject_token_type"] = AWS_TOKEN_TYPE.into();
            json!({
                "environment_id": "aws1",
                "region_url": format!("{meta_data}/placement/availability-zone"),
                "url": format!("{meta_data}/iam/security-credentials"),
                "regional_cred_verification_url":
                    "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
                "imdsv2_session_token_url": format!("{base_url}/latest/api/token"),
            })
        }
    };
    match pool {
        IdentityPool::Workload => {}
        IdentityPool::Workforce => file["workforce_pool_user_project"] = PROJECT.into(),
        IdentityPool::WorkforceClient => {
            file["client_id"] = STS_CLIENT_ID.into();
            file["client_secret"] = STS_CLIENT_SECRET.into();
        }
    }
    if impersonated {
        file["service_account_impersonation_url"] = impersonation_url(base_url).into();
    }
    pretty(&file)
}

/// The text of an `external_account_authorized_user` file for the emulator at `base_url`: the login
/// of a user of a workforce pool.
pub fn external_authorized_user_json(base_url: &str) -> String {
    pretty(&json!({
        "type": "external_account_authorized_user",
        "audience": WORKFORCE_AUDIENCE,
        "client_id": STS_CLIENT_ID,
        "client_secret": STS_CLIENT_SECRET,
        "refresh_token": STS_REFRESH_TOKEN,
        "token_url": format!("{base_url}/v1/oauthtoken"),
        "universe_domain": "googleapis.com",
    }))
}

/// The text of an `impersonated_service_account` file for the emulator at `base_url`. The source is
/// the emulator's service account, or with `of_user` its user.
pub fn impersonated_json(base_url: &str, of_user: bool) -> String {
    let source = if of_user { authorized_user(base_url) } else { service_account(base_url) };
    pretty(&json!({
        "type": "impersonated_service_account",
        "delegates": [],
        "service_account_impersonation_url": impersonation_url(base_url),
        "source_credentials": source,
    }))
}

/// The text of a file with a subject token, for [`SubjectSource::JsonFile`].
pub fn subject_token_json() -> String {
    pretty(&json!({"id_token": SUBJECT_TOKEN, "issued_at": now_ms() / 1000}))
}

fn service_account(base_url: &str) -> Value {
    json!({
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": KEY_ID,
        "private_key": key_pem(),
        "client_email": SERVICE_ACCOUNT,
        "client_id": "100000000000000000002",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": format!("{base_url}/token"),
        "universe_domain": "googleapis.com",
    })
}

fn authorized_user(base_url: &str) -> Value {
    json!({
        "type": "authorized_user",
        "account": "",
        "client_id": USER_CLIENT_ID,
        "client_secret": USER_CLIENT_SECRET,
        "refresh_token": USER_REFRESH_TOKEN,
        "token_uri": format!("{base_url}/token"),
        "universe_domain": "googleapis.com",
    })
}

fn impersonation_url(base_url: &str) -> String {
    format!("{base_url}/v1/projects/-/serviceAccounts/{TARGET_ACCOUNT}:generateAccessToken")
}

fn json_format() -> Value {
    json!({"type": "json", "subject_token_field_name": "id_token"})
}

/// The PEM of the test key, without the remark before it.
pub(super) fn key_pem() -> &'static str {
    &KEY_FILE[KEY_FILE.find("-----BEGIN").unwrap_or_default()..]
}

/// The service account of [`service_account_json`].
pub const SERVICE_ACCOUNT: &str = "robot@emulator-vertex-project.iam.gserviceaccount.com";
/// The service account that impersonation ends at.
pub const TARGET_ACCOUNT: &str = "target@emulator-vertex-project.iam.gserviceaccount.com";
/// The subject token of files and of the OIDC endpoint, until a test changes it.
pub const SUBJECT_TOKEN: &str = "emulator-subject-token";

pub(super) const KEY_ID: &str = "0123456789abcdef0123456789abcdef01234567";
pub(super) const USER_CLIENT_ID: &str = "emulator-user.apps.googleusercontent.com";
pub(super) const USER_CLIENT_SECRET: &str = "emulator-user-secret";
pub(super) const USER_REFRESH_TOKEN: &str = "1//emulator-user-refresh";
pub(super) const WORKLOAD_AUDIENCE: &str = "//iam.googleapis.com/projects/123456789/locations/global/\
     workloadIdentityPools/emulator-pool/providers/emulator";
pub(super) const WORKFORCE_AUDIENCE: &str =
    "//iam.googleapis.com/locations/global/workforcePools/emulator-pool/providers/emulator";
/// In standard base64 the client has `+`, `/` and padding, which other alphabets write differently.
pub(super) const STS_CLIENT_ID: &str = "emulator>>>?client";
pub(super) const STS_CLIENT_SECRET: &str = "emulator>?~secret1";
pub(super) const STS_REFRESH_TOKEN: &str = "1//emulator-workforce-refresh";
/// The token that GitHub calls `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
pub(super) const OIDC_REQUEST_TOKEN: &str = "emulator-oidc-request";
pub(super) const AWS_TOKEN_TYPE: &str = "urn:ietf:params:aws:token-type:aws4_request";
const KEY_FILE: &str = include_str!("test_key.pem");
