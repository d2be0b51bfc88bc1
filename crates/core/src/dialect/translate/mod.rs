//! What the dialects of OpenAI and Anthropic share on the way into a Gemini request, and out of a Gemini
//! answer (`docs/DIALECTS.md`).

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
