//! One clock for all processes of a run: upstream writes a timestamp into each event, and the driver
//! reads it.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the machine's monotonic clock, the same in every process.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * SECOND + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// A timestamp as it stands in an event: 20 digits, so that all events have the same length.
pub(crate) fn stamp(now: u64) -> String {
    format!("@{now:020}@")
}

/// Finds timestamps in a text that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct TimestampReader {
    digits: Option<(u64, usize)>,
}

impl TimestampReader {
    /// Calls `found` with every timestamp that ends in `piece`.
    pub(crate) fn read(&mut self, mut piece: &[u8], mut found: impl FnMut(u64)) {
        while !piece.is_empty() {
            match &mut self.digits {
                None => {
                    let Some(at) = memchr::memchr(b'@', piece) else { return };
                    piece = &piece[at + 1..];
                    self.digits = Some((0, 0));
                }
                Some((value, count)) => {
                    let byte = piece[0];
                    piece = &piece[1..];
                    if byte.is_ascii_digit() && *count < DIGITS {
                        *value = *value * 10 + u64::from(byte - b'0');
                        *count += 1;
                        continue;
                    }
                    if byte == b'@' && *count == DIGITS {
                        found(*value);
                    }
                    self.digits = None;
                }
            }
        }
    }
}

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Nanoseconds in a microsecond.
pub(crate) const MICRO: f64 = 1000.0;

const DIGITS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_found_wherever_the_text_is_cut() {
        let text = format!("a{}b{}c", stamp(17), stamp(123_456_789));
        for cut in 0..text.len() {
            let (mut stamps, mut found) = (TimestampReader::default(), Vec::new());
            stamps.read(&text.as_bytes()[..cut], |stamp| found.push(stamp));
            stamps.read(&text.as_bytes()[cut..], |stamp| found.push(stamp));
            assert_eq!(found, [17, 123_456_789], "cut at {cut}");
        }
    }
}
