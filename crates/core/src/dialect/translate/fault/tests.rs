use std::time::Duration;

use Dialect::{Anthropic, OpenAi};

use super::*;
use crate::dialect::{anthropic, openai};
use crate::error::{Awaited, BodyBound, BrokenAt, CredentialKind, RateLimitName};

/// Google's error with this status, name and message, and with `details`.
fn google(http: u16, status: &str, message: &str, details: &str) -> Error {
    let details =
        if details.is_empty() { String::new() } else { format!(r#","details":[{details}]"#) };
    let body = format!(
        r#"{{"error":{{"code":{http},"message":"{message}","status":"{status}"{details}}}}}"#
    );
    let http = StatusCode::from_u16(http).unwrap();
    crate::google::error::read(http, &HeaderMap::new(), &body.into()).into()
}

fn reason(reason: &str) -> String {
    format!(r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}"}}"#)
}

fn text(text: &str) -> String {
    text.to_owned()
}

/// An error, and what is made of it: OpenAI's status, type, code and param, Anthropic's status and type,
/// and whether a retry is advised against.
type Case = (
    Error,
    (u16, &'static str, Option<&'static str>, Option<&'static str>),
    (u16, &'static str),
    bool,
);

#[track_caller]
fn check(cases: Vec<Case>) {
    for (error, (status, kind, code, param), (anthropics_status, anthropics_kind), is_final) in
        cases
    {
        let fault = Fault::of(&error, OpenAi);
        assert_eq!(
            (fault.status.as_u16(), fault.kind, fault.code.as_deref(), fault.param.as_deref()),
            (status, kind, code, param),
            "{error:?}"
        );
        let retry = is_final.then_some("false");
        let header = |fault: &Fault| headers(fault).get("x-should-retry").cloned();
        assert_eq!(header(&fault).as_ref().map(|it| it.to_str().unwrap()), retry, "{error:?}");
        assert_eq!(fault.message, error.message());
        let fault = Fault::of(&error, Anthropic);
        let found = (fault.status.as_u16(), fault.kind);
        assert_eq!(found, (anthropics_status, anthropics_kind), "{error:?}");
        assert_eq!(header(&fault).as_ref().map(|it| it.to_str().unwrap()), retry, "{error:?}");
    }
}

const INVALID: &str = "invalid_request_error";
const LIMIT: &str = "rate_limit_error";
const NOT_FOUND: &str = "not_found_error";
const OVER: &str = "overloaded_error";
const PERMISSION: &str = "permission_error";
const QUOTA: &str = "insufficient_quota";
const SERVER: &str = "server_error";
const TOO_MANY: &str =
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).";

#[test]
fn each_error_of_googles_is_a_row_of_the_table() {
    let plain = |http, status| google(http, status, "No.", "");
    let with = |http, status, name: &str| google(http, status, "No.", &reason(name));
    let delay = r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"9s"}"#;
    let hours = r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"7200s"}"#;
    let by_day = r#"{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"RequestsPerDayPerProject"}]}"#;
    let exhausted = "RESOURCE_EXHAUSTED";
    check(vec![
        (plain(400, "INVALID_ARGUMENT"), (400, INVALID, None, None), (400, INVALID), true),
        (plain(400, "FAILED_PRECONDITION"), (400, INVALID, None, None), (400, INVALID), true),
        (plain(400, "OUT_OF_RANGE"), (400, INVALID, None, None), (400, INVALID), true),
        (
            google(400, "INVALID_ARGUMENT", TOO_MANY, ""),
            (400, INVALID, Some("context_length_exceeded"), Some("messages")),
            (400, INVALID),
            true,
        ),
        (
            google(403, "PERMISSION_DENIED", "No.", ""),
            (403, PERMISSION, Some("permission_denied"), None),
            (403, PERMISSION),
            true,
        ),
        (
            with(403, "PERMISSION_DENIED", "CONSUMER_INVALID"),
            (403, PERMISSION, Some("consumer_invalid"), None),
            (403, PERMISSION),
            true,
        ),
        (
            google(404, "NOT_FOUND", "models/x is not found for API version v1beta.", ""),
            (404, INVALID, Some("model_not_found"), Some("model")),
            (404, NOT_FOUND),
            true,
        ),
        (
            google(404, "NOT_FOUND", "Requested entity was not found.", ""),
            (404, INVALID, Some("model_not_found"), Some("model")),
            (404, NOT_FOUND),
            true,
        ),
        (
            google(404, "NOT_FOUND", "cachedContents/x is not found.", ""),
            (404, INVALID, None, None),
            (404, NOT_FOUND),
            true,
        ),
        (
            plain(409, "ABORTED"),
            (409, INVALID, Some("idempotency_error"), None),
            (409, INVALID),
            true,
        ),
        (
            plain(413, "INVALID_ARGUMENT"),
            (413, INVALID, Some("request_too_large"), None),
            (413, "request_too_large"),
            true,
        ),
        (
            plain(429, exhausted),
            (429, LIMIT, Some("rate_limit_exceeded"), None),
            (429, LIMIT),
            false,
        ),
        (
            google(429, exhausted, "No.", delay),
            (429, LIMIT, Some("rate_limit_exceeded"), None),
            (429, LIMIT),
            false,
        ),
        (
            with(429, exhausted, "RATE_LIMIT_EXCEEDED"),
            (429, LIMIT, Some("rate_limit_exceeded"), None),
            (429, LIMIT),
            false,
        ),
        (
            google(429, exhausted, "No.", by_day),
            (429, QUOTA, Some(QUOTA), None),
            (429, LIMIT),
            true,
        ),
        (google(429, exhausted, "No.", hours), (429, QUOTA, Some(QUOTA), None), (429, LIMIT), true),
        (
            with(429, exhausted, "QUOTA_EXHAUSTED"),
            (429, QUOTA, Some(QUOTA), None),
            (429, LIMIT),
            true,
        ),
        (
            with(429, exhausted, "INSUFFICIENT_G1_CREDITS_BALANCE"),
            (429, QUOTA, Some(QUOTA), None),
            (429, LIMIT),
            true,
        ),
        (
            google(429, exhausted, "Your prepayment credits are depleted.", ""),
            (429, QUOTA, Some(QUOTA), None),
            (429, LIMIT),
            true,
        ),
        (
            plain(402, "FAILED_PRECONDITION"),
            (402, QUOTA, Some(QUOTA), None),
            (402, "billing_error"),
            true,
        ),
        (
            with(429, exhausted, "MODEL_CAPACITY_EXHAUSTED"),
            (503, SERVER, Some("model_overloaded"), None),
            (529, OVER),
            false,
        ),
        (
            with(503, "UNAVAILABLE", "MODEL_CAPACITY_EXHAUSTED"),
            (503, SERVER, Some("model_overloaded"), None),
            (529, OVER),
            false,
        ),
        (
            google(503, "UNAVAILABLE", "The model is overloaded. Please try again later.", ""),
            (503, SERVER, Some("model_overloaded"), None),
            (529, OVER),
            false,
        ),
        (plain(500, "INTERNAL"), (500, SERVER, Some("internal"), None), (500, "api_error"), false),
        (
            plain(502, "UNAVAILABLE"),
            (502, SERVER, Some("unavailable"), None),
            (502, "api_error"),
            false,
        ),
        (
            plain(504, "DEADLINE_EXCEEDED"),
            (504, SERVER, Some("upstream_timeout"), None),
            (504, "timeout_error"),
            false,
        ),
        (
            plain(501, "UNIMPLEMENTED"),
            (501, SERVER, Some("unimplemented"), None),
            (501, "api_error"),
            true,
        ),
        (
            plain(405, "UNIMPLEMENTED"),
            (405, INVALID, Some("unimplemented"), None),
            (405, INVALID),
            true,
        ),
        (
            plain(408, "DEADLINE_EXCEEDED"),
            (408, INVALID, Some("deadline_exceeded"), None),
            (408, "timeout_error"),
            false,
        ),
        (plain(499, "CANCELLED"), (499, INVALID, None, None), (499, INVALID), true),
        // Google does not accept the operator's credentials, and the client's are not concerned.
        (
            plain(401, "UNAUTHENTICATED"),
            (503, SERVER, Some("credentials_rejected"), None),
            (503, "api_error"),
            true,
        ),
        (
            google(400, "INVALID_ARGUMENT", "API key not valid. Please pass one.", ""),
            (503, SERVER, Some("credentials_rejected"), None),
            (503, "api_error"),
            true,
        ),
    ]);
}

#[test]
fn an_upstream_401_in_any_form_is_not_one_of_the_clients() {
    let body = br#"{"error":{"code":401,"message":"No.","status":"UNAUTHENTICATED"}}"#;
    let read = crate::google::error::read;
    let error = read(StatusCode::UNAUTHORIZED, &HeaderMap::new(), &Bytes::from_static(body));
    let fault = Fault::of(&Error::Upstream(Box::new(error)), OpenAi);
    assert_eq!((fault.status.as_u16(), fault.kind), (503, SERVER));
}

#[test]
fn each_error_of_the_proxys_is_a_row_of_the_table() {
    let second = Duration::from_secs(1);
    let gone = |at| Error::UpstreamDisconnected { at };
    let late = |awaited| Error::UpstreamTimeout { awaited, after: second };
    let forbidden =
        |error, code| (error, (403, PERMISSION, Some(code), None), (403, PERMISSION), true);
    let invalid = |error| (error, (400, INVALID, None, None), (400, INVALID), true);
    let credentials =
        |error, code| (error, (503, SERVER, Some(code), None), (503, "api_error"), true);
    let busy = |error, code| (error, (503, SERVER, Some(code), None), (529, OVER), false);
    let failed =
        |error, http, code| (error, (http, SERVER, Some(code), None), (http, "api_error"), false);
    let elsewhere =
        |error| (error, (404, INVALID, Some("unsupported_endpoint"), None), (404, NOT_FOUND), true);
    let timeout = |error| {
        (error, (504, SERVER, Some("upstream_timeout"), None), (504, "timeout_error"), false)
    };
    let not_offered = Error::NotOffered {
        what: text("embedContent"),
        model: Some(text("m")),
        upstream: None,
        others: Vec::new(),
        provider: None,
    };
    let needs_project =
        Error::NeedsProject { what: text("files"), upstream: text("vertex"), others: Vec::new() };
    let kind = CredentialKind::ApiKey;
    let rejected = Error::CredentialsRejected { why: text("No."), kind, details: Bytes::new() };
    check(vec![
        forbidden(
            Error::AccountIneligible { reasons: vec![], of_key: false },
            "account_ineligible",
        ),
        forbidden(Error::HostNotAllowed { host: text("h") }, "host_not_allowed"),
        forbidden(Error::NotAllowed { what: text("w") }, "not_allowed"),
        forbidden(Error::OriginNotAllowed { origin: text("o") }, "origin_not_allowed"),
        forbidden(Error::ProjectRequired { of_key: false }, "project_required"),
        forbidden(Error::RpcNotAllowed { rpc: text("r") }, "rpc_not_allowed"),
        forbidden(
            Error::ValidationRequired { message: text("m"), link: None },
            "validation_required",
        ),
        (
            Error::ApiKeyMissing,
            (401, INVALID, Some("invalid_api_key"), None),
            (401, "authentication_error"),
            true,
        ),
        (
            Error::ApiKeyInvalid,
            (401, INVALID, Some("invalid_api_key"), None),
            (401, "authentication_error"),
            true,
        ),
        (
            Error::TooManyAttempts { after: second },
            (429, LIMIT, Some("too_many_attempts"), None),
            (429, LIMIT),
            true,
        ),
        invalid(Error::BadPageToken),
        invalid(Error::HostMissing),
        invalid(Error::MalformedBody),
        invalid(Error::MalformedJson { detail: text("d") }),
        invalid(Error::UsageParameter { problem: text("p") }),
        invalid(Error::UnknownUpstream { name: text("n"), known: vec![] }),
        invalid(Error::UnsupportedEncoding { what: text("w") }),
        invalid(Error::UpgradeRequired),
        (
            Error::BodyTooLarge { limit: 1, bound: BodyBound::Setting },
            (413, INVALID, Some("request_too_large"), None),
            (413, "request_too_large"),
            true,
        ),
        (Error::Conflict, (409, INVALID, Some("idempotency_error"), None), (409, INVALID), true),
        busy(Error::CircuitOpen { after: second, model: None }, "circuit_open"),
        busy(Error::ConnectionsExhausted, "overloaded"),
        busy(Error::Overloaded { after: second }, "overloaded"),
        busy(Error::QueueTimeout { after: second, own_share: true }, "queue_timeout"),
        busy(Error::ShuttingDown, "shutting_down"),
        credentials(Error::CredentialsMissing { why: text("w"), kind }, "credentials_missing"),
        credentials(rejected, "credentials_rejected"),
        credentials(Error::CredentialsUnreadable { why: text("w"), kind }, "credentials_rejected"),
        credentials(
            Error::KeyRefused { why: text("w"), details: Bytes::new() },
            "credentials_rejected",
        ),
        credentials(Error::SettingsInvalid { problems: vec![] }, "settings_invalid"),
        (
            Error::FieldNotTaken { field: text("tools[0].retrieval"), why: "w" },
            (400, INVALID, Some("unsupported_parameter"), Some("tools[0].retrieval")),
            (400, INVALID),
            true,
        ),
        failed(Error::Internal, 500, "internal"),
        failed(Error::OutOfResources { why: text("w") }, 503, "upstream_unreachable"),
        failed(
            Error::TokenUnavailable { why: text("w"), after: second },
            503,
            "upstream_unreachable",
        ),
        failed(gone(BrokenAt::Answer), 502, "upstream_disconnected"),
        failed(gone(BrokenAt::Unprocessed), 502, "upstream_disconnected"),
        failed(Error::UpstreamIncomplete, 502, "upstream_incomplete"),
        failed(Error::UpstreamMalformed { what: text("w") }, 502, "upstream_malformed"),
        failed(Error::UpstreamNoEvents, 502, "upstream_malformed"),
        failed(Error::UpstreamPage { what: text("w") }, 502, "upstream_malformed"),
        failed(Error::UpstreamUnreachable { why: text("w") }, 503, "upstream_unreachable"),
        failed(
            Error::NoAnswer { reason: text("MALFORMED_FUNCTION_CALL"), message: None },
            502,
            "malformed_function_call",
        ),
        timeout(late(Awaited::FirstByte)),
        timeout(late(Awaited::NextChunk)),
        timeout(late(Awaited::ClientDeadline)),
        (
            Error::MethodNotAllowed { allow: "POST" },
            (405, INVALID, Some("method_not_allowed"), None),
            (405, INVALID),
            true,
        ),
        (
            Error::NotFound { what: text("models/x") },
            (404, INVALID, Some("model_not_found"), Some("model")),
            (404, NOT_FOUND),
            true,
        ),
        elsewhere(Error::NotFound { what: text("/v1/x") }),
        elsewhere(not_offered),
        elsewhere(needs_project),
        (
            Error::RateLimited { limit: RateLimitName::AllCallers, after: second },
            (429, LIMIT, Some("rate_limit_exceeded"), None),
            (429, LIMIT),
            false,
        ),
        (
            Error::RequestTimeout,
            (408, INVALID, Some("request_timeout"), None),
            (408, "timeout_error"),
            false,
        ),
        (
            Error::UpgradeUnsupported,
            (501, SERVER, Some("websocket_unsupported"), None),
            (501, "api_error"),
            true,
        ),
    ]);
}

#[test]
fn each_refusal_of_the_proxys_is_a_row_of_the_table() {
    use RefusalCode as R;
    let rows = [
        (R::InvalidValue, "n", 400, Some("invalid_value"), INVALID),
        (R::ItemNotFound, "input[0]", 400, None, INVALID),
        (R::ModelNotFound, "model", 404, Some("model_not_found"), NOT_FOUND),
        (R::ResponseNotFound, "", 404, None, NOT_FOUND),
        (
            R::ResponseNotFound,
            "previous_response_id",
            400,
            Some("previous_response_not_found"),
            INVALID,
        ),
        (R::UnsupportedEndpoint, "", 404, Some("unsupported_endpoint"), NOT_FOUND),
        (R::UnsupportedParameter, "background", 400, Some("unsupported_parameter"), INVALID),
        (R::UnsupportedValue, "tools[3].type", 400, Some("unsupported_value"), INVALID),
        (R::ThreadNotFound, "", 400, None, INVALID),
        (R::ThreadUnsupported, "thread", 400, None, INVALID),
    ];
    check(
        rows.map(|(code, path, http, name, anthropics)| {
            let param = (!path.is_empty()).then_some(path);
            let error = Refusal::error(code, path, "No.");
            (error, (http, INVALID, name, param), (http, anthropics), true)
        })
        .into(),
    );
}

#[test]
fn anthropics_messages_begin_with_the_path_of_the_field() {
    let message = |code, path: &str, message: &str| {
        Fault::of(&Refusal::error(code, path, message), Anthropic).message
    };
    let value = RefusalCode::UnsupportedValue;
    assert_eq!(
        message(value, "messages.2.content.0", "Files are not kept here."),
        "messages.2.content.0: Files are not kept here."
    );
    let required = "max_tokens: Field required";
    assert_eq!(message(RefusalCode::InvalidValue, "max_tokens", "Field required"), required);
    assert_eq!(message(RefusalCode::InvalidValue, "max_tokens", required), required);
    assert_eq!(message(RefusalCode::UnsupportedEndpoint, "", "No."), "No.");
    let unknown = google(404, "NOT_FOUND", "models/x is not found.", "");
    assert_eq!(Fault::of(&unknown, Anthropic).message, "model: models/x is not found.");
}

#[test]
fn a_prompt_that_is_too_long_is_told_in_the_words_that_clients_know() {
    for (message, said) in [
        (TOO_MANY, "prompt is too long: 1200000 tokens > 1048576 maximum"),
        (
            "Unable to submit request because the input token count is 1200000 but model only \
             supports up to 1048576. Reduce the input token count and try again.",
            "prompt is too long: 1200000 tokens > 1048576 maximum",
        ),
        (
            "gemini-2.5-pro: the input token count (5) exceeds the maximum number of tokens allowed (4).",
            "prompt is too long: 5 tokens > 4 maximum",
        ),
        (
            "The input token count exceeds the maximum number of tokens allowed 1048576.",
            "prompt is too long: The input token count exceeds the maximum number of tokens \
             allowed 1048576.",
        ),
    ] {
        let error = google(400, "INVALID_ARGUMENT", message, "");
        let anthropics = Fault::of(&error, Anthropic);
        assert_eq!(anthropics.message, said);
        let openais = Fault::of(&error, OpenAi);
        assert_eq!(openais.message, message);
        assert_eq!(openais.param.as_deref(), Some("messages"));
        assert_eq!(openais.for_prompt_in("input").param.as_deref(), Some("input"));
    }
    for message in
        ["The token count is odd.", "The schema exceeds the maximum allowed nesting depth."]
    {
        let fault = Fault::of(&google(400, "INVALID_ARGUMENT", message, ""), Anthropic);
        assert_eq!(fault.message, message);
        assert_eq!(fault.for_prompt_in("input").param, None);
    }
}

#[test]
fn a_failed_answer_has_a_code_of_the_sdks_enum() {
    let code = |error| Fault::of(&error, OpenAi).response_code();
    for (error, expected) in [
        (google(400, "INVALID_ARGUMENT", TOO_MANY, ""), "context_length_exceeded"),
        (google(400, "INVALID_ARGUMENT", "No.", ""), "invalid_prompt"),
        (google(403, "PERMISSION_DENIED", "No.", ""), "invalid_prompt"),
        (google(429, "RESOURCE_EXHAUSTED", "No.", ""), "rate_limit_exceeded"),
        (
            google(429, "RESOURCE_EXHAUSTED", "No.", &reason("QUOTA_EXHAUSTED")),
            "rate_limit_exceeded",
        ),
        (google(503, "UNAVAILABLE", "No.", ""), "server_error"),
        (google(500, "INTERNAL", "No.", ""), "server_error"),
        (Error::UpstreamDisconnected { at: BrokenAt::Answer }, "server_error"),
        (Error::NoAnswer { reason: text("OTHER"), message: None }, "server_error"),
        (Refusal::error(RefusalCode::UnsupportedValue, "n", "No."), "invalid_prompt"),
    ] {
        assert_eq!(code(error), expected);
    }
}

#[test]
fn the_bodies_keep_googles_status_and_details() {
    let detail = r#"{ "@type" : "type.googleapis.com/google.rpc.RetryInfo", "retryDelay":"9s" }"#;
    let error = google(429, "RESOURCE_EXHAUSTED", "Wait.\\n\\\"Soon\\\"", detail);
    let fault = Fault::of(&error, OpenAi);
    let openais = format!(
        r#"{{"error":{{"message":"Wait.\n\"Soon\"","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded","status":"RESOURCE_EXHAUSTED","details":[{detail}]}}}}"#
    );
    assert_eq!(openai::error::body(&fault), openais);
    assert_eq!(error.headers()["retry-after"], "9");
    let anthropics = format!(
        r#"{{"type":"error","error":{{"type":"rate_limit_error","message":"Wait.\n\"Soon\"","status":"RESOURCE_EXHAUSTED","details":[{detail}]}},"request_id":"req_1"}}"#
    );
    let fault = Fault::of(&error, Anthropic);
    assert_eq!(anthropic::error::body(&fault, "req_1"), anthropics);
}

#[test]
fn the_proxys_own_bodies_have_the_details_that_the_gemini_api_gets() {
    let fault = Fault::of(
        &Error::RateLimited { limit: RateLimitName::AllCallers, after: Duration::from_secs(2) },
        OpenAi,
    );
    assert_eq!(
        openai::error::body(&fault),
        concat!(
            r#"{"error":{"message":"You have reached this proxy's own rate limit (RATE_LIMIT_MAX_REQUESTS), "#,
            r#"not Google's. Please retry in 2s.","type":"rate_limit_error","param":null,"#,
            r#""code":"rate_limit_exceeded","status":"RESOURCE_EXHAUSTED","details":[{"#,
            r#""@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMITED","#,
            r#""domain":"code-assist-proxy"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","#,
            r#""retryDelay":"2s"}]}}"#
        )
    );
    // Some errors have none.
    let fault = Fault::of(&Error::Conflict, Anthropic);
    assert_eq!(
        anthropic::error::body(&fault, "req_1"),
        concat!(
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"This "#,
            r#"Idempotency-Key was used before with a different body. Use a new key for a new "#,
            r#"request.","status":"ABORTED"},"request_id":"req_1"}"#
        )
    );
}

#[test]
fn an_error_about_a_thread_has_the_code_that_makes_the_sdks_send_whole_histories() {
    for (code, name) in [
        (RefusalCode::ThreadUnsupported, "thread_unsupported_request"),
        (RefusalCode::ThreadNotFound, "thread_not_found"),
    ] {
        let fault = Fault::of(&Refusal::error(code, "thread", "No threads here."), Anthropic);
        let body = format!(
            r#"{{"type":"error","error":{{"type":"invalid_request_error","message":"thread: No threads here.","status":"INVALID_ARGUMENT","details":{{"error_code":"{name}"}}}},"request_id":"r"}}"#
        );
        assert_eq!(anthropic::error::body(&fault, "r"), body);
    }
}

#[test]
fn an_event_has_the_inner_object_only_and_no_character_that_ends_a_line() {
    let error = Error::UpstreamMalformed { what: text("a\u{2028}b\n") };
    let written = |write: fn(&Fault, &mut BytesMut), dialect| {
        let mut out = BytesMut::new();
        write(&Fault::of(&error, dialect), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    };
    let (openais, anthropics) = (
        written(openai::error::push_object, OpenAi),
        written(anthropic::error::push_object, Anthropic),
    );
    for json in [&openais, &anthropics] {
        assert!(!json.contains(['\n', '\u{2028}']), "{json}");
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(value["message"], error.message());
    }
    assert!(openais.starts_with(r#"{"message":""#));
    assert!(
        openais.ends_with(r#"","type":"server_error","param":null,"code":"upstream_malformed"}"#)
    );
    assert!(anthropics.starts_with(r#"{"type":"api_error","message":""#));
}
