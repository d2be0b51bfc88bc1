//! Any sequence of Gemini's events is written as frames of JSON, or is an error. The first line has the
//! dialect and the events follow, one on each line.
#![no_main]

use bytes::{Bytes, BytesMut};
use code_assist_core::Error;
use code_assist_core::internals::dialect::anthropic::write::MessagesWriter;
use code_assist_core::internals::dialect::openai::chat::write::ChatWriter;
use code_assist_core::internals::dialect::openai::completions::write::CompletionsWriter;
use code_assist_core::internals::dialect::openai::responses::write::ResponsesWriter;
use code_assist_core::internals::dialect::translate::answer::Birth;
use code_assist_core::internals::dialect::translate::part::AnswerEvent;
use code_assist_core::internals::dialect::translate::target::{SignatureRecall, Target};
use code_assist_core::internals::dialect::{anthropic, openai};
use code_assist_core::internals::google::ProviderKind;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((first, events)) = data.split_first() else {
        return;
    };
    let lines = events.split(|byte| *byte == b'\n');
    let events: Vec<AnswerEvent<'_>> =
        lines.map_while(|line| AnswerEvent::read(line).ok()).collect();
    let beyond = is_beyond_serde(data);
    let more = first / 4;
    match first % 4 {
        0 => {
            let plan = || openai::chat::read::read(&chat(more), &target()).expect("is good").1;
            let new = || ChatWriter::new(plan(), birth());
            check(new, |mut writer, event| writer.whole(event), &events, beyond);
        }
        1 => {
            let plan = || openai::chat::read::read(&chat(more), &target()).expect("is good").1;
            let new = || CompletionsWriter::new(plan(), birth());
            check(new, |mut writer, event| writer.whole(event), &events, beyond);
        }
        2 => {
            let plan =
                || openai::responses::read::read(&responses(more), &target()).expect("is good").1;
            let new = || ResponsesWriter::new(plan(), birth());
            check(new, |writer, event| writer.whole(event), &events, beyond);
        }
        _ => {
            let plan = || anthropic::read::read(&messages(more), &target()).expect("is good").1;
            let new = || MessagesWriter::new(plan(), birth());
            check(new, |writer, event| writer.whole(event), &events, beyond);
        }
    }
});

/// The writer of any dialect.
trait EventWriter {
    fn event(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut) -> Result<(), Error>;
    fn end(&mut self, out: &mut BytesMut) -> Result<(), Error>;
    fn heartbeat(&mut self, out: &mut BytesMut);
    fn error(&mut self, error: &Error, out: &mut BytesMut);
    fn held(&self) -> usize;
}

macro_rules! event_writer {
    ($($writer:ident),+) => {
        $(impl EventWriter for $writer {
            fn event(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut) -> Result<(), Error> {
                self.event(event, out)
            }
            fn end(&mut self, out: &mut BytesMut) -> Result<(), Error> {
                self.end(out)
            }
            fn heartbeat(&mut self, out: &mut BytesMut) {
                self.heartbeat(out);
            }
            fn error(&mut self, error: &Error, out: &mut BytesMut) {
                self.error(error, out);
            }
            fn held(&self) -> usize {
                self.held()
            }
        })+
    };
}

event_writer!(ChatWriter, CompletionsWriter, ResponsesWriter, MessagesWriter);

