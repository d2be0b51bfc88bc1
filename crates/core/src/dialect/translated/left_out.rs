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
        for (index, candidate) in event.indexed_candidates() {
            let calls =
                candidate.parts().iter().filter(|part| part.function_call.is_some()).count();
            let is_given = calls > 0 && !self.have_called.contains(&index);
            if is_given {
                self.have_called.push(index);
            }
            self.left_out.withheld_calls += calls - usize::from(is_given);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withheld(events: &[&str]) -> usize {
        let mut counter = LeftOutCounter::new(true);
        for event in events {
            counter.event(&AnswerEvent::read(event.as_bytes()).unwrap());
        }
        counter.left_out.withheld_calls
    }

    #[test]
    fn the_first_call_of_each_candidate_is_given() {
        let call = r#""content":{"parts":[{"functionCall":{"name":"f"}}]}"#;
        let [first, second] = [0, 1].map(|index| format!(r#"{{"index":{index},{call}}}"#));
        let unnamed = format!("{{{call}}}");
        for (candidates, expected) in [
            ([&first, &second], 0),
            ([&second, &first], 0),
            // Protobuf's JSON leaves out a 0.
            ([&second, &unnamed], 0),
            ([&unnamed, &second], 0),
            // Vertex AI leaves out every index.
            ([&unnamed, &unnamed], 0),
            ([&second, &second], 1),
            ([&first, &unnamed], 1),
        ] {
            let event = |candidates: &str| format!(r#"{{"candidates":[{candidates}]}}"#);
            let [one, other] = candidates;
            let both = event(&format!("{one},{other}"));
            assert_eq!(withheld(&[&both]), expected, "{both}");
            assert_eq!(withheld(&[&both, &both]), expected + 2, "{both}");
        }
    }
}
