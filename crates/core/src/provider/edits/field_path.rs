//! The path of a value in a body, for reports about it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use smallvec::SmallVec;

use crate::json::JsonString;

/// The path of a value in the body, in the client's spelling. It is seldom written out.
#[derive(Debug, Default)]
pub(crate) struct FieldPath<'a>(SmallVec<[PathStep<'a>; USUAL_DEPTH]>);

impl<'a> FieldPath<'a> {
    /// Adds a key; [`Self::leave`] removes it.
    pub(crate) fn enter(&mut self, key: &JsonString<'a>) {
        self.0.push(PathStep::Key(key.value.clone()));
    }

    pub(crate) fn enter_item(&mut self, index: usize) {
        self.0.push(PathStep::Item(index));
    }

    pub(crate) fn leave(&mut self) {
        self.0.pop();
    }
}

#[derive(Debug)]
enum PathStep<'a> {
    Item(usize),
    Key(Cow<'a, [u8]>),
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let legible = |c: char| if c.is_ascii_graphic() && c != ',' { c } else { '?' };
        for (number, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Item(index) => write!(f, "[{index}]")?,
                PathStep::Key(key) => {
                    f.write_str(if number == 0 { "" } else { "." })?;
                    String::from_utf8_lossy(key)
                        .chars()
                        .take(LONGEST_KEY)
                        .try_for_each(|c| f.write_char(legible(c)))?;
                }
            }
        }
        Ok(())
    }
}

/// The steps to a part of a turn: `contents[0].parts[0].text`.
const USUAL_DEPTH: usize = 5;

/// The longest key in a path; a longer key is cut.
const LONGEST_KEY: usize = 64;
