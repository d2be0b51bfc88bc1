//! What a build promises to clients of OpenAI's and Anthropic's APIs (`docs/DIALECTS.md`).
//!
//! A case that holds in every dialect runs in each of them, over [`Api::ALL`] or [`Api::WITH_GEMINI`].

mod answers;
mod api;
mod early;
mod ends;
mod errors;
mod life;
mod routes;
mod rows;
mod signatures;

use self::api::Api;

/// A model that needs the signatures of its calls back.
const GEMINI_3: &str = "gemini-3-pro-preview";
