//! An upstream error, read leniently: what it says, and how long it asks one to wait
//! (`protocol.md` 7).

mod class;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::google::status::{Detail, Status, canonical};

/// What upstream said instead of an answer.
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
    /// How long upstream asks one to wait. Zero is an answer, not the lack of one.
    pub retry_delay: Option<Duration>,
    /// `errors[].reason` of the older shape (`protocol.md` 7.1).
    legacy_reasons: Vec<String>,
    /// The `quotaId`s of `QuotaFailure`, and `quota_limit` of `ErrorInfo`.
    quotas: Vec<String>,
    /// The first link of `Help`, else the one in `ErrorInfo`'s metadata.
    link: Option<String>,
}

impl UpstreamError {
    /// The value for `Retry-After`: the delay in whole seconds, rounded up.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_delay.map(|delay| delay.as_secs() + u64::from(delay.subsec_nanos() > 0))
    }

    /// True when the project is the problem, so that a cached one must be forgotten
    /// (`protocol.md` 5.4). A 404 on a known model is for the caller to judge.
    pub fn is_project_problem(&self) -> bool {
        let named = |reason: &String| PROJECT_REASONS.contains(&reason.as_str());
        self.reasons.iter().any(named)
            || self.legacy_reasons.iter().any(|reason| reason == "accessNotConfigured")
    }

    /// True when the access token was not accepted.
    pub fn is_unauthenticated(&self) -> bool {
        self.http == StatusCode::UNAUTHORIZED || self.status == "UNAUTHENTICATED"
    }

    /// True when the account's owner must pass a check in a browser first.
    pub fn is_validation_required(&self) -> bool {
        self.has_reason("VALIDATION_REQUIRED")
    }

    /// True when Google has switched the account off for good. Nothing may be retried.
    pub fn is_suspended(&self) -> bool {
        self.http == StatusCode::FORBIDDEN
            && self.message.to_ascii_lowercase().contains("violation of terms of service")
    }

    /// True when waiting a little cannot help: the answer holds until the quota's reset
    /// (`protocol.md` 7.4, `spec.md` 10).
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

    /// Where upstream sends the reader: to verify the account, to enable the API, or to read on.
    pub fn link(&self) -> Option<&str> {
        self.link.as_deref()
    }
}

/// Reads the answer to a failed request: an object, an array of one, a page, or nothing.
pub fn read(http: StatusCode, headers: &HeaderMap, body: &Bytes) -> UpstreamError {
    let mut fault = match find_error(body) {
        Some(found) => understand(http, body, &found),
        None => from_text(http, body),
    };
    fault.retry_delay = fault.retry_delay.or_else(|| retry_after(headers));
    fault
}

/// Reads an error that came in the middle of a stream: `{"error":{…}}`, whose own code is the
/// status.
pub fn from_event(error: &Bytes) -> UpstreamError {
    read(StatusCode::OK, &HeaderMap::new(), error)
}

/// An error object within upstream's bytes.
struct Found<'a> {
    /// `{"error":…}` without anything around it.
    holder: &'a str,
    /// The members of `error`.
    error: BTreeMap<String, &'a RawValue>,
}

/// Looks past a byte order mark, white space and an opening bracket for `{"error":…}`. What
/// follows the object does not matter: a cut array must not cost us the reason.
fn find_error(body: &[u8]) -> Option<Found<'_>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let body = body.strip_prefix(b"[").unwrap_or(body);
    let first = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>().next();
    let holder = first?.ok()?.get();
    let error = *members(holder)?.get("error")?;
    if error.get().starts_with('{') {
        return Some(Found { holder, error: members(error.get())? });
    }
    // OAuth's flat shape, `{"error":"…","error_description":"…"}`, is left to `from_text`.
    None
}

fn understand(http: StatusCode, body: &Bytes, found: &Found<'_>) -> UpstreamError {
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

    let mut fault = UpstreamError::bare(http, body, status, message);
    let mut delays = Delays::default();
    let mut metadata_link = None;
    for detail in details {
        let Some(detail) = members(detail.get()) else {
            continue;
        };
        fault.read_detail(&detail, &mut delays, &mut metadata_link);
    }
    fault.link = fault.link.take().or(metadata_link);
    let legacy: Vec<&RawValue> =
        found.error.get("errors").and_then(|raw| parse(raw.get())).unwrap_or_default();
    let legacy = legacy.into_iter().filter_map(|item| field(&members(item.get())?, "reason"));
    fault.legacy_reasons = legacy.collect();
    fault.retry_delay =
        delays.retry_info.or(delays.quota_reset).or_else(|| delay_in(&fault.message));
    fault
}

/// The two places in `details` that tell a delay.
#[derive(Default)]
struct Delays {
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
        delays: &mut Delays,
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

/// A page, a flat error, corrupted JSON or nothing at all, told in Google's shape.
fn from_text(http: StatusCode, body: &Bytes) -> UpstreamError {
    let http = failure(http, None);
    let message = plain(body).unwrap_or_else(|| said_nothing(http));
    let status = Status::new(http, message.clone());
    let mut fault =
        UpstreamError::bare(http, status.to_json(), canonical(http).to_owned(), message);
    fault.retry_delay = delay_in(&fault.message);
    fault
}

/// The status for the client. A success or a redirect is no error status: then the body's own code
/// counts, and if that is none either, the upstream has misbehaved.
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

/// The text of a page or of garbage, tags and white space folded away, cut to a readable length.
fn plain(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&body[..body.len().min(PLAIN_SOURCE_BYTES)]);
    let is_page = text.trim_start().starts_with('<');
    let text = if is_page { Cow::Owned(without_tags(&text)) } else { text };
    let mut words = String::new();
    let printable = |c: char| {
        if c.is_control() || c == char::REPLACEMENT_CHARACTER { ' ' } else { c }
    };
    let clean: String = text.chars().map(printable).collect();
    for word in clean.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
        if words.len() > PLAIN_BYTES {
            words.truncate(words.floor_char_boundary(PLAIN_BYTES));
            words.push('…');
            break;
        }
    }
    (!words.is_empty()).then_some(words)
}

