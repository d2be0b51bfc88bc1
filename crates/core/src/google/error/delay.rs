//! Delays that upstream states: in `Retry-After`, in durations of Go and protobuf, and in prose.

use std::time::Duration;

use http::{HeaderMap, header};

use super::find_ignoring_case;

/// `Retry-After` in seconds. A date would need a clock, and Google sends none.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(seconds.parse().unwrap_or(u64::MAX)).min(LONGEST_DELAY))
}

/// The delay that a sentence states, such as `Please retry in 56.18s.`
pub(super) fn delay_in(message: &str) -> Option<Duration> {
    let after = |phrase: &&str| {
        let at = find_ignoring_case(message, phrase)?;
        let (delay, _) = leading_duration(message[at + phrase.len()..].trim_start())?;
        Some(delay)
    };
    DELAY_PHRASES.iter().find_map(after)
}

/// A whole string as a duration: Go's `9h22m20s` and `539.47ms`, protobuf's `12.5s`.
pub(super) fn duration(text: &str) -> Option<Duration> {
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

/// The number at the start of a text (digits with at most one point between them), and what follows
/// it.
pub(super) fn leading_number(text: &str) -> Option<(f64, &str)> {
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

/// In lower case (`docs/reference/protocol.md` 7.3).
const DELAY_PHRASES: [&str; 6] =
    ["retry in", "reset after", "resets in", "reset in", "retry after", "try again in"];

/// Of two units with the same beginning, the longer one comes first.
const UNITS: [(&str, f64); 7] = [
    ("h", 3600.0),
    ("ms", 1e-3),
    ("m", 60.0),
    ("s", 1.0),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ns", 1e-9),
];

/// No quota of Google's lasts longer than a month: a longer delay is an error in the answer.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(31 * 24 * 3600);
