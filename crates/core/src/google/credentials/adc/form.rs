//! Requests that post a form, as OAuth has them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request};
use secrecy::ExposeSecret;

use crate::google;
use crate::google::credentials::OAuthClient;
use crate::payload::Payload;

/// The request, with HTTP's Basic authentication for a client.
pub(super) fn post_form(
    url: &str,
    form: String,
    client: Option<&OAuthClient>,
) -> Option<Request<Payload>> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, google::USER_AGENT);
    if let Some(client) = client {
        request = request.header(AUTHORIZATION, basic(client)?);
    }
    request.body(Payload::from(Bytes::from(form))).ok()
}

/// STS wants the standard alphabet with padding.
fn basic(client: &OAuthClient) -> Option<HeaderValue> {
    let pair = format!("{}:{}", client.id, client.secret.expose_secret());
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}
