//! The subject token of a workload at AWS: a signed request for `GetCallerIdentity`, which Google's
//! Security Token Service sends (`docs/reference/upstreams.md` 2.3 d).

use hmac::{Hmac, Mac};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::super::fields::secret;
use crate::google::credentials::RefreshError;
use crate::google::credentials::refresh::clip;
use crate::payload::Payload;
use crate::time::Timestamp;

/// Where the region and the keys of a workload at AWS come from, if the environment has none.
#[derive(Debug, Clone)]
pub struct AwsSource {
    pub(super) region_url: Option<String>,
    pub(super) keys_url: Option<String>,
    pub(super) session_url: Option<String>,
    pub(super) verification_url: String,
}

/// Keys of AWS.
#[derive(Debug, Clone)]
pub struct AwsKeys {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: SecretString,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<SecretString>,
}

impl AwsSource {
    /// The request for a session token, which the other requests to the metadata server carry.
    pub fn session_request(&self) -> Option<Request<Payload>> {
        Request::builder()
            .method(Method::PUT)
            .uri(self.session_url.as_ref()?)
            .header("x-aws-ec2-metadata-token-ttl-seconds", "300")
            .body(Payload::default())
            .ok()
    }

    /// The request for the zone that the machine is in.
    pub fn region_request(&self, session: Option<&SecretString>) -> Option<Request<Payload>> {
        get(self.region_url.as_ref()?, session)
    }

    /// The request for the name of the machine's role.
    pub fn role_request(&self, session: Option<&SecretString>) -> Option<Request<Payload>> {
        get(self.keys_url.as_ref()?, session)
    }

    /// The request for the keys of a role.
    pub fn keys_request(
        &self,
        role: &str,
        session: Option<&SecretString>,
    ) -> Option<Request<Payload>> {
        let base = self.keys_url.as_ref()?;
        get(&format!("{}/{}", base.trim_end_matches('/'), encoded(role)), session)
    }

    /// Reads the one line of an answer of the metadata server; `what` it asks for.
    pub fn read_line(status: StatusCode, body: &[u8], what: &str) -> Result<String, RefreshError> {
        let text = String::from_utf8_lossy(body);
        let line = text.trim();
        if !status.is_success() || line.is_empty() || line.contains(char::is_control) {
            let text = clip(line);
            let why = format!("AWS' metadata server gave no {what}: it answered {status}: {text}");
            return Err(RefreshError::Transient(why));
        }
        Ok(line.to_owned())
    }

    /// The region of a zone, which has one more letter.
    pub fn region_of_zone(zone: &str) -> &str {
        let ends_in_letter = zone.ends_with(|last: char| last.is_ascii_lowercase());
        if ends_in_letter { &zone[..zone.len() - 1] } else { zone }
    }

    /// Reads the keys of a role.
    pub fn read_keys(status: StatusCode, body: &[u8]) -> Result<AwsKeys, RefreshError> {
        let object: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let id = object.get("AccessKeyId").and_then(Value::as_str);
        let key = secret(&object, &["SecretAccessKey"]);
        let (true, Some(id), Some(secret_access_key)) = (status.is_success(), id, key) else {
            let why = format!("AWS' metadata server gave no keys: it answered {status}");
            return Err(RefreshError::Transient(why));
        };
        let session_token = secret(&object, &["Token"]);
        Ok(AwsKeys { access_key_id: id.to_owned(), secret_access_key, session_token })
    }

