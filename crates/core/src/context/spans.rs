//! The spans of a request whose trace is recorded. Nothing of it is kept for other requests.

use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;

use super::RequestContext;
use crate::error::Error;
use crate::metrics::RequestOutcome;
use crate::platform::Platform;
use crate::policy::breaker::CallOutcomes;
use crate::provider::Provider;
use crate::provider::request::BaseUrl;
use crate::record::{RequestRecord, RequestSpans, RequestStep, StepKind, UpstreamTry};
use crate::time::Monotonic;
use crate::trace::SpanId;

impl<P: Platform> RequestContext<P> {
    /// Decides whether the spans of the request are recorded.
    pub(super) fn sample(&mut self) {
        let Some(samples) = self.platform.samples(self.trace.id(), self.trace.client_samples())
        else {
            return;
        };
        self.trace.set_sampled(samples);
        if samples {
            self.spans = Some(Box::new(RequestSpans {
                span: SpanId(self.platform.random().max(1)),
                parent: self.trace.parent(),
                state: self.trace.state().cloned(),
                steps: Vec::new(),
                finish_reason: None,
            }));
        }
    }

    /// Records a step that has ended.
    pub(crate) fn note_step(&mut self, kind: StepKind, began: Monotonic, ended: Monotonic) {
        if let Some(spans) = &mut self.spans {
            let (took, began) = (ended.since(began), began.since(self.received));
            spans.steps.push(RequestStep { began, took, kind });
        }
    }

    /// Records that a try has been sent to an endpoint. It ends with its call.
    pub(crate) fn note_try(&mut self, provider: &Provider, base: &BaseUrl, began: Monotonic) {
        if self.spans.is_some() {
            let sent = UpstreamTry {
                span: self.trace.span(),
                provider: provider.kind(),
                server: base.authority().to_owned(),
                status: None,
                error: None,
            };
            self.note_step(StepKind::Try(sent), began, began);
        }
    }

    /// Records the status of the try that is under way.
    pub(crate) fn note_try_status(&mut self, status: u16) {
        if let Some((_, sent)) = self.last_try() {
            sent.status = Some(status);
        }
    }

    /// Records why the try that is under way has failed.
    pub(crate) fn note_try_error(&mut self, error: &Error) {
        if let Some((_, sent)) = self.last_try() {
            sent.error = Some(error.label());
        }
    }

    /// Reads why the model has ended its answer, from a text of Google's.
    pub(crate) fn note_finish(&mut self, text: &[u8]) {
        if let Some(spans) = &mut self.spans
            && let Some(reason) = finish_reason(text)
        {
            spans.finish_reason = Some(reason);
        }
    }

    /// Records the end of the try.
    pub(super) fn end_try(&mut self, outcomes: CallOutcomes, now: Monotonic) {
        let received = self.received;
        let stated = self.error;
        if let Some(((began, took), sent)) = self.last_try() {
            *took = now.since(received + began);
            if outcomes.has_failed() && sent.error.is_none() {
                sent.error = Some(stated.unwrap_or("_OTHER"));
            }
        }
    }

    /// The last try, with its beginning and its time.
    fn last_try(&mut self) -> Option<((Duration, &mut Duration), &mut UpstreamTry)> {
        let steps = &mut self.spans.as_mut()?.steps;
        steps.iter_mut().rev().find_map(|step| match &mut step.kind {
            StepKind::Try(sent) => Some(((step.began, &mut step.took), sent)),
            StepKind::Queue | StepKind::Token => None,
        })
    }

    /// Hands the request to the shell, if its spans are recorded or the shell keeps an audit log.
    pub(super) fn hand_over(&mut self, now: Monotonic) {
        let asks_model = self.operation.is_some_and(|it| it.asks_model());
        let is_audited = asks_model && self.platform.is_auditing();
        if self.spans.is_none() && !is_audited {
            return;
        }
        let caller = match (&self.client, self.peer) {
            (Some(client), _) => client.to_string(),
            (None, Some(peer)) => peer.to_string(),
            (None, None) => String::new(),
        };
        let upstream = self.upstream().or_else(|| self.sole_upstream());
        let asked = self.routing.as_ref().and_then(|it| it.asked_model.as_ref());
        let model = asked.filter(|_| self.model.is_empty()).unwrap_or(&self.model);
        let has_prices = self.holder.as_ref().is_some_and(|holder| !holder.prices.is_empty());
        let record = RequestRecord {
            request_id: self.id.as_str().to_owned(),
            trace: self.trace.id(),
            duration: now.since(self.received),
            asks_model,
            caller,
            dialect: self.dialect.label(),
            operation: self.operation.map_or("", |it| it.label()),
            stream: self.stream,
            model: Arc::clone(model),
            upstream: upstream.map(ToString::to_string).unwrap_or_default(),
            status: self.status,
            outcome: RequestOutcome::label(self.outcome),
            error: self.error,
            usage: self.usage,
            cost: has_prices.then_some(self.cost),
            spans: self.spans.take(),
        };
        self.platform.record(record);
    }

    /// The only upstream there is, if it was asked. A key's own login may be for another one.
    fn sole_upstream(&self) -> Option<&Arc<str>> {
        let own = self.holder.as_ref().is_some_and(|holder| holder.settings.own.is_some());
        let sole = self.metrics.sole_upstream().filter(|_| self.asked_upstream)?;
        (!own || **sole == *"code-assist").then_some(sole)
    }
}

/// The last `finishReason` in a text that is a word which Google uses for it. An argument of a tool call may
/// have that name too, and its value is the user's.
fn finish_reason(text: &[u8]) -> Option<&'static str> {
    let ends = memmem::find_iter(text, NAME).map(|at| at + NAME.len());
    let value = |end: usize| {
        let value = text[end..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let value = value.strip_prefix(b"\"")?;
        let value = &value[..memchr::memchr(b'"', value)?];
        REASONS.into_iter().find(|reason| reason.as_bytes() == value)
    };
    ends.filter_map(value).last()
}

/// Within a string the quotes would be escaped.
const NAME: &[u8] = br#""finishReason""#;

/// Google's words.
const REASONS: [&str; 20] = [
    "STOP",
    "MAX_TOKENS",
    "BLOCKLIST",
    "CONTINUATION",
    "IMAGE_OTHER",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "IMAGE_SAFETY",
    "LANGUAGE",
    "MALFORMED_FUNCTION_CALL",
    "MISSING_THOUGHT_SIGNATURE",
    "MODEL_ARMOR",
    "NO_IMAGE",
    "OTHER",
    "PROHIBITED_CONTENT",
    "RECITATION",
    "SAFETY",
    "SPII",
    "TOO_MANY_TOOL_CALLS",
    "UNEXPECTED_TOOL_CALL",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finish_reason_is_a_known_word_and_never_what_was_said() {
        for (text, reason) in [
            (r#"{"candidates":[{"finishReason":"STOP"}]}"#, Some("STOP")),
            (r#"{"finishReason" : "MAX_TOKENS"}"#, Some("MAX_TOKENS")),
            (r#"{"args":{"finishReason":"SECRET"},"finishReason":"SAFETY"}"#, Some("SAFETY")),
            (r#"{"finishReason":"SAFETY","args":{"finishReason":"SECRET"}}"#, Some("SAFETY")),
            (r#"{"text":"\"finishReason\":\"STOP\""}"#, None),
            (r#"{"finishReason":null}"#, None),
            (r#"{"finishReason":"STOP"#, None),
            (r#""finishReason""#, None),
        ] {
            assert_eq!(finish_reason(text.as_bytes()), reason, "{text}");
        }
    }
}
