//! Google's OAuth as an installed application speaks it: credentials, access tokens, the refresh
//! request and its reading (`protocol.md` 1).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::google;
use crate::payload::Payload;
use crate::time::Timestamp;

/// The content of an `oauth_creds.json` in any of its variants (`protocol.md` 1.8).
#[derive(Debug, Clone)]
pub struct Login {
    access_token: Option<SecretString>,
    expires_at: Option<Timestamp>,
    refresh_token: Option<SecretString>,
    client: Option<Client>,
    scope: Option<String>,
}

/// A credential that cannot be used, and what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Not JSON, or cut in the middle: the CLI does not write atomically.
    #[error("it is not complete JSON ({0}); sign in again with the Gemini CLI if it stays so")]
    NotJson(String),
    /// JSON without any token in it.
    #[error(
        "it has neither a refresh_token nor an access_token; it must be the whole content of the \
         Gemini CLI's oauth_creds.json"
    )]
    NoToken,
    /// A service account or another kind of credential that Code Assist does not serve
    /// (`protocol.md` 1.10).
    #[error(
        "it is a {0} credential, which Code Assist does not serve: use the oauth_creds.json that \
         the Gemini CLI writes when you sign in with Google (for a service account, use the Vertex \
         AI API instead of this proxy)"
    )]
    WrongKind(String),
}

impl Login {
    /// Reads a credential JSON.
    pub fn parse(text: &[u8]) -> Result<Self, CredentialError> {
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| CredentialError::NotJson(place(&error)))?;
        let Value::Object(outer) = &value else { return Err(CredentialError::NoToken) };
        if outer.contains_key("private_key") {
            return Err(CredentialError::WrongKind("service_account".to_owned()));
        }
        let kind = outer.get("type").and_then(Value::as_str);
        if let Some(kind) = kind.filter(|kind| FOREIGN_KINDS.contains(kind)) {
            return Err(CredentialError::WrongKind(kind.to_owned()));
        }
        let inner = outer.get("token").and_then(Value::as_object).unwrap_or(outer);
        let login = Self {
            access_token: secret(inner, &["access_token", "accessToken", "token"]),
            expires_at: ["expiry_date", "expiresAt", "expires_at", "expiry"]
                .iter()
                .find_map(|name| inner.get(*name).and_then(expiry)),
            refresh_token: secret(inner, &["refresh_token", "refreshToken"]),
            client: Client::of(inner).or_else(|| Client::of(outer)),
            scope: inner.get("scope").and_then(Value::as_str).map(str::to_owned),
        };
        if login.access_token.is_none() && login.refresh_token.is_none() {
            return Err(CredentialError::NoToken);
        }
        Ok(login)
    }

    /// A bare access token, used as it is.
    pub fn from_access_token(token: SecretString) -> Self {
        Self {
            access_token: Some(token),
            expires_at: None,
            refresh_token: None,
            client: None,
            scope: None,
        }
    }

    /// The access token that came with the credential.
    pub fn token(&self) -> Option<Token> {
        let access_token = self.access_token.clone()?;
        Some(Token {
            access_token,
            expires_at: self.expires_at,
            lifetime: None,
            scope: self.scope.clone(),
        })
    }

    /// True when the credential can get new access tokens.
    pub fn can_refresh(&self) -> bool {
        self.refresh_token.is_some()
    }

    /// When the access token that came with the credential expires, if that is known.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// The same credential with the refresh token that Google has put in the old one's place.
    pub fn rotated(mut self, refresh_token: SecretString) -> Self {
        self.refresh_token = Some(refresh_token);
        self
    }

    /// A name for this credential that gives nothing away: stored facts carry it, so that one
    /// account's are never used for another.
    pub fn marker(&self) -> String {
        let secret = self.refresh_token.as_ref().or(self.access_token.as_ref());
        let digest = Sha256::digest(secret.map_or("", |secret| secret.expose_secret()));
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The refresh request (`protocol.md` 1.6), or `None` without a refresh token. `client` is the
    /// operator's own or the default; the credential's own wins.
    pub fn refresh_request(&self, url: &str, client: &Client) -> Option<Request<Payload>> {
        let refresh_token = self.refresh_token.as_ref()?;
        let client = self.client.as_ref().unwrap_or(client);
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("refresh_token", refresh_token.expose_secret())
            .append_pair("client_id", &client.id)
            .append_pair("client_secret", client.secret.expose_secret())
            .append_pair("grant_type", "refresh_token")
            .finish();
        Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, google::USER_AGENT)
            .body(Payload::from(Bytes::from(form)))
            .ok()
    }
}

