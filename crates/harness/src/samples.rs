//! Requests that clients send, and answers that Code Assist gives.

use crate::upstream::ScriptedUpstream;

/// A whole answer with a length.
pub fn ok(body: &str) -> String {
    answer("200 OK", body)
}

/// A whole answer with this status and a length.
pub fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// An upstream that streams these events and ends cleanly.
pub fn streaming(events: &'static [&'static str]) -> ScriptedUpstream {
    ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        for event in events {
            connection.chunk(format!("data: {event}\r\n\r\n"));
        }
        connection.end();
    })
}

/// A request for a whole answer.
pub const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
/// A request for a stream of events.
pub const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
/// A request for a stream in a JSON array.
pub const ARRAY: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
/// A request for a count of tokens.
pub const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
/// A path of the provider's own protocol, which is passed on.
pub const OWN: &str = "/v1internal:generateContent";
/// A prompt.
pub const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;

/// A whole answer of Code Assist's.
pub const WHOLE: &str = r#"{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"all"}]},"finishReason":"STOP"}]}}"#;
/// An event that is followed by others.
pub const EVENT: &str =
    r#"{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"some"}]}}]}}"#;
/// The last event of a stream.
pub const LAST: &str = r#"{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"end"}]},"finishReason":"STOP"}]}}"#;
