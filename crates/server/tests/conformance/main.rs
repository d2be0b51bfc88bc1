//! What every build of the proxy promises, black box: over real sockets, in front of the emulator or
//! of an upstream whose every byte the test writes. The same cases run for each of two subjects:
//!
//! ```text
//! cargo test -p code-assist-proxy --test conformance
//! CONFORMANCE_SUBJECT=worker cargo test -p code-assist-proxy --test conformance
//! cargo xtask conformance
//! ```
//!
//! The second needs the Worker to have been built. The third runs both, with the rows of
//! `tests/faults` that hold for both, and puts them side by side. A case here asserts what both
//! promise: status, headers of ours, JSON, the bytes of events, what arrived upstream. How many bytes
//! go in one chunk, and whether a whole answer says its length, is the runtime's: `tests/serve` holds
//! what is native by nature.

mod access;
mod bytes;
#[path = "../harness/client.rs"]
#[expect(dead_code, reason = "shared with the native suites")]
mod client;
mod credentials;
mod errors;
#[path = "../harness/google.rs"]
mod google;
mod load;
#[path = "../harness/process.rs"]
#[expect(dead_code, reason = "shared with the native suites")]
mod process;
mod project;
mod routes;
mod secrets;
mod settings;
mod start;
mod streams;
#[path = "../harness/upstream.rs"]
#[expect(dead_code, reason = "shared with the fault suite")]
mod upstream;

/// The paths that most tests ask for.
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const ARRAY: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
