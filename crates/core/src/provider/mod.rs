//! What upstreams speak: how a Gemini request becomes an upstream request, and how the answer comes
//! back.

pub mod code_assist;
pub mod request;
