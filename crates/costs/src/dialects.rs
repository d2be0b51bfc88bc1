//! The cases of OpenAI's and Anthropic's dialects: a request translated and adapted, and one event or a
//! whole answer translated back.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use code_assist_core::internals::dialect::anthropic::write::MessagesWriter;
use code_assist_core::internals::dialect::openai::chat::write::ChatWriter;
use code_assist_core::internals::dialect::openai::responses::write::ResponsesWriter;
use code_assist_core::internals::dialect::translate::answer::Birth;
use code_assist_core::internals::dialect::translate::part::AnswerEvent;
use code_assist_core::internals::dialect::translate::request::Written;
use code_assist_core::internals::dialect::translate::target::{SignatureRecall, Target};
use code_assist_core::internals::dialect::{anthropic, openai};
use code_assist_core::internals::google::ProviderKind;
use code_assist_core::internals::provider::code_assist::adapt;

use crate::cases::Rounds;
use crate::dialect_texts;

pub(crate) fn chat() -> Rounds {
    translating(dialect_texts::chat(), |body, target| {
        openai::chat::read::read(body, target).expect("a good request").0
    })
}

pub(crate) fn responses() -> Rounds {
    translating(dialect_texts::codex(), |body, target| {
        openai::responses::read::read(body, target).expect("a good request").0
    })
}

pub(crate) fn messages() -> Rounds {
    translating(dialect_texts::claude_code(MODEL), |body, target| {
        anthropic::read::read(body, target).expect("a good request").0
    })
}

fn translating(body: Bytes, read: fn(&Bytes, &Target) -> Written) -> Rounds {
    let target = Target::new(MODEL, ProviderKind::CodeAssist);
    Rounds::on((body, target, read), |(body, target, read)| {
        let written = read(body, target);
        let _ = black_box(adapt::generate(&written.body).expect("what is written is JSON"));
    })
}

pub(crate) fn chat_text() -> Rounds {
    writing(chat_writer, dialect_texts::TEXT)
}

pub(crate) fn responses_text() -> Rounds {
    writing(responses_writer, dialect_texts::TEXT)
}

pub(crate) fn messages_text() -> Rounds {
    writing(messages_writer, dialect_texts::TEXT)
}

pub(crate) fn chat_call() -> Rounds {
    writing(chat_writer, dialect_texts::CALL)
}

pub(crate) fn responses_call() -> Rounds {
    writing(responses_writer, dialect_texts::CALL)
}

pub(crate) fn messages_call() -> Rounds {
    writing(messages_writer, dialect_texts::CALL)
}

pub(crate) fn chat_whole() -> Rounds {
    answering(chat_writer, |mut writer, event| writer.whole(event).expect("a good answer"))
}

pub(crate) fn responses_whole() -> Rounds {
    answering(responses_writer, |writer, event| writer.whole(event).expect("a good answer"))
}

pub(crate) fn messages_whole() -> Rounds {
    answering(messages_writer, |writer, event| writer.whole(event).expect("a good answer"))
}

/// One event in the middle of a stream.
fn writing<W: EventWriter + 'static>(new: fn() -> W, event: &'static str) -> Rounds {
    Rounds(Box::new(move || {
        let mut writer = new();
        let mut out = BytesMut::with_capacity(16 << 10);
        // What comes from a stream's buffer is a share of it.
        drop(out.split().freeze());
        write(&mut writer, dialect_texts::TEXT, &mut out);
        Box::new(move || {
            write(&mut writer, event, &mut out);
            std::mem::forget(writer);
        })
    }))
}

fn write(writer: &mut impl EventWriter, event: &str, out: &mut BytesMut) {
    let event = AnswerEvent::read(event.as_bytes()).expect("a good event");
    writer.event(&event, out);
    black_box(out.split().freeze());
}

fn answering<W: 'static>(new: fn() -> W, whole: fn(W, &AnswerEvent<'_>) -> Bytes) -> Rounds {
    Rounds(Box::new(move || {
        let writer = new();
        Box::new(move || {
            let event = AnswerEvent::read(dialect_texts::WHOLE.as_bytes()).expect("a good answer");
            black_box(whole(writer, &event));
        })
    }))
}

/// A writer of any dialect.
trait EventWriter {
    fn event(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut);
}

impl EventWriter for ChatWriter {
    fn event(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut) {
        self.event(event, out).expect("a good event");
    }
}

impl EventWriter for ResponsesWriter {
    fn event(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut) {
        self.event(event, out).expect("a good event");
    }
}

impl EventWriter for MessagesWriter {
    fn event(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut) {
        self.event(event, out).expect("a good event");
    }
}

fn chat_writer() -> ChatWriter {
    let (_, plan) = openai::chat::read::read(&dialect_texts::chat(), &target()).expect("is good");
    ChatWriter::new(plan, birth())
}

fn responses_writer() -> ResponsesWriter {
    let (_, plan) =
        openai::responses::read::read(&dialect_texts::codex(), &target()).expect("is good");
    ResponsesWriter::new(plan, birth())
}

fn messages_writer() -> MessagesWriter {
    let (_, plan) =
        anthropic::read::read(&dialect_texts::claude_code(MODEL), &target()).expect("is good");
    MessagesWriter::new(plan, birth())
}

fn target() -> Target {
    Target::new(MODEL, ProviderKind::CodeAssist)
}

fn birth() -> Birth {
    Birth { seed: [7; 32], now: 1_750_000_000, signatures: SignatureRecall::default() }
}

const MODEL: &str = "gemini-3-pro-preview";
