//! Whole requests in OpenAI's and Anthropic's dialects (`docs/DIALECTS.md`): they live like those of the
//! Gemini API.

mod fixture;
mod life;
mod signatures;
mod streams;
