//! The reading of upstream errors (`docs/reference/protocol.md` 7). It is lenient: an error that is
//! only half understood must still reach the client.

mod class;
#[cfg(test)]
mod class_tests;
mod code;
mod delay;
mod html;
mod redact;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};

use crate::google::status::{Status, canonical, restated};
use code::{RpcCode, WrittenCode, is_failure};
pub(crate) use delay::retry_after;
use delay::{delay_in, duration, leading_number};
use html::{is_page, readable_text};
pub(crate) use redact::{without_keys, without_secret};

/// An error of upstream, as the client gets it and as policies judge it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamError {
    /// The HTTP status for the client, always 4xx or 5xx.
    pub http: StatusCode,
    /// `{"error":{…}}`: upstream's own bytes where they are well-formed, else synthesised.
    pub body: Bytes,
    /// The whole text that came, for clients that get errors as the upstream writes them: an object, or
    /// an array of one.
    pub as_sent: Option<Bytes>,
    /// The `details` as upstream wrote them, a JSON array; empty if there are none.
    pub details: Bytes,
    /// The canonical name, such as `RESOURCE_EXHAUSTED`.
    pub status: String,
    /// The message for people, never empty.
    pub message: String,
    /// The reasons of all `ErrorInfo` details, in order.
    pub reasons: Vec<String>,
    /// How long upstream asks the client to wait. Zero means at once; `None` means no delay stated.
    pub retry_delay: Option<Duration>,
    /// The body is a web page, as a load balancer or a captive portal sends it.
    is_page: bool,
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

    /// True when a thought signature in the request is at fault (`docs/reference/dialects.md` 6.1).
    pub(crate) fn is_about_signatures(&self) -> bool {
        let text = || self.message.to_ascii_lowercase().replace('_', " ");
        self.http == StatusCode::BAD_REQUEST && text().contains("thought signature")
    }

    /// True when Google has suspended the account. No request may be retried.
    pub fn is_suspended(&self) -> bool {
        let text = || self.message.to_ascii_lowercase();
        self.http == StatusCode::FORBIDDEN
            && (self.has_reason("CONSUMER_SUSPENDED")
                || SUSPENDED.iter().any(|known| text().contains(known)))
    }

    /// How long a quota is taken for exhausted; `None` if that is not known. A day's quota of the Gemini
    /// API ends at midnight in California, whatever short delay comes with it
    /// (`docs/reference/upstreams.md` 4.3).
    pub(crate) fn quota_delay(&self) -> Option<Duration> {
        self.retry_delay.or_else(|| self.lasts_long().then_some(UNKNOWN_RESET))
    }

    /// True for a day's quota, and for a limit of zero.
    fn lasts_long(&self) -> bool {
        self.http == StatusCode::TOO_MANY_REQUESTS
            && (self.quotas.iter().any(|quota| is_daily(quota)) || has_zero_limit(&self.message))
    }

    /// The text as it came, if it is JSON.
    #[must_use]
    pub(crate) fn keeping(mut self, text: &Bytes) -> Self {
        if serde_json::from_slice::<&RawValue>(text).is_ok() {
            self.as_sent = Some(text.clone());
        }
        self
    }

    /// True when a short wait cannot help: the quota is used up until its reset
    /// (`docs/reference/protocol.md` 7.4, `docs/RESILIENCE.md`).
    pub fn is_terminal_quota(&self) -> bool {
        if TERMINAL_REASONS.iter().any(|reason| self.has_reason(reason)) {
            return true;
        }
        self.http == StatusCode::TOO_MANY_REQUESTS
            && (self.lasts_long()
                || self.retry_delay.is_some_and(|delay| delay > LONGEST_RETRIABLE))
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
    let body = &without_keys(body);
    let mut error = match find_error(body) {
        Some(found) => from_object(http, body, &found),
        None => from_text(http, body),
    };
    error.retry_delay = error.retry_delay.or_else(|| retry_after(headers));
    error
}

/// Reads an error that came with a success: as a stream event or in a whole answer, `{"error":{…}}`.
/// Its status is what the error says.
pub fn from_event(error: &Bytes) -> UpstreamError {
    read(StatusCode::OK, &HeaderMap::new(), error)
}

