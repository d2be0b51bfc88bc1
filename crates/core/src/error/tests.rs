use std::fmt::Write;

use bytes::Bytes;
use http::HeaderMap;

use super::message::Plain;
use super::*;
use crate::access::AccessError;
use crate::dialect::gemini::error::body;
use crate::dialect::gemini::models::PageTokenError;
use crate::dialect::gemini::route::RouteError;
use crate::failure::{FailoverReason, FailureClass};
use crate::json::JsonError;
use crate::platform::{BodyError, RequestBodyError, SendError};

/// One of each variant, and of each form that a message can take.
fn every_error() -> Vec<Error> {
    let text = str::to_owned;
    let not_offered = |what, model: Option<&str>| Error::NotOffered {
        what: text(what),
        model: model.map(str::to_owned),
        upstream: None,
        others: Vec::new(),
        provider: Some("gemini-api"),
    };
    vec![
        Error::AccountIneligible {
            reasons: vec![
                (text("UNSUPPORTED_CLIENT"), text("This client is no longer supported")),
                (text("RESTRICTED_AGE"), text("Your account is too young.")),
            ],
            of_key: false,
        },
        Error::AccountIneligible { reasons: vec![], of_key: true },
        Error::AccountIneligible { reasons: vec![], of_key: false },
        Error::AdminOnly { what: "/metrics" },
        Error::UsageNotCounted,
        Error::UsageParameter { problem: text("`by` takes key, model or day.") },
        Error::UsageUnreadable { why: text("the connection was refused") },
        Error::ApiKeyExpired { since: Timestamp(1_801_353_600_000) },
        Error::ApiKeyInvalid,
        Error::ApiKeyMissing,
        Error::BadPageToken,
        Error::BodyTooLarge { limit: 104_857_600, bound: BodyBound::Setting },
        Error::BodyTooLarge { limit: 33_554_432, bound: BodyBound::Budget },
        Error::BodyTooLarge { limit: 10_240_000, bound: BodyBound::Ratio },
        Error::CircuitOpen { after: Duration::from_millis(41_001), model: None },
        Error::CircuitOpen { after: Duration::from_secs(60), model: Some(text("gemini-3-pro")) },
        Error::Conflict,
        Error::ConnectionsExhausted,
        Error::CredentialsMissing {
            why: text("there is no file ~/.gemini/oauth_creds.json"),
            kind: CredentialKind::GeminiCli,
        },
        Error::CredentialsMissing {
            why: text("~/.gemini/oauth_creds.json does not exist"),
            kind: CredentialKind::Unset,
        },
        Error::CredentialsMissing {
            why: text("there is no credential for Vertex AI; set VERTEX_CREDENTIALS"),
            kind: CredentialKind::GoogleCloud,
        },
        Error::CredentialsRejected {
            why: text("Token has been expired or revoked."),
            kind: CredentialKind::GeminiCli,
            details: Bytes::new(),
        },
        Error::CredentialsRejected {
            why: text("Invalid JWT Signature."),
            kind: CredentialKind::GoogleCloud,
            details: Bytes::new(),
        },
        Error::CredentialsRejected {
            why: text("API key not valid."),
            kind: CredentialKind::ApiKey,
            details: Bytes::new(),
        },
        Error::CredentialsUnreadable {
            why: text("GCP_SERVICE_ACCOUNT cannot be read: it is empty"),
            kind: CredentialKind::GeminiCli,
        },
        Error::CredentialsMissing {
            why: text("/etc/ada.json does not exist"),
            kind: CredentialKind::KeysOwn,
        },
        Error::CredentialsRejected {
            why: text("Token has been expired or revoked."),
            kind: CredentialKind::KeysOwn,
            details: Bytes::new(),
        },
        Error::CredentialsUnreadable {
            why: text("/etc/ada.json is empty"),
            kind: CredentialKind::KeysOwn,
        },
        Error::FieldNotTaken { field: text("tools[0].retrieval"), why: "only Vertex AI has it" },
        Error::HostMissing,
        Error::HostNotAllowed { host: text("evil.example") },
        Error::Internal,
        Error::KeyRefused {
            why: text("API key not valid. Please pass a valid API key."),
            details: Bytes::from_static(br#"[{ "reason":"API_KEY_INVALID"}]"#),
        },
        Error::MalformedBody,
        Error::MalformedJson { detail: text("trailing characters at line 1 column 4") },
        Error::MethodNotAllowed { allow: "GET, HEAD" },
        Error::NeedsProject {
            what: text("cachedContents"),
            upstream: text("vertex"),
            others: Vec::new(),
        },
        Error::NoAnswer { reason: text("MALFORMED_FUNCTION_CALL"), message: None },
        Error::NoAnswer { reason: text("OTHER"), message: Some(text("It was too long.")) },
        Error::NotAllowed { what: text("auth_tokens") },
        Error::NotFound { what: text("/v1/nothing") },
        not_offered("embedContent", Some("text-embedding-004")),
        not_offered("files", None),
        not_offered("cachedContents", None),
        not_offered("openai", None),
        not_offered("bidiGenerateContent", None),
        Error::OriginNotAllowed { origin: text("https://evil.example") },
        Error::OriginNotAllowed { origin: String::new() },
        Error::OutOfResources { why: text("tcp open error: Too many open files (os error 24)") },
        Error::Overloaded { after: Duration::from_secs(1) },
        Error::ProjectRequired { of_key: false },
        Error::ProjectRequired { of_key: true },
        Error::QueueTimeout { after: Duration::from_secs(1), own_share: false },
        Error::QueueTimeout { after: Duration::from_secs(1), own_share: true },
        Error::RateLimited { limit: RateLimitName::AllCallers, after: Duration::from_millis(1500) },
        Error::RateLimited { limit: RateLimitName::TokensPerMinute, after: Duration::from_secs(4) },
        Error::ModelNotAllowed { model: Some(text("gemini-2.5-pro")) },
        Error::ModelNotAllowed { model: None },
        Error::BudgetExhausted(Box::new(exhausted(false))),
        Error::BudgetExhausted(Box::new(exhausted(true))),
        Error::RequestTimeout,
        Refusal::error(
            RefusalCode::UnsupportedValue,
            "tools[3].type",
            "The tool is not offered here. Leave it out.",
        ),
        Error::RpcNotAllowed { rpc: text("onboardUser") },
        Error::SettingsInvalid {
            problems: vec![text("PORT is out of range"), text("HOST is empty")],
        },
        Error::ShuttingDown,
        Error::TooManyAttempts { after: Duration::from_secs(42) },
        Error::TokenUnavailable {
            why: text("the token endpoint answered 502 Bad Gateway"),
            after: Duration::from_millis(1700),
        },
        Error::TokenUnavailable { why: text("connection refused"), after: Duration::ZERO },
        Error::UnsupportedEncoding { what: text("the encoding br is not known here") },
        Error::UpgradeRequired,
        Error::UpgradeUnsupported,
        Error::Upstream(Box::new(upstream_error(429))),
        Error::UpstreamDisconnected { at: BrokenAt::Answer },
        Error::UpstreamDisconnected { at: BrokenAt::Request },
        Error::UpstreamDisconnected { at: BrokenAt::Stream },
        Error::UpstreamDisconnected { at: BrokenAt::Unprocessed },
        Error::UpstreamIncomplete,
        Error::UpstreamMalformed { what: text("expected a value at line 1 column 1") },
        Error::UpstreamNoEvents,
        Error::UpstreamPage { what: text("a web page came in place of a stream") },
        Error::UpstreamTimeout { awaited: Awaited::ClientDeadline, after: Duration::from_secs(5) },
        Error::UpstreamTimeout { awaited: Awaited::FirstByte, after: Duration::from_secs(300) },
        Error::UpstreamTimeout { awaited: Awaited::NextChunk, after: Duration::from_millis(250) },
        Error::UpstreamUnreachable { why: text("connection refused") },
        Error::ValidationRequired {
            message: text("Verify your account to continue."),
            link: Some(text("https://accounts.google.com/signin/continue?sarp=1")),
        },
        Error::ValidationRequired { message: text("Verify your account"), link: None },
    ]
}

fn upstream_error(http: u16) -> UpstreamError {
    let body = r#"{ "error": {"code":429,"message":"Please retry in 56.18s.","status":"RESOURCE_EXHAUSTED"}}"#;
    let http = StatusCode::from_u16(http).unwrap();
    crate::google::error::read(http, &HeaderMap::new(), &Bytes::from_static(body.as_bytes()))
}

#[test]
fn every_error_reads_as_its_snapshot() {
    let mut seen = String::new();
    for error in every_error() {
        writeln!(seen, "{} {} {:?}", error.label(), error.status().as_u16(), error.source())
            .unwrap();
        for (name, value) in &error.headers() {
            writeln!(seen, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
        writeln!(seen, "{}", std::str::from_utf8(&body(&error)).unwrap()).unwrap();
    }
    insta::assert_snapshot!("every_error", seen);
}

#[test]
fn the_reasons_are_those_of_the_contract() {
    // `docs/ERRORS.md`, row by row.
    let rows: [(u16, &str, &[&str]); 13] = [
        (
            400,
            "INVALID_ARGUMENT",
            &[
                "MALFORMED_JSON",
                "MALFORMED_BODY",
                "REFUSED",
                "FIELD_NOT_TAKEN",
                "HOST_MISSING",
                "UNSUPPORTED_ENCODING",
                "WEBSOCKET_REQUIRED",
                "BAD_PARAMETER",
            ],
        ),
        (401, "UNAUTHENTICATED", &["API_KEY_MISSING", "API_KEY_INVALID", "API_KEY_EXPIRED"]),
        (
            403,
            "PERMISSION_DENIED",
            &[
                "ORIGIN_NOT_ALLOWED",
                "HOST_NOT_ALLOWED",
                "ACCOUNT_INELIGIBLE",
                "VALIDATION_REQUIRED",
                "PROJECT_REQUIRED",
                "RPC_NOT_ALLOWED",
                "NOT_ALLOWED",
                "ADMIN_ONLY",
                "MODEL_NOT_ALLOWED",
            ],
        ),
        (
            404,
            "NOT_FOUND",
            &[
                "NOT_FOUND",
                "NOT_OFFERED_BY_CODE_ASSIST",
                "NOT_OFFERED_BY_UPSTREAM",
                "USAGE_NOT_COUNTED",
            ],
        ),
        (405, "UNIMPLEMENTED", &["METHOD_NOT_ALLOWED"]),
        (413, "INVALID_ARGUMENT", &["BODY_TOO_LARGE"]),
        (501, "UNIMPLEMENTED", &["WEBSOCKET_UNSUPPORTED"]),
        (408, "DEADLINE_EXCEEDED", &["REQUEST_TIMEOUT"]),
        (429, "RESOURCE_EXHAUSTED", &["RATE_LIMITED", "BUDGET_EXHAUSTED", "TOO_MANY_ATTEMPTS"]),
        (500, "INTERNAL", &["INTERNAL"]),
        (
            502,
            "UNAVAILABLE",
            &["NO_ANSWER", "UPSTREAM_INCOMPLETE", "UPSTREAM_MALFORMED", "UPSTREAM_DISCONNECTED"],
        ),
        (
            503,
            "UNAVAILABLE",
            &[
                "CREDENTIALS_MISSING",
                "CREDENTIALS_REJECTED",
                "CIRCUIT_OPEN",
                "OVERLOADED",
                "QUEUE_TIMEOUT",
                "UPSTREAM_UNREACHABLE",
                "SETTINGS_INVALID",
                "SHUTTING_DOWN",
                "USAGE_UNREADABLE",
            ],
        ),
        (504, "DEADLINE_EXCEEDED", &["UPSTREAM_TIMEOUT"]),
    ];
    let mut unseen: Vec<&str> = rows.iter().flat_map(|(_, _, reasons)| *reasons).copied().collect();
    for error in every_error() {
        let Some(reason) = error.reason() else {
            continue;
        };
        let row = rows.iter().find(|(_, _, reasons)| reasons.contains(&reason)).unwrap();
        unseen.retain(|other| *other != reason);
        let written: serde_json::Value = serde_json::from_slice(&body(&error)).unwrap();
        assert_eq!(error.status().as_u16(), row.0, "{reason}");
        let written = &written["error"];
        assert_eq!(written["code"], row.0, "{reason}");
        assert_eq!(written["status"], row.1, "{reason}");
        assert_eq!(written["message"], error.to_string(), "{reason}");
        assert_eq!(written["details"][0]["reason"], reason);
        assert_eq!(written["details"][0]["domain"], "code-assist-proxy");
    }
    assert!(unseen.is_empty(), "{unseen:?}");
}

#[test]
fn upstreams_own_error_is_passed_on_byte_for_byte() {
    let error = Error::from(upstream_error(429));
    assert_eq!(body(&error), upstream_error(429).body);
    assert_eq!(error.headers()["retry-after"], "57");
    assert_eq!(error.reason(), None);
}

#[test]
fn an_upstream_401_is_not_shown_to_the_client_as_a_401() {
    let error = Error::from(upstream_error(401));
    assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(error.reason(), Some("CREDENTIALS_REJECTED"));
}

#[test]
fn the_source_of_upstreams_errors_follows_their_status() {
    for (http, source) in [
        (400, ErrorSource::Client),
        (404, ErrorSource::Client),
        (403, ErrorSource::Operator),
        (429, ErrorSource::Upstream),
        (500, ErrorSource::Upstream),
        (503, ErrorSource::Upstream),
    ] {
        assert_eq!(Error::from(upstream_error(http)).source(), source, "{http}");
    }
}

#[test]
fn the_errors_of_each_module_become_the_requests_error() {
    let text = str::to_owned;
    let json_error = JsonError::at(b"\n      x", 7, "expected a value");
    for (error, label) in [
        (Error::from(json_error), "malformed_json"),
        (Error::from(RouteError::NotFound { path: text("/x") }), "not_found"),
        (Error::from(RouteError::NotOffered { what: text("files"), model: None }), "not_offered"),
        (Error::from(RouteError::WrongMethod { allow: "POST" }), "method_not_allowed"),
        (Error::from(AccessError::KeyMissing), "api_key_missing"),
        (Error::from(AccessError::KeyInvalid), "api_key_invalid"),
        (Error::from(AccessError::HostNotAllowed { host: text("h") }), "host_not_allowed"),
        (Error::from(AccessError::OriginNotAllowed { origin: text("o") }), "origin_not_allowed"),
        (Error::from(PageTokenError), "bad_page_token"),
        (Error::from(BodyError::Disconnected(text("reset"))), "upstream_disconnected"),
        (Error::from(SendError::Connect(text("refused"))), "upstream_unreachable"),
        (Error::from(SendError::Disconnected(text("reset"))), "upstream_disconnected"),
        (Error::from(SendError::NotProcessed(text("refused"))), "upstream_disconnected"),
        (Error::from(SendError::StreamReset(text("reset"))), "upstream_disconnected"),
        (Error::from(SendError::Resources(text("EMFILE"))), "out_of_resources"),
        (Error::from(SendError::Client(RequestBodyError::TooSlow)), "request_timeout"),
    ] {
        assert_eq!(error.label(), label);
    }
    let json_error = JsonError::at(b"\n      x", 7, "expected a value");
    assert!(Error::from(json_error).message().contains("expected a value at line 2 column 7."));
}

#[test]
fn an_answer_without_content_or_without_its_end_is_no_failure_of_upstream() {
    let no_answer = Error::NoAnswer { reason: "OTHER".to_owned(), message: None };
    for error in [no_answer, Error::UpstreamIncomplete] {
        assert_eq!(error.failure().class, FailureClass::NoAnswer, "{error:?}");
    }
}

#[test]
fn labels_are_one_word_for_each_variant() {
    let mut labels: Vec<&str> = every_error().iter().map(Error::label).collect();
    labels.dedup();
    let count = labels.len();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), count);
    assert!(labels.iter().all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
}

#[test]
fn a_delay_in_a_message_is_read_back_by_the_error_reader() {
    for millis in [0, 1, 250, 1500, 56_180, 60_000] {
        let after = Duration::from_millis(millis);
        let body = body(&Error::RateLimited { limit: RateLimitName::AllCallers, after });
        let error = crate::google::error::from_event(&body);
        assert_eq!(error.retry_delay, Some(after));
        let message = Error::RateLimited { limit: RateLimitName::AllCallers, after }.message();
        assert!(message.ends_with(&format!("retry in {}.", Plain(after))), "{message}");
    }
}

fn google(status: u16, error: &str) -> Error {
    let status = StatusCode::from_u16(status).unwrap();
    crate::google::error::read(status, &HeaderMap::new(), &Bytes::from(error.to_owned())).into()
}

fn google_with_reason(status: u16, reason: &str) -> Error {
    google(
        status,
        &format!(
            r#"{{"error":{{"code":{status},"message":"no","status":"X","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}"}}]}}}}"#
        ),
    )
}

#[test]
fn the_errors_of_code_assist_that_move_a_request_have_the_reason_of_their_kind() {
    use FailoverReason as R;
    let cases = [
        (google_with_reason(403, "CONSUMER_INVALID"), R::Account),
        (google_with_reason(403, "SERVICE_DISABLED"), R::Account),
        (google_with_reason(403, "SUBSCRIPTION_REQUIRED"), R::Account),
        (google_with_reason(403, "VALIDATION_REQUIRED"), R::Account),
        (google(401, "{}"), R::Account),
        (google_with_reason(429, "QUOTA_EXHAUSTED"), R::Quota),
        (google_with_reason(429, "INSUFFICIENT_G1_CREDITS_BALANCE"), R::Quota),
        (google_with_reason(429, "RATE_LIMIT_EXCEEDED"), R::Capacity),
        (google_with_reason(429, "MODEL_CAPACITY_EXHAUSTED"), R::Capacity),
        (google(429, "{}"), R::Capacity),
        (google(503, "{}"), R::Capacity),
        (google(500, "{}"), R::Unreachable),
        (google(404, r#"{"error":{"message":"Requested entity was not found."}}"#), R::NotFound),
        (google(402, "{}"), R::Billing),
        (Error::CircuitOpen { after: Duration::ZERO, model: None }, R::Unreachable),
        (Error::UpstreamDisconnected { at: BrokenAt::Unprocessed }, R::Unreachable),
        (Error::ProjectRequired { of_key: false }, R::Account),
    ];
    for (error, reason) in cases {
        assert_eq!(error.failover_reason(), Some(reason), "{error:?}");
    }
}

#[test]
fn an_error_of_the_request_or_of_a_call_that_may_have_been_carried_out_moves_nothing() {
    let suspended = r#"{"error":{"code":403,"message":"disabled for violation of Terms of Service","status":"PERMISSION_DENIED"}}"#;
    let stays = [
        google(400, "{}"),
        google(403, suspended),
        google_with_reason(403, "CONSUMER_SUSPENDED"),
        google(404, r#"{"error":{"message":"files/abc was not found"}}"#),
        google(413, "{}"),
        google(499, "{}"),
        google(504, "{}"),
        Error::UpstreamDisconnected { at: BrokenAt::Answer },
        Error::UpstreamDisconnected { at: BrokenAt::Request },
        Error::UpstreamDisconnected { at: BrokenAt::Stream },
        Error::UpstreamTimeout { awaited: Awaited::FirstByte, after: Duration::ZERO },
        Error::UpstreamNoEvents,
        Error::OutOfResources { why: String::new() },
        Error::QueueTimeout { after: Duration::ZERO, own_share: false },
        Error::ShuttingDown,
        Error::MalformedJson { detail: String::new() },
    ];
    for error in stays {
        assert_eq!(error.failover_reason(), None, "{error:?}");
    }
}

#[test]
fn the_short_reason_is_googles_or_the_proxys_or_else_the_status() {
    assert_eq!(google_with_reason(429, "QUOTA_EXHAUSTED").short_reason(), "QUOTA_EXHAUSTED");
    assert_eq!(google(503, "{}").short_reason(), "UNAVAILABLE");
    assert_eq!(Error::ProjectRequired { of_key: false }.short_reason(), "PROJECT_REQUIRED");
}

#[test]
fn a_refused_key_of_the_operators_is_never_the_clients() {
    for (status, reason) in [
        (400, "API_KEY_INVALID"),
        (403, "API_KEY_SERVICE_BLOCKED"),
        (401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
    ] {
        let error = google_with_reason(status, reason);
        assert_eq!((error.status().as_u16(), error.reason()), (503, Some("CREDENTIALS_REJECTED")));
        let body: serde_json::Value = serde_json::from_slice(&body(&error)).unwrap();
        let error = &body["error"];
        assert!(error["message"].as_str().unwrap().contains("Google says: no."));
        assert_eq!(error["details"][0]["reason"], "CREDENTIALS_REJECTED");
        assert_eq!(error["details"][1]["reason"], reason, "Google's details are kept");
    }
}

#[test]
fn a_refused_token_of_the_operators_keeps_googles_details() {
    let error = google_with_reason(401, "ACCESS_TOKEN_EXPIRED");
    assert_eq!((error.status().as_u16(), error.reason()), (503, Some("CREDENTIALS_REJECTED")));
    let body: serde_json::Value = serde_json::from_slice(&body(&error)).unwrap();
    assert_eq!(body["error"]["details"][1]["reason"], "ACCESS_TOKEN_EXPIRED");
}

#[test]
fn what_no_upstream_has_names_the_provider_that_has_it() {
    for (provider, setting) in [("gemini-api", "GEMINI_API_KEY"), ("vertex", "VERTEX_PROJECT")] {
        for upstream in [None, Some("mine".to_owned())] {
            let (what, others) = ("files".to_owned(), Vec::new());
            let provider = Some(provider);
            let error = Error::NotOffered { what, model: None, upstream, others, provider };
            assert!(error.to_string().contains(setting), "{error}");
            let body: serde_json::Value = serde_json::from_slice(&body(&error)).unwrap();
            let metadata = &body["error"]["details"][0]["metadata"];
            assert_eq!(metadata["offeredBy"].as_str(), provider);
        }
    }
}

fn exhausted(may_pass: bool) -> ExhaustedBudget {
    ExhaustedBudget {
        budget: "tokens_per_day",
        limit: "1000".to_owned(),
        used: if may_pass { "900" } else { "1012" }.to_owned(),
        resets_at: Timestamp(1_801_353_600_000),
        after: Duration::from_secs(if may_pass { 2 } else { 7200 }),
        may_pass,
    }
}
