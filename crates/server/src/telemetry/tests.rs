use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{fmt, registry};

use super::line::{JsonLine, JsonMembers};

#[test]
fn a_json_line_equals_that_of_tracing_subscriber() {
    let log_events = || {
        tracing::info!(
            target: "request",
            id = "q\"\\\u{1}ü\u{2028}",
            millis = 87.342_f64,
            whole = 3.0_f64,
            small = 1e-7_f64,
            none = f64::NAN,
            status = 200_u16,
            below = -3_i64,
            long = u64::MAX,
            stream = true,
            shown = %"a b",
            debugged = ?Some("c"),
            "request"
        );
        tracing::warn!("no fields but {}", "words with \"quotes\"\n");
        tracing::error!(why = &io::Error::other("it failed") as &(dyn std::error::Error + 'static));
    };
    let actual = Sink::default();
    let sink = actual.clone();
    let lines = fmt::layer().with_writer(move || sink.clone()).event_format(JsonLine);
    with_default(registry().with(lines), log_events);

    let expected = Sink::default();
    let sink = expected.clone();
    let lines = fmt::layer().with_writer(move || sink.clone()).json().flatten_event(true);
    let lines = lines.with_current_span(false).with_span_list(false);
    with_default(registry().with(lines), log_events);

    assert_eq!(actual.untimed(), expected.untimed());
    assert_eq!(actual.untimed().len(), 3);
}

#[test]
fn a_line_inside_a_span_has_the_fields_of_the_span() {
    let actual = Sink::default();
    let sink = actual.clone();
    let lines = fmt::layer().with_writer(move || sink.clone());
    let lines = lines.fmt_fields(JsonMembers).event_format(JsonLine);
    with_default(registry().with(lines), || {
        let one = tracing::info_span!("request", request_id = "req_1");
        let other = tracing::info_span!("request", request_id = "a\"b");
        one.in_scope(|| tracing::warn!(target: "t", "first"));
        other.in_scope(|| tracing::warn!(target: "t", "second"));
        one.in_scope(|| tracing::warn!(target: "t", "third"));
        tracing::warn!(target: "t", "outside");
    });
    assert_eq!(
        actual.untimed(),
        [
            r#","level":"WARN","message":"first","target":"t","request_id":"req_1"}"#,
            r#","level":"WARN","message":"second","target":"t","request_id":"a\"b"}"#,
            r#","level":"WARN","message":"third","target":"t","request_id":"req_1"}"#,
            r#","level":"WARN","message":"outside","target":"t"}"#,
        ]
    );
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    /// Checks the time of each line, and returns the lines without it.
    fn untimed(&self) -> Vec<String> {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8(text.clone()).expect("UTF-8");
        let untimed = text.lines().map(|line| {
            let rest = line.strip_prefix(r#"{"timestamp":"20"#).expect("a time");
            let (time, rest) = rest.split_once("Z\"").expect("UTC");
            assert_eq!(time.len(), "26-11-23T03:24:35.395232".len(), "{time}");
            rest.to_owned()
        });
        untimed.collect()
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
