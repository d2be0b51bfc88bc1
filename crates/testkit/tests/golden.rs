//! Bytes in, bytes out, in folders that a person can open: `golden/<case>/`.
//!
//! | given | expected |
//! |---|---|
//! | `request.json`, a client's generateContent | `wrapped.json`, what goes upstream |
//! | `count.request.json`, a client's countTokens | `wrapped.json` |
//! | `event.json`, one event from upstream | `client.json`, what the client gets of it |
//!
//! and `dropped.txt`, the paths that were removed, where there are any. Compared byte for byte.
//! With `GOLDEN_WRITE` set the expectations are written instead: read the diff.

use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use code_assist_core::provider::code_assist::adapt;
use code_assist_core::provider::code_assist::envelope::{open, wrap_count, wrap_generate};

#[test]
fn every_golden_case_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        for (name, got) in outcome(&folder) {
            let path = folder.join(name);
            if std::env::var_os("GOLDEN_WRITE").is_some() {
                fs::write(&path, &got).unwrap();
            }
            let expected = fs::read(&path).unwrap_or_default();
            if got != expected {
                let [got, expected] = [&got[..], &expected].map(String::from_utf8_lossy);
                failures
                    .push(format!("{}\n  got      {got}\n  expected {expected}", path.display()));
            }
        }
        cases += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(cases >= 20, "only {cases} cases");
}

/// The files that a case's given file leads to.
fn outcome(folder: &Path) -> Vec<(&'static str, Bytes)> {
    let given = |name: &str| fs::read(folder.join(name)).ok().map(Bytes::from);
    if let Some(event) = given("event.json") {
        let opened = open(&event, None).expect("an event");
        let line = opened.response.map(|response| {
            let mut line = BytesMut::new();
            response.write_line(&mut line);
            line.freeze()
        });
        return vec![("client.json", line.or(opened.error).expect("an answer or an error"))];
    }
    let (wrapped, dropped) = if let Some(body) = given("request.json") {
        let rewritten = adapt::generate(&body).expect("a request");
        let wrapped = wrap_generate("gemini-2.5-pro", "my-project", "prompt-1", rewritten.request);
        (wrapped, rewritten.dropped)
    } else {
        let body = given("count.request.json").expect("a case has a given file");
        let rewritten = adapt::count(&body, "gemini-2.5-pro").expect("a request");
        (wrap_count(rewritten.request), rewritten.dropped)
    };
    let mut files = vec![("wrapped.json", wrapped.to_bytes())];
    if !dropped.is_empty() || folder.join("dropped.txt").exists() {
        files.push(("dropped.txt", (dropped.join("\n") + "\n").into()));
    }
    files
}
