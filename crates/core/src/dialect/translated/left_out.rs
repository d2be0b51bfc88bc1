//! What a client does not get of an answer.

use crate::dialect::translate::part::AnswerEvent;

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
pub(super) struct LeftOutCounter {
    gives_one_call: bool,
    /// The candidates with a call.
    have_called: Vec<u32>,
    pub(super) left_out: LeftOut,
}

impl LeftOutCounter {
    pub(super) fn new(gives_one_call: bool) -> Self {
        Self { gives_one_call, have_called: Vec::new(), left_out: LeftOut::default() }
    }

    pub(super) fn event(&mut self, event: &AnswerEvent<'_>) {
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
