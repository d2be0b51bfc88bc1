use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use code_assist_core::Peer;
use code_assist_testkit::client::{ask, post, with};
use code_assist_testkit::google::google_but;
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};
use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{fmt, registry};

use super::line::{JsonLine, RequestLines, with_request_line};

const JSON: JsonLine = JsonLine { wall_clock: SystemTime::now };

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
    let lines = fmt::layer().with_writer(move || sink.clone()).event_format(JSON);
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
fn a_line_of_a_request_has_its_ids() {
    let actual = Sink::default();
    let sink = actual.clone();
    let lines = fmt::layer().with_writer(move || sink.clone()).event_format(JSON);
    with_default(registry().with(lines), || {
        let script = ScriptedPlatform::new(google_but(|request| {
            assert!(!request.is(":generateContent"), "the test's own bug");
            None
        }));
        script.write_login(login("ya29.access", "1//refresh", 3600));
        let proxy = proxy_with(&script, &[]);
        for id in ["req-1", "req-2"] {
            let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
            let request = with(post(GENERATE, HELLO), "x-request-id", id);
            let request = with(request, "traceparent", trace);
            assert_eq!(script.run(&proxy, ask(&proxy, &script, request)).status, 500);
        }
        tracing::warn!(target: "t", "outside");
    });
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let lines = actual.untimed();
    let of_bug = |line: &&String| line.contains("a bug in the proxy");
    let mut bugs = lines.iter().filter(of_bug);
    for id in ["req-1", "req-2"] {
        let end = format!(r#"_core::proxy","request_id":"{id}","trace_id":"{trace}"}}"#);
        let bug = bugs.next().expect("a line for each request");
        assert!(bug.ends_with(&end), "{bug}");
    }
    let last = lines.last().expect("a line");
    assert_eq!(last, r#","level":"WARN","message":"outside","target":"t"}"#);
}

#[test]
fn the_line_of_a_request_is_the_one_that_its_event_would_have() {
    // Each line comes twice: as that of the request, and then as that of its event.
    let actual = Sink::default();
    let sink = actual.clone();
    let direct = actual.clone();
    let lines = fmt::layer().with_writer(move || sink.clone()).json().flatten_event(true);
    let lines = lines.with_current_span(false).with_span_list(false);
    with_default(registry().with(lines), || {
        let script = ScriptedPlatform::new(google_but(|request| {
            let answer = r#"{"traceId":"a\"b\\c\u0001ü","response":{"candidates":[]}}"#;
            request.is(":generateContent").then(|| Reply::ok(answer))
        }));
        script.write_login(login("ya29.access", "1//refresh", 3600));
        script.on_request_line(move |line| {
            let write = |line: &[u8]| direct.clone().write_all(line).expect("it never fails");
            with_request_line(line, SystemTime::now(), write);
        });
        let keys = [("PROXY_API_KEYS", "sk-of-a-client-of-ours,other-key-of-a-client")];
        for settings in [&[][..], &keys] {
            let proxy = proxy_with(&script, settings);
            for (path, body) in [
                (GENERATE, HELLO),
                ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", HELLO),
                ("/v1beta/models/gemini-2.5-pro:countTokens", HELLO),
                (GENERATE, "{"),
                ("/nothing", ""),
            ] {
                let mut request = post(path, body);
                let address = Some("192.0.2.7".parse().expect("an address"));
                request.extensions_mut().insert(Peer { address, admission: None });
                script.run(&proxy, ask(&proxy, &script, request));
            }
        }
    });
    let lines: Vec<String> = actual.untimed();
    let lines: Vec<&String> =
        lines.iter().filter(|line| line.contains("\"duration_ms\"")).collect();
    assert_eq!(lines.len(), 20);
    assert!(lines[0].contains(r#""google_trace_id":"a\"b\\c\u0001ü""#), "{}", lines[0]);
    for pair in lines.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
}

#[test]
fn lines_of_requests_share_their_second_and_have_their_own_microseconds() {
    let mut lines = RequestLines::EMPTY;
    for (second, micros, expected) in [
        (1_764_000_000, 0, "2025-11-24T16:00:00.000000Z"),
        (1_764_000_000, 999_999, "2025-11-24T16:00:00.999999Z"),
        (1_764_000_001, 42, "2025-11-24T16:00:01.000042Z"),
        (1_763_999_999, 1, "2025-11-24T15:59:59.000001Z"),
    ] {
        let now = Duration::new(second, micros * 1000);
        let line = lines.line(now, |json| json.extend_from_slice(b",\"a\":1"));
        let expected = format!(
            "{{\"timestamp\":\"{expected}\",\"level\":\"INFO\",\"a\":1,\"target\":\"request\"}}\n"
        );
        assert_eq!(str::from_utf8(line), Ok(&*expected));
    }
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;

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

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