/// An OAuth client: id and secret.
#[derive(Debug, Clone)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// `client_secret`.
    pub secret: SecretString,
}

impl Client {
    /// The installed-application client that the Gemini CLI publishes in its source
    /// (`packages/core/src/code_assist/oauth2.ts`; `protocol.md` 1.1). Google states there that an
    /// installed application's secret "is obviously not treated as a secret". Overridable with
    /// `OAUTH_CLIENT_ID` and `OAUTH_CLIENT_SECRET`.
    pub fn gemini_cli() -> Self {
        Self { id: GEMINI_CLI_ID.to_owned(), secret: GEMINI_CLI_PUBLIC.concat().into() }
    }

    fn of(object: &Map<String, Value>) -> Option<Self> {
        let id = object.get("client_id").and_then(Value::as_str)?.to_owned();
        Some(Self { id, secret: secret(object, &["client_secret"])? })
    }
}

/// An access token with what is known about it.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token itself.
    pub access_token: SecretString,
    /// When it dies; unknown for a token that came without.
    pub expires_at: Option<Timestamp>,
    /// How long it lived when it was issued; known only for tokens that were issued to us.
    pub lifetime: Option<Duration>,
    /// Its scopes, for the stored form.
    pub scope: Option<String>,
}

impl Token {
    /// `Bearer …` as a header value that prints as `Sensitive`. `None` for a token with bytes that
    /// no header may have.
    pub fn header(&self) -> Option<HeaderValue> {
        let text = format!("Bearer {}", self.access_token.expose_secret());
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// True while the token has not reached its expiry, as far as is known.
    pub fn alive(&self, clock: Timestamp) -> bool {
        self.expires_at.is_none_or(|expiry| clock < expiry)
    }

    /// The tokeninfo request (`protocol.md` 1.2).
    pub fn tokeninfo_request(&self, url: &str) -> Option<Request<Payload>> {
        Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(AUTHORIZATION, self.header()?)
            .header(CONTENT_LENGTH, "0")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, google::USER_AGENT)
            .body(Payload::default())
            .ok()
    }
}

/// What tokeninfo said of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenInfo {
    /// The token is dead.
    Invalid,
    /// Nothing that could be relied on: not a verdict.
    Unknown,
    /// The token works; `expires_in` when it was told.
    Valid(Option<Duration>),
}

/// Reads a tokeninfo answer. Only a 400 or 401 that says so condemns a token.
pub fn read_tokeninfo(status: StatusCode, body: &[u8]) -> TokenInfo {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status.is_success() {
        return TokenInfo::Valid(value.get("expires_in").and_then(seconds));
    }
    let error = value.get("error").and_then(Value::as_str);
    if matches!(status.as_u16(), 400 | 401) && matches!(error, Some("invalid_token")) {
        return TokenInfo::Invalid;
    }
    TokenInfo::Unknown
}

/// A successful refresh.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// The new access token.
    pub token: Token,
    /// A refresh token that replaces the old one, when the answer carried one.
    pub refresh_token: Option<SecretString>,
}

/// A refresh that gave no token (`protocol.md` 1.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshError {
    /// It will not work until somebody signs in again or mends the settings.
    Rejected(String),
    /// Try again later.
    Transient(String),
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(why) | Self::Transient(why) => f.write_str(why),
        }
    }
}

