//! What every build of the proxy promises, as a black box: over real sockets, in front of the emulator
//! or of an upstream whose every byte the test writes. The same cases run against either build:
//!
//! ```text
//! cargo test -p code-assist-proxy --test conformance
//! CONFORMANCE_SUBJECT=worker cargo test -p code-assist-proxy --test conformance
//! cargo xtask conformance
//! ```
//!
//! The second command needs a Worker that is built. The third runs both builds, with the rows of
//! `tests/faults` that hold for both, and compares them. A case asserts what both builds promise: the
//! status, the proxy's headers, JSON, the bytes of events, and what arrived upstream. The size of chunks,
//! and whether a whole answer has a `Content-Length`, depend on the runtime: `tests/serve` has the cases
//! of the native binary. `providers` has the cases of each provider, and `dialects` those of clients of OpenAI's
//! and Anthropic's APIs; the other modules have Code Assist as their only upstream.
//!
//! Known defects of comparable proxies, each with the test that fails if this proxy gets it too. Tests
//! that are not here are in `tests/serve` and in `crates/testkit/tests`:
//!
//! | Defect | Test |
//! |---|---|
//! | milliseconds and seconds of expiries mixed up | `credentials::an_expiry_is_read_in_every_unit_and_place` |
//! | no refresh after a 401 | `credentials::a_token_that_google_has_revoked_is_refreshed_and_the_request_replayed` |
//! | answer sent twice | `bytes::an_answer_arrives_once_and_byte_for_byte` |
//! | JSON array around the whole stream only at its end | `streams::the_json_array_begins_at_once_and_is_closed` |
//! | streams aborted after 30 s | testkit, `life.rs`: idle timeout |
//! | slow answer requested four times upstream | `errors::a_slow_answer_is_requested_once` |
//! | RetryInfo in the body ignored | `errors::retry_after_is_computed_from_the_body_of_the_error` |
//! | errors without their details | `errors::an_upstream_error_keeps_its_bytes` |
//! | `GET` of models is a 404 | `routes::models_are_listed_and_described` |
//! | `x-goog-api-key` not allowed by CORS | `access::a_preflight_allows_what_gemini_clients_send` |
//! | no `Access-Control-Allow-Origin` on answers | `access::answers_errors_and_streams_carry_the_cors_headers` |
//! | open proxy | `serve`: `start::a_public_address_without_keys_is_refused`; `access::a_missing_or_wrong_key_is_a_401_and_nothing_goes_upstream` |
//! | model name replaced | `routes::a_model_name_is_forwarded_unchanged` |
//! | health checks write to the store | `start::health_sends_no_request_upstream`; testkit, `life.rs` |
//! | start-up waits for Google or demands fields of a service account | `start::the_proxy_starts_while_google_is_unreachable`, `credentials::every_variable_for_credentials_works` |
//! | cached facts not bound to an account | testkit, `life.rs`: another account's stored facts |
//! | streams recorded as complete when their heads arrive | `streams::a_stream_is_logged_when_it_has_ended` |
//! | errors as `text/event-stream` without `alt=sse` | `errors::an_error_before_the_first_event_is_an_http_error_in_both_framings` |

mod access;
mod bytes;
mod cache;
mod credentials;
mod dialects;
mod errors;
mod keys;
mod load;
mod project;
mod protocol;
mod providers;
mod routes;
mod secrets;
mod settings;
mod start;
mod streams;
mod usage;

/// Paths and bodies of most requests.
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const ARRAY: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
