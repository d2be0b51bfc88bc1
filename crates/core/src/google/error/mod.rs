//! The reading of upstream errors (`docs/reference/protocol.md` 7). It is lenient: an error that is
//! only half understood must still reach the client.

mod delay;
mod html;
#[cfg(test)]
mod tests;

mod class;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::google::status::{Detail, Status, canonical};
pub(crate) use delay::retry_after;
use delay::{delay_in, duration, leading_number};
use html::readable_text;

/// An error of upstream, as the client gets it and as policies judge it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamError {
    /// The HTTP status for the client, always 4xx or 5xx.
    pub http: StatusCode,
    /// `{"error":{…}}`: upstream's own bytes where they are well-formed, else synthesised.
    pub body: Bytes,
    /// The canonical name, such as `RESOURCE_EXHAUSTED`.
    pub status: String,
    /// The message for people, never empty.
    pub message: String,
    /// The reasons of all `ErrorInfo` details, in order.
    pub reasons: Vec<String>,
    /// How long upstream asks the client to wait. Zero means at once; `None` means no delay stated.
    pub retry_delay: Option<Duration>,
    /// `errors[].reason` of the older shape (`docs/reference/protocol.md` 7.1).
    legacy_reasons: Vec<String>,
    /// The `quotaId`s of `QuotaFailure`, and `quota_limit` of `ErrorInfo`.
    quotas: Vec<String>,
    /// The first link of `Help`, else the one in `ErrorInfo`'s metadata.
    link: Option<String>,
}

impl UpstreamError {
    /// True when the project is at fault, so that a cached one must be discarded
    /// (`docs/reference/protocol.md` 5.4). A 404 on a known model may mean the same; the caller
    /// decides that.
    pub fn is_project_problem(&self) -> bool {
        let named = |reason: &String| PROJECT_REASONS.contains(&reason.as_str());
        self.reasons.iter().any(named)
            || self.legacy_reasons.iter().any(|reason| reason == "accessNotConfigured")
    }

    /// True when upstream did not accept the access token.
    pub fn is_unauthenticated(&self) -> bool {
        self.http == StatusCode::UNAUTHORIZED || self.status == "UNAUTHENTICATED"
    }

    /// True when the owner of the account must first verify it in a browser.
    pub fn is_validation_required(&self) -> bool {
        self.has_reason("VALIDATION_REQUIRED")
    }

    /// True when Google has suspended the account. No request may be retried.
    pub fn is_suspended(&self) -> bool {
        self.http == StatusCode::FORBIDDEN
            && self.message.to_ascii_lowercase().contains("violation of terms of service")
    }

    /// True when a short wait cannot help: the quota is used up until its reset
    /// (`docs/reference/protocol.md` 7.4, `docs/RESILIENCE.md`).
    pub fn is_terminal_quota(&self) -> bool {
        let daily = |quota: &String| quota.contains("PerDay") || quota.contains("Daily");
        if TERMINAL_REASONS.iter().any(|reason| self.has_reason(reason)) {
            return true;
        }
        self.http == StatusCode::TOO_MANY_REQUESTS
            && (self.quotas.iter().any(daily)
                || self.retry_delay.is_some_and(|delay| delay > LONGEST_RETRIABLE)
                || has_zero_limit(&self.message))
    }

    /// True when one of the `ErrorInfo` details gives this reason.
    pub fn has_reason(&self, reason: &str) -> bool {
        self.reasons.iter().any(|own| own == reason)
    }

    /// The page on which the user can verify the account, enable the API, or read more.
    pub fn link(&self) -> Option<&str> {
        self.link.as_deref()
    }
}

/// Reads the answer to a failed request: an error object, an array of one, an HTML page, or
/// nothing.
pub fn read(http: StatusCode, headers: &HeaderMap, body: &Bytes) -> UpstreamError {
    let mut error = match find_error(body) {
        Some(found) => from_object(http, body, &found),
        None => from_text(http, body),
    };
    error.retry_delay = error.retry_delay.or_else(|| retry_after(headers));
    error
}

/// Reads an error that came as a stream event, `{"error":{…}}`. Its `code` is the status.
pub fn from_event(error: &Bytes) -> UpstreamError {
    read(StatusCode::OK, &HeaderMap::new(), error)
}

