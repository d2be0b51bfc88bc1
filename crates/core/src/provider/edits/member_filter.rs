//! The removal of members from an object, and the paths of what was removed.

use std::ops::Range;

use crate::json::Splice;

/// Removes members from one object so that the commas stay correct, whichever members are removed.
#[derive(Default)]
pub(crate) struct MemberFilter {
    kept: bool,
    /// The end of the latest member.
    end: usize,
    /// The start of the first member while all members so far are removed.
    leading: Option<usize>,
}

impl MemberFilter {
    pub(crate) fn keep(&mut self, splice: &mut Splice, member: Range<usize>) {
        if let Some(start) = self.leading.take() {
            splice.remove(start..member.start);
        }
        self.kept = true;
        self.end = member.end;
    }

    pub(crate) fn remove(&mut self, splice: &mut Splice, member: Range<usize>) {
        if self.kept {
            splice.remove(self.end..member.end);
        } else {
            self.leading.get_or_insert(member.start);
        }
        self.end = member.end;
    }

    /// Ends the object and returns whether a member was kept.
    pub(crate) fn close(self, splice: &mut Splice) -> bool {
        if let Some(start) = self.leading {
            splice.remove(start..self.end);
        }
        self.kept
    }
}

/// A list of paths of at most [`MOST_PATHS`] entries and `...`.
#[derive(Default)]
pub(crate) struct BoundedPaths(pub(crate) Vec<String>);

impl BoundedPaths {
    pub(crate) fn push(&mut self, path: String) {
        match self.0.len() {
            ..MOST_PATHS => self.0.push(path),
            MOST_PATHS => self.0.push("...".to_owned()),
            _ => {}
        }
    }
}

/// The number of paths that are listed; `...` stands for all others.
const MOST_PATHS: usize = 64;