/// What stands between tags, without styles and scripts.
fn without_tags(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        text.push(' ');
        let tag = &rest[open..];
        let starts =
            |name: &str| tag.get(1..=name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name));
        let end = if starts("style") {
            find_ignoring_case(tag, "</style")
        } else if starts("script") {
            find_ignoring_case(tag, "</script")
        } else {
            Some(0)
        };
        let Some(end) = end else { return text };
        let Some(close) = tag[end..].find('>') else {
            return text;
        };
        rest = &tag[end + close + 1..];
    }
    text.push_str(rest);
    text
}

/// `Retry-After` in seconds. A date would need a clock, and Google sends none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(seconds.parse().unwrap_or(u64::MAX)).min(LONGEST_DELAY))
}

/// The delay that a sentence tells, such as `Please retry in 56.18s.`
fn delay_in(message: &str) -> Option<Duration> {
    let after = |phrase: &&str| {
        let at = find_ignoring_case(message, phrase)?;
        let (delay, _) = leading_duration(message[at + phrase.len()..].trim_start())?;
        Some(delay)
    };
    DELAY_PHRASES.iter().find_map(after)
}

/// A whole string as a duration: Go's `9h22m20s` and `539.47ms`, proto's `12.5s`.
fn duration(text: &str) -> Option<Duration> {
    let (delay, rest) = leading_duration(text.trim())?;
    rest.is_empty().then_some(delay)
}

/// The duration at the start of a text, at most [`LONGEST_DELAY`], and what follows it.
fn leading_duration(text: &str) -> Option<(Duration, &str)> {
    let mut rest = text;
    let mut seconds = 0.0_f64;
    while let Some((number, after)) = leading_number(rest) {
        let Some((unit, scale)) = UNITS.iter().find(|(unit, _)| after.starts_with(unit)) else {
            break;
        };
        let following = &after[unit.len()..];
        // `5 minutes` and `3sheep` are not durations.
        if following.starts_with(|c: char| c.is_alphabetic()) {
            break;
        }
        seconds += number * scale;
        rest = following;
    }
    if rest.len() == text.len() {
        return None;
    }
    let delay = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_DELAY);
    Some((delay.min(LONGEST_DELAY), rest))
}

/// Digits with at most one point between them, and what follows.
fn leading_number(text: &str) -> Option<(f64, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(text);
    if whole == 0 {
        return None;
    }
    let fraction = text[whole..].strip_prefix('.').map_or(0, digits);
    let end = if fraction == 0 { whole } else { whole + 1 + fraction };
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}

/// `limit: 0` as a whole number, not the start of `limit: 05` or `limit: 0.5`.
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

/// The members of a JSON object, keys trimmed (`protocol.md` 7.1: `@type` may have stray spaces).
fn members(object: &str) -> Option<BTreeMap<String, &RawValue>> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(object).ok()?;
    let trimmed = |(key, value): (String, _)| (key.trim().to_owned(), value);
    Some(members.into_iter().map(trimmed).collect())
}

/// A member, if it is there and of the right kind.
fn field<T: DeserializeOwned>(members: &BTreeMap<String, &RawValue>, key: &str) -> Option<T> {
    serde_json::from_str(members.get(key)?.get()).ok()
}

fn parse(list: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(list).ok()
}

/// `protocol.md` 5.4 and 7.2.
const PROJECT_REASONS: [&str; 4] =
    ["CONSUMER_INVALID", "SERVICE_DISABLED", "SUBSCRIPTION_REQUIRED", "USER_PROJECT_DENIED"];

/// `spec.md` 10.
const TERMINAL_REASONS: [&str; 2] = ["INSUFFICIENT_G1_CREDITS_BALANCE", "QUOTA_EXHAUSTED"];

/// Captures show `validation_url`, the CLI reads `validation_link`; `activationUrl` comes with
/// `SERVICE_DISABLED` (`protocol.md` 7.3).
const METADATA_LINKS: [&str; 3] = ["validation_url", "validation_link", "activationUrl"];

/// In lower case. From `protocol.md` 7.3.
const DELAY_PHRASES: [&str; 6] =
    ["retry in", "reset after", "resets in", "reset in", "retry after", "try again in"];

/// The longer of two units with the same start comes first.
const UNITS: [(&str, f64); 7] = [
    ("h", 3600.0),
    ("ms", 1e-3),
    ("m", 60.0),
    ("s", 1.0),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ns", 1e-9),
];

/// A longer stated delay is not a throttle but a quota (`protocol.md` 7.4, rules 7 and 8).
const LONGEST_RETRIABLE: Duration = Duration::from_secs(300);

/// No quota of Google's lasts longer than a month; what says so is broken.
const LONGEST_DELAY: Duration = Duration::from_secs(31 * 24 * 3600);

/// How much of a page is looked at, and how much of its text is shown.
const PLAIN_SOURCE_BYTES: usize = 16 * 1024;
const PLAIN_BYTES: usize = 300;

#[cfg(test)]
mod tests;
