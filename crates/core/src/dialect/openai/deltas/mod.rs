//! What a client of Chat Completions or of the legacy completions gets of an answer, piece by piece, apart
//! from how it is written (`docs/reference/dialects.md` 3.1 and 3.2).

mod parts;

use serde_json::value::RawValue;

use super::call_input::CallInput;
use super::chat::ChatPlan;
use crate::dialect::translate::answer::{AnswerPlan, Birth};
use crate::dialect::translate::citations::{Citation, Positions, Sources};
use crate::dialect::translate::finish::Finish;
use crate::dialect::translate::ids::{CallIds, IdSource};
use crate::dialect::translate::json::push_escaped;
use crate::dialect::translate::part::{AnswerEvent, Blob, Candidate, FunctionCall, Part};
use crate::dialect::translate::target::SignatureRecall;
use crate::dialect::translate::text::JsonText;
use crate::dialect::translate::usage::Usage;
use crate::error::Error;
use parts::{FENCE_END, begins_with_call, code};

/// A piece of a choice.
#[derive(Debug)]
pub(super) enum Delta<'a> {
    /// The choice begins.
    Begin {
        /// True if the content is `null`, since the first piece is a call or a refusal.
        is_null: bool,
    },
    /// A part of the text.
    Text {
        /// The insides of JSON strings, which follow each other.
        pieces: [&'a str; 3],
        /// `logprobsResult`.
        logprobs: Option<&'a RawValue>,
    },
    /// A part of the summary of the model's thoughts: the inside of a JSON string.
    Thought(&'a str),
    /// A call of a tool.
    Call(GivenCall<'a>),
    /// An image.
    Image {
        /// Its position among the choice's images.
        index: u32,
        /// Its MIME type.
        mime: &'a str,
        /// Base64: the inside of a JSON string.
        data: &'a str,
    },
    /// Why the prompt is refused.
    Refusal(&'a str),
    /// `logprobsResult` of an event without a text.
    Logprobs(&'a RawValue),
    /// The pages that the text comes from.
    Annotations(&'a [Citation]),
    /// The signature of the text.
    Signature(&'a str),
    /// The choice has ended.
    Finish(&'static str),
}

/// A call that the client gets.
#[derive(Debug)]
pub(super) struct GivenCall<'a> {
    /// Its position among the choice's calls.
    pub(super) index: u32,
    pub(super) id: &'a str,
    /// The tool's name, as the client knows it.
    pub(super) name: &'a str,
    pub(super) input: CallInput<'a>,
    pub(super) signature: Option<&'a str>,
    /// The client knows functions only, whose calls have no id.
    pub(super) is_legacy: bool,
}

/// Takes the pieces of choices.
pub(super) trait DeltaSink {
    /// Takes a piece of the choice `index`.
    fn delta(&mut self, index: u32, delta: Delta<'_>);
}

/// Makes pieces of events. State without IO and clock.
#[derive(Debug)]
pub(super) struct Deltas {
    plan: AnswerPlan,
    has_legacy_calls: bool,
    tags: Option<ThoughtTags>,
    ids: IdSource,
    signatures: SignatureRecall,
    call_ids: CallIds,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    has_produced: bool,
}

/// The marks of thoughts within the text: `<think>` and `</think>`.
#[derive(Debug)]
struct ThoughtTags {
    /// As they are, and as the inside of a JSON string.
    open: (String, String),
    close: (String, String),
}

impl ThoughtTags {
    fn new(name: &str) -> Self {
        let tag = |plain: String| {
            let mut escaped = bytes::BytesMut::new();
            push_escaped(&plain, &mut escaped);
            let escaped = String::from_utf8_lossy(&escaped).into_owned();
            (plain, escaped)
        };
        Self { open: tag(format!("<{name}>")), close: tag(format!("</{name}>")) }
    }
}

/// The state of a candidate.
#[derive(Debug, Default)]
struct Choice {
    index: u32,
    calls: u32,
    images: u32,
    has_text: bool,
    /// The text is within the marks of a thought.
    is_in_thought: bool,
    finish: Option<Finish>,
    /// The signature of its text.
    signature: Option<String>,
    sources: Sources,
    positions: Positions,
}

impl Deltas {
    pub(super) fn new(plan: ChatPlan, birth: Birth) -> Self {
        Self {
            has_legacy_calls: plan.legacy_functions,
            tags: plan.thought_tag.as_deref().map(ThoughtTags::new),
            plan: plan.plan,
            ids: IdSource::new(birth.seed),
            signatures: birth.signatures,
            call_ids: CallIds::default(),
            choices: Vec::new(),
            usage: None,
            has_produced: false,
        }
    }

    /// The next id.
    pub(super) fn next_id(&mut self, prefix: &str) -> String {
        self.ids.next(prefix)
    }

    /// The model's name as the client has sent it.
    pub(super) fn model(&self) -> &str {
        &self.plan.model
    }

    /// The token counts, as far as they are known.
    pub(super) fn usage(&self) -> Usage {
        self.usage.unwrap_or_default()
    }

    /// How many bytes are kept for later.
    pub(super) fn held(&self) -> usize {
        let of = |choice: &Choice| {
            choice.signature.as_ref().map_or(0, String::len)
                + choice.sources.held()
                + choice.positions.held()
        };
        self.choices.iter().map(of).sum::<usize>() + self.call_ids.held()
    }

    /// Takes an event. An error is found before any piece of the event is given.
    pub(super) fn event(
        &mut self,
        event: &AnswerEvent<'_>,
        sink: &mut impl DeltaSink,
    ) -> Result<(), Error> {
        if let Some(usage) = event.usage_metadata.and_then(Usage::read) {
            self.usage = Some(usage);
        }
        let candidates = event.candidates.as_deref().unwrap_or_default();
        self.has_produced |= candidates.iter().flat_map(Candidate::parts).any(Part::is_product);
        for candidate in candidates {
            let error = Finish::of(candidate).and_then(|finish| finish.error(self.has_produced));
            if let Some(error) = error {
                return Err(error);
            }
        }
        for (index, candidate) in event.indexed_candidates() {
            self.candidate(index, candidate, sink);
        }
        if let Some(finish) = event.prompt_feedback.as_ref().and_then(Finish::of_prompt) {
            self.refused(finish, sink);
        }
        Ok(())
    }

    /// Ends the answer. One without a reason for its end is cut off.
    pub(super) fn end(&mut self, sink: &mut impl DeltaSink) -> Result<(), Error> {
        let is_ended = |choice: &Choice| choice.finish.is_some();
        if self.choices.is_empty() || !self.choices.iter().all(is_ended) {
            return Err(Error::UpstreamIncomplete);
        }
        self.choices.sort_by_key(|choice| choice.index);
        for choice in &mut self.choices {
            close_thought(self.tags.as_ref(), choice, sink);
            let citations = match choice.sources.is_empty() {
                true => Vec::new(),
                false => choice.sources.citations(&choice.positions),
            };
            if !citations.is_empty() {
                sink.delta(choice.index, Delta::Annotations(&citations));
            }
            if let Some(signature) = &choice.signature {
                sink.delta(choice.index, Delta::Signature(signature));
            }
            let word = finish_word(choice, self.has_legacy_calls);
            sink.delta(choice.index, Delta::Finish(word));
        }
        Ok(())
    }

    fn candidate(&mut self, index: u32, candidate: &Candidate<'_>, sink: &mut impl DeltaSink) {
        let at = self.choice(index, begins_with_call(candidate), sink);
        let mut logprobs = candidate.logprobs_result;
        for part in candidate.parts() {
            self.part(at, part, &mut logprobs, sink);
        }
        if let Some(logprobs) = logprobs {
            sink.delta(index, Delta::Logprobs(logprobs));
        }
        let Some(choice) = self.choices.get_mut(at) else { return };
        choice.sources.note(candidate);
        if let Some(finish) = Finish::of(candidate) {
            choice.finish = Some(finish);
        }
    }

    /// The place of a choice, which begins if it is new.
    fn choice(&mut self, index: u32, is_null: bool, sink: &mut impl DeltaSink) -> usize {
        if let Some(at) = self.choices.iter().position(|choice| choice.index == index) {
            return at;
        }
        sink.delta(index, Delta::Begin { is_null });
        self.choices.push(Choice { index, ..Choice::default() });
        self.choices.len() - 1
    }

    fn refused(&mut self, finish: Finish, sink: &mut impl DeltaSink) {
        let refusal = finish.refusal();
        let at = self.choice(0, true, sink);
        let Some(choice) = self.choices.get_mut(at) else { return };
        if let Some(refusal) = refusal {
            sink.delta(choice.index, Delta::Refusal(&refusal));
        }
        choice.finish = Some(finish);
    }

    fn part<'a>(
        &mut self,
        at: usize,
        part: &Part<'a>,
        logprobs: &mut Option<&'a RawValue>,
        sink: &mut impl DeltaSink,
    ) {
        let Some(choice) = self.choices.get_mut(at) else { return };
        let index = choice.index;
        let text = part.text.filter(|text| text.is_string());
        if let (Some(text), Some(true)) = (text, part.thought) {
            if !text.is_empty() {
                thought(self.tags.as_ref(), choice, text, sink);
            }
        } else if let Some(text) = text {
            if let Some(signature) = part.thought_signature.as_deref() {
                choice.signature = Some(signature.to_owned());
            }
            if !text.is_empty() {
                let close = closing(self.tags.as_ref(), choice);
                choice.positions.push(text);
                choice.has_text = true;
                let pieces = [close, text.escaped(), ""];
                sink.delta(index, Delta::Text { pieces, logprobs: logprobs.take() });
            }
        } else if let Some(call) = &part.function_call {
            close_thought(self.tags.as_ref(), choice, sink);
            self.call(at, call, part.thought_signature.as_deref(), sink);
        } else if let Some((mime, data)) = part.inline_data.as_ref().and_then(Blob::image) {
            close_thought(self.tags.as_ref(), choice, sink);
            sink.delta(index, Delta::Image { index: choice.images, mime, data: data.escaped() });
            choice.images += 1;
        } else if let Some((info, code)) = code(part) {
            close_thought(self.tags.as_ref(), choice, sink);
            let open = match choice.has_text {
                true => info,
                false => info.trim_start_matches(r"\n"),
            };
            let pieces = [open, code.escaped(), FENCE_END];
            choice.has_text = true;
            choice.positions.insert(&open.replace(r"\n", "\n"));
            choice.positions.insert(&code.decoded());
            choice.positions.insert(&FENCE_END.replace(r"\n", "\n"));
            sink.delta(index, Delta::Text { pieces, logprobs: None });
        } else if let Some(signature) = part.thought_signature.as_deref() {
            choice.signature = Some(signature.to_owned());
        }
    }

    fn call(
        &mut self,
        at: usize,
        call: &FunctionCall<'_>,
        signature: Option<&str>,
        sink: &mut impl DeltaSink,
    ) {
        let Some(choice) = self.choices.get_mut(at) else { return };
        // A client that wants one call only gets the first one. The model asks again for the others.
        if choice.calls > 0 && (self.plan.one_call || self.has_legacy_calls) {
            return;
        }
        let id = self.call_ids.next(call.id.as_deref(), &mut self.ids, "call_");
        let upstream_name = call.name.as_deref().unwrap_or_default();
        let tool = self.plan.names.of(upstream_name);
        let is_legacy = self.has_legacy_calls;
        let input = CallInput::new(call.args, tool.filter(|_| !is_legacy));
        if let Some(signature) = signature {
            self.signatures.remember(&id, signature);
        }
        let name = tool.map_or(upstream_name, |tool| &tool.client.name);
        let index = choice.calls;
        let given = GivenCall { index, id: &id, name, input, signature, is_legacy };
        sink.delta(choice.index, Delta::Call(given));
        choice.calls += 1;
    }
}

/// The text to begin the next text with: the end of a thought that is open.
fn closing<'a>(tags: Option<&'a ThoughtTags>, choice: &mut Choice) -> &'a str {
    let Some(tags) = tags.filter(|_| choice.is_in_thought) else { return "" };
    choice.is_in_thought = false;
    choice.positions.insert(&tags.close.0);
    &tags.close.1
}

fn close_thought(tags: Option<&ThoughtTags>, choice: &mut Choice, sink: &mut impl DeltaSink) {
    let close = closing(tags, choice);
    if !close.is_empty() {
        sink.delta(choice.index, Delta::Text { pieces: [close, "", ""], logprobs: None });
    }
}

fn thought(
    tags: Option<&ThoughtTags>,
    choice: &mut Choice,
    text: JsonText<'_>,
    sink: &mut impl DeltaSink,
) {
    let Some(tags) = tags else {
        sink.delta(choice.index, Delta::Thought(text.escaped()));
        return;
    };
    let open = match choice.is_in_thought {
        true => "",
        false => {
            choice.positions.insert(&tags.open.0);
            &tags.open.1
        }
    };
    choice.is_in_thought = true;
    choice.has_text = true;
    choice.positions.insert(&text.decoded());
    let pieces = [open, text.escaped(), ""];
    sink.delta(choice.index, Delta::Text { pieces, logprobs: None });
}

/// OpenAI's `finish_reason`. Never another word than these five: clients do not know it.
fn finish_word(choice: &Choice, has_legacy_calls: bool) -> &'static str {
    match &choice.finish {
        Some(Finish::Length) => "length",
        Some(Finish::Filtered { .. }) => "content_filter",
        Some(Finish::Stop | Finish::Failed { .. }) | None => match choice.calls {
            0 => "stop",
            _ if has_legacy_calls => "function_call",
            _ => "tool_calls",
        },
    }
}
