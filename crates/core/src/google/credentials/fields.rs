//! Members of credential JSON, in the spellings that Google's tools and others write.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::time::Timestamp;

/// The text of the first of `names` that is there, trimmed; `None` when it is empty.
pub(super) fn secret(object: &Map<String, Value>, names: &[&str]) -> Option<SecretString> {
    let text = names.iter().find_map(|name| object.get(*name).and_then(Value::as_str))?;
    (!text.trim().is_empty()).then(|| text.trim().to_owned().into())
}

/// An expiry in milliseconds, in seconds, as a numeric string or in RFC 3339: tools differ
/// (`docs/reference/protocol.md` 1.8).
pub(super) fn expiry(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => number.as_f64().and_then(instant),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) => instant(number),
            Err(_) => rfc3339(text.trim()),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number below 1e11 is in seconds, a larger one in milliseconds.
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
        // Python's google-auth writes UTC without an offset.
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        jiff::tz::Offset::UTC.to_timestamp(civil).ok()
    })?;
    u64::try_from(stamp.as_millisecond()).ok().map(Timestamp)
}

/// `expires_in`, as a number or as a string that holds one.
pub(super) fn seconds(value: &Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (0.0..1e9).contains(&number).then(|| Duration::from_secs_f64(number))
}
