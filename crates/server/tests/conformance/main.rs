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
//!
//! Each row of the seed's defect list has a test that fails should we repeat it, here, in
//! `tests/serve` or in `crates/testkit/tests` (`life.rs`):
//!
//! | The seed's defect | Test |
//! |---|---|
//! | milliseconds and seconds of expiries mixed up | `credentials::an_expiry_is_read_in_every_unit_and_place`; `life.rs`: `the_seeds_own_entries_are_used_and_its_absurd_expiry_is_not` |
//! | no refresh after a 401 | `credentials::a_token_that_google_has_revoked_is_refreshed_and_the_request_replayed` |
//! | reply doubled | `bytes::an_answer_arrives_once_and_byte_for_byte` |
//! | wrapped JSON array | `streams::the_json_array_begins_at_once_and_is_closed` |
//! | 30 s total abort | `life.rs`: `a_silent_stream_is_ended_after_the_idle_timeout_and_not_before` |
//! | slow answer started four times upstream | `errors::a_slow_answer_is_requested_once`; `life.rs`: `a_missing_response_head_is_a_504` |
//! | retry blind to RetryInfo in the body | `errors::retry_after_is_computed_from_the_body_of_the_error` |
//! | errors stripped of details | `errors::an_upstream_error_keeps_its_bytes` |
//! | GET models 404 | `routes::models_are_listed_and_described` |
//! | `x-goog-api-key` not accepted by CORS | `access::a_preflight_allows_what_gemini_clients_send` |
//! | no `Access-Control-Allow-Origin` on replies | `access::answers_errors_and_streams_carry_the_cors_headers` |
//! | open proxy | `serve`: `start::a_public_address_without_keys_is_refused`, `access::a_missing_or_wrong_key_is_a_401_and_nothing_goes_upstream` |
//! | model coercion | `routes::a_model_name_is_forwarded_unchanged` |
//! | a write to the store per health check and per cold start | `life.rs`: `health_checks_ask_nobody_and_write_nothing`; `start::health_sends_no_request_upstream` |
//! | start-up validation that blocks and wants service-account fields | `start::the_proxy_starts_while_google_is_unreachable`, `credentials::every_variable_for_credentials_works` |
//! | static caches keyed by nothing | `life.rs`: `another_accounts_stored_facts_are_not_used` |
//! | streams recorded as complete when their heads return | `streams::a_stream_is_logged_when_it_has_ended` |
//! | errors as `text/event-stream` when nobody asked for SSE | `errors::an_error_before_the_first_event_is_an_http_error_in_both_framings` |

mod access;
mod bytes;
mod credentials;
mod errors;
mod load;
mod project;
mod routes;
mod secrets;
mod settings;
mod start;
mod streams;

/// The paths that most tests ask for.
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const ARRAY: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
