//! Google's own clients against the real binary.

use crate::report::Report;

pub(crate) fn run(_: &mut Report) {}