    /// The subject token: the signed request as text. It also names `audience`, so that nothing else can
    /// be asked for with it.
    pub fn subject_token(
        &self,
        region: &str,
        keys: &AwsKeys,
        audience: &str,
        clock: Timestamp,
    ) -> Result<SecretString, RefreshError> {
        let wrong = |what: &str| {
            RefreshError::Rejected(format!("{what} cannot be used in a request to AWS"))
        };
        let is_region = |it: u8| it.is_ascii_alphanumeric() || it == b'-';
        if region.is_empty() || !region.bytes().all(is_region) {
            return Err(wrong("the region (AWS_REGION)"));
        }
        let url = self.verification_url.replace("{region}", region);
        let uri: Uri = url.parse().map_err(|_| wrong("regional_cred_verification_url"))?;
        let host = uri.authority().ok_or_else(|| wrong("regional_cred_verification_url"))?.as_str();
        let at = Instant::of(clock).ok_or_else(|| wrong("this machine's time"))?;
        let mut headers = vec![("host", host), ("x-amz-date", &at.time)];
        if let Some(token) = &keys.session_token {
            headers.push(("x-amz-security-token", token.expose_secret()));
        }
        headers.push(("x-goog-cloud-target-resource", audience));
        if headers.iter().any(|(_, value)| HeaderValue::from_str(value).is_err()) {
            return Err(wrong("a key of AWS"));
        }
        let authorization = authorization(&uri, &headers, region, keys, &at);
        headers.push(("Authorization", &authorization));
        let headers = headers.iter().map(|(key, value)| Header { key, value }).collect();
        let request = SignedRequest { url: &url, method: "POST", headers, body: "" };
        let text = serde_json::to_string(&request).unwrap_or_default();
        Ok(encoded(&text).into())
    }
}

/// Signs a POST without a body (AWS Signature Version 4). The headers are in order.
fn authorization(
    uri: &Uri,
    headers: &[(&str, &str)],
    region: &str,
    keys: &AwsKeys,
    at: &Instant,
) -> String {
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let path = if uri.path().is_empty() { "/" } else { uri.path() };
    let query = canonical_query(uri.query().unwrap_or_default());
    let empty = hex(&Sha256::digest(b""));
    let canonical = format!("POST\n{path}\n{query}\n{lines}\n{names}\n{empty}");
    let scope = format!("{}/{region}/{SERVICE}/{TERMINATOR}", at.day);
    let hashed = hex(&Sha256::digest(canonical));
    let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{hashed}", at.time);
    let secret = format!("AWS4{}", keys.secret_access_key.expose_secret());
    let key = [at.day.as_str(), region, SERVICE, TERMINATOR]
        .iter()
        .fold(secret.into_bytes(), |key, part| hmac_sha256(&key, part));
    let signature = hex(&hmac_sha256(&key, &to_sign));
    let id = &keys.access_key_id;
    format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
}

/// The parameters in order, encoded as AWS has it.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| (encoded(&name), encoded(&value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn hmac_sha256(key: &[u8], message: &str) -> Vec<u8> {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

fn get(url: &str, session: Option<&SecretString>) -> Option<Request<Payload>> {
    let mut request = Request::builder().uri(url);
    if let Some(session) = session {
        let mut value = HeaderValue::from_str(session.expose_secret()).ok()?;
        value.set_sensitive(true);
        request = request.header("x-aws-ec2-metadata-token", value);
    }
    request.body(Payload::default()).ok()
}

/// A time in AWS' form.
struct Instant {
    /// `20261125T190000Z`.
    time: String,
    /// `20261125`.
    day: String,
}

impl Instant {
    fn of(clock: Timestamp) -> Option<Self> {
        let stamp = jiff::Timestamp::from_millisecond(i64::try_from(clock.0).ok()?).ok()?;
        let time = stamp.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = stamp.strftime("%Y%m%d").to_string();
        Some(Self { time, day })
    }
}

#[derive(Serialize)]
struct SignedRequest<'a> {
    url: &'a str,
    method: &'static str,
    headers: Vec<Header<'a>>,
    body: &'static str,
}

#[derive(Serialize)]
struct Header<'a> {
    key: &'a str,
    value: &'a str,
}

/// All but the unreserved characters (RFC 3986, 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "sts";
const TERMINATOR: &str = "aws4_request";
