//! Code Assist, as Google speaks it (`protocol.md` 2 to 7).

pub mod call;
pub mod envelope;
pub mod fault;
pub mod project;
