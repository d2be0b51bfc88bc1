//! A stream that is copied reaches the client byte for byte, wherever the network cuts it, and what is read
//! of it beside does not depend on the cuts.
#![no_main]

use bytes::Bytes;
use code_assist_core::internals::provider::gemini_api::observer::{
    Meaning, StreamForm, StreamObserver,
};
use code_assist_testkit::client::{Answer, ask, post};
use code_assist_testkit::script::{Piece, Reply, ScriptedPlatform};
use code_assist_testkit::subject::proxy_with;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let cut = usize::from(*cut) + 1;
    for (form, kind) in [
        (StreamForm::Sse, "text/event-stream"),
        (StreamForm::Array, "application/json; charset=UTF-8"),
    ] {
        assert_eq!(events(form, stream, cut), events(form, stream, usize::MAX), "{form:?}");
        // A short limit never breaks the copy, and never holds more than it and one chunk.
        let mut observer = StreamObserver::new(form, 64);
        for chunk in stream.chunks(cut) {
            observer.push(&Bytes::copy_from_slice(chunk));
            while observer.take_event().is_some() {}
            assert!(observer.held() <= 64 + chunk.len());
        }
        let answer = answer(stream, cut, kind);
        if answer.status == 200 {
            assert_eq!(answer.pieces.concat(), stream, "{form:?}");
        }
    }
});

/// All events of a stream, with what they mean.
fn events(form: StreamForm, stream: &[u8], piece: usize) -> Vec<(Bytes, Meaning)> {
    let mut observer = StreamObserver::new(form, usize::MAX);
    let mut found = Vec::new();
    for chunk in stream.chunks(piece) {
        observer.push(&Bytes::copy_from_slice(chunk));
        while let Some(event) = observer.take_event() {
            found.push((event.text.clone(), event.meaning()));
        }
    }
    observer.finish();
    while let Some(event) = observer.take_event() {
        found.push((event.text.clone(), event.meaning()));
    }
    found
}

/// The answer to a streamed request for which Google sends these bytes.
fn answer(stream: &[u8], piece: usize, kind: &'static str) -> Answer {
    let chunks: Vec<Bytes> = stream.chunks(piece).map(Bytes::copy_from_slice).collect();
    let script = ScriptedPlatform::new(move |_| {
        let chunks = chunks.iter().cloned().map(Piece::Data);
        Reply::pieces(chunks).with_header("content-type", kind)
    });
    let proxy = proxy_with(&script, SETTINGS);
    let path = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse";
    script.run(&proxy, ask(&proxy, &script, post(path, r#"{"contents":[]}"#)))
}

const SETTINGS: &[(&str, &str)] = &[
    ("UPSTREAMS", "gemini-api"),
    ("GEMINI_API_KEY", "a-key-0123456789"),
    ("GEMINI_API_ENDPOINT", "http://127.0.0.1:1"),
    ("MAX_RETRY_ATTEMPTS", "0"),
];