/// Reads the token endpoint's answer to a refresh.
pub fn read_refresh(
    status: StatusCode,
    body: &[u8],
    clock: Timestamp,
) -> Result<Refreshed, RefreshError> {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status.is_success() {
        let Some(access_token) = value.as_object().and_then(|it| secret(it, &["access_token"]))
        else {
            return Err(RefreshError::Transient(
                "the token endpoint answered without an access_token".to_owned(),
            ));
        };
        let lifetime = value.get("expires_in").and_then(seconds).unwrap_or(USUAL_LIFETIME);
        return Ok(Refreshed {
            token: Token {
                access_token,
                expires_at: Some(clock + lifetime),
                lifetime: Some(lifetime),
                scope: value.get("scope").and_then(Value::as_str).map(str::to_owned),
            },
            refresh_token: value.as_object().and_then(|it| secret(it, &["refresh_token"])),
        });
    }
    // OAuth errors are flat: `error` is a string, unlike API errors.
    let error = value.get("error").and_then(Value::as_str);
    let description = value.get("error_description").and_then(Value::as_str).unwrap_or_default();
    let Some(error) = error else {
        return Err(RefreshError::Transient(format!("the token endpoint answered {status}")));
    };
    let said =
        if description.is_empty() { error.to_owned() } else { format!("{error}: {description}") };
    let why = format!("Google's token endpoint said \"{}\"", clip(&said));
    let is_final =
        status.is_client_error() && status.as_u16() != 429 && FINAL_ERRORS.contains(&error);
    Err(if is_final { RefreshError::Rejected(why) } else { RefreshError::Transient(why) })
}

/// An access token as it lies in the store, in the seed's shape plus two fields of ours.
#[derive(Debug, Clone)]
pub struct StoredToken {
    /// The token. Its lifetime is unknown once it has been stored.
    pub token: Token,
    /// How many refreshes led to it.
    pub refresh_count: u64,
    /// [`Login::marker`] of the credential that it was got with; the seed's entries have none.
    pub credential: Option<String>,
}

impl StoredToken {
    /// The JSON text for the store.
    pub fn to_stored(&self, clock: Timestamp) -> Bytes {
        let value = json!({
            "access_token": self.token.access_token.expose_secret(),
            "expiry_date": self.token.expires_at.map(|expiry| expiry.0),
            "refresh_count": self.refresh_count,
            "last_used": clock.0,
            "created_at": clock.0,
            "token_type": "Bearer",
            "scope": self.token.scope.as_deref().unwrap_or_default(),
            "credential": self.credential,
        });
        Bytes::from(value.to_string())
    }

    /// Reads a stored entry. `None` for one that is broken, or whose expiry is absurd: the seed
    /// could write it a thousand times too large, and then used a dead token for ever.
    pub fn from_stored(text: &[u8], clock: Timestamp) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let object = value.as_object()?;
        let expires_at = object.get("expiry_date").and_then(expiry)?;
        if clock.until(expires_at) > LONGEST_BELIEVABLE_LIFETIME {
            return None;
        }
        Some(Self {
            token: Token {
                access_token: secret(object, &["access_token"])?,
                expires_at: Some(expires_at),
                lifetime: None,
                scope: object.get("scope").and_then(Value::as_str).map(str::to_owned),
            },
            refresh_count: object.get("refresh_count").and_then(Value::as_u64).unwrap_or(0),
            credential: object.get("credential").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// A rotated refresh token as it lies in the store.
pub fn rotated_to_stored(refresh_token: &SecretString, credential: &str) -> Bytes {
    let value = json!({ "refresh_token": refresh_token.expose_secret(), "credential": credential });
    Bytes::from(value.to_string())
}

/// Reads a stored refresh token, if it came from the credential with this marker.
pub fn rotated_from_stored(text: &[u8], credential: &str) -> Option<SecretString> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let object = value.as_object()?;
    if object.get("credential").and_then(Value::as_str) != Some(credential) {
        return None;
    }
    secret(object, &["refresh_token"])
}

fn secret(object: &Map<String, Value>, names: &[&str]) -> Option<SecretString> {
    let text = names.iter().find_map(|name| object.get(*name).and_then(Value::as_str))?;
    (!text.trim().is_empty()).then(|| text.trim().to_owned().into())
}

/// Milliseconds, seconds, a numeric string or RFC 3339: tools differ (`protocol.md` 1.8).
fn expiry(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => number.as_f64().and_then(instant),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) => instant(number),
            Err(_) => rfc3339(text.trim()),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A bare number below 1e11 is seconds, above it is milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a positive number of a sane size"
)]
fn instant(number: f64) -> Option<Timestamp> {
    let millis = if number < 1e11 { number * 1000.0 } else { number };
    (millis.is_finite() && millis > 0.0 && millis < 9e18).then_some(Timestamp(millis as u64))
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    let stamp = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        // Python's google-auth writes UTC without saying so.
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        jiff::tz::Offset::UTC.to_timestamp(civil).ok()
    })?;
    u64::try_from(stamp.as_millisecond()).ok().map(Timestamp)
}