/// An error object within upstream's bytes.
struct ErrorObject<'a> {
    /// `{"error":…}` without anything around it.
    holder: &'a str,
    /// The members of `error`.
    error: BTreeMap<String, &'a RawValue>,
}

/// Finds `{"error":…}` after a byte order mark, white space and an opening bracket, whichever are
/// there. What follows the object is ignored, so that an array that was cut still has its reason.
fn find_error(body: &[u8]) -> Option<ErrorObject<'_>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let body = body.strip_prefix(b"[").unwrap_or(body);
    let first = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>().next();
    let holder = first?.ok()?.get();
    let error = *members(holder)?.get("error")?;
    if error.get().starts_with('{') {
        return Some(ErrorObject { holder, error: members(error.get())? });
    }
    // OAuth's flat shape, `{"error":"…","error_description":"…"}`, is left to `from_text`.
    None
}

fn from_object(http: StatusCode, body: &Bytes, found: &ErrorObject<'_>) -> UpstreamError {
    let code = field::<u16>(&found.error, "code");
    let upstream_message = field::<String>(&found.error, "message").filter(|text| !text.is_empty());
    let upstream_status = field::<String>(&found.error, "status").filter(|text| !text.is_empty());
    let http = failure(http, code);
    let details: Vec<&RawValue> =
        found.error.get("details").and_then(|raw| parse(raw.get())).unwrap_or_default();

    let well_formed = code.is_some() && upstream_message.is_some() && upstream_status.is_some();
    let message = upstream_message.unwrap_or_else(|| said_nothing(http));
    let status = upstream_status.unwrap_or_else(|| canonical(http).to_owned());
    let body = if well_formed {
        body.slice_ref(found.holder.as_bytes())
    } else {
        let raw = details.iter().map(|&detail| Detail::Raw(detail.to_owned())).collect();
        let status = Cow::Owned(status.clone());
        Status { code: http, status, message: message.clone(), details: raw }.to_json()
    };

    let mut error = UpstreamError::bare(http, body, status, message);
    let mut delays = StatedDelays::default();
    let mut metadata_link = None;
    for detail in details {
        let Some(detail) = members(detail.get()) else {
            continue;
        };
        error.read_detail(&detail, &mut delays, &mut metadata_link);
    }
    error.link = error.link.take().or(metadata_link);
    let legacy: Vec<&RawValue> =
        found.error.get("errors").and_then(|raw| parse(raw.get())).unwrap_or_default();
    let legacy = legacy.into_iter().filter_map(|item| field(&members(item.get())?, "reason"));
    error.legacy_reasons = legacy.collect();
    error.retry_delay =
        delays.retry_info.or(delays.quota_reset).or_else(|| delay_in(&error.message));
    error
}

/// The delays that `details` state, by the place of the statement.
#[derive(Default)]
struct StatedDelays {
    retry_info: Option<Duration>,
    quota_reset: Option<Duration>,
}

impl UpstreamError {
    fn bare(http: StatusCode, body: Bytes, status: String, message: String) -> Self {
        Self {
            http,
            body,
            status,
            message,
            reasons: Vec::new(),
            retry_delay: None,
            legacy_reasons: Vec::new(),
            quotas: Vec::new(),
            link: None,
        }
    }

    fn read_detail(
        &mut self,
        detail: &BTreeMap<String, &RawValue>,
        delays: &mut StatedDelays,
        metadata_link: &mut Option<String>,
    ) {
        let kind: String = field(detail, "@type").unwrap_or_default();
        let kind: String = kind.split_whitespace().collect();
        match kind.rsplit(['.', '/']).next().unwrap_or_default() {
            "ErrorInfo" => {
                self.reasons.extend(field::<String>(detail, "reason"));
                let metadata = detail.get("metadata").and_then(|raw| members(raw.get()));
                let metadata = metadata.unwrap_or_default();
                let text = |key: &str| field::<String>(&metadata, key);
                self.quotas.extend(text("quota_limit"));
                let reset = text("quotaResetDelay").and_then(|delay| duration(&delay));
                delays.quota_reset = delays.quota_reset.or(reset);
                let link =
                    METADATA_LINKS.iter().find_map(|key| text(key).filter(|url| is_link(url)));
                *metadata_link = metadata_link.take().or(link);
            }
            "RetryInfo" => {
                let delay = field::<String>(detail, "retryDelay").and_then(|d| duration(&d));
                delays.retry_info = delays.retry_info.or(delay);
            }
            "QuotaFailure" => {
                let violations = detail.get("violations").and_then(|raw| parse(raw.get()));
                let violations: Vec<&RawValue> = violations.unwrap_or_default();
                let ids =
                    violations.into_iter().filter_map(|v| field(&members(v.get())?, "quotaId"));
                self.quotas.extend(ids);
            }
            "Help" => {
                let links = detail.get("links").and_then(|raw| parse(raw.get()));
                let links: Vec<&RawValue> = links.unwrap_or_default();
                let mut urls = links.into_iter().filter_map(|l| field(&members(l.get())?, "url"));
                self.link = self.link.take().or_else(|| urls.find(|url: &String| is_link(url)));
            }
            _ => {}
        }
    }
}

