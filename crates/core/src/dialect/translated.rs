//! Requests of OpenAI's and Anthropic's dialects as one type, and the writers of their answers.

use bytes::{Bytes, BytesMut};

use super::anthropic::count::write_count;
use super::anthropic::write::MessagesWriter;
use super::anthropic::{self, MessagesPlan};
use super::event::GeminiEvent;
use super::openai;
use super::openai::chat::write::ChatWriter;
use super::openai::chat::{self, ChatPlan};
use super::openai::completions;
use super::openai::completions::write::CompletionsWriter;
use super::openai::responses::read::write_tokens;
use super::openai::responses::write::ResponsesWriter;
use super::openai::responses::{self, ResponsesPlan};
use super::translate::answer::Birth;
use super::translate::part::AnswerEvent;
use super::translate::request::Written;
use super::translate::target::Target;
use crate::error::Error;
use crate::sse;

/// A call that is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TranslatedCall {
    /// It counts tokens.
    Count(CountCall),
    /// It generates an answer.
    Generate(GenerateCall),
}

/// A call that counts tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CountCall {
    /// OpenAI's `responses/input_tokens`.
    InputTokens,
    /// Anthropic's `messages/count_tokens`.
    MessageTokens,
}

/// A call that generates an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GenerateCall {
    /// OpenAI's `chat/completions`.
    ChatCompletions,
    /// OpenAI's `completions`.
    Completions,
    /// Anthropic's `messages`.
    Messages,
    /// OpenAI's `responses`.
    Responses,
}

/// A request in Gemini's form, and what its answer needs to know of it.
#[derive(Debug)]
pub(crate) struct Translation {
    pub(crate) written: Written,
    /// `None` for a count of tokens, which needs nothing.
    pub(crate) plan: Option<WriterPlan>,
}

/// What an answer needs to know of its request, by dialect.
#[derive(Debug, Clone)]
pub(crate) enum WriterPlan {
    Chat(ChatPlan),
    Completions(ChatPlan),
    Messages(MessagesPlan),
    Responses(ResponsesPlan),
}

impl TranslatedCall {
    /// Translates a request for `target`.
    pub(crate) fn translate(self, body: &Bytes, target: &Target) -> Result<Translation, Error> {
        match self {
            Self::Count(call) => {
                Ok(Translation { written: call.translate(body, target)?, plan: None })
            }
            Self::Generate(call) => {
                let (written, plan) = call.translate(body, target)?;
                Ok(Translation { written, plan: Some(plan) })
            }
        }
    }
}

impl CountCall {
    fn translate(self, body: &Bytes, target: &Target) -> Result<Written, Error> {
        match self {
            Self::InputTokens => responses::read::read_tokens(body, target),
            Self::MessageTokens => anthropic::read::read_count(body, target),
        }
    }

    /// Translates the answer, which is one of `countTokens`.
    pub(crate) fn answer(self, text: &[u8]) -> Result<Bytes, Error> {
        let total = total_tokens(text)?;
        Ok(match self {
            Self::InputTokens => write_tokens(total),
            Self::MessageTokens => write_count(total),
        })
    }
}

impl GenerateCall {
    fn translate(self, body: &Bytes, target: &Target) -> Result<(Written, WriterPlan), Error> {
        Ok(match self {
            Self::ChatCompletions => {
                let (written, plan) = chat::read::read(body, target)?;
                (written, WriterPlan::Chat(plan))
            }
            Self::Completions => {
                let (written, plan) = completions::read::read(body, target)?;
                (written, WriterPlan::Completions(plan))
            }
            Self::Messages => {
                let (written, plan) = anthropic::read::read(body, target)?;
                (written, WriterPlan::Messages(plan))
            }
            Self::Responses => {
                let (written, plan) = responses::read::read(body, target)?;
                (written, WriterPlan::Responses(plan))
            }
        })
    }
}

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
        event.finish_all();
        let mut counter = LeftOutCounter::new(self.plan.gives_one_call());
        counter.event(&event);
        Ok((Writer::new(self).whole(&event)?, counter.left_out))
    }
}

impl WriterPlan {
    /// True if the client gets one call at most.
    fn gives_one_call(&self) -> bool {
        match self {
            Self::Chat(plan) | Self::Completions(plan) => plan.plan.one_call,
            Self::Messages(plan) => plan.plan.one_call,
            Self::Responses(plan) => plan.plan.one_call,
        }
    }
}

/// What a client does not get of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LeftOut {
    /// Parts that the dialect has no form for.
    pub(crate) unknown_parts: usize,
    /// Calls after the first one, for a client that takes one at a time.
    pub(crate) withheld_calls: usize,
}

/// Counts what a client does not get.
#[derive(Debug)]
struct LeftOutCounter {
    gives_one_call: bool,
    /// The candidates with a call.
    have_called: Vec<u32>,
    left_out: LeftOut,
}

impl LeftOutCounter {
    fn new(gives_one_call: bool) -> Self {
        Self { gives_one_call, have_called: Vec::new(), left_out: LeftOut::default() }
    }

    fn event(&mut self, event: &AnswerEvent<'_>) {
        self.left_out.unknown_parts += event.unknown_parts();
        if self.gives_one_call {
            self.calls(event);
        }
    }

    fn calls(&mut self, event: &AnswerEvent<'_>) {
        for (candidate, position) in event.candidates.iter().flatten().zip(0..) {
            let index = candidate.index.unwrap_or(position);
            let parts = candidate.content.iter().filter_map(|content| content.parts.as_ref());
            let calls = parts.flatten().filter(|part| part.function_call.is_some()).count();
            let is_given = calls > 0 && !self.have_called.contains(&index);
            if is_given {
                self.have_called.push(index);
            }
            self.left_out.withheld_calls += calls - usize::from(is_given);
        }
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
    pub(super) fn new(form: &AnswerForm) -> Self {
        Self {
            writer: Writer::new(form),
            event: BytesMut::new(),
            out: BytesMut::new(),
            left_out: LeftOutCounter::new(form.plan.gives_one_call()),
        }
    }

    pub(super) fn event(&mut self, event: impl GeminiEvent) -> Result<Bytes, Error> {
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

    pub(super) fn end(&mut self) -> Result<Bytes, Error> {
        if let Err(error) = self.writer.end(&mut self.out) {
            self.out.clear();
            return Err(error);
        }
        Ok(sse::taken(&mut self.out))
    }

    pub(super) fn error(&mut self, error: &Error) -> Bytes {
        self.writer.error(error, &mut self.out);
        sse::taken(&mut self.out)
    }

    pub(super) fn heartbeat(&mut self) -> Bytes {
        self.writer.heartbeat(&mut self.out);
        sse::taken(&mut self.out)
    }

    pub(super) fn held(&self) -> usize {
        self.writer.held()
    }

    pub(super) fn left_out(&self) -> LeftOut {
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

/// The count in an answer of `countTokens`.
fn total_tokens(text: &[u8]) -> Result<u64, Error> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Counted {
        #[serde(default)]
        total_tokens: u64,
    }
    serde_json::from_slice(text)
        .map(|counted: Counted| counted.total_tokens)
        .map_err(|error| Error::UpstreamMalformed { what: format!("the count of tokens: {error}") })
}

/// Bytes to reserve, enough for a few events of usual length.
const BUFFER: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
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
}
