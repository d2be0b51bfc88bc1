//! AWS: the metadata endpoints of a machine, and the check of a signed `GetCallerIdentity` request.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use ring::hmac;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::google_auth::text;
use crate::oauth::now_ms;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;

/// A pair of AWS keys.
#[derive(Clone, Copy, Debug)]
struct AwsKeys {
    id: &'static str,
    secret: &'static str,
    /// The session token, which keys of a role have.
    session: Option<&'static str>,
}

/// `PUT /latest/api/token`: a session with the machine's metadata.
pub(super) fn session(request: &ApiRequest<'_>) -> Reply {
    let seconds = request
        .headers
        .get("x-aws-ec2-metadata-token-ttl-seconds")
        .and_then(|seconds| seconds.to_str().ok()?.parse::<u32>().ok());
    match seconds {
        Some(1..=21_600) => text(200, SESSION),
        _ => text(400, "x-aws-ec2-metadata-token-ttl-seconds"),
    }
}

/// The availability zone of the machine.
pub(super) fn zone(request: &ApiRequest<'_>, state: &State) -> Reply {
    in_session(request, state).unwrap_or_else(|| text(200, format!("{REGION}b")))
}

/// The name of the machine's role, or the role's keys.
pub(super) fn credentials(role: Option<&str>, request: &ApiRequest<'_>, state: &State) -> Reply {
    if let Some(refused) = in_session(request, state) {
        return refused;
    }
    match role {
        None => text(200, ROLE),
        Some(ROLE) => Reply::ok(&json!({
            "Code": "Success",
            "LastUpdated": "2026-01-01T00:00:00Z",
            "Type": "AWS-HMAC",
            "AccessKeyId": ROLE_KEYS.id,
            "SecretAccessKey": ROLE_KEYS.secret,
            "Token": ROLE_KEYS.session,
            "Expiration": "2099-01-01T00:00:00Z",
        })),
        Some(_) => text(404, "Not Found"),
    }
}

fn in_session(request: &ApiRequest<'_>, state: &State) -> Option<Reply> {
    match request.headers.get("x-aws-ec2-metadata-token") {
        Some(token) if token == SESSION => None,
        None if !state.google_auth.imdsv2_required => None,
        _ => Some(text(401, "Unauthorized")),
    }
}

/// Checks a subject token: a signed but unsent request, in JSON, URL-encoded.
pub(super) fn check_subject(token: &str, audience: &str) -> Result<(), String> {
    let json = percent_decode_str(token)
        .decode_utf8()
        .map_err(|_| "The subject token is no text.".to_owned())?;
    let signed: SignedRequest =
        serde_json::from_str(&json).map_err(|error| format!("The subject token: {error}."))?;
    signed.check(audience)
}

/// The request inside a subject token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedRequest {
    url: String,
    method: String,
    headers: Vec<SignedHeader>,
    #[serde(default)]
    body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedHeader {
    key: String,
    value: String,
}

impl SignedRequest {
    fn check(&self, audience: &str) -> Result<(), String> {
        if self.method != "POST" || !self.body.is_empty() {
            return Err("The request must be a POST without a body.".to_owned());
        }
        let mut headers = BTreeMap::new();
        for header in &self.headers {
            let name = header.key.to_lowercase();
            if headers.insert(name, header.value.as_str()).is_some() {
                return Err(format!("The header {} is there twice.", header.key));
            }
        }
        let authorization = headers.remove("authorization").ok_or("There is no Authorization.")?;
        let region = self
            .url
            .strip_prefix("https://sts.")
            .and_then(|rest| rest.split_once(".amazonaws.com"))
            .and_then(|(region, rest)| {
                let query = rest.strip_prefix('/').unwrap_or(rest);
                (query == "?Action=GetCallerIdentity&Version=2011-06-15").then_some(region)
            })
            .ok_or("The URL is not that of GetCallerIdentity.")?;
        let header = |name: &str| headers.get(name).copied().unwrap_or_default();
        if header("host") != format!("sts.{region}.amazonaws.com") {
            return Err("The header host does not fit the URL.".to_owned());
        }
        if header("x-goog-cloud-target-resource") != audience {
            return Err("x-goog-cloud-target-resource is not the audience.".to_owned());
        }
        let date = header("x-amz-date");
        check_date(date)?;
        let given = Authorization::read(authorization)?;
        let keys = given.check_scope(&date[..8], region)?;
        if headers.get("x-amz-security-token").copied() != keys.session {
            return Err("x-amz-security-token is not that of the keys.".to_owned());
        }
        // google-auth for Python does not sign this one, the library for Rust does.
        if !given.signed_headers.contains("x-goog-cloud-target-resource") {
            headers.remove("x-goog-cloud-target-resource");
        }
        let names: Vec<&str> = headers.keys().map(String::as_str).collect();
        if given.signed_headers != names.join(";") {
            return Err("SignedHeaders must name every header, in order.".to_owned());
        }
        let canonical: String =
            headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let canonical = format!(
            "POST\n/\nAction=GetCallerIdentity&Version=2011-06-15\n{canonical}\n{}\n{}",
            given.signed_headers,
            hex(&Sha256::digest(b"")),
        );
        let text = format!(
            "AWS4-HMAC-SHA256\n{date}\n{}/{region}/sts/aws4_request\n{}",
            &date[..8],
            hex(&Sha256::digest(canonical.as_bytes())),
        );
        let mut key = format!("AWS4{}", keys.secret).into_bytes();
        for part in [&date[..8], region, "sts", "aws4_request"] {
            key = mac(&key, part);
        }
        if hex(&mac(&key, &text)) == given.signature {
            Ok(())
        } else {
            Err("The signature does not match.".to_owned())
        }
    }
}

