//! The spans of a request whose trace is recorded. Nothing of it is kept for other requests.

use std::time::Duration;

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
        let Some(samples) = self.platform.samples(self.trace.id, self.trace.client_samples())
        else {
            return;
        };
        self.trace.set_sampled(samples);
        if samples {
            self.spans = Some(Box::new(RequestSpans {
                span: SpanId(self.platform.random().max(1)),
                parent: self.trace.parent,
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
                span: self.try_span,
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
        let record = RequestRecord {
            request_id: self.id.as_str().to_owned(),
            trace: self.trace.id,
            spans: self.spans.take(),
            duration: now.since(self.received),
            asks_model,
            caller,
            dialect: self.dialect.label(),
            operation: self.operation.map_or("", |it| it.label()),
            stream: self.stream,
            model: self.model.clone(),
            upstream: self.upstream().map(ToString::to_string).unwrap_or_default(),
            status: self.status,
            outcome: RequestOutcome::label(self.outcome),
            error: self.error,
            usage: self.usage,
        };
        self.platform.record(record);
    }
}
