//! JSON as Google's proto parser reads it: a tree that keeps every key, the tables of fields, and
//! the check of one against the other.

mod check;
pub(crate) mod fields;
mod node;

pub(crate) use check::{BASE64, BASE64_URL_SAFE, ListRule, check};
pub(crate) use node::{Node, is_spelling_of};