/// Reads a payload that is a JSON string in place of an event or answer, such as `"overloaded"`.
/// `Err` has the text if its words stand for no status, or nothing if the payload is no string.
pub fn from_string(payload: &[u8]) -> Result<UpstreamError, Option<String>> {
    let Ok(text) = serde_json::from_slice::<String>(payload.trim_ascii()) else { return Err(None) };
    let Some(text) = readable_text(text.as_bytes()) else { return Err(None) };
    match RpcCode::in_text(&text) {
        Some(code) => Ok(with_message(code.http(), code.name, text)),
        None => Err(Some(text)),
    }
}

/// An error object within upstream's bytes.
struct ErrorObject<'a> {
    /// `{"error":{…}}` without anything around it. `None` if the `error` is an array of one object.
    holder: Option<&'a str>,
    /// The members of `error`.
    error: BTreeMap<String, &'a RawValue>,
}

/// Finds `{"error":…}` after a byte order mark, white space and an opening bracket, whichever are
/// there. What follows the object is ignored, so that an array that was cut still has its reason.
fn find_error(body: &[u8]) -> Option<ErrorObject<'_>> {
    let holder = find_object(body)?.get();
    let error = members(holder)?.get("error")?.get();
    if error.starts_with('{') {
        return Some(ErrorObject { holder: Some(holder), error: members(error)? });
    }
    if error.starts_with('[') {
        let first = parse(error)?.into_iter().next()?;
        return Some(ErrorObject { holder: None, error: members(first.get())? });
    }
    // OAuth's flat shape, `{"error":"…","error_description":"…"}`, is left to `from_text`.
    None
}

fn find_object(body: &[u8]) -> Option<&RawValue> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let body = body.strip_prefix(b"[").unwrap_or(body);
    serde_json::Deserializer::from_slice(body).into_iter().next()?.ok()
}

fn from_object(http: StatusCode, body: &Bytes, found: &ErrorObject<'_>) -> UpstreamError {
    let upstream_message = field::<String>(&found.error, "message").filter(|text| !text.is_empty());
    let text = upstream_message.as_deref().unwrap_or_default();
    let StatedStatus { http, status, well_formed } = StatedStatus::of(http, &found.error, text);
    let own_bytes = found
        .holder
        .filter(|_| well_formed && upstream_message.is_some())
        .map(|holder| body.slice_ref(holder.as_bytes()));
    let own_message = found.error.get("message").copied().filter(|_| upstream_message.is_some());
    let message = upstream_message.unwrap_or_else(|| said_nothing(http));
    let details: Option<Vec<&RawValue>> =
        found.error.get("details").and_then(|raw| parse(raw.get()));
    let body = own_bytes.unwrap_or_else(|| {
        let is_other = |name: &str| match name {
            "code" | "message" | "status" => false,
            "details" => details.is_some(),
            _ => true,
        };
        let others = found.error.iter().map(|(name, raw)| (name.as_str(), *raw));
        let others = others.filter(|(name, _)| is_other(name)).collect();
        match own_message {
            Some(raw) => restated(http, &status, raw, others),
            None => {
                let message = to_raw_value(&message).unwrap_or_default();
                restated(http, &status, &message, others)
            }
        }
    });
    let raw_details = found.error.get("details").filter(|_| details.is_some());
    let details = details.unwrap_or_default();

    let mut error = UpstreamError::bare(http, body, status, message);
    error.details =
        raw_details.map_or_else(Bytes::new, |raw| Bytes::copy_from_slice(raw.get().as_bytes()));
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
    if error.lasts_long() {
        // The Gemini API states seconds, after which nothing has changed.
        error.retry_delay = error.retry_delay.filter(|delay| *delay > LONGEST_RETRIABLE);
    }
    error
}

/// True for the name of a quota that is counted by the day.
fn is_daily(quota: &str) -> bool {
    quota.contains("PerDay") || quota.contains("Daily")
}

/// The status of an error object.
struct StatedStatus {
    http: StatusCode,
    /// The canonical name.
    status: String,
    /// `code` and `status` are as clients expect them.
    well_formed: bool,
}