/// Writes the events as a stream, and the first of them as a whole answer.
fn check<W: EventWriter>(
    new: impl Fn() -> W,
    whole: impl Fn(W, &AnswerEvent<'_>) -> Result<Bytes, Error>,
    events: &[AnswerEvent<'_>],
    beyond: bool,
) {
    run(&mut new(), events, beyond);
    if let Some(Ok(whole)) = events.first().map(|one| whole(new(), one)) {
        check_json(&whole, beyond);
    }
}

/// Writes a stream as the proxy does: what an event with an error has written is not sent.
fn run(writer: &mut impl EventWriter, events: &[AnswerEvent<'_>], beyond: bool) {
    let mut sent = BytesMut::new();
    let mut end = Ok(());
    for event in events {
        let mut out = BytesMut::new();
        end = writer.event(event, &mut out);
        if end.is_err() {
            break;
        }
        sent.extend_from_slice(&out);
        writer.heartbeat(&mut sent);
        let _ = writer.held();
    }
    if end.is_ok() {
        let mut out = BytesMut::new();
        end = writer.end(&mut out);
        if end.is_ok() {
            sent.extend_from_slice(&out);
        }
    }
    if let Err(error) = end {
        writer.error(&error, &mut sent);
    }
    let text = std::str::from_utf8(&sent).expect("frames are UTF-8");
    for frame in text.split_terminator("\n\n") {
        let mut lines = frame.split('\n');
        let mut line = lines.next().expect("a frame has a line");
        if line == ": " {
            continue;
        }
        if line.starts_with("event: ") {
            line = lines.next().expect("an event has data");
        }
        assert_eq!(lines.next(), None, "{frame}");
        let json = line.strip_prefix("data: ").expect("a frame has data");
        assert!(!json.contains(['\r', '\u{85}', '\u{2028}', '\u{2029}']), "{json}");
        if json != "[DONE]" {
            check_json(json.as_bytes(), beyond);
        }
    }
}

fn check_json(json: &[u8], beyond: bool) {
    let parsed = serde_json::from_slice::<Value>(json);
    assert!(beyond || parsed.is_ok(), "{}", String::from_utf8_lossy(json));
}

fn chat(bits: u8) -> Bytes {
    let tag = if bits & 1 == 0 {
        ""
    } else {
        r#","extra_body":{"google":{"thought_tag_marker":"think"}}"#
    };
    let one = if bits & 2 == 0 { "" } else { r#","parallel_tool_calls":false"# };
    let usage = if bits & 4 == 0 { "" } else { r#","stream_options":{"include_usage":true}"# };
    let tools = match bits & 8 {
        0 => {
            r#""tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"p"}}]"#
        }
        _ => r#""functions":[{"name":"f"}]"#,
    };
    format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{tools}{tag}{one}{usage}}}"#
    )
    .into()
}

fn responses(bits: u8) -> Bytes {
    let logprobs = if bits & 1 == 0 { "" } else { r#","top_logprobs":2"# };
    let one = if bits & 2 == 0 { "" } else { r#","parallel_tool_calls":false"# };
    let summary = if bits & 4 == 0 { "" } else { r#","reasoning":{"summary":"auto"}"# };
    format!(
        r#"{{"model":"m","input":"hi","tools":[{{"type":"function","name":"f"}},{{"type":"custom","name":"p"}},{{"type":"namespace","name":"n","tools":[{{"type":"function","name":"f"}}]}}]{logprobs}{one}{summary}}}"#
    )
    .into()
}

fn messages(bits: u8) -> Bytes {
    let thinking = match bits & 3 {
        0 => "",
        1 => r#","thinking":{"type":"adaptive"}"#,
        _ => r#","thinking":{"type":"adaptive","display":"omitted"}"#,
    };
    let one = match bits & 4 {
        0 => "",
        _ => r#","tool_choice":{"type":"auto","disable_parallel_tool_use":true}"#,
    };
    format!(
        r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}],"tools":[{{"name":"f","input_schema":{{"type":"object"}}}}]{thinking}{one}}}"#
    )
    .into()
}

fn target() -> Target {
    Target::new("gemini-3-pro-preview", ProviderKind::GeminiApi)
}

fn birth() -> Birth {
    Birth { seed: [7; 32], now: 1_750_000_000, signatures: SignatureRecall::default() }
}

/// True for JSON that serde_json does not read: deeper than 128 levels, or with lone surrogates.
fn is_beyond_serde(data: &[u8]) -> bool {
    let deep = data.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > 100;
    let surrogate =
        data.windows(3).any(|w| w[0] == b'\\' && w[1] == b'u' && matches!(w[2], b'd' | b'D'));
    deep || surrogate
}
