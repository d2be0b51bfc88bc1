//! Google as a closure: enough of OAuth and Code Assist for whole requests over a
//! [`ScriptedPlatform`](crate::script::ScriptedPlatform). The emulator is the strict stand-in for Google.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::script::{Piece, Received, Reply};

/// Answers every call a proxy makes: a token that lives an hour, a project, one sentence.
pub fn google() -> impl FnMut(&Received) -> Reply + Send + 'static {
    let issued = Arc::new(AtomicUsize::new(0));
    move |request| answer(request, &issued)
}

/// Like [`google`], except for the requests that `special` answers.
pub fn google_but(
    mut special: impl FnMut(&Received) -> Option<Reply> + Send + 'static,
) -> impl FnMut(&Received) -> Reply + Send + 'static {
    let mut otherwise = google();
    move |request| special(request).unwrap_or_else(|| otherwise(request))
}

/// A stream of SSE events with these payloads, each in a chunk of its own.
pub fn sse(payloads: &[&str]) -> Reply {
    Reply::pieces(
        payloads.iter().map(|payload| Piece::Data(format!("data: {payload}\r\n\r\n").into())),
    )
}

/// An event with this text, in Code Assist's envelope.
pub fn event(text: &str) -> String {
    format!(
        r#"{{"response":{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"{text}"}}]}}}}],"responseId":"r1"}},"traceId":"t1"}}"#
    )
}

/// The last event of a stream: it has a finish reason.
pub fn last_event(text: &str) -> String {
    format!(
        r#"{{"response":{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"{text}"}}]}},"finishReason":"STOP"}}],"responseId":"r1"}},"traceId":"t1"}}"#
    )
}

fn answer(request: &Received, issued: &AtomicUsize) -> Reply {
    if request.is("/token") {
        let serial = issued.fetch_add(1, Relaxed) + 1;
        let token = format!(r#"{{"access_token":"ya29.new-{serial}","expires_in":3599}}"#);
        return Reply::ok(token);
    }
    if request.is("/tokeninfo") {
        return Reply::ok(r#"{"expires_in":"1800"}"#);
    }
    if request.is(":loadCodeAssist") {
        return Reply::ok(
            r#"{"currentTier":{"id":"standard-tier"},"cloudaicompanionProject":"found-project"}"#,
        );
    }
    if request.is(":retrieveUserQuota") {
        return Reply::ok(r#"{"buckets":[{"modelId":"gemini-9-test"}]}"#);
    }
    if request.is(":countTokens") {
        return Reply::ok(r#"{"totalTokens":7}"#);
    }
    if request.is(":streamGenerateContent?alt=sse") {
        return sse(&[&event("Hel"), &last_event("lo")]);
    }
    if request.is(":generateContent") {
        return Reply::ok(
            r#"{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]},"finishReason":"STOP"}]},"traceId":"t1"}"#,
        );
    }
    Reply::status(404, "<html>not found</html>")
}