/// The parts of an `Authorization` header of SigV4.
struct Authorization<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn read(header: &'a str) -> Result<Self, String> {
        let parts = header.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("The scheme is not SigV4.")?;
        let mut parts = parts.split(',').map(str::trim);
        let mut part = |name: &str| {
            parts
                .next()
                .and_then(|part| part.strip_prefix(name)?.strip_prefix('='))
                .ok_or_else(|| format!("Authorization has no {name}."))
        };
        Ok(Self {
            credential: part("Credential")?,
            signed_headers: part("SignedHeaders")?,
            signature: part("Signature")?,
        })
    }

    /// The keys that the credential names, if its scope is right.
    fn check_scope(&self, day: &str, region: &str) -> Result<AwsKeys, String> {
        let (id, scope) = self.credential.split_once('/').ok_or("The credential has no scope.")?;
        if scope != format!("{day}/{region}/sts/aws4_request") {
            return Err("The scope of the credential does not fit the request.".to_owned());
        }
        [ROLE_KEYS, USER_KEYS]
            .into_iter()
            .find(|keys| keys.id == id)
            .ok_or_else(|| "The access key is unknown.".to_owned())
    }
}

/// The date must be in the basic form of ISO 8601 and no more than 15 minutes off.
fn check_date(date: &str) -> Result<(), String> {
    let wrong = || "x-amz-date is not of the form 20260101T000000Z.".to_owned();
    if date.len() != 16 || !date.is_ascii() {
        return Err(wrong());
    }
    let time = strtime::parse("%Y%m%dT%H%M%SZ", date)
        .and_then(|parsed| parsed.to_datetime())
        .and_then(|time| time.to_zoned(TimeZone::UTC))
        .map_err(|_| wrong())?;
    let now = Timestamp::from_millisecond(now_ms()).unwrap_or(Timestamp::UNIX_EPOCH);
    let apart = now.as_second() - time.timestamp().as_second();
    if apart.abs() > 900 {
        return Err("x-amz-date is more than 15 minutes off.".to_owned());
    }
    Ok(())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys for `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
const USER_KEYS: AwsKeys =
    AwsKeys { id: AWS_ACCESS_KEY_ID, secret: AWS_SECRET_ACCESS_KEY, session: None };
const ROLE_KEYS: AwsKeys = AwsKeys {
    id: "ASIAEMULATORROLE0000",
    secret: "emulator/role+secret",
    session: Some("emulator/session+token=="),
};
/// The id of the emulator's AWS user, for `AWS_ACCESS_KEY_ID`.
pub const AWS_ACCESS_KEY_ID: &str = "AKIAEMULATORUSER0000";
/// The secret of the emulator's AWS user, for `AWS_SECRET_ACCESS_KEY`.
pub const AWS_SECRET_ACCESS_KEY: &str = "emulator/user+secret";
/// The region of the emulator's AWS machine.
pub const REGION: &str = "eu-central-1";
const ROLE: &str = "emulator-role";
const SESSION: &str = "emulator-imds-session";
