use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::google::credentials::{AccessToken, RefreshError};
use crate::payload::Payload;
use crate::time::Timestamp;

mod files;
mod flows;
mod refusals;

/// 2025-06-15T15:06:40Z.
const NOW: Timestamp = Timestamp(1_750_000_000_000);

fn parse(file: &Value) -> Result<GoogleCredential, GoogleCredentialError> {
    GoogleCredential::parse(file.to_string().as_bytes(), DEFAULT_UNIVERSE)
}

fn credential(file: &Value) -> GoogleCredential {
    parse(file).unwrap()
}

fn refusal(file: &Value) -> String {
    parse(file).unwrap_err().to_string()
}

/// The file with one member more, or another value of it.
fn with(file: Value, name: &str, value: impl Into<Value>) -> Value {
    let mut file = file;
    file[name] = value.into();
    file
}

fn without(file: Value, name: &str) -> Value {
    let mut file = file;
    file.as_object_mut().unwrap().remove(name);
    file
}

fn authorized_user() -> Value {
    json!({
        "type": "authorized_user", "account": "", "universe_domain": "googleapis.com",
        "client_id": "id.apps.googleusercontent.com", "client_secret": "client-secret",
        "refresh_token": "1//refresh", "quota_project_id": "quota-project",
    })
}

/// The key is no real one: this crate does not look into it.
fn service_account() -> Value {
    let what = "PRIVATE KEY";
    json!({
        "type": "service_account", "project_id": "own-project", "private_key_id": "key-1",
        "private_key": format!("-----BEGIN {what}-----\nc2VjcmV0\n-----END {what}-----\n"),
        "client_email": "robot@own-project.iam.gserviceaccount.com", "client_id": "1",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token", "universe_domain": "googleapis.com",
    })
}

#[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
fn federation(source: Value) -> Value {
    json!({
        "type": "external_account", "audience": AUDIENCE, "universe_domain": "googleapis.com",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": source,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
fn impersonated(source: Value) -> Value {
    json!({
        "type": "impersonated_service_account", "delegates": [],
        "service_account_impersonation_url": IMPERSONATION, "source_credentials": source,
    })
}

const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x";
const IMPERSONATION: &str = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/\
                             robot@p.iam.gserviceaccount.com:generateAccessToken";

/// Method, URL, headers but `user-agent`, and body.
fn wire(request: Option<Request<Payload>>) -> String {
    let (head, body) = request.unwrap().into_parts();
    let mut text = format!("{} {}\n", head.method, head.uri);
    for (name, value) in head.headers.iter().filter(|(name, _)| *name != "user-agent") {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    text + "\n" + std::str::from_utf8(&body.to_bytes()).unwrap()
}

fn token(text: &str) -> AccessToken {
    AccessToken { access_token: text.into(), expires_at: None, lifetime: None, scope: None }
}
