//! Which result answers which call (`docs/reference/dialects.md` 6.3).

use super::super::draft::{Call, ToolResult};

/// The calls of one content of the model's, and the results that follow it.
#[derive(Debug, Default)]
pub(super) struct Step<'d, 'a> {
    /// The calls, in the model's order.
    pub(super) calls: Vec<&'d Call<'a>>,
    /// The results, in the client's order.
    pub(super) results: Vec<&'d ToolResult<'a>>,
    /// For each call the position of its result.
    answers: Vec<Option<usize>>,
    /// For each result, whether no call of this step asked for it.
    orphans: Vec<bool>,
    queues: Queues<'d>,
}

impl<'d, 'a> Step<'d, 'a> {
    /// Begins a new step.
    pub(super) fn clear(&mut self) {
        self.calls.clear();
        self.results.clear();
    }

    /// Finds the result of each call: by id, then by name in order, then in order. Of several results of
    /// one call the last counts.
    pub(super) fn pair(&mut self) {
        self.answers.clear();
        self.orphans.clear();
        self.orphans.resize(self.results.len(), false);
        if self.is_in_order() {
            self.answers.extend((0..self.calls.len()).map(Some));
            return;
        }
        self.answers.resize(self.calls.len(), None);
        let unmatched = self.pair_by_id();
        if !unmatched.is_empty() {
            self.pair_by_name(unmatched);
        }
    }

    /// The calls with their results.
    pub(super) fn answered(
        &self,
    ) -> impl Iterator<Item = (&'d Call<'a>, Option<&'d ToolResult<'a>>)> {
        self.calls.iter().enumerate().map(|(at, call)| {
            let result = self.answers.get(at).copied().flatten();
            (*call, result.and_then(|result| self.results.get(result)).copied())
        })
    }

    /// True for a result, by its position, that no call of this step asked for.
    pub(super) fn is_orphan(&self, result: usize) -> bool {
        self.orphans.get(result) == Some(&true)
    }

    /// True for the usual case: one result for each call, in the same order.
    fn is_in_order(&self) -> bool {
        self.calls.len() == self.results.len()
            && self
                .calls
                .iter()
                .zip(&self.results)
                .all(|(call, result)| !call.id.is_empty() && call.id == result.id)
    }

    /// True if neither of two results has an id.
    fn have_no_ids(&self, earlier: Option<usize>, later: usize) -> bool {
        let results = [earlier, Some(later)].map(|at| self.results.get(at?));
        results.iter().flatten().all(|result| result.id.is_empty())
    }

    /// Returns the positions of the results whose id no call has.
    fn pair_by_id(&mut self) -> Vec<usize> {
        let ids = self.calls.iter().enumerate().filter(|(_, call)| !call.id.is_empty());
        self.queues.fill(ids.map(|(at, call)| (&*call.id, at)));
        let mut unmatched = Vec::new();
        for (at, result) in self.results.iter().enumerate() {
            match self.queues.next(&result.id) {
                Some((Taken::New | Taken::Again, call)) => self.answers[call] = Some(at),
                None => unmatched.push(at),
            }
        }
        unmatched
    }

    fn pair_by_name(&mut self, unmatched: Vec<usize>) {
        let (calls, answers) = (&self.calls, &self.answers);
        let open = || calls.iter().enumerate().filter(|(at, _)| answers[*at].is_none());
        self.queues.fill(open().map(|(at, call)| (&*call.name.name, at)));
        let mut nameless = Vec::new();
        for at in unmatched {
            let result = self.results[at];
            let Some(name) = result.name.as_deref() else {
                nameless.push(at);
                continue;
            };
            match self.queues.next(name) {
                Some((Taken::New, call)) => self.answers[call] = Some(at),
                // Without ids this is how a client sends one result twice.
                Some((Taken::Again, call)) if self.have_no_ids(self.answers[call], at) => {
                    self.answers[call] = Some(at);
                }
                Some((Taken::Again, _)) | None => self.orphans[at] = true,
            }
        }
        let mut open = self.answers.iter_mut().filter(|answer| answer.is_none());
        for at in nameless {
            let answer = self.results[at].id.is_empty().then(|| open.next()).flatten();
            match answer {
                Some(answer) => *answer = Some(at),
                None => self.orphans[at] = true,
            }
        }
    }
}

/// Calls by a key that several of them may have.
#[derive(Debug, Default)]
struct Queues<'k> {
    /// In the order of the keys, and those of one key in the order of the calls.
    places: Vec<Place<'k>>,
}

#[derive(Debug)]
struct Place<'k> {
    key: &'k str,
    call: usize,
    /// In the first place of a key: how many of its calls are taken.
    taken: usize,
}

/// How a key has found a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// The call was free.
    New,
    /// All calls of the key were taken before. This is the last of them.
    Again,
}

impl<'k> Queues<'k> {
    fn fill(&mut self, calls: impl Iterator<Item = (&'k str, usize)>) {
        self.places.clear();
        self.places.extend(calls.map(|(key, call)| Place { key, call, taken: 0 }));
        self.places.sort_unstable_by_key(|place| (place.key, place.call));
    }

    /// The next call of a key.
    fn next(&mut self, key: &str) -> Option<(Taken, usize)> {
        let first = self.places.partition_point(|place| place.key < key);
        let taken = self.places.get(first).filter(|place| place.key == key)?.taken;
        match self.places.get(first + taken).filter(|place| place.key == key) {
            Some(next) => {
                let call = next.call;
                self.places[first].taken += 1;
                Some((Taken::New, call))
            }
            None => Some((Taken::Again, self.places[first + taken - 1].call)),
        }
    }
}