/// `expires_in`: a number, or a string with one.
fn seconds(value: &Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (0.0..1e9).contains(&number).then(|| Duration::from_secs_f64(number))
}

/// Where the JSON went wrong, without quoting it: it is a secret.
fn place(error: &serde_json::Error) -> String {
    format!("it breaks off or goes wrong at line {} column {}", error.line(), error.column())
}

fn clip(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(200).collect()
}

/// What the token endpoint says when asking again cannot help (RFC 6749, 5.2, and `protocol.md`
/// 1.7). Whatever else it says may pass, and may even be somebody else's in between.
const FINAL_ERRORS: &[&str] = &[
    "access_denied",
    "admin_policy_enforced",
    "deleted_client",
    "disabled_client",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "org_internal",
    "unauthorized_client",
    "unsupported_grant_type",
];

/// Kinds of Google credentials that are not a person's sign-in.
const FOREIGN_KINDS: &[&str] = &[
    "service_account",
    "external_account",
    "external_account_authorized_user",
    "impersonated_service_account",
    "gdch_service_account",
];

/// What Google's access tokens live, for an answer that does not say.
const USUAL_LIFETIME: Duration = Duration::from_secs(3599);

/// Google's access tokens live an hour, twelve at most by policy; a week is beyond belief.
const LONGEST_BELIEVABLE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

const GEMINI_CLI_ID: &str =
    "681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com";

