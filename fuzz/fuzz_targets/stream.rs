//! A client of the whole proxy reads the same answer wherever the network cuts upstream's stream, and
//! an array client reads one JSON array.
#![no_main]

use bytes::Bytes;
use code_assist_testkit::client::{Answer, ask, post};
use code_assist_testkit::google::google_but;
use code_assist_testkit::script::{Piece, Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let cut = usize::from(*cut) + 1;
    for query in ["?alt=sse", ""] {
        let whole = answer(stream, usize::MAX, query);
        let in_pieces = answer(stream, cut, query);
        assert_eq!(in_pieces.status, whole.status, "in pieces of {cut}");
        assert_eq!(in_pieces.pieces.concat(), whole.pieces.concat(), "in pieces of {cut}");
        if query.is_empty() && !is_beyond_serde(stream) {
            let array = whole.pieces.concat();
            serde_json::from_slice::<Vec<Value>>(&array).expect("an array client gets an array");
        }
    }
});

/// The answer to a streamed request for which upstream sends these bytes.
fn answer(stream: &[u8], piece: usize, query: &str) -> Answer {
    let chunks: Vec<Bytes> = stream.chunks(piece).map(Bytes::copy_from_slice).collect();
    let script = ScriptedPlatform::new(google_but(move |request| {
        let chunks = chunks.iter().cloned().map(Piece::Data);
        request.is(":streamGenerateContent?alt=sse").then(|| Reply::pieces(chunks))
    }));
    script.write_login(login("ya29.fuzz", "1//refresh", 3600));
    let proxy = proxy_with(&script, SETTINGS);
    let path = format!("/v1beta/models/gemini-2.5-pro:streamGenerateContent{query}");
    script.run(&proxy, ask(&proxy, &script, post(&path, r#"{"contents":[]}"#)))
}

/// True for JSON that the proxy accepts and serde_json does not read: deeper than 128 levels, with
/// lone surrogates, or with bytes that are no UTF-8.
fn is_beyond_serde(data: &[u8]) -> bool {
    let deep = data.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > 100;
    let surrogate =
        data.windows(3).any(|w| w[0] == b'\\' && w[1] == b'u' && matches!(w[2], b'd' | b'D'));
    deep || surrogate || std::str::from_utf8(data).is_err()
}

const SETTINGS: &[(&str, &str)] = &[
    ("GEMINI_PROJECT_ID", "my-project"),
    ("MAX_RETRY_ATTEMPTS", "0"),
    ("VALIDATE_TOKENS_BEFORE_USE", "false"),
];
