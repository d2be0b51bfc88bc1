//! What the dialects of OpenAI and Anthropic share on the way into a Gemini request, and out of a Gemini
//! answer (`docs/DIALECTS.md`).
//!
//! A request: the reader of its dialect makes a [`draft`] of the client's own pieces, with [`media`],
//! [`effort`] and [`signatures`] brought into one form, and [`request`] writes it for a [`target`], with
//! [`schema`]s and [`names`] that Gemini takes.
//!
//! An answer: each event is read into its [`part`]s, and the writer of the dialect writes it by the
//! [`answer`]'s plan, with new [`ids`], its [`usage`], [`citations`] and [`finish`]. An error becomes a
//! [`fault`].

pub mod answer;
pub mod citations;
pub mod draft;
pub mod effort;
pub mod family;
pub mod fault;
pub(super) mod fields;
pub mod finish;
pub mod ids;
pub mod json;
pub mod media;
pub mod models;
pub mod names;
pub mod part;
pub mod request;
pub mod schema;
pub mod signatures;
pub mod target;
pub mod text;
pub mod usage;
