//! What can go wrong, one row for each fault: over real sockets, against the real binary.
//!
//! Each row says what its client saw and what upstream saw, and none leaves anything behind: after
//! each, nothing is in flight or in line, and no file descriptor is open that was not open before.
//! `docs/FAULTS.md` is made from this table. One row by its name, and all that hold for the Worker:
//!
//! ```text
//! cargo test -p code-assist-proxy --test faults -- reset_before_head
//! CONFORMANCE_SUBJECT=worker cargo test -p code-assist-proxy --test faults -- both::
//! ```

mod answers;
mod bench;
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
    "The way upstream" in network {
        both {
            connect_refused: "nobody listens at the endpoint",
                "503 `UPSTREAM_UNREACHABLE` with what to look at; from the Worker perhaps 502, since its runtime has one word for both",
                "nothing; 3 tries";
            reset_before_head: "RST as soon as the request arrives",
                "502 `UPSTREAM_DISCONNECTED`", "3 tries";
            reset_once_before_head: "RST for the first try only",
                "200, and no trace of it", "2 tries";
            closed_before_head: "FIN as soon as the request has arrived",
                "502 `UPSTREAM_DISCONNECTED`", "3 tries";
            reset_before_first_event: "RST between the head and the first event",
                "502 `UPSTREAM_DISCONNECTED`, not a 200", "3 tries";
            reset_mid_event: "RST in the middle of the second event",
                "the first event, then the error as event and bare", "1 try";
            half_open: "the connection opens and stays silent",
                "504 `UPSTREAM_TIMEOUT` after `FIRST_BYTE_TIMEOUT_MS`", "1 try: a slow answer is not started again";
            silent_mid_stream: "silence after the first event",
                "the first event, then 504 as event and bare after `STREAM_IDLE_TIMEOUT_MS`",
                "1 try, closed by the proxy";
            silent_mid_body: "silence in the middle of a whole answer",
                "504 `UPSTREAM_TIMEOUT`", "1 try, closed by the proxy";
            trickle: "one byte at a time, in all slower than any time-out",
                "every event whole", "1 try";
            garbage_bytes: "bytes that are no HTTP", "502; from the Worker perhaps 503", "3 tries";
            idle_connection_closed: "upstream closes each connection after its answer, unannounced",
                "200, every time", "each request once";
        }
        native {
            informational_heads: "100 and 103 before the answer", "200", "1 try",
                because "the runtime takes no interim answers";
            connect_stalls: "TCP connects, the TLS handshake is never answered",
                "503 `UPSTREAM_UNREACHABLE` after `CONNECTION_TIMEOUT_MS` a try", "3 connections",
                because "the runtime connects, and bounds that itself";
            tls_to_a_plain_server: "an `https://` endpoint that speaks plain HTTP",
                "503 `UPSTREAM_UNREACHABLE`", "3 connections and no request",
                because "the runtime does TLS, and says less of it";
            tls_certificate_unknown: "a certificate that no known authority has signed",
                "503 `UPSTREAM_UNREACHABLE` naming the certificate; 200 once `SSL_CERT_FILE` names the authority",
                "no request before",
                because "the runtime does TLS, with its own authorities";
            corporate_proxy_refuses: "the corporate proxy answers CONNECT with 407",
                "503 `UPSTREAM_UNREACHABLE`", "CONNECT with the login; nothing directly",
                because "a Worker has no corporate proxy";
            endless_header: "a header that does not end", "502 or 503, memory bounded", "at most 3 tries",
                because "memory is the runtime's";
            endless_headers: "headers without end", "502 or 503, memory bounded", "at most 3 tries",
                because "memory is the runtime's";
        }
    }
    "What upstream answers" in answers {
        both {
            redirect: "307 to somewhere else",
                "502 `UPSTREAM_MALFORMED`", "1 try; nothing goes to the other place";
            wrong_content_type: "a good answer called `text/plain`", "200, the answer", "1 try";
            web_page_for_an_answer: "200 with a web page (captive portal) for a whole answer",
                "502 `UPSTREAM_MALFORMED`", "1 try";
            web_page_for_a_stream: "200 with a web page for a stream",
                "502 `UPSTREAM_MALFORMED`, not an empty 200", "1 try";
            web_page_502: "502 with a load balancer's web page",
                "502 in Google's form", "3 tries";
            empty_answer: "200 with no body", "502 `UPSTREAM_MALFORMED`", "1 try";
            answer_without_response: "200 with JSON that has no `response`",
                "502 `UPSTREAM_MALFORMED`", "1 try";
            answer_cut: "half of the announced body", "502 `UPSTREAM_DISCONNECTED`", "3 tries";
            empty_stream: "a stream of no events", "200 and nothing, or `[]`", "1 try";
            error_as_first_event: "200 whose first event is an error",
                "the error, with its own status", "1 try";
            error_mid_stream: "an error after two events",
                "both events, the error as event and bare", "1 try";
            cut_anywhere: "a stream of three events cut at every 7th byte and at each line's end",
                "each event that was whole, then one error; never half an event", "1 try each";
            no_finish_reason: "a clean end without `finishReason`",
                "what came and nothing invented; `outcome` is `cut`", "1 try";
            event_too_long: "an event beyond `MAX_EVENT_BYTES`",
                "what came before, then `UPSTREAM_MALFORMED`", "1 try, closed by the proxy";
            event_is_no_json: "an event that is no JSON", "what came before, then `UPSTREAM_MALFORMED`", "1 try";
        }
        native {
            gzip_whole: "a gzip answer though `identity` was asked for",
                "502 `UPSTREAM_MALFORMED` naming gzip", "1 try",
                because "the runtime unpacks answers";
            gzip_stream: "a gzip stream though `identity` was asked for",
                "502 `UPSTREAM_MALFORMED` naming gzip, not an empty 200", "1 try",
                because "the runtime unpacks answers";
            gzip_truncated: "half a gzip answer", "502 `UPSTREAM_MALFORMED` naming gzip", "1 try",
                because "the runtime unpacks answers";
        }
    }
    "Trying again and leaving alone" in tries {
        both {
            error_500_once: "500, then 200", "only the 200", "2 tries";
            error_500_always: "500 for ever", "upstream's 500, byte for byte", "3 tries";
            storm_of_500s: "every answer is a 500, twenty callers",
                "`CIRCUIT_OPEN` at once, `Retry-After` exact",
                "`CIRCUIT_BREAKER_FAILURE_THRESHOLD`, then one probe a `CIRCUIT_BREAKER_TIMEOUT_MS`";
            recovery: "an endpoint comes back after a storm", "200 again", "one probe first, whoever calls";
            storm_of_429s: "every answer is a 429", "upstream's 429s, byte for byte", "every request; the breaker stays closed";
            retry_info_short: "429 with a short RetryInfo, then 200",
                "200 after exactly that delay", "2 tries";
            retry_info_long: "429 with a long RetryInfo",
                "the 429 at once, `Retry-After` from the RetryInfo", "1 try";
            quota_exhausted: "`QUOTA_EXHAUSTED` for a model",
                "upstream's bytes, from memory until the reset; other models go on", "1 try for that model in all";
            no_capacity: "503 `MODEL_CAPACITY_EXHAUSTED` for ever",
                "the 503, byte for byte", "3 tries, whatever `MAX_RETRY_ATTEMPTS` allows";
            unauthorized_once: "the token has ended early", "only the 200", "2 tries, one refresh";
            unauthorized_always: "401 for ever",
                "503 `CREDENTIALS_REJECTED`, never a 401", "2 tries, one refresh";
            project_gone: "403 `CONSUMER_INVALID`",
                "the 403 once, then 200", "the project is discovered anew";
            client_in_a_hurry: "500s for a client whose `X-Server-Timeout` is nearly over",
                "the 500 within its time", "no retry that could not end in time";
            endpoint_down: "one of two endpoints refuses connections",
                "200, every time", "the other one has every request";
            endpoint_fails: "one of two endpoints answers 500", "200, every time", "each failed try moves on at once";
            endpoint_busy: "three endpoints, two with long streams", "200", "the one with least in flight";
        }
        native {}
    }
    "Limits and sharing" in limits {
        both {
            queue_timeout: "no place within `QUEUE_TIMEOUT_MS`",
                "503 `QUEUE_TIMEOUT` with `Retry-After`", "nothing of it";
            rate_limit: "more than `RATE_LIMIT_MAX_REQUESTS` in a window",
                "exactly so many 200s, then 429 with exact headers; 200 after `Retry-After`", "what was let through";
            rate_limit_forged: "`X-Forwarded-For` that nobody trusts",
                "429 all the same; with `TRUST_FORWARDED_FOR` each address has its own", "what was let through";
        }
        native {
            one_at_a_time: "twenty callers and `MAX_CONCURRENT_REQUESTS=1`",
                "200 each", "one at a time, in the order they came",
                because "the order of the line is each isolate's own";
        }
    }
    "One answer for equal questions" in sharing {
        both {
            equal_questions: "twenty equal requests at temperature 0 at once",
                "the same answer, `x-cache` says whose", "1 request";
            equal_streams: "equal sampling requests at once", "an answer each", "every one";
            leader_gone: "the first of equal requests loses its client",
                "the others get their answer", "at most 2 requests, the first cancelled";
            leader_fails: "the first of equal requests fails", "no error is kept: the next asks anew", "each asks";
            idempotency_key_reused: "an `Idempotency-Key` with another body", "409 `ABORTED`", "the first only";
            cached_answer: "an equal request later; `no-cache`; `no-store`",
                "HIT; a fresh one; a fresh one that is not kept", "what was not a HIT";
            cached_while_open: "the breaker is open and a fresh answer is kept", "the kept answer", "nothing";
            cache_full: "answers beyond `RESPONSE_CACHE_MAX_BYTES`", "200, none kept", "every one";
        }
        native {}
    }
    "Credentials and project" in credentials {
        both {
            token_endpoint_down: "the token endpoint refuses connections",
                "503 `UPSTREAM_UNREACHABLE`; a living token is used on", "nothing without a token";
            token_endpoint_slow: "a refresh takes a second, twenty callers",
                "200 each", "one refresh";
            token_endpoint_500: "the token endpoint answers 500", "503 `UPSTREAM_UNREACHABLE`, 200 once it is back", "few refreshes";
            token_endpoint_garbage: "the token endpoint answers no JSON", "503, 200 once it is back", "few refreshes";
            invalid_grant: "the login was revoked", "503 `CREDENTIALS_REJECTED` with what to do", "one refresh in all";
            revoked_mid_stream: "the login is revoked while a stream runs",
                "the stream to its end; then 503 `CREDENTIALS_REJECTED`", "the stream, whole";
            token_given_ends: "`GOOGLE_CLOUD_ACCESS_TOKEN` has ended", "503 `CREDENTIALS_REJECTED`", "no refresh";
            onboarding_stuck: "an onboarding that is not done for long", "200 when it is done", "one onboarding, polled ever more slowly";
            discovery_down: "`loadCodeAssist` answers 503",
                "503, and 200 once it is back", "3 tries, then a pause";
        }
        native {}
    }
    "The store" in store {
        both {}
        native {
            store_damaged: "the store's file is nonsense", "200", "as ever",
                because "a Worker has no files";
            store_deleted: "the store's file is deleted while it runs", "200", "as ever",
                because "a Worker has no files";
            store_in_use: "another process has the store", "200, from memory; `kv_status` is `disconnected`", "as ever",
                because "a Worker has no files";
            store_full: "the disk is full when it starts", "200, from memory; `kv_status` is `disconnected`", "as ever",
                because "a Worker has no files";
            store_unwritable: "the store's file cannot be made", "200, from memory; `kv_status` is `disconnected`", "as ever",
                because "a Worker has no files";
        }
    }
    "Clients" in callers {
        both {
            client_gone_before_head: "the client leaves before the answer begins", "—", "closed at once";
            client_gone_mid_stream: "the client leaves in the middle of a stream", "—", "closed at once";
            client_gone_during_refresh: "the client leaves while it waits for a token",
                "another client gets the token", "one refresh, nothing of the first client";
            client_gone_between_tries: "the client leaves during a retry's pause", "—", "1 try";
            client_gone_mid_body: "the client leaves in the middle of its request", "—", "nothing";
            client_reads_slowly: "the client does not read for a while",
                "every event, in order", "is slowed down; the stream stays whole";
        }
        native {
            client_gone_in_line: "the client leaves while it waits in line",
                "the next in line is served", "nothing of it",
                because "the order of the line is each isolate's own";
            client_sends_head_slowly: "a head that takes for ever, from a hundred connections",
                "the others are served; closed after a minute", "nothing",
                because "connections are the runtime's";
            client_sends_body_slowly: "a body that stops half way", "408 `REQUEST_TIMEOUT` after 30 s", "nothing",
                because "connections are the runtime's";
            client_sends_huge_head: "a head of a megabyte", "431, or closed", "nothing",
                because "connections are the runtime's";
            client_sends_garbage: "bytes that are no HTTP", "400, or closed", "nothing",
                because "connections are the runtime's";
            client_sends_tls: "a TLS hello at the plain port", "closed at once", "nothing",
                because "connections are the runtime's";
        }
    }
    "Crowds" in crowd {
        both {}
        native {
            a_thousand_vanish: "1,000 open streams whose clients vanish at random",
                "—", "1,000 closed connections; gauges, files and memory are back",
                because "files and memory are the runtime's";
        }
    }
}
