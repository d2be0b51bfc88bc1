//! What the dialects of OpenAI and Anthropic share on the way into a Gemini request, and out of a Gemini
//! answer (`docs/DIALECTS.md`).

pub mod answer;
pub mod draft;
pub mod effort;
pub mod family;
pub mod fault;
pub mod ids;
pub mod json;
pub mod models;
pub mod names;
pub mod part;
pub mod target;
pub mod text;
