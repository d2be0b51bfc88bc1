//! The audit log of the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder, get, post};
use serde_json::Value;

use crate::{GENERATE, HELLO, STREAM};

#[test]
fn each_request_to_a_model_has_a_line_answered_or_refused_and_no_other_has_one() {
    let google = GoogleEmulator::start();
    let mut proxy = audited(&google).env("PROXY_API_KEYS", format!("ada:{KEY}")).start();
    let key = format!("x-goog-api-key: {KEY}");
    let trace = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01");
    let headers = [key.as_str(), "x-request-id: mine", &trace];
    assert_eq!(proxy.send(post(GENERATE, &headers, HELLO)).status(), 200);
    assert_eq!(proxy.send(post(STREAM, &[&key], HELLO)).status(), 200);
    assert_eq!(proxy.send(post(GENERATE, &["x-goog-api-key: wrong"], HELLO)).status(), 401);
    assert_eq!(proxy.send(get("/v1beta/models", &[&key])).status(), 200);
    assert_eq!(proxy.get("/health").status(), 200);
    proxy.signal("TERM");
    assert_eq!(proxy.wait_for_exit(Duration::from_secs(10)).code(), Some(0));
    let lines = lines(&proxy.path("audit.log"));
    assert_eq!(lines.len(), 3, "{lines:?}");
    let first = &lines[0];
    assert_eq!((&first["request_id"], &first["trace_id"]), (&"mine".into(), &TRACE.into()));
    assert_eq!((&first["caller"], &first["dialect"]), (&"ada".into(), &"gemini".into()));
    assert_eq!(
        (&first["operation"], &first["model"]),
        (&"generateContent".into(), &"gemini-2.5-flash".into())
    );
    assert_eq!((&first["status"], &first["outcome"]), (&200.into(), &"ok".into()));
    for tokens in ["prompt_tokens", "output_tokens"] {
        assert!(first[tokens].as_u64().is_some_and(|count| count > 0), "{first}");
    }
    assert!(first["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{first}");
    assert!(first["duration_ms"].as_f64().is_some_and(|it| it > 0.0), "{first}");
    assert_eq!(lines[1]["operation"], "streamGenerateContent");
    let refused = ["caller", "status", "outcome", "reason"].map(|name| &lines[2][name]);
    assert_eq!(
        refused,
        [&"127.0.0.1".into(), &Value::from(401), &"refused".into(), &"api_key_invalid".into()]
    );
    let text = fs::read_to_string(proxy.path("audit.log")).unwrap();
    assert!(!text.contains(KEY) && !text.contains("Hello"), "{text}");
    let mode = fs::metadata(proxy.path("audit.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_line_is_in_the_file_while_the_proxy_runs() {
    let google = GoogleEmulator::start();
    let proxy = audited(&google).start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    await_lines(&proxy.path("audit.log"), 1);
    proxy.kill();
}

#[test]
fn a_full_file_is_renamed_and_so_many_are_kept() {
    let google = GoogleEmulator::start();
    let builder = audited(&google).env("AUDIT_LOG_MAX_BYTES", "4096").env("AUDIT_LOG_FILES", "2");
    let mut proxy = builder.start();
    let mut connection = proxy.connect();
    for _ in 0..60 {
        assert_eq!(connection.send(post(GENERATE, &[], HELLO)).status(), 200);
    }
    drop(connection);
    proxy.signal("TERM");
    proxy.wait_for_exit(Duration::from_secs(10));
    for name in ["audit.log", "audit.log.1", "audit.log.2"] {
        let path = proxy.path(name);
        assert!(fs::metadata(&path).unwrap().len() <= 4096, "{name}");
        assert!(!lines(&path).is_empty(), "{name}");
    }
    assert!(!proxy.path("audit.log.3").exists());
}

#[test]
fn a_signal_opens_the_file_again_after_another_program_has_renamed_it() {
    let google = GoogleEmulator::start();
    let proxy = audited(&google).start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    let path = proxy.path("audit.log");
    await_lines(&path, 1);
    fs::rename(&path, proxy.path("renamed.log")).unwrap();
    proxy.signal("HUP");
    proxy.await_output("settings read again");
    await_lines(&path, 0);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    await_lines(&path, 1);
    assert_eq!(lines(&proxy.path("renamed.log")).len(), 1);
}

#[test]
fn a_proxy_whose_audit_log_cannot_be_written_does_not_start_and_says_why() {
    let builder = ProxyBuilder::without_upstream();
    builder.write("a-file", "");
    for (path, why) in [
        (builder.path("missing/audit.log"), "No such file or directory"),
        (builder.path("a-file/audit.log"), "Not a directory"),
        ("/dev/full".into(), "it is not a regular file"),
    ] {
        let path = path.to_str().unwrap();
        let output = builder.same_home_with_env("AUDIT_LOG", path).run_to_exit();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{printed}");
        let expected = format!("error: AUDIT_LOG: {path} cannot be written: {why}");
        assert!(printed.contains(&expected), "{printed}");
        assert!(printed.contains("unset AUDIT_LOG"), "{printed}");
    }
}

#[test]
fn on_a_full_disk_requests_go_on_and_lost_lines_are_counted_logged_and_shown() {
    let google = GoogleEmulator::start();
    let proxy = audited(&google).file_size_limit(4).start();
    let mut connection = proxy.connect();
    for _ in 0..20 {
        assert_eq!(connection.send(post(GENERATE, &[], HELLO)).status(), 200);
    }
    proxy.await_output("lines are missing in the audit log: File too large");
    let written = lines(&proxy.path("audit.log")).len() as u64;
    assert!((1..20).contains(&written), "{written}");
    let started = Instant::now();
    while lost(&proxy) < 20 - written {
        assert!(started.elapsed() < Duration::from_secs(10), "{} {written}", lost(&proxy));
        thread::sleep(Duration::from_millis(10));
    }
    let health = proxy.get("/health/detailed").json();
    assert_eq!(health["checks"]["audit_log"]["lines_lost"], 20 - written, "{health}");
    let reports = proxy.stdout().matches("lines are missing in the audit log").count();
    assert_eq!(reports, 1, "once a minute");
}

fn audited(google: &GoogleEmulator) -> ProxyBuilder {
    let builder = ProxyBuilder::for_emulator(google);
    let path = builder.path("audit.log").to_str().expect("the test's own data is good").to_owned();
    builder.env("AUDIT_LOG", path).env("REQUEST_DEDUP_WINDOW_MS", "0")
}

/// The count in the metrics.
fn lost(proxy: &Proxy) -> u64 {
    let metrics = proxy.get("/metrics").text();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("code_assist_proxy_audit_lines_lost_total "));
    line.expect("a count").parse().expect("the test's own data is good")
}

/// Whole lines of a file, each of them JSON.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the test's own data is good");
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("the test's own data is good"))
        .collect()
}

/// Waits until a file exists and has so many lines.
fn await_lines(path: &Path, count: usize) {
    let started = Instant::now();
    while !path.exists() || lines(path).len() < count {
        assert!(started.elapsed() < Duration::from_secs(10), "no {count} lines");
        thread::sleep(Duration::from_millis(5));
    }
}

const KEY: &str = "0123456789abcdef";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
