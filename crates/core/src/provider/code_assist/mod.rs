//! Code Assist, as Google speaks it (`protocol.md` 2 to 7).

pub mod adapt;
pub mod envelope;
pub mod models;
pub mod project;