/// Public by design, see [`Client::gemini_cli`]. In parts only so that secret scanners, which look
/// for the prefix, do not raise a false alarm.
const GEMINI_CLI_PUBLIC: [&str; 3] = ["GOC", "SPX", "-4uHgMPm-1o7Sk-geV6Cu5clXFsxl"];

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_750_000_000_000);

    fn login(text: &str) -> Login {
        Login::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_clis_own_file_is_read_in_milliseconds() {
        let login = login(
            r#"{"access_token":"ya29.a","refresh_token":"1//r","scope":"s","token_type":"Bearer",
                "id_token":"e","expiry_date":1750927763467}"#,
        );
        assert_eq!(login.expires_at(), Some(Timestamp(1_750_927_763_467)));
        assert!(login.can_refresh());
        assert_eq!(login.token().unwrap().access_token.expose_secret(), "ya29.a");
    }

    #[test]
    fn every_spelling_of_an_expiry_means_the_same() {
        for text in [
            r#"{"refresh_token":"r","expiry_date":1750927763000}"#,
            r#"{"refresh_token":"r","expiry_date":"1750927763000"}"#,
            r#"{"refresh_token":"r","expiry_date":1750927763}"#,
            r#"{"refresh_token":"r","expiry_date":1750927763.0}"#,
            r#"{"refresh_token":"r","expiry":"2025-06-26T08:49:23Z"}"#,
            r#"{"refresh_token":"r","expiry":"2025-06-26T08:49:23.000000"}"#,
            r#"{"refresh_token":"r","expires_at":1750927763}"#,
            r#"{"token":{"refreshToken":"r","expiresAt":1750927763000}}"#,
        ] {
            assert_eq!(login(text).expires_at(), Some(Timestamp(1_750_927_763_000)), "{text}");
        }
        for text in ["null", "-5", "\"soon\"", "{}", "1e300"] {
            let text = format!(r#"{{"refresh_token":"r","expiry_date":{text}}}"#);
            assert_eq!(login(&text).expires_at(), None, "{text}");
        }
    }

    #[test]
    fn wrong_kinds_are_told_apart() {
        let parse = |text: &str| Login::parse(text.as_bytes()).unwrap_err();
        assert_eq!(
            parse(r#"{"type":"service_account","private_key":"k"}"#),
            CredentialError::WrongKind("service_account".to_owned())
        );
        assert_eq!(
            parse(r#"{"type":"external_account"}"#),
            CredentialError::WrongKind("external_account".to_owned())
        );
        assert_eq!(parse("{}"), CredentialError::NoToken);
        assert_eq!(parse(r#"{"access_token":""}"#), CredentialError::NoToken);
        assert!(matches!(parse(r#"{"access_token":"secret-"#), CredentialError::NotJson(_)));
        assert!(!parse(r#"{"access_token":"secret-"#).to_string().contains("secret-"));
    }

    #[test]
    fn a_credentials_own_client_wins() {
        let own = login(r#"{"refresh_token":"1//r","client_id":"mine","client_secret":"hush"}"#);
        let request = own.refresh_request("http://t/token", &Client::gemini_cli()).unwrap();
        let form = String::from_utf8(request.body().to_bytes().to_vec()).unwrap();
        assert_eq!(
            form,
            "refresh_token=1%2F%2Fr&client_id=mine&client_secret=hush&grant_type=refresh_token"
        );
        let plain = login(r#"{"refresh_token":"1//r"}"#);
        let request = plain.refresh_request("http://t/token", &Client::gemini_cli()).unwrap();
        let form = String::from_utf8(request.body().to_bytes().to_vec()).unwrap();
        assert!(form.contains("client_id=681255809395-"), "{form}");
    }

    #[test]
    fn refresh_errors_are_terminal_or_passing() {
        let read = |status: u16, body: &str| {
            read_refresh(StatusCode::from_u16(status).unwrap(), body.as_bytes(), NOW).unwrap_err()
        };
        for (status, body) in [
            (400, r#"{"error":"invalid_grant","error_description":"Token has been revoked."}"#),
            (401, r#"{"error":"invalid_client"}"#),
            (403, r#"{"error":"access_denied"}"#),
        ] {
            assert!(matches!(read(status, body), RefreshError::Rejected(_)), "{body}");
        }
        for (status, body) in [
            (429, r#"{"error":"rate_limit_exceeded"}"#),
            (429, r#"{"error":"invalid_request"}"#),
            (403, r#"{"error":"temporarily_unavailable"}"#),
            (400, r#"{"error":"internal_failure","error_description":"Try again"}"#),
            (500, "<html>"),
            (503, r#"{"error":"internal_failure"}"#),
            (400, "<html>"),
            (200, "{}"),
        ] {
            assert!(matches!(read(status, body), RefreshError::Transient(_)), "{status} {body}");
        }
    }

    #[test]
    fn a_new_token_expires_when_its_lifetime_is_over() {
        let body = br#"{"access_token":"ya29.b","expires_in":3599,"refresh_token":"1//new"}"#;
        let refreshed = read_refresh(StatusCode::OK, body, NOW).unwrap();
        assert_eq!(refreshed.token.expires_at, Some(Timestamp(NOW.0 + 3_599_000)));
        assert_eq!(refreshed.refresh_token.unwrap().expose_secret(), "1//new");
    }

    #[test]
    fn the_seeds_entries_are_read_and_its_absurd_expiry_is_not_believed() {
        let entry = |expiry: u64| {
            let text = format!(
                r#"{{"access_token":"ya29.s","expiry_date":{expiry},"refresh_count":3,
                    "last_used":1,"created_at":1,"token_type":"Bearer","scope":"s"}}"#
            );
            StoredToken::from_stored(text.as_bytes(), NOW)
        };
        let good = entry(NOW.0 + 3_000_000).unwrap();
        assert_eq!((good.refresh_count, good.credential), (3, None));
        assert!(entry((NOW.0 + 3_000_000) * 1000).is_none());
        assert!(!entry(NOW.0 - 1).unwrap().token.alive(NOW));
    }

    #[test]
    fn stored_tokens_come_back_as_they_went() {
        let token = Token {
            access_token: "ya29.x".to_owned().into(),
            expires_at: Some(Timestamp(NOW.0 + 1000)),
            lifetime: None,
            scope: Some("a b".to_owned()),
        };
        let stored = StoredToken { token, refresh_count: 7, credential: Some("c".to_owned()) };
        let read = StoredToken::from_stored(&stored.to_stored(NOW), NOW).unwrap();
        assert_eq!(read.token.access_token.expose_secret(), "ya29.x");
        assert_eq!((read.refresh_count, read.credential.as_deref()), (7, Some("c")));
    }

    #[test]
    fn nothing_here_prints_a_secret() {
        let login = login(r#"{"access_token":"ya29.HUSH","refresh_token":"1//HUSH"}"#);
        let token = login.token().unwrap();
        let printed = format!("{login:?} {token:?} {:?} {}", token.header(), login.marker());
        assert!(!printed.contains("HUSH"), "{printed}");
    }
}
