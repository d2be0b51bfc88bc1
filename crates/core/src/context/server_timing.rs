//! The header `server-timing`.

use std::time::Duration;

use http::HeaderValue;

use super::Timings;
use crate::request_texts::RequestTexts;
use crate::time::micros;

/// The value of `server-timing`, in milliseconds.
pub(super) fn header(
    timings: &Timings,
    overhead: Duration,
    texts: &mut RequestTexts,
) -> HeaderValue {
    let mut timing = ServerTiming { text: [0; SERVER_TIMING], len: 0 };
    for (name, took) in [
        ("auth;dur=", timings.auth),
        (", queue;dur=", timings.queue),
        (", upstream;dur=", timings.upstream),
        (", proxy;dur=", overhead),
    ] {
        timing.push_millis(name, took);
    }
    texts.header(&timing.text[..timing.len])
}

/// The value of `server-timing` while it is written. Written with `write!` into a `String`, the four
/// times were a twentieth of the proxy's own work for a small request.
struct ServerTiming {
    text: [u8; SERVER_TIMING],
    len: usize,
}

impl ServerTiming {
    fn push_millis(&mut self, name: &str, took: Duration) {
        let micros = micros(took);
        self.push(name.as_bytes());
        self.push_number(micros / 1000);
        let digit = |place| b'0' + (micros / place % 10) as u8;
        self.push(&[b'.', digit(100), digit(10), digit(1)]);
    }

    fn push(&mut self, more: &[u8]) {
        self.text[self.len..][..more.len()].copy_from_slice(more);
        self.len += more.len();
    }

    fn push_number(&mut self, number: u64) {
        if number >= 10 {
            self.push_number(number / 10);
        }
        self.push(&[b'0' + (number % 10) as u8]);
    }
}

/// Room for four durations of up to twenty digits each, longer than any there can be.
const SERVER_TIMING: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Monotonic;

    #[test]
    fn server_timing_is_in_milliseconds_to_the_microsecond() {
        let timings = Timings {
            auth: Duration::from_micros(7),
            queue: Duration::from_nanos(19_000_499),
            upstream: Duration::from_nanos(90_050_500),
            answered: Some(Monotonic(200_000)),
            ..Timings::default()
        };
        let written = |timings: Timings| {
            let overhead = timings.overhead(Monotonic(0), Monotonic(0));
            header(&timings, overhead, &mut RequestTexts::default())
        };
        let expected = "auth;dur=0.007, queue;dur=19.000, upstream;dur=90.051, proxy;dur=90.942";
        assert_eq!(written(timings), expected);
        let timing = written(Timings { queue: Duration::ZERO, ..timings });
        assert!(timing.to_str().unwrap().contains("queue;dur=0.000, "));
        let longest = Duration::from_secs(u64::MAX / 1_000_000_000);
        assert!(written(Timings { upstream: longest, ..timings }).to_str().is_ok());
    }
}
