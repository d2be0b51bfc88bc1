//! A table of faults, each run over real sockets against the real binary.
//!
//! A row asserts what the client sees and what upstream sees, and that no resource leaks: after it, no
//! request is in flight or queued, and no file descriptor is open that was not open before.
//! `docs/FAULTS.md` is generated from this table. One row by its name, and all rows that hold for the
//! Worker:
//!
//! ```text
//! cargo test -p code-assist-proxy --test faults -- reset_before_head
//! CONFORMANCE_SUBJECT=worker cargo test -p code-assist-proxy --test faults -- both::
//! ```

mod answers;
mod breaks;
mod callers;
mod credentials;
mod crowd;
mod limits;
mod network;
mod sharing;
mod store;
mod table;
mod tries;

use table::faults;

faults! {
    "Between the proxy and upstream" in network {
        both {
            connect_refused: "no process listens at the endpoint",
                "503 `UPSTREAM_UNREACHABLE` with a hint; from the Worker 502, since its runtime does not say how far a call came",
                "nothing; 3 tries, from the Worker 1";
            reset_before_head: "RST as soon as the request arrives",
                "502 `UPSTREAM_DISCONNECTED`, which says that Google may have carried it out", "1 try";
            reset_once_before_head: "RST for the first request only",
                "502 `UPSTREAM_DISCONNECTED`, then 200", "1 try each";
            closed_before_head: "FIN as soon as the request has arrived",
                "502 `UPSTREAM_DISCONNECTED`, which says that Google may have carried it out", "1 try";
            reset_before_first_event: "RST between the head and the first event",
                "502 `UPSTREAM_DISCONNECTED`, not a 200", "1 try";
            reset_mid_event: "RST in the middle of the second event",
                "the first event, then the error as an event and as bare JSON", "1 try";
            half_open: "the connection opens, and no byte follows",
                "504 `UPSTREAM_TIMEOUT` after `FIRST_BYTE_TIMEOUT_MS`", "1 try: a slow answer is not requested again";
            silent_mid_stream: "silence after the first event",
                "the first event, then 504 as an event and as bare JSON after `STREAM_IDLE_TIMEOUT_MS`",
                "1 try, closed by the proxy";
            silent_mid_body: "silence in the middle of a whole answer",
                "504 `UPSTREAM_TIMEOUT`", "1 try, closed by the proxy";
            trickle: "one byte at a time after the first event, the whole slower than any timeout",
                "every event whole", "1 try";
            garbage_bytes: "bytes that are not HTTP",
                "502 `UPSTREAM_DISCONNECTED`, which says that Google may have carried it out", "1 try";
            idle_connection_closed: "upstream closes each connection after its answer, without announcing it",
                "200, every time", "each request once";
        }
        native {
            informational_heads: "100 and 103 before the answer", "200", "1 try",
                because "the runtime accepts no interim responses";
            connect_stalls: "TCP connects, the TLS handshake is never answered",
                "503 `UPSTREAM_UNREACHABLE` after `CONNECTION_TIMEOUT_MS` a try", "3 connections",
                because "the runtime opens connections, with its own timeout";
            tls_to_a_plain_server: "an `https://` endpoint that speaks plain HTTP",
                "503 `UPSTREAM_UNREACHABLE`", "3 connections and no request",
                because "the runtime does TLS, and reports less";
            tls_certificate_unknown: "a certificate of an unknown authority",
                "503 `UPSTREAM_UNREACHABLE` naming the certificate; 200 once `SSL_CERT_FILE` names the authority",
                "no request before that",
                because "the runtime does TLS, with its own authorities";
            corporate_proxy_refuses: "the forward proxy answers CONNECT with 407",
                "503 `UPSTREAM_UNREACHABLE`", "CONNECT with the credentials; no direct connection",
                because "a Worker has no forward proxy";
            out_of_file_handles: "the proxy has no file handle left for a connection, with and without a name look-up",
                "503 `UPSTREAM_UNREACHABLE` naming the limit; 200 once there is one", "nothing; 3 tries, and the breaker stays closed",
                because "the runtime opens connections";
            endless_header: "a header that does not end", "502 or 503, memory bounded", "1 try",
                because "the runtime controls memory";
            endless_headers: "headers that do not end", "502 or 503, memory bounded", "1 try",
                because "the runtime controls memory";
        }
    }
    "Connections that break" in breaks {
        both {
            broken_after_two_seconds: "RST or FIN 2 s after the request, whatever the operation",
                "502 `UPSTREAM_DISCONNECTED`, which says that Google may have carried it out", "1 try";
            broken_after_one_byte: "RST or FIN after the head and one byte of the answer",
                "502 `UPSTREAM_DISCONNECTED`, which says that Google may have carried it out", "1 try";
            error_broken_off: "half of the announced body of a 503",
                "502 `UPSTREAM_DISCONNECTED`, which says that Google may have carried it out", "1 try";
        }
        native {
            idle_connection_dead: "a connection dies while it is idle, and the next request is the first to meet that",
                "200, every time", "the request again, on another connection",
                because "the runtime keeps the connections";
        }
    }
    "Upstream's answers" in answers {
        both {
            redirect: "307 to somewhere else",
                "502 `UPSTREAM_MALFORMED`", "1 try; no request to the other place";
            wrong_content_type: "a good answer with type `text/plain`", "200, the answer", "1 try";
            web_page_for_an_answer: "200 with a web page (captive portal) for a whole answer",
                "502 `UPSTREAM_MALFORMED`", "1 try";
            web_page_for_a_stream: "200 with a web page for a stream",
                "502 `UPSTREAM_MALFORMED`, not an empty 200", "1 try";
            web_page_502: "502 with a load balancer's web page",
                "502 in Google's form", "3 tries";
            empty_answer: "200 with no body", "502 `UPSTREAM_MALFORMED`", "1 try";
            answer_without_response: "200 with JSON that has no `response`",
                "502 `UPSTREAM_MALFORMED`", "1 try";
            answer_cut: "half of the announced body", "502 `UPSTREAM_DISCONNECTED`", "1 try";
            empty_stream: "a stream of no events, or of events without anything for the client",
                "502 `UPSTREAM_MALFORMED`, not an empty 200", "3 tries";
            not_in_its_wrapper: "200 with Gemini's own answer or event, as another API sends it",
                "502 `UPSTREAM_MALFORMED` naming `CODE_ASSIST_ENDPOINT`", "1 try";
            comments_for_ever: "a stream of comments that does not end",
                "504 `UPSTREAM_TIMEOUT` after `FIRST_BYTE_TIMEOUT_MS`", "1 try, closed by the proxy";
            error_in_a_whole_answer: "200 with an error that has a gRPC number or a name only",
                "the error with its own status", "1 try, 3 for an outage";
            error_as_first_event: "200 whose first event is an error",
                "the error, with its own status", "1 try";
            error_mid_stream: "an error after two events",
                "both events, then the error as an event and as bare JSON", "1 try";
            cut_anywhere: "a stream of three events cut at every 7th byte and at each line's end",
                "each event that was whole, then one error; never half an event", "1 try each";
            no_finish_reason: "a clean end without `finishReason`",
                "the events, nothing added; `outcome` is `cut`", "1 try";
            event_too_long: "an event beyond `MAX_EVENT_BYTES`",
                "the events before it, then `UPSTREAM_MALFORMED`", "1 try, closed by the proxy";
            event_is_no_json: "an event that is not JSON", "the events before it, then `UPSTREAM_MALFORMED`", "1 try";
        }
        native {
            gzip_whole: "a gzip answer although `identity` was requested",
                "502 `UPSTREAM_MALFORMED` naming gzip", "1 try",
                because "the runtime decompresses answers";
            gzip_stream: "a gzip stream although `identity` was requested",
                "502 `UPSTREAM_MALFORMED` naming gzip, not an empty 200", "1 try",
                because "the runtime decompresses answers";
            gzip_truncated: "half a gzip answer", "502 `UPSTREAM_MALFORMED` naming gzip", "1 try",
                because "the runtime decompresses answers";
        }
    }
    "Retries, breakers and endpoints" in tries {
        both {
            error_500_once: "500, then 200", "only the 200", "2 tries";
            error_500_always: "500, always", "upstream's 500, byte for byte", "3 tries";
            storm_of_500s: "every answer is a load balancer's 500, twenty callers",
                "`CIRCUIT_OPEN` at once, `Retry-After` exact",
                "`CIRCUIT_BREAKER_FAILURE_THRESHOLD`, then one probe a `CIRCUIT_BREAKER_TIMEOUT_MS`";
            recovery: "an endpoint comes back after a storm", "200 again", "one probe first, from any client";
            storm_of_429s: "every answer is a 429", "upstream's 429s, byte for byte", "every request; the breaker stays closed";
            retry_info_short: "429 with a short RetryInfo, then 200",
                "200 after exactly that delay", "2 tries";
            retry_info_long: "429 with a long RetryInfo",
                "the 429 at once, `Retry-After` from the RetryInfo", "1 try";
            quota_exhausted: "`QUOTA_EXHAUSTED` for a model",
                "upstream's bytes, from memory until the reset; other models work", "1 try for that model in all";
            no_capacity: "503 `MODEL_CAPACITY_EXHAUSTED`, always",
                "the 503, byte for byte", "3 tries, whatever `MAX_RETRY_ATTEMPTS` allows";
            unauthorized_once: "the token expires early", "only the 200", "2 tries, one refresh";
            unauthorized_always: "401, always",
                "503 `CREDENTIALS_REJECTED`, never a 401", "2 tries, one refresh";
            project_gone: "403 `CONSUMER_INVALID`",
                "the 403 once, then 200", "the project is discovered again";
            client_in_a_hurry: "500s for a client whose `X-Server-Timeout` is nearly over",
                "the 500 within its time", "no retry that cannot end in time";
            endpoint_down: "one of two endpoints refuses connections",
                "200, every time; from the Worker 502 until the breaker opens", "the other one has every request";
            model_overloaded: "one model answers 503, twenty callers of another model",
                "that model: `CIRCUIT_OPEN`, naming it; the other model: 200, every time",
                "`CIRCUIT_BREAKER_FAILURE_THRESHOLD` requests for that model";
            poisoned_prompt: "one prompt always gets a 500",
                "upstream's 500, never `CIRCUIT_OPEN`; other prompts: 200", "3 tries each time";
            side_methods_fail: "methods that generate nothing answer 500 and 501",
                "their errors; generation goes on", "every request; the breakers stay closed";
            quota_is_back: "`QUOTA_EXHAUSTED` until next week, and the quota is back after a minute",
                "200 with `Cache-Control: no-cache`, then 200 without", "that request, and those after it";
            endpoint_fails: "one of two endpoints answers with a load balancer's 500", "200, every time", "each failed try goes to the other endpoint at once";
            endpoint_busy: "three endpoints, two with long streams", "200", "the one with the fewest requests in flight";
        }
        native {}
    }
    "Limits" in limits {
        both {
            queue_timeout: "no concurrency permit within `QUEUE_TIMEOUT_MS`",
                "503 `QUEUE_TIMEOUT` with `Retry-After`", "no request";
            rate_limit: "more than `RATE_LIMIT_MAX_REQUESTS` in a window",
                "exactly that many 200s, then 429 with exact headers; 200 after `Retry-After`", "the requests that were allowed";
            rate_limit_forged: "`X-Forwarded-For` without trust",
                "429 as before; with `TRUST_FORWARDED_FOR` each address has its own limit", "the requests that were allowed";
        }
        native {
            one_at_a_time: "twenty callers and `MAX_CONCURRENT_REQUESTS=1`",
                "200 each", "one at a time, in the order of arrival",
                because "each isolate has its own queue";
        }
    }
    "Coalescing and cache" in sharing {
        both {
            equal_questions: "twenty equal requests at temperature 0 at once",
                "the same answer; `x-cache` shows which one was coalesced", "1 request";
            equal_streams: "equal requests with sampling at once", "its own answer each", "every request";
            leader_gone: "the first of equal requests loses its client",
                "the others get their answer", "at most 2 requests, the first cancelled";
            leader_fails: "the first of equal requests fails", "the error is not cached: the next request is sent upstream", "every request";
            idempotency_key_reused: "an `Idempotency-Key` with another body", "409 `ABORTED`", "the first only";
            cached_answer: "an equal request later; `no-cache`; `no-store`",
                "HIT; a new answer; a new answer that is not cached", "every request without a HIT";
            bad_answer_not_kept: "an equal request after an answer that is cut or empty",
                "a new answer", "every request";
            cached_while_open: "the breaker is open and an answer is cached", "the cached answer", "nothing";
            cache_full: "answers beyond `RESPONSE_CACHE_MAX_BYTES`", "200, none cached", "every request";
        }
        native {}
    }
    "Credentials and project" in credentials {
        both {
            token_endpoint_down: "the token endpoint refuses connections",
                "503 `UPSTREAM_UNREACHABLE` with `Retry-After`; a valid token is still used", "nothing without a token";
            token_endpoint_fails_once: "the token endpoint answers once with 502, 429, garbage, or not at all",
                "200, no sign of the fault", "2 tries of a refresh";
            token_endpoint_busy: "the token endpoint answers 429 with a long `Retry-After`",
                "503 `UPSTREAM_UNREACHABLE` at once, with what is left of that time", "1 try of a refresh";
            token_endpoint_slow: "a refresh takes a second, twenty callers",
                "200 each", "one refresh";
            token_endpoint_500: "the token endpoint answers 500",
                "503 `UPSTREAM_UNREACHABLE` with `Retry-After`, 200 after it has recovered", "3 tries of a refresh, then a pause that doubles";
            token_endpoint_garbage: "the token endpoint's answer is not JSON",
                "503 `UPSTREAM_UNREACHABLE` with `Retry-After`, 200 after it has recovered", "3 tries of a refresh, then a pause that doubles";
            invalid_grant: "the credentials are revoked", "503 `CREDENTIALS_REJECTED` with the way to fix it", "one refresh in all";
            revoked_mid_stream: "the credentials are revoked while a stream runs",
                "the stream to its end; then 503 `CREDENTIALS_REJECTED`", "the stream, whole";
            token_given_ends: "`GOOGLE_CLOUD_ACCESS_TOKEN` has expired", "503 `CREDENTIALS_REJECTED`", "no refresh";
            credentials_unreadable: "`GCP_SERVICE_ACCOUNT` holds a path in place of JSON",
                "503 `CREDENTIALS_REJECTED`, which says that it cannot be read", "nothing";
            onboarding_stuck: "an onboarding that takes long", "200 when it is done", "one onboarding, polled at growing intervals";
            discovery_down: "`loadCodeAssist` answers 503",
                "503, and 200 after it has recovered", "3 tries, then a pause";
        }
        native {}
    }
    "The store" in store {
        both {}
        native {
            store_damaged: "the store's file is damaged", "200", "no difference",
                because "a Worker has no files";
            store_deleted: "the store's file is deleted while it runs", "200", "no difference",
                because "a Worker has no files";
            store_in_use: "another process has the store open", "200, from memory; `kv_status` is `disconnected`", "no difference",
                because "a Worker has no files";
            store_full: "the disk is full when it starts", "200, from memory; `kv_status` is `disconnected`", "no difference",
                because "a Worker has no files";
            store_unwritable: "the store's file cannot be created", "200, from memory; `kv_status` is `disconnected`", "no difference",
                because "a Worker has no files";
        }
    }
    "Clients" in callers {
        both {
            client_gone_before_head: "the client disconnects before the answer begins", "—", "closed at once";
            client_gone_mid_stream: "the client disconnects in the middle of a stream", "—", "closed at once";
            client_gone_during_refresh: "the client disconnects while it waits for a token",
                "another client gets the token", "one refresh, no request of the first client";
            client_gone_between_tries: "the client disconnects during a retry's delay", "—", "1 try";
            client_gone_mid_body: "the client disconnects in the middle of its request", "—", "nothing";
            client_reads_slowly: "the client does not read for a while",
                "every event, in order", "is slowed down; the stream stays complete";
        }
        native {
            client_gone_in_line: "the client disconnects while it is queued",
                "the next in the queue is served", "no request",
                because "each isolate has its own queue";
            client_sends_head_slowly: "a head that never ends, from a hundred connections",
                "other clients are served; closed after a minute", "nothing",
                because "the runtime handles connections";
            client_sends_body_slowly: "a body that stops in the middle", "408 `REQUEST_TIMEOUT` after 30 s", "nothing",
                because "the runtime handles connections";
            client_sends_huge_head: "a head of a megabyte", "431, or closed", "nothing",
                because "the runtime handles connections";
            client_sends_garbage: "bytes that are not HTTP", "400, or closed", "nothing",
                because "the runtime handles connections";
            client_sends_tls: "a TLS hello at the plain port", "closed at once", "nothing",
                because "the runtime handles connections";
        }
    }
    "Crowds" in crowd {
        both {}
        native {
            a_thousand_vanish: "1,000 open streams whose clients disconnect at random",
                "—", "1,000 closed connections; gauges, files and memory as before",
                because "the runtime controls files and memory";
        }
    }
}
