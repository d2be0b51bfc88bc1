//! What clients speak. The middle of the proxy is the Gemini API itself: other dialects translate to
//! and from it.

pub mod gemini;
