//! What a build promises in front of each provider: Code Assist, the Gemini API and Vertex AI.
//!
//! A case that holds at several providers runs at each of them, over [`Provider::ALL`] or
//! [`Provider::BARE`]. Where the providers differ by their nature, the case says so.

mod answers;
mod copies;
mod errors;
mod headers;
mod requests;
mod routing;
mod start;
mod vertex_mode;

use code_assist_harness::Provider;

/// An ordinary whole answer of Gemini.
const WHOLE: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"all"}]},"finishReason":"STOP"}]}"#;
/// The place of the operator's models in the paths of Vertex AI.
const OPERATORS: &str =
    "projects/emulator-vertex-project/locations/global/publishers/google/models";

/// The path at which a call of a Gemini client arrives at a provider that takes bare requests.
fn path_at(provider: Provider, call: &str) -> String {
    match provider {
        Provider::CodeAssist => panic!("the path of Code Assist has no model"),
        Provider::GeminiApi => format!("/v1beta/models/{call}"),
        Provider::Vertex => format!("/v1beta1/{OPERATORS}/{call}"),
    }
}
