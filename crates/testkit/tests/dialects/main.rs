//! Whole requests in OpenAI's and Anthropic's dialects (`docs/DIALECTS.md`): they live like those of the
//! Gemini API.

mod assembled;
mod complaints;
mod fixture;
mod golden;
mod life;
mod metrics;
mod properties;
mod signatures;
mod streams;
