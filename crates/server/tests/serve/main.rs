//! What is native by nature: files, signals, protocols and connections, memory; the real binary over
//! real sockets, in front of the emulator or of an upstream whose every byte the test writes. What a
//! Worker promises too is in `tests/conformance`.
//!
//! Each row of the seed's defect list has a test that fails should we repeat it, here (`start`), in
//! `tests/conformance` (`access`, `bytes` and all others) or in `crates/testkit/tests` (`life.rs`):
//!
//! | The seed's defect | Test |
//! |---|---|
//! | milliseconds and seconds of expiries mixed up | `credentials::an_expiry_is_read_in_every_unit_and_place`; `life.rs`: `the_seeds_own_entries_are_used_and_its_absurd_expiry_is_not` |
//! | no refresh after a 401 | `credentials::a_token_that_google_has_ended_is_renewed_and_the_request_replayed` |
//! | reply doubled | `bytes::an_answer_arrives_once_and_byte_for_byte` |
//! | wrapped JSON array | `streams::the_array_form_begins_at_once_and_ends_in_a_bracket` |
//! | 30 s total abort | `life.rs`: `a_silent_stream_is_ended_after_the_idle_timeout_and_not_before` |
//! | slow answer started four times upstream | `errors::a_slow_answer_is_started_once`; `life.rs`: `a_head_that_does_not_come_is_a_504` |
//! | retry blind to RetryInfo in the body | `errors::retry_after_is_made_from_what_the_body_says` |
//! | errors stripped of details | `errors::an_upstream_error_keeps_its_bytes` |
//! | GET models 404 | `routes::models_are_listed_and_shown` |
//! | `x-goog-api-key` not accepted by CORS | `access::a_preflight_allows_what_gemini_clients_send` |
//! | no `Access-Control-Allow-Origin` on replies | `access::answers_errors_and_streams_carry_the_cors_headers` |
//! | open proxy | `start::a_public_address_without_keys_is_refused` (here), `access::a_missing_or_wrong_key_is_a_401_and_nothing_leaves` |
//! | model coercion | `routes::a_model_is_sent_as_it_was_asked_for` |
//! | a write to the store per health check and per cold start | `life.rs`: `health_checks_ask_nobody_and_write_nothing`; `start::health_asks_nobody` (conformance) |
//! | start-up validation that blocks and wants service-account fields | `start::an_unreachable_google_keeps_nothing_from_starting` (conformance), `credentials::every_variable_with_credentials_serves` |
//! | static caches keyed by nothing | `life.rs`: `another_accounts_stored_facts_are_not_used` |
//! | streams recorded as complete when their heads return | `streams::a_stream_is_written_down_when_it_has_ended` |
//! | errors as `text/event-stream` when nobody asked for SSE | `errors::an_error_before_the_first_event_is_an_http_error_in_both_framings` |
//!
//! Not applicable yet: the breaker (there is none), the times to live of Workers KV (no Worker).

#[path = "../harness/client.rs"]
#[expect(dead_code, reason = "shared with the conformance suite")]
mod client;
mod credentials;
#[path = "../harness/google.rs"]
#[expect(dead_code, reason = "shared with the conformance suite")]
mod google;
mod memory;
#[path = "../harness/process.rs"]
#[expect(dead_code, reason = "shared with the fault suite")]
mod process;
mod secrets;
mod shutdown;
mod start;
#[path = "../harness/upstream.rs"]
#[expect(dead_code, reason = "shared with the fault suite")]
mod upstream;
mod wire;
mod wiring;

/// The paths that most tests ask for.
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const ARRAY: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
