//! Bytes in and bytes out: each folder `golden/<case>/` is a case.
//!
//! | given | expected |
//! |---|---|
//! | `request.json`, a client's generateContent | `wrapped.json`, what goes upstream |
//! | `count.request.json`, a client's countTokens | `wrapped.json` |
//! | `event.json`, one event from upstream | `client.json`, what the client gets of it |
//! | `stream.txt`, upstream's bytes of a stream | `client.sse.txt` and `client.array.txt` |
//!
//! Where fields were removed, `dropped.txt` has their paths. Every case runs through
//! [`Proxy::handle`] and the answer's body, and is compared byte for byte. With `GOLDEN_WRITE` set the
//! expectations are written instead: read the diff.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use code_assist_core::Proxy;
use code_assist_testkit::client::{Answer, ask, post};
use code_assist_testkit::google::google_but;
use code_assist_testkit::script::{Piece, Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};

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
    assert!(cases >= 24, "only {cases} cases");
}

/// The files that a case expects, as they are now.
fn outcome(folder: &Path) -> Vec<(&'static str, Bytes)> {
    let given = |name: &str| fs::read(folder.join(name)).ok().map(Bytes::from);
    if let Some(event) = given("event.json") {
        return vec![("client.json", event_for_client(&event))];
    }
    if let Some(stream) = given("stream.txt") {
        return vec![
            ("client.sse.txt", body(&streamed(&stream, "?alt=sse"))),
            ("client.array.txt", body(&streamed(&stream, ""))),
        ];
    }
    let (method, body) = match given("request.json") {
        Some(body) => ("generateContent", body),
        None => ("countTokens", given("count.request.json").expect("a case has a given file")),
    };
    let (answer, sent) = sent_upstream(method, &body);
    let mut files = vec![("wrapped.json", sent)];
    let dropped = answer.headers.get("x-proxy-dropped-fields");
    if dropped.is_some() || folder.join("dropped.txt").exists() {
        let dropped = dropped.map_or("", |paths| paths.to_str().expect("visible ASCII"));
        files.push(("dropped.txt", (dropped.replace(", ", "\n") + "\n").into()));
    }
    files
}

/// What goes upstream for a client's request, with a prompt id that does not change.
fn sent_upstream(method: &str, body: &Bytes) -> (Answer, Bytes) {
    let script = ScriptedPlatform::new(google_but(|_| None));
    let proxy = proxy(&script);
    let path = format!("/v1beta/models/gemini-2.5-pro:{method}");
    let text = std::str::from_utf8(body).expect("a request is UTF-8");
    let answer = script.run(&proxy, ask(&proxy, &script, post(&path, text)));
    let sent = script.received(&format!(":{method}"));
    let [sent] = &sent[..] else { panic!("{} {}", answer.status, answer.text()) };
    let id = r#""user_prompt_id":""#;
    let sent = match sent.body.find(id) {
        None => sent.body.clone(),
        Some(at) => {
            let (head, tail) = sent.body.split_at(at + id.len());
            format!("{head}prompt-1{}", &tail[UUID..])
        }
    };
    (answer, Bytes::from(sent))
}

/// What the client gets of one upstream event. An error that comes first is an HTTP error.
fn event_for_client(event: &Bytes) -> Bytes {
    let text = std::str::from_utf8(event).expect("an event is UTF-8");
    let lines: String = text.lines().map(|line| format!("data: {line}\r\n")).collect();
    let answer = streamed(&Bytes::from(lines + "\r\n"), "?alt=sse");
    if answer.status != 200 {
        return body(&answer);
    }
    let sent = body(&answer);
    let event = sent.strip_prefix(b"data: ").expect("an event");
    let event = event.strip_suffix(b"\r\n\r\n").expect("one event");
    Bytes::copy_from_slice(event)
}

/// The answer to a client when upstream sends these bytes in chunks of seven.
fn streamed(upstream: &Bytes, query: &str) -> Answer {
    let upstream = upstream.clone();
    let script = ScriptedPlatform::new(google_but(move |request| {
        request.is(":streamGenerateContent?alt=sse").then(|| {
            let pieces = upstream.chunks(7).map(Bytes::copy_from_slice);
            Reply::pieces(pieces.map(Piece::Data))
        })
    }));
    let proxy = proxy(&script);
    let path = format!("/v1beta/models/gemini-2.5-pro:streamGenerateContent{query}");
    let hello = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
    script.run(&proxy, ask(&proxy, &script, post(&path, hello)))
}

fn proxy(script: &ScriptedPlatform) -> Proxy {
    script.write_login(login("ya29.golden", "1//refresh", 3600));
    proxy_with(script, &[("GEMINI_PROJECT_ID", "my-project")])
}

/// The whole body of an answer.
fn body(answer: &Answer) -> Bytes {
    Bytes::from(answer.pieces.concat())
}

/// The length of a UUID.
const UUID: usize = 36;
