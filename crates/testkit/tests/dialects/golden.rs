//! Streams in and streams out: each folder `golden/<case>/` is a case, named after its row in
//! `docs/reference/dialects.md` 9.1.
//!
//! `request.txt` is the path and the body of a client's request, `upstream.txt` has the events of the
//! answer, one on each line, and `client.txt` is what the client gets. A case whose name ends in `_broken`
//! ends with a connection that breaks. Every case runs through [`Proxy::handle`] and the answer's body,
//! in every chunking. With `GOLDEN_WRITE` set the expectations are written instead: read the diff.
//!
//! [`Proxy::handle`]: code_assist_core::Proxy::handle

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use code_assist_testkit::client::Answer;
use code_assist_testkit::script::{Piece, Reply};
use serde_json::{Map, Value, json};

use crate::assembled::{assemble, whole};
use crate::fixture::{ALL, Api, Fixture};

/// A golden stream.
struct Case {
    folder: PathBuf,
    api: Api,
    request: String,
    events: Vec<String>,
    breaks: bool,
}

impl Case {
    fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects/golden");
        let mut folders: Vec<PathBuf> = fs::read_dir(root)
            .expect("the test's own data is good")
            .map(|entry| entry.expect("the test's own data is good").path())
            .collect();
        folders.sort();
        assert!(folders.len() >= 15, "only {} cases", folders.len());
        folders.into_iter().map(Self::read).collect()
    }

    fn read(folder: PathBuf) -> Self {
        let text = |name: &str| {
            fs::read_to_string(folder.join(name)).expect("the test's own data is good")
        };
        let request = text("request.txt");
        let (path, request) = request.split_once('\n').expect("the test's own data is good");
        let api =
            ALL.into_iter().find(|api| path == api.path()).expect("the test's own data is good");
        let events = text("upstream.txt").lines().map(str::to_owned).collect();
        let breaks = folder.to_string_lossy().ends_with("_broken");
        Self { api, request: request.to_owned(), events, breaks, folder }
    }

    fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Upstream's bytes of the stream.
    fn upstream(&self) -> Bytes {
        let line = |event: &String| format!("data: {}\r\n\r\n", enveloped(event));
        self.events.iter().map(line).collect::<String>().into()
    }

    fn reply(&self, chunks: impl IntoIterator<Item = Bytes>) -> Reply {
        let end = self.breaks.then(|| Piece::Break("reset".to_owned()));
        Reply::pieces(chunks.into_iter().map(Piece::Data).chain(end))
    }
}

fn enveloped(event: &str) -> String {
    match event.starts_with(r#"{"error""#) {
        true => event.to_owned(),
        false => format!(r#"{{"response":{event},"traceId":"t1"}}"#),
    }
}

/// A proxy whose upstream answers every call to a model with the next reply.
struct Replying {
    fixture: Fixture,
    next: Arc<Mutex<Option<Reply>>>,
}

impl Replying {
    fn new() -> Self {
        let next = Arc::new(Mutex::new(None));
        let replies = Arc::clone(&next);
        let fixture = Fixture::with(&[], move |request| {
            let is_call = request.line.contains("enerateContent");
            is_call.then(|| {
                replies.lock().expect("the test's own data is good").clone().expect("a reply")
            })
        });
        fixture.script.fix_random(7);
        Self { fixture, next }
    }

    fn ask(&self, case: &Case, request: &str, reply: Reply) -> Answer {
        *self.next.lock().expect("the test's own data is good") = Some(reply);
        self.fixture.ask(case.api.path(), request)
    }

    /// What a client gets: the answer's body, behind its status if that is not 200.
    fn streamed(&self, case: &Case, chunks: impl IntoIterator<Item = Bytes>) -> String {
        let answer = self.ask(case, &case.request, case.reply(chunks));
        match answer.status.as_u16() {
            200 => answer.text(),
            status => format!("{status}\n{}\n", answer.text()),
        }
    }
}

#[test]
fn every_golden_stream_is_the_same_wherever_the_network_cuts_it() {
    let mut failures = Vec::new();
    for case in Case::all() {
        let (subject, upstream) = (Replying::new(), case.upstream());
        let got = subject.streamed(&case, [upstream.clone()]);
        let path = case.folder.join("client.txt");
        if std::env::var_os("GOLDEN_WRITE").is_some() {
            fs::write(&path, &got).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if got != expected {
            failures.push(format!("{}\n  got {got}\n  expected {expected}", path.display()));
            continue;
        }
        for at in 1..upstream.len() {
            let cut = [upstream.slice(..at), upstream.slice(at..)];
            assert_eq!(subject.streamed(&case, cut), expected, "{}, cut at {at}", path.display());
        }
        for size in [1, 2, 3, 7, 64, 500] {
            let chunks = upstream.chunks(size).map(Bytes::copy_from_slice);
            let got = subject.streamed(&case, chunks);
            assert_eq!(got, expected, "{}, in chunks of {size}", path.display());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_golden_stream_put_together_is_the_answer_that_is_not_streamed() {
    let mut failed = Vec::new();
    for case in Case::all() {
        let subject = Replying::new();
        let streamed = subject.streamed(&case, [case.upstream()]);
        let what = case.folder.display();
        let is_error = streamed.starts_with(|letter: char| letter.is_ascii_digit());
        let assembled = (!is_error).then(|| assemble(case.api, &streamed).ok()).flatten();
        let Some(assembled) = assembled else {
            failed.push(case.name());
            continue;
        };
        let request = case.request.replace(r#""stream":true"#, r#""stream":false"#);
        let answer = subject.ask(&case, &request, Reply::ok(enveloped(&merged(&case.events))));
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        let mut whole = whole(case.api, &answer.text());
        if case.api == Api::Chat && assembled["usage"].is_null() {
            whole["usage"] = Value::Null;
        }
        assert_eq!(assembled, whole, "{what}");
    }
    let expected = [
        "16_chat_malformed_call_first",
        "16_chat_malformed_call_second",
        "17_chat_broken",
        "17_chat_without_end",
        "25_responses_broken",
        "25_responses_error",
        "32_messages_broken",
    ];
    assert_eq!(failed, expected, "these streams, and no others, end with an error");
}

/// The answer that Gemini gives at once where it would stream these events.
fn merged(events: &[impl AsRef<str>]) -> String {
    let (mut whole, mut candidate, mut parts) = (Map::new(), Map::new(), Vec::new());
    for event in events {
        let event: Map<String, Value> =
            serde_json::from_str(event.as_ref()).expect("the test's own data is good");
        for (key, value) in event {
            if key != "candidates" {
                whole.insert(key, value);
                continue;
            }
            for (key, value) in value[0].as_object().expect("the test's own data is good").clone() {
                candidate.insert(key, value);
            }
            parts.extend(value[0]["content"]["parts"].as_array().cloned().unwrap_or_default());
        }
    }
    if !candidate.is_empty() {
        candidate.insert("content".to_owned(), json!({"role": "model", "parts": parts}));
        whole.insert("candidates".to_owned(), json!([candidate]));
    }
    Value::Object(whole).to_string()
}
