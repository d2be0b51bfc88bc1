//! The writers of answers, by dialect.

use bytes::{Bytes, BytesMut};

use super::WriterPlan;
use super::left_out::{LeftOut, LeftOutCounter};
use crate::dialect::anthropic;
use crate::dialect::anthropic::write::MessagesWriter;
use crate::dialect::event::GeminiEvent;
use crate::dialect::openai;
use crate::dialect::openai::chat::write::ChatWriter;
use crate::dialect::openai::completions::write::CompletionsWriter;
use crate::dialect::openai::responses::write::ResponsesWriter;
use crate::dialect::translate::answer::Birth;
use crate::dialect::translate::finish::finish_all;
use crate::dialect::translate::part::AnswerEvent;
use crate::error::Error;
use crate::sse;

/// The form of an answer that is generated.
#[derive(Debug, Clone)]
pub(crate) struct AnswerForm {
    pub(crate) plan: WriterPlan,
    pub(crate) birth: Birth,
    /// Errors within a stream of Anthropic's repeat it.
    pub(crate) request_id: String,
}

impl AnswerForm {
    /// A heartbeat before the first event of a stream.
    pub(crate) fn first_heartbeat(&self) -> Bytes {
        Bytes::from_static(match self.plan {
            WriterPlan::Messages(_) => anthropic::write::HEARTBEAT,
            // In Responses only a writer can number an event.
            WriterPlan::Chat(_) | WriterPlan::Completions(_) | WriterPlan::Responses(_) => {
                openai::frames::HEARTBEAT
            }
        })
    }

    /// An error as the first event of a stream.
    pub(crate) fn error(&self, error: &Error) -> Bytes {
        TranslatedEncoder::new(self).error(error)
    }

    /// Translates a whole answer.
    pub(crate) fn whole(&self, text: &[u8]) -> Result<(Bytes, LeftOut), Error> {
        let mut event = read(text)?;
        finish_all(&mut event);
        let mut counter = LeftOutCounter::new(self.plan.gives_one_call());
        counter.event(&event);
        Ok((Writer::new(self).whole(&event)?, counter.left_out))
    }
}

/// Writes a stream for a client of another dialect.
#[derive(Debug)]
pub(crate) struct TranslatedEncoder {
    writer: Writer,
    /// An event in Gemini's form. Its memory is used again for the next one.
    event: BytesMut,
    /// What the client gets. Its memory is used again once it has been sent.
    out: BytesMut,
    left_out: LeftOutCounter,
}

impl TranslatedEncoder {
    pub(in crate::dialect) fn new(form: &AnswerForm) -> Self {
        Self {
            writer: Writer::new(form),
            event: BytesMut::new(),
            out: BytesMut::new(),
            left_out: LeftOutCounter::new(form.plan.gives_one_call()),
        }
    }

    pub(in crate::dialect) fn event(&mut self, event: impl GeminiEvent) -> Result<Bytes, Error> {
        self.event.reserve(event.len_hint());
        event.write_line(&mut self.event);
        if self.out.capacity() < BUFFER {
            self.out.reserve(BUFFER);
        }
        let written = read(&self.event).and_then(|event| {
            self.left_out.event(&event);
            self.writer.event(&event, &mut self.out)
        });
        sse::clear(&mut self.event);
        if let Err(error) = written {
            self.out.clear();
            return Err(error);
        }
        Ok(sse::taken(&mut self.out))
    }

    pub(in crate::dialect) fn end(&mut self) -> Result<Bytes, Error> {
        if let Err(error) = self.writer.end(&mut self.out) {
            self.out.clear();
            return Err(error);
        }
        Ok(sse::taken(&mut self.out))
    }

    pub(in crate::dialect) fn error(&mut self, error: &Error) -> Bytes {
        self.writer.error(error, &mut self.out);
        sse::taken(&mut self.out)
    }

    pub(in crate::dialect) fn heartbeat(&mut self) -> Bytes {
        self.writer.heartbeat(&mut self.out);
        sse::taken(&mut self.out)
    }

    pub(in crate::dialect) fn held(&self) -> usize {
        self.writer.held()
    }

    pub(in crate::dialect) fn left_out(&self) -> LeftOut {
        self.left_out.left_out
    }
}

/// The writer of an answer, by dialect.
#[derive(Debug)]
enum Writer {
    Chat(ChatWriter),
    Completions(CompletionsWriter),
    Messages(MessagesWriter),
    Responses(Box<ResponsesWriter>),
}

/// Calls the method of the writer that there is.
macro_rules! each {
    ($of:expr, $writer:ident => $call:expr) => {
        match $of {
            Writer::Chat($writer) => $call,
            Writer::Completions($writer) => $call,
            Writer::Messages($writer) => $call,
            Writer::Responses($writer) => $call,
        }
    };
}

