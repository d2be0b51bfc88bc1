//! JSON as Google's proto parser reads it: a tree that keeps every key, the tables of fields, and
//! the check of one against the other.

mod check;
pub(crate) mod fields;
mod node;

pub(crate) use check::check;
pub(crate) use node::{Node, is_spelling_of};
