//! `google.rpc.Status` in JSON, the shape of every error that a Gemini client gets.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

/// The `Content-Type` of every error. google-api-core needs the charset
/// (`docs/reference/clients.md` R4).
pub const CONTENT_TYPE: &str = "application/json; charset=UTF-8";

/// An error in Google's shape, not yet encoded.
#[derive(Debug, Clone)]
pub struct Status {
    /// `code`, which is the HTTP status.
    pub code: StatusCode,
    /// `status`, such as `RESOURCE_EXHAUSTED`.
    pub status: Cow<'static, str>,
    /// `message`, for people.
    pub message: String,
    /// `details`, left out when there are none.
    pub details: Vec<Detail>,
}

impl Status {
    /// A status without details, under the canonical name of its code.
    pub fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self {
            code,
            status: Cow::Borrowed(canonical(code)),
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.details.push(detail);
        self
    }

    /// `{"error":{"code":…,"message":…,"status":…,"details":[…]}}`, on one line, in this order.
    pub fn to_json(&self) -> Bytes {
        // Strings, numbers and valid raw JSON only: this cannot fail.
        let text = serde_json::to_string(&ErrorBody { error: self }).unwrap_or_default();
        Bytes::from(escape_separators(text))
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &self.code.as_u16())?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("status", &self.status)?;
        if !self.details.is_empty() {
            map.serialize_entry("details", &self.details)?;
        }
        map.end()
    }
}

/// One entry of `details`.
#[derive(Debug, Clone)]
pub enum Detail {
    /// `ErrorInfo`: a reason for programs.
    ErrorInfo {
        /// `reason`, in upper case.
        reason: Cow<'static, str>,
        /// `domain`: the service that defines the reason.
        domain: Cow<'static, str>,
        /// `metadata`, left out when there is none.
        metadata: Vec<(Cow<'static, str>, String)>,
    },
    /// A detail of Google's, as it wrote it.
    Google(Box<RawValue>),
    /// `Help`: links to documentation.
    Help {
        /// `links`.
        links: Vec<Link>,
    },
    /// `RetryInfo`: the time to wait before a retry.
    RetryInfo(Duration),
}

impl Serialize for Detail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Google(raw) = self {
            return raw.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Google(_) => {}
            Self::ErrorInfo { reason, domain, metadata } => {
                map.serialize_entry("@type", "type.googleapis.com/google.rpc.ErrorInfo")?;
                map.serialize_entry("reason", reason)?;
                map.serialize_entry("domain", domain)?;
                if !metadata.is_empty() {
                    map.serialize_entry("metadata", &MetadataMap(metadata))?;
                }
            }
            Self::Help { links } => {
                map.serialize_entry("@type", "type.googleapis.com/google.rpc.Help")?;
                map.serialize_entry("links", links)?;
            }
            Self::RetryInfo(delay) => {
                map.serialize_entry("@type", "type.googleapis.com/google.rpc.RetryInfo")?;
                map.serialize_entry("retryDelay", &proto_duration(*delay))?;
            }
        }
        map.end()
    }
}

/// One link of a `Help` detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The subject of the page.
    pub description: Cow<'static, str>,
    /// The address.
    pub url: Cow<'static, str>,
}

/// An error of upstream's under another code or name: `code`, `message`, `status`, then the `others`,
/// all but `code` and `status` as upstream wrote them.
pub fn restated(
    code: StatusCode,
    status: &str,
    message: &RawValue,
    others: Vec<(&str, &RawValue)>,
) -> Bytes {
    let error = RestatedError { code: code.as_u16(), message, status, others };
    // Strings, numbers and valid raw JSON only: this cannot fail.
    let text = serde_json::to_string(&ErrorBody { error }).unwrap_or_default();
    Bytes::from(escape_separators(text))
}

/// The name of `google.rpc.Code` that goes with an HTTP status (`docs/ERRORS.md`).
///
/// 405 and 413 have no code of their own and take the nearest one.
pub fn canonical(code: StatusCode) -> &'static str {
    match code.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 | 410 => "NOT_FOUND",
        405 | 501 => "UNIMPLEMENTED",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        412 => "FAILED_PRECONDITION",
        416 => "OUT_OF_RANGE",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        400..=498 => "INVALID_ARGUMENT",
        502 | 503 => "UNAVAILABLE",
        500..=599 => "INTERNAL",
        _ => "UNKNOWN",
    }
}

/// An error as the one element of an array, as array streams have it (`docs/API.md`).
pub fn as_array(error: &Bytes) -> Bytes {
    let mut array = BytesMut::with_capacity(error.len() + 2);
    array.put_u8(b'[');
    array.put_slice(error.trim_ascii());
    array.put_u8(b']');
    array.freeze()
}

#[derive(Serialize)]
struct ErrorBody<T> {
    error: T,
}