impl Writer {
    fn new(form: &AnswerForm) -> Self {
        let birth = form.birth.clone();
        match form.plan.clone() {
            WriterPlan::Chat(plan) => Self::Chat(ChatWriter::new(plan, birth)),
            WriterPlan::Completions(plan) => Self::Completions(CompletionsWriter::new(plan, birth)),
            WriterPlan::Responses(plan) => {
                Self::Responses(Box::new(ResponsesWriter::new(plan, birth)))
            }
            WriterPlan::Messages(plan) => {
                let writer = MessagesWriter::new(plan, birth);
                Self::Messages(writer.with_request_id(&form.request_id))
            }
        }
    }

    fn event(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut) -> Result<(), Error> {
        each!(self, writer => writer.event(event, out))
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        each!(self, writer => writer.end(out))
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        each!(self, writer => writer.error(error, out));
    }

    fn heartbeat(&mut self, out: &mut BytesMut) {
        each!(self, writer => writer.heartbeat(out));
    }

    fn held(&self) -> usize {
        each!(self, writer => writer.held())
    }

    fn whole(self, event: &AnswerEvent<'_>) -> Result<Bytes, Error> {
        match self {
            Self::Chat(mut writer) => writer.whole(event),
            Self::Completions(mut writer) => writer.whole(event),
            Self::Messages(writer) => writer.whole(event),
            Self::Responses(writer) => writer.whole(event),
        }
    }
}

fn read(text: &[u8]) -> Result<AnswerEvent<'_>, Error> {
    AnswerEvent::read(text).map_err(|error| {
        let what = format!("an answer has a field of another type than documented: {error}");
        Error::UpstreamMalformed { what }
    })
}

/// Bytes to reserve, enough for a few events of usual length.
const BUFFER: usize = 1024;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::GenerateCall;
    use super::*;
    use crate::dialect::translate::target::{SignatureRecall, Target};
    use crate::google::ProviderKind;

    struct Line(String);

    impl GeminiEvent for Line {
        fn len_hint(&self) -> usize {
            self.0.len()
        }

        fn write_line(self, out: &mut BytesMut) {
            out.extend_from_slice(self.0.as_bytes());
        }
    }

    #[test]
    fn a_long_event_leaves_no_memory_behind() {
        let request =
            Bytes::from_static(br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#);
        let target = Target::new("gemini-2.5-pro", ProviderKind::Vertex);
        let (_, plan) = GenerateCall::ChatCompletions.translate(&request, &target).unwrap();
        let birth = Birth { seed: [0; 32], now: 0, signatures: target.signatures };
        let form = AnswerForm { plan, birth, request_id: String::new() };
        let mut encoder = TranslatedEncoder::new(&form);
        for length in [1 << 20, 10] {
            let text = "x".repeat(length);
            let event =
                format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}}}]}}"#);
            let piece = encoder.event(Line(event)).unwrap();
            assert!(piece.len() > length);
            drop(piece);
            let kept = encoder.event.capacity() + encoder.out.capacity();
            assert!(kept < 100_000, "{kept} bytes after one of {length}");
        }
    }

    #[test]
    fn a_whole_answer_is_complete_whatever_its_reason_leaves_open() {
        let target = Target::new("gemini-2.5-pro", ProviderKind::GeminiApi);
        let messages = r#""messages":[{"role":"user","content":"x"}]"#;
        for (call, body, end, expected) in [
            (GenerateCall::ChatCompletions, messages, "/choices/0/finish_reason", "stop"),
            (GenerateCall::Completions, r#""prompt":"x""#, "/choices/0/finish_reason", "stop"),
            (GenerateCall::Messages, messages, "/stop_reason", "end_turn"),
            (GenerateCall::Responses, r#""input":"x""#, "/status", "completed"),
        ] {
            let body = Bytes::from(format!(r#"{{"model":"m","max_tokens":9,{body}}}"#));
            let (_, plan) = call.translate(&body, &target).unwrap();
            let birth = Birth { seed: [1; 32], now: 1, signatures: SignatureRecall::default() };
            let form = AnswerForm { plan, birth, request_id: String::new() };
            for reason in
                ["", r#","finishReason":"""#, r#","finishReason":"FINISH_REASON_UNSPECIFIED""#]
            {
                for parts in [r#"{"text":"y"}"#, ""] {
                    let answer = format!(
                        r#"{{"candidates":[{{"content":{{"parts":[{parts}]}}{reason}}}]}}"#
                    );
                    let (whole, _) = form.whole(answer.as_bytes()).unwrap();
                    let whole: Value = serde_json::from_slice(&whole).unwrap();
                    assert_eq!(whole.pointer(end), Some(&expected.into()), "{call:?}: {answer}");
                }
            }
        }
    }
}
