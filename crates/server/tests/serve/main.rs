//! What only the native binary has: files, signals, protocols, connections, memory. The real binary
//! runs over real sockets, in front of the emulator or of an upstream whose every byte the test writes.
//! What the Worker promises too is in `tests/conformance`.

#[cfg(unix)]
mod audit;
mod copies;
mod credentials;
mod floods;
mod gemini_api;
mod google_cloud;
mod http2_breaks;
mod http2_upstream;
mod keys;
mod memory;
mod own_logins;
mod ports;
mod probes;
mod reload;
mod rotation;
mod secrets;
mod settings;
mod shutdown;
mod start;
#[cfg(unix)]
mod systemd;
#[cfg(feature = "otel")]
mod traces;
mod upstreams;
mod usage_storm;
mod vertex;
mod wire;
mod wiring;

/// Paths and bodies of most requests.
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const ARRAY: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