struct RestatedError<'a> {
    code: u16,
    message: &'a RawValue,
    status: &'a str,
    others: Vec<(&'a str, &'a RawValue)>,
}

impl Serialize for RestatedError<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &self.code)?;
        map.serialize_entry("message", self.message)?;
        map.serialize_entry("status", self.status)?;
        for (name, raw) in &self.others {
            map.serialize_entry(name, raw)?;
        }
        map.end()
    }
}

struct MetadataMap<'a>(&'a [(Cow<'static, str>, String)]);

impl Serialize for MetadataMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// Decimal seconds and an `s`, at most nine digits after the point: `12s`, `0.539477544s`.
fn proto_duration(delay: Duration) -> String {
    let (seconds, nanos) = (delay.as_secs(), delay.subsec_nanos());
    if nanos == 0 {
        return format!("{seconds}s");
    }
    let fraction = format!("{nanos:09}");
    format!("{seconds}.{}s", fraction.trim_end_matches('0'))
}

/// Escapes raw U+2028, U+2029 and U+0085, each of which breaks an official SDK
/// (`docs/reference/clients.md` R3). JSON allows them only inside strings, where the escape has the
/// same meaning.
fn escape_separators(text: String) -> String {
    if !text.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
        return text;
    }
    text.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_come_in_googles_order() {
        let status = Status::new(StatusCode::TOO_MANY_REQUESTS, "slow \"down\"")
            .with(Detail::ErrorInfo {
                reason: "RATE_LIMITED".into(),
                domain: "code-assist-proxy".into(),
                metadata: vec![("limit".into(), "5".to_owned())],
            })
            .with(Detail::RetryInfo(Duration::from_millis(1500)))
            .with(Detail::Help {
                links: vec![Link { description: "Read".into(), url: "https://example.com".into() }],
            });
        assert_eq!(
            status.to_json(),
            concat!(
                r#"{"error":{"code":429,"message":"slow \"down\"","status":"RESOURCE_EXHAUSTED","#,
                r#""details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","#,
                r#""reason":"RATE_LIMITED","domain":"code-assist-proxy","metadata":{"limit":"5"}},"#,
                r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.5s"},"#,
                r#"{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"Read","#,
                r#""url":"https://example.com"}]}]}}"#,
            )
        );
    }

    #[test]
    fn without_details_there_is_no_details_key() {
        assert_eq!(
            Status::new(StatusCode::NOT_FOUND, "no").to_json(),
            r#"{"error":{"code":404,"message":"no","status":"NOT_FOUND"}}"#
        );
    }

    #[test]
    fn a_restated_error_keeps_its_message_and_other_members_as_they_were_written() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let (message, details) = (raw(r#""\u00e9 é""#), raw(r#"[{ "b":1.0, "a" : 2 }]"#));
        assert_eq!(
            restated(StatusCode::NOT_FOUND, "NOT_FOUND", &message, vec![("details", &*details)]),
            r#"{"error":{"code":404,"message":"\u00e9 é","status":"NOT_FOUND","details":[{ "b":1.0, "a" : 2 }]}}"#
        );
    }

    #[test]
    fn line_separators_are_escaped() {
        assert_eq!(
            Status::new(StatusCode::BAD_REQUEST, "a\u{2028}b\u{2029}c\u{85}d").to_json(),
            r#"{"error":{"code":400,"message":"a\u2028b\u2029c\u0085d","status":"INVALID_ARGUMENT"}}"#
        );
    }

    #[test]
    fn every_http_status_has_a_name() {
        for (code, name) in [
            (302, "UNKNOWN"),
            (400, "INVALID_ARGUMENT"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (405, "UNIMPLEMENTED"),
            (408, "DEADLINE_EXCEEDED"),
            (409, "ABORTED"),
            (413, "INVALID_ARGUMENT"),
            (415, "INVALID_ARGUMENT"),
            (429, "RESOURCE_EXHAUSTED"),
            (499, "CANCELLED"),
            (500, "INTERNAL"),
            (501, "UNIMPLEMENTED"),
            (502, "UNAVAILABLE"),
            (503, "UNAVAILABLE"),
            (504, "DEADLINE_EXCEEDED"),
            (599, "INTERNAL"),
            (999, "UNKNOWN"),
        ] {
            assert_eq!(canonical(StatusCode::from_u16(code).unwrap()), name, "{code}");
        }
    }

    #[test]
    fn durations_are_written_as_proto_has_them() {
        for (delay, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_secs(69_287), "69287s"),
            (Duration::from_millis(69_287_200), "69287.2s"),
            (Duration::from_nanos(539_477_544), "0.539477544s"),
        ] {
            assert_eq!(proto_duration(delay), text);
        }
    }

    #[test]
    fn the_array_form_ends_with_its_bracket() {
        assert_eq!(as_array(&Bytes::from_static(b" {\"error\":{}}\n")), "[{\"error\":{}}]");
    }
}
