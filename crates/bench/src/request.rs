//! The driver's requests. A word in the prompt, which every contender forwards, tells upstream what
//! to answer.

use bytes::{BufMut, Bytes, BytesMut};
use clap::ValueEnum;

/// The API in which a contender is called. Upstream receives nearly the same bytes from each: a
/// contender that does not translate gets Code Assist's body from the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RequestFormat {
    /// Code Assist's API.
    CodeAssist,
    /// The public Gemini API.
    Gemini,
    /// OpenAI's Chat Completions.
    OpenaiChat,
    /// OpenAI's Responses.
    OpenaiResponses,
    /// Anthropic's Messages.
    Anthropic,
}

/// What upstream answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResponsePlan {
    /// Events of a stream; 0 is one answer of 2 KiB.
    pub(crate) events: u32,
    /// Milliseconds between two events; 0 sends all at once.
    pub(crate) interval_ms: u32,
}

impl ResponsePlan {
    /// One answer, no stream.
    pub(crate) const ONE: Self = Self { events: 0, interval_ms: 0 };

    /// Finds the plan at the beginning of a body.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let from = memchr::memmem::find(body, MARK)? + MARK.len();
        let text = &body[from..];
        let end = memchr::memchr(b';', text)?;
        let (events, interval) = std::str::from_utf8(&text[..end]).ok()?.split_once('x')?;
        Some(Self { events: events.parse().ok()?, interval_ms: interval.parse().ok()? })
    }
}

/// A whole request in HTTP/1.1, with a body of `size` bytes.
pub(crate) fn request(format: RequestFormat, plan: ResponsePlan, size: usize, host: &str) -> Bytes {
    let body = body(format, plan, size);
    let (method, query) = match plan.events {
        0 => ("generateContent", ""),
        _ => ("streamGenerateContent", "?alt=sse"),
    };
    let target = match format {
        RequestFormat::CodeAssist => format!("/v1internal:{method}{query}"),
        RequestFormat::Gemini => format!("/v1beta/models/{MODEL}:{method}{query}"),
        RequestFormat::OpenaiChat => "/v1/chat/completions".to_owned(),
        RequestFormat::OpenaiResponses => "/v1/responses".to_owned(),
        RequestFormat::Anthropic => "/v1/messages".to_owned(),
    };
    let version = match format {
        RequestFormat::Anthropic => "anthropic-version: 2023-06-01\r\n",
        _ => "",
    };
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {KEY}\r\nx-goog-api-key: {KEY}\r\n{version}User-Agent: bench\r\n\
         Accept: */*\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat().into()
}

fn body(format: RequestFormat, plan: ResponsePlan, size: usize) -> Bytes {
    let ResponsePlan { events, interval_ms } = plan;
    let mark = std::str::from_utf8(MARK).unwrap_or_default();
    let (before, after) = around_the_prompt(format, events > 0);
    let start = format!("{before}{mark}{events}x{interval_ms}; ");
    let mut body = BytesMut::with_capacity(size + 256);
    body.put_slice(start.as_bytes());
    let padding = size.saturating_sub(start.len() + after.len());
    // Words and escapes, as prompts have them: code that scans a body has something to do.
    for _ in 0..padding / PROSE.len() {
        body.put_slice(PROSE);
    }
    body.put_bytes(b' ', padding % PROSE.len());
    body.put_slice(after.as_bytes());
    body.freeze()
}

/// What a body has before the text of its prompt, and after it.
fn around_the_prompt(format: RequestFormat, streams: bool) -> (String, String) {
    let gemini = r#"{"contents":[{"role":"user","parts":[{"text":""#;
    let gemini_end = r#""}]}],"generationConfig":{"temperature":1,"maxOutputTokens":1024}}"#;
    let options =
        if streams { r#","temperature":1,"stream":true}"# } else { r#","temperature":1}"# };
    match format {
        RequestFormat::Gemini => (gemini.to_owned(), gemini_end.to_owned()),
        RequestFormat::CodeAssist => (
            format!(r#"{{"model":"{MODEL}","project":"bench","request":{gemini}"#),
            format!("{gemini_end}}}"),
        ),
        RequestFormat::OpenaiChat => (
            format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":""#),
            format!(r#""}}],"max_tokens":1024{options}"#),
        ),
        RequestFormat::OpenaiResponses => (
            format!(
                r#"{{"model":"{MODEL}","input":[{{"role":"user","content":[{{"type":"input_text","text":""#
            ),
            format!(r#""}}]}}],"max_output_tokens":1024{options}"#),
        ),
        RequestFormat::Anthropic => (
            format!(
                r#"{{"model":"{MODEL}","max_tokens":1024,"messages":[{{"role":"user","content":[{{"type":"text","text":""#
            ),
            format!(r#""}}]}}]{options}"#),
        ),
    }
}

/// The key that clients send.
pub(crate) const KEY: &str = "sk-bench";

pub(crate) const MODEL: &str = "gemini-2.5-flash";

const MARK: &[u8] = b"plan:";

const PROSE: &[u8] =
    br"The quick brown fox jumps over the lazy dog, and says \u00e4 word or two.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_reads_the_plan_that_the_driver_wrote() {
        let plan = ResponsePlan { events: 20, interval_ms: 50 };
        for format in RequestFormat::value_variants() {
            assert_eq!(ResponsePlan::read(&body(*format, plan, 1024)), Some(plan));
        }
        assert_eq!(ResponsePlan::read(b"{}"), None);
    }

    #[test]
    fn bodies_are_json_of_the_size_that_was_asked_for() {
        for size in 300..600 {
            for format in RequestFormat::value_variants() {
                let body = body(*format, ResponsePlan::ONE, size);
                serde_json::from_slice::<serde_json::Value>(&body).unwrap();
                assert_eq!(body.len(), size);
            }
        }
    }
}
