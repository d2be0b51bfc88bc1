//! The rows of the table of errors (`docs/reference/dialects.md` 1.4), for the cases in `errors`.

use code_assist_harness::Response;
use serde_json::{Value, json};

use super::Api;

/// What a row promises.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The status in OpenAI's dialect and in Anthropic's.
    status: (u16, u16),
    /// OpenAI's `type`, `code` and `param`.
    openai: (&'static str, Option<&'static str>, Option<&'static str>),
    /// Anthropic's `type`.
    anthropic: &'static str,
    should_retry: &'static str,
}

impl Row {
    pub(super) const fn new(
        status: u16,
        openai: (&'static str, Option<&'static str>, Option<&'static str>),
        anthropic: &'static str,
        should_retry: &'static str,
    ) -> Self {
        Self { status: (status, status), openai, anthropic, should_retry }
    }

    /// A row whose status is 529 in Anthropic's dialect.
    pub(super) const fn overloaded(code: &'static str) -> Self {
        Self {
            status: (503, 529),
            openai: ("server_error", Some(code), None),
            anthropic: "overloaded_error",
            should_retry: "",
        }
    }

    /// Holds an answer to the row, and returns its `error`.
    #[track_caller]
    pub(super) fn check(self, api: Api, answer: &Response) -> Value {
        let text = answer.text();
        let body = answer.json();
        let error = body["error"].clone();
        assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8", "{api:?}");
        assert_eq!(answer.header("x-should-retry"), self.should_retry, "{api:?}: {text}");
        let id = answer.header("x-request-id");
        assert!(
            !id.is_empty() && !error["message"].as_str().expect("a string").is_empty(),
            "{text}"
        );
        if api == Api::Messages {
            assert_eq!(answer.status(), self.status.1, "{api:?}: {text}");
            assert_eq!((&body["type"], &error["type"]), (&json!("error"), &json!(self.anthropic)));
            assert_eq!((&body["request_id"], answer.header("request-id")), (&json!(id), id));
            assert!(error["code"].is_null() && error["param"].is_null(), "{text}");
        } else {
            let (kind, code, mut param) = self.openai;
            if api == Api::Responses && code == Some("context_length_exceeded") {
                param = Some("input");
            }
            assert_eq!(answer.status(), self.status.0, "{api:?}: {text}");
            let words = json!([kind, code, param]);
            assert_eq!(json!([error["type"], error["code"], error["param"]]), words, "{api:?}");
            // The members are there even if they are null.
            assert!(error.get("code").is_some() && error.get("param").is_some(), "{text}");
            assert_eq!(body.as_object().expect("an object").len(), 1, "{api:?}: {text}");
        }
        error
    }
}

/// An error of Google's that is the row's.
pub(super) struct GooglesError {
    pub(super) status: &'static str,
    pub(super) google: &'static str,
    pub(super) message: &'static str,
    /// A member of `details`, or nothing.
    pub(super) detail: &'static str,
    /// The message in Anthropic's dialect, where it differs.
    pub(super) rewritten: Option<&'static str>,
    pub(super) retry_after: &'static str,
    pub(super) row: Row,
}

impl GooglesError {
    pub(super) fn body(&self) -> String {
        format!(
            r#"{{"error":{{"code":{},"message":{},"status":"{}","details":[{}]}}}}"#,
            &self.status[..3],
            json!(self.message),
            self.google,
            self.detail
        )
    }
}

pub(super) const INVALID: &str = "invalid_request_error";

pub(super) fn googles_errors() -> Vec<GooglesError> {
    let usual = |status, google, message, row| GooglesError {
        status,
        google,
        message,
        detail: "",
        rewritten: None,
        retry_after: "",
        row,
    };
    let invalid = Row::new(400, (INVALID, None, None), INVALID, "false");
    let too_long = Row::new(
        400,
        (INVALID, Some("context_length_exceeded"), Some("messages")),
        INVALID,
        "false",
    );
    let limited = Row::new(
        429,
        ("rate_limit_error", Some("rate_limit_exceeded"), None),
        "rate_limit_error",
        "",
    );
    let quota = Row::new(
        429,
        ("insufficient_quota", Some("insufficient_quota"), None),
        "rate_limit_error",
        "false",
    );
    let no_model = Row::new(
        404,
        (INVALID, Some("model_not_found"), Some("model")),
        "not_found_error",
        "false",
    );
    vec![
        GooglesError {
            detail: r#"{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"x","n":1.50}]}"#,
            ..usual("400 Bad Request", "INVALID_ARGUMENT", "Bad \"thing\".", invalid)
        },
        usual("400 Bad Request", "FAILED_PRECONDITION", "Not so.", invalid),
        usual("400 Bad Request", "OUT_OF_RANGE", "Too far.", invalid),
        GooglesError {
            rewritten: Some("prompt is too long: 1200000 tokens > 1048576 maximum"),
            ..usual(
                "400 Bad Request",
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                too_long,
            )
        },
        usual(
            "403 Forbidden",
            "PERMISSION_DENIED",
            "The caller does not have permission",
            Row::new(
                403,
                ("permission_error", Some("permission_denied"), None),
                "permission_error",
                "false",
            ),
        ),
        GooglesError {
            rewritten: Some("model: Requested entity was not found."),
            ..usual("404 Not Found", "NOT_FOUND", "Requested entity was not found.", no_model)
        },
        usual(
            "409 Conflict",
            "ABORTED",
            "The operation was aborted.",
            Row::new(409, (INVALID, Some("idempotency_error"), None), INVALID, "false"),
        ),
        GooglesError {
            detail: r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"56.18s"}"#,
            retry_after: "57",
            ..usual("429 Too Many Requests", "RESOURCE_EXHAUSTED", "Slow down.", limited)
        },
        GooglesError {
            detail: r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"QUOTA_EXHAUSTED","domain":"cloudcode-pa.googleapis.com","metadata":{"quotaResetDelay":"5h3m"}}"#,
            retry_after: "18180",
            ..usual("429 Too Many Requests", "RESOURCE_EXHAUSTED", "You have exhausted it.", quota)
        },
        GooglesError {
            detail: r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"MODEL_CAPACITY_EXHAUSTED","domain":"cloudcode-pa.googleapis.com"}"#,
            ..usual(
                "429 Too Many Requests",
                "RESOURCE_EXHAUSTED",
                "No capacity available for model gemini-2.5-flash on the server",
                Row::overloaded("model_overloaded"),
            )
        },
        usual(
            "503 Service Unavailable",
            "UNAVAILABLE",
            "The model is overloaded. Please try again later.",
            Row::overloaded("model_overloaded"),
        ),
        usual(
            "500 Internal Server Error",
            "INTERNAL",
            "Internal error encountered.",
            Row::new(500, ("server_error", Some("internal"), None), "api_error", ""),
        ),
        usual(
            "504 Gateway Timeout",
            "DEADLINE_EXCEEDED",
            "Deadline expired before operation could complete.",
            Row::new(504, ("server_error", Some("upstream_timeout"), None), "timeout_error", ""),
        ),
    ]
}
