//! Members that go, and the record of them.

use std::ops::Range;

use crate::json::Splice;

/// The members of one object, some of which go. Whichever they are, the commas come out right.
#[derive(Default)]
pub(super) struct Sieve {
    kept: bool,
    /// The end of the latest member.
    end: usize,
    /// The start of the first member, as long as all of them went.
    leading: Option<usize>,
}

impl Sieve {
    pub(super) fn keep(&mut self, splice: &mut Splice, member: Range<usize>) {
        if let Some(start) = self.leading.take() {
            splice.remove(start..member.start);
        }
        self.kept = true;
        self.end = member.end;
    }

    pub(super) fn remove(&mut self, splice: &mut Splice, member: Range<usize>) {
        if self.kept {
            splice.remove(self.end..member.end);
        } else {
            self.leading.get_or_insert(member.start);
        }
        self.end = member.end;
    }

    /// Ends the object, and says whether a member was kept.
    pub(super) fn close(self, splice: &mut Splice) -> bool {
        if let Some(start) = self.leading {
            splice.remove(start..self.end);
        }
        self.kept
    }
}

/// Paths, up to a bound.
#[derive(Default)]
pub(super) struct Paths(pub(super) Vec<String>);

impl Paths {
    pub(super) fn push(&mut self, path: String) {
        match self.0.len() {
            ..MOST_PATHS => self.0.push(path),
            MOST_PATHS => self.0.push("...".to_owned()),
            _ => {}
        }
    }
}

/// More paths than this are not reported, only that there are more.
const MOST_PATHS: usize = 64;