impl StatedStatus {
    /// An HTTP status of a failure counts. Else `code` as such a status counts, else a name in `status`
    /// or `code`, else gRPC's number in either, else the `message`. If none of them says anything, the
    /// answer itself is faulty: 502.
    fn of(http: StatusCode, error: &BTreeMap<String, &RawValue>, message: &str) -> Self {
        let written = |name: &str| error.get(name).and_then(|raw| WrittenCode::of(raw.get()));
        let (code, name) = (written("code"), written("status"));
        let first = |wanted: fn(&WrittenCode) -> bool, among: [Option<WrittenCode>; 2]| {
            among.into_iter().flatten().find(wanted)
        };
        let stated = first(|it| matches!(it, WrittenCode::Http(_)), [code, name])
            .or_else(|| first(|it| matches!(it, WrittenCode::Name(_)), [name, code]))
            .or_else(|| first(|it| matches!(it, WrittenCode::Number(_)), [code, name]));
        let (http, stated) = if is_failure(http) {
            (http, stated)
        } else {
            let stated = stated.or_else(|| RpcCode::in_text(message).map(WrittenCode::Name));
            (stated.map_or(StatusCode::BAD_GATEWAY, WrittenCode::http), stated)
        };

        let is_http_number = |code: u16| StatusCode::from_u16(code).is_ok_and(is_failure);
        let code_is_right = field::<u16>(error, "code").is_some_and(is_http_number);
        let own_name = field::<String>(error, "status").filter(|text| !text.is_empty());
        let status = match (name, &own_name) {
            (Some(WrittenCode::Name(code)), _) => code.name.to_owned(),
            // A name that `google.rpc.Code` does not have.
            (None, Some(own)) if code_is_right && own != "OK" => own.clone(),
            _ => match stated.and_then(WrittenCode::rpc).filter(|code| code.http() == http) {
                Some(code) => code.name.to_owned(),
                None => canonical(http).to_owned(),
            },
        };
        let well_formed = code_is_right && own_name.as_ref() == Some(&status);
        Self { http, status, well_formed }
    }
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
            as_sent: None,
            details: Bytes::new(),
            status,
            message,
            reasons: Vec::new(),
            retry_delay: None,
            is_page: false,
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
    // A page's words may be about anything.
    let words = || find_object(body).and_then(|json| RpcCode::in_text(json.get()));
    let known = if is_failure(http) { None } else { words() };
    let (http, status) = match known {
        Some(code) => (code.http(), code.name),
        None if is_failure(http) => (http, canonical(http)),
        None => (StatusCode::BAD_GATEWAY, canonical(StatusCode::BAD_GATEWAY)),
    };
    let message = readable_text(body).unwrap_or_else(|| said_nothing(http));
    UpstreamError { is_page: is_page(body), ..with_message(http, status, message) }
}

fn with_message(http: StatusCode, status: &'static str, message: String) -> UpstreamError {
    let body = Status { status: status.into(), ..Status::new(http, message.clone()) }.to_json();
    let mut error = UpstreamError::bare(http, body, status.to_owned(), message);
    error.retry_delay = delay_in(&error.message);
    error
}

fn said_nothing(http: StatusCode) -> String {
    let phrase = http.canonical_reason().unwrap_or("an error");
    format!("Google answered HTTP {} ({phrase}) without saying why.", http.as_u16())
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

/// What Google says of a suspended account, in lower case.
const SUSPENDED: [&str; 2] = ["violation of terms of service", "has been suspended"];

/// How long a quota is taken for exhausted whose reset is not stated. Probes ask in between.
const UNKNOWN_RESET: Duration = Duration::from_secs(3600);

/// Reasons that say that a quota is used up (`docs/RESILIENCE.md`).
const TERMINAL_REASONS: [&str; 2] = ["INSUFFICIENT_G1_CREDITS_BALANCE", "QUOTA_EXHAUSTED"];

/// Keys of links. Captures show `validation_url`, the Gemini CLI reads `validation_link`;
/// `activationUrl` comes with `SERVICE_DISABLED` (`docs/reference/protocol.md` 7.3).
const METADATA_LINKS: [&str; 3] = ["validation_url", "validation_link", "activationUrl"];

/// A longer delay does not come from a throttle but from a quota (`docs/reference/protocol.md` 7.4,
/// rules 7 and 8).
const LONGEST_RETRIABLE: Duration = Duration::from_secs(300);