/// An error in Google's shape for a body that has no error object: a page, corrupted JSON, nothing.
fn from_text(http: StatusCode, body: &Bytes) -> UpstreamError {
    let http = failure(http, None);
    let message = readable_text(body).unwrap_or_else(|| said_nothing(http));
    let status = Status::new(http, message.clone());
    let mut error =
        UpstreamError::bare(http, status.to_json(), canonical(http).to_owned(), message);
    error.retry_delay = delay_in(&error.message);
    error
}

/// The status for the client. If the HTTP status is a success or a redirect, the body's own code
/// counts. If that is no error status either, the answer itself is faulty: 502.
fn failure(http: StatusCode, code: Option<u16>) -> StatusCode {
    let is_failure = |status: &StatusCode| status.is_client_error() || status.is_server_error();
    if is_failure(&http) {
        return http;
    }
    let code = code.and_then(|code| StatusCode::from_u16(code).ok());
    code.filter(is_failure).unwrap_or(StatusCode::BAD_GATEWAY)
}

fn said_nothing(http: StatusCode) -> String {
    let phrase = http.canonical_reason().unwrap_or("an error");
    format!("Code Assist answered HTTP {} ({phrase}) without saying why.", http.as_u16())
}

/// True for `limit: 0` as a whole number, not as the start of `limit: 05` or `limit: 0.5`.
fn has_zero_limit(message: &str) -> bool {
    message.split("limit: ").skip(1).any(|rest| matches!(leading_number(rest), Some((0.0, _))))
}

fn is_link(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

fn find_ignoring_case(text: &str, phrase: &str) -> Option<usize> {
    // ASCII lowering keeps every byte offset.
    text.to_ascii_lowercase().find(phrase)
}

/// The members of a JSON object, keys trimmed: `@type` may have stray spaces
/// (`docs/reference/protocol.md` 7.1).
fn members(object: &str) -> Option<BTreeMap<String, &RawValue>> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(object).ok()?;
    let trimmed = |(key, value): (String, _)| (key.trim().to_owned(), value);
    Some(members.into_iter().map(trimmed).collect())
}

/// A member, if it is there and of the right type.
fn field<T: DeserializeOwned>(members: &BTreeMap<String, &RawValue>, key: &str) -> Option<T> {
    serde_json::from_str(members.get(key)?.get()).ok()
}

fn parse(list: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(list).ok()
}

/// Reasons that put the project at fault (`docs/reference/protocol.md` 5.4 and 7.2).
const PROJECT_REASONS: [&str; 4] =
    ["CONSUMER_INVALID", "SERVICE_DISABLED", "SUBSCRIPTION_REQUIRED", "USER_PROJECT_DENIED"];

/// Reasons that say that a quota is used up (`docs/RESILIENCE.md`).
const TERMINAL_REASONS: [&str; 2] = ["INSUFFICIENT_G1_CREDITS_BALANCE", "QUOTA_EXHAUSTED"];

/// Keys of links. Captures show `validation_url`, the Gemini CLI reads `validation_link`;
/// `activationUrl` comes with `SERVICE_DISABLED` (`docs/reference/protocol.md` 7.3).
const METADATA_LINKS: [&str; 3] = ["validation_url", "validation_link", "activationUrl"];

/// A longer delay does not come from a throttle but from a quota (`docs/reference/protocol.md` 7.4,
/// rules 7 and 8).
const LONGEST_RETRIABLE: Duration = Duration::from_secs(300);
