use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use code_assist_core::{TokenUsage, TraceId};
use tempfile::TempDir;

use super::*;

#[test]
fn a_line_has_what_was_used_and_by_whom() {
    let line = line::of(SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_000), &record("r1"));
    assert_eq!(
        String::from_utf8(line).unwrap(),
        concat!(
            r#"{"time":"1970-01-01T00:00:01.500000Z","request_id":"r1","#,
            r#""trace_id":"0000000000000000000000000000001f","caller":"ada","dialect":"gemini","#,
            r#""operation":"generateContent","model":"gemini-2.5-flash","upstream":"","status":200,"#,
            r#""outcome":"ok","reason":"","prompt_tokens":5,"cached_tokens":4,"output_tokens":3,"#,
            r#""thought_tokens":2,"duration_ms":12.346}"#,
            "\n"
        )
    );
}

#[test]
fn a_full_file_is_renamed_and_the_oldest_one_is_removed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.log");
    let mut file = AuditFile::open(&path, 10, 2).unwrap();
    for line in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n", "ffff\n", "gggg\n"] {
        file.append(line.as_bytes()).unwrap();
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
    assert_eq!(read("audit.log").as_deref(), Some("gggg\n"));
    assert_eq!(read("audit.log.1").as_deref(), Some("eeee\nffff\n"));
    assert_eq!(read("audit.log.2").as_deref(), Some("cccc\ndddd\n"));
    assert_eq!(read("audit.log.3"), None);
    for name in ["audit.log", "audit.log.1"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_line_that_is_longer_than_a_file_may_be_is_written_whole() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.log");
    let mut file = AuditFile::open(&path, 3, 0).unwrap();
    file.append(b"aaaa\n").unwrap();
    file.append(b"bbbb\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "bbbb\n");
    assert!(!folder.path().join("audit.log.1").exists());
}

#[test]
fn the_half_line_of_a_killed_process_spoils_no_other_line() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.log");
    fs::write(&path, "whole\nhal").unwrap();
    let mut file = AuditFile::open(&path, 1000, 1).unwrap();
    file.append(b"next\n").unwrap();
    drop(file);
    let mut file = AuditFile::open(&path, 1000, 1).unwrap();
    file.append(b"last\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nhal\nnext\nlast\n");
}

#[test]
fn a_file_that_others_could_read_is_made_private_and_a_link_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.log");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    AuditFile::open(&path, 1000, 1).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = AuditFile::open(&link, 1000, 1).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
}

#[test]
fn every_line_is_on_the_disk_when_the_guard_is_gone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.log");
    let (log, guard) = AuditLog::open(&settings(&path)).unwrap();
    for number in 0..1000 {
        log.write(SystemTime::now(), record(&format!("r{number}")));
    }
    drop(guard);
    let text = fs::read_to_string(&path).unwrap();
    let ids: Vec<String> = text
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["request_id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids, (0..1000).map(|number| format!("r{number}")).collect::<Vec<_>>());
    assert_eq!(log.lost(), 0);
}

#[test]
fn lines_that_do_not_fit_into_the_queue_are_counted_and_no_request_waits() {
    // No thread takes anything out of this queue.
    let log = AuditLog { shared: Arc::default() };
    for _ in 0..LONGEST_QUEUE + 3 {
        log.write(SystemTime::now(), record("r"));
    }
    assert_eq!(log.lost(), 3);
}

fn settings(path: &Path) -> AuditSettings {
    let path = path.to_str().expect("the test's own data is good").to_owned();
    AuditSettings { path, max_bytes: 100 << 20, files: 10 }
}

fn record(id: &str) -> RequestRecord {
    RequestRecord {
        request_id: id.to_owned(),
        trace: TraceId(0x1f),
        spans: None,
        duration: Duration::from_nanos(12_345_678),
        asks_model: true,
        caller: "ada".to_owned(),
        dialect: "gemini",
        operation: "generateContent",
        stream: false,
        model: "gemini-2.5-flash".into(),
        upstream: String::new(),
        status: 200,
        outcome: "ok",
        error: None,
        usage: TokenUsage { prompt: 5, output: 3, thoughts: 2, cached: 4 },
    }
}
