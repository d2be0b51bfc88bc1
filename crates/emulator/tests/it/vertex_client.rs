//! An emulator of Vertex AI, and the requests that tests send to it.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use code_assist_emulator::{
    Emulator, Options, Played, SERVICE_ACCOUNT, VERTEX_ACCESS_TOKEN, VERTEX_PROJECT,
    service_account_json,
};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use crate::client::{Answer, control, send};

pub(crate) async fn vertex() -> Emulator {
    let options = Options { played: Played::Vertex, ..Options::default() };
    code_assist_emulator::start(options).await.unwrap()
}

/// Changes the settings of `vertex` or `google-auth`.
pub(crate) async fn set(emulator: &Emulator, group: &str, change: Value) {
    control(emulator, "POST", group, &change).await;
}

/// The path of a method of a model at `global`.
pub(crate) fn path(method: &str) -> String {
    path_at("global", "gemini-2.5-flash", method)
}

pub(crate) fn path_at(location: &str, model: &str, method: &str) -> String {
    format!(
        "/v1beta1/projects/{VERTEX_PROJECT}/locations/{location}/publishers/google/models/\
         {model}:{method}"
    )
}

/// Calls `target` with a token.
pub(crate) async fn post_as(
    emulator: &Emulator,
    token: &str,
    target: &str,
    body: &Value,
) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    send(emulator, "POST", target, &headers, body.to_string().as_bytes()).await
}

/// Calls `target` with the token that is always valid.
pub(crate) async fn post(emulator: &Emulator, target: &str, body: &Value) -> Answer {
    post_as(emulator, VERTEX_ACCESS_TOKEN, target, body).await
}

/// Calls `target` with the token that is always valid and no body.
pub(crate) async fn call(emulator: &Emulator, method: &str, target: &str) -> Answer {
    let bearer = format!("Bearer {VERTEX_ACCESS_TOKEN}");
    send(emulator, method, target, &[("authorization", &bearer)], b"").await
}

/// A body with one user text and more members.
pub(crate) fn body(text: &str, more: &Value) -> Value {
    let mut body = json!({"contents": [{"role": "user", "parts": [{"text": text}]}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The status of a generate call with a token.
pub(crate) async fn status_of(emulator: &Emulator, token: &str) -> u16 {
    post_as(emulator, token, &path("generateContent"), &body("hi", &json!({}))).await.status
}

pub(crate) async fn form(
    emulator: &Emulator,
    target: &str,
    headers: &[(&str, &str)],
    fields: &[(&str, &str)],
) -> Answer {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
    all.extend_from_slice(headers);
    send(emulator, "POST", target, &all, form.finish().as_bytes()).await
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// The claims of a self-signed JWT.
pub(crate) fn claims() -> Value {
    json!({
        "iss": SERVICE_ACCOUNT,
        "sub": SERVICE_ACCOUNT,
        "iat": now() - 10,
        "exp": now() + 3000,
        "scope": "https://www.googleapis.com/auth/cloud-platform",
    })
}

/// A JWT of the emulator's service account, with the key id of its file.
pub(crate) fn signed(claims: &Value) -> String {
    let file: Value = serde_json::from_str(&service_account_json("http://unused")).unwrap();
    signed_with(&json!({"alg": "RS256", "typ": "JWT", "kid": file["private_key_id"]}), claims)
}

pub(crate) fn signed_with(header: &Value, claims: &Value) -> String {
    let file: Value = serde_json::from_str(&service_account_json("http://unused")).unwrap();
    let pem = file["private_key"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"), "PKCS#8 and nothing before it");
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(body).unwrap()).unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}
