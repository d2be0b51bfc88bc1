//! Errors as all of Google's APIs write them: `google.rpc.Status` bodies and the front end's HTML
//! page.

use http::StatusCode;
use serde_json::{Value, json};

use crate::reply::Reply;

/// A refusal of an API as a `google.rpc.Status`. Its body depends on whether the call streams.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: u16,
    status: &'static str,
    message: String,
    details: Vec<Value>,
}

impl ApiError {
    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The pretty-printed object, as it also stands at the end of a broken stream.
    pub(crate) fn pretty(self) -> String {
        pretty(&self.json()) + "\n"
    }

    pub(crate) fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, status: canonical(code), message: message.into(), details: Vec::new() }
    }

    /// The same error as `FAILED_PRECONDITION`, the other canonical name of HTTP status 400.
    pub(crate) fn precondition(mut self) -> Self {
        self.status = "FAILED_PRECONDITION";
        self
    }

    pub(crate) fn detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// "Request contains an invalid argument.", the answer to most bad requests.
    pub(crate) fn invalid_argument() -> Self {
        Self::new(400, "Request contains an invalid argument.")
    }

    /// The same 404 for an unknown model, missing preview access and an unknown operation
    /// (docs/reference/protocol.md 7.2).
    pub(crate) fn not_found() -> Self {
        Self::new(404, "Requested entity was not found.")
    }

    /// 400 for a body that the proto parser refuses, with all violations
    /// (docs/reference/protocol.md 3.4).
    pub(crate) fn bad_request(violations: &[FieldViolation]) -> Self {
        let message: Vec<&str> = violations.iter().map(|one| one.description.as_str()).collect();
        let list: Vec<Value> = violations
            .iter()
            .map(|one| match one.field.as_str() {
                "" => json!({"description": one.description}),
                field => json!({"field": field, "description": one.description}),
            })
            .collect();
        Self::new(400, message.join("\n")).detail(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": list,
        }))
    }

    pub(crate) fn unknown_query_parameter(name: &str) -> Self {
        Self::new(
            400,
            format!(
                "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query \
                 parameter. Field '{name}' could not be found in request message."
            ),
        )
    }

    /// 401 with the reason that Google's front end gives (docs/reference/protocol.md 7.3).
    pub(crate) fn unauthenticated(reason: &str, called: ServiceMethod<'_>) -> Self {
        let message = if reason == "CREDENTIALS_MISSING" {
            "Request is missing required authentication credential. Expected OAuth 2 access \
             token, login cookie or other valid authentication credential. See \
             https://developers.google.com/identity/sign-in/web/devconsole-project."
        } else {
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login \
             cookie or other valid authentication credential. See \
             https://developers.google.com/identity/sign-in/web/devconsole-project."
        };
        Self::new(401, message).detail(error_info(
            reason,
            "googleapis.com",
            json!({"service": called.service, "method": called.method}),
        ))
    }

    pub(crate) fn internal() -> Self {
        Self::new(500, "Internal error encountered.")
    }

    /// Google's usual error for a status, for a rule without a body.
    pub(crate) fn standard(code: u16, called: ServiceMethod<'_>) -> Self {
        match code {
            400 => Self::invalid_argument(),
            401 => Self::unauthenticated("ACCESS_TOKEN_EXPIRED", called),
            403 => Self::new(403, "The caller does not have permission"),
            404 => Self::not_found(),
            429 => Self::new(429, "Resource has been exhausted (e.g. check quota)."),
            503 => Self::new(503, "The service is currently unavailable."),
            504 => Self::new(504, "Deadline expired before operation could complete."),
            other => Self::new(other, "Internal error encountered."),
        }
    }

    /// The answer: an object for a unary call, an array of one for a streaming call
    /// (docs/reference/protocol.md 4.3).
    pub(crate) fn reply(self, streaming: bool) -> Reply {
        let code = self.code;
        let error = self.json();
        let pretty = if streaming { pretty(&[error]) } else { pretty(&error) };
        let mut reply = Reply::json(http_status(code), pretty + "\n");
        if code == 401 {
            reply = reply.header(
                "www-authenticate",
                "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"",
            );
        }
        reply
    }

    fn json(self) -> ErrorBody {
        ErrorBody {
            error: StatusBody {
                code: self.code,
                message: self.message,
                status: self.status,
                details: self.details,
            },
        }
    }
}

/// A violation of `google.rpc.BadRequest`: the field in proto spelling, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldViolation {
    pub(crate) field: String,
    pub(crate) description: String,
}

/// A method of a service, as the details of an error name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceMethod<'a> {
    pub(crate) service: &'a str,
    pub(crate) method: &'a str,
}

/// The front end's page for a path or method it has no route for (docs/reference/protocol.md 7.1).
pub(crate) fn page_not_found(path: &str) -> Reply {
    let path = path.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let page = format!(
        "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <meta name=viewport \
         content=\"initial-scale=1, minimum-scale=1, width=device-width\">\n  <title>Error 404 \
         (Not Found)!!1</title>\n  <a href=//www.google.com/><span id=logo \
         aria-label=Google></span></a>\n  <p><b>404.</b> <ins>That’s an error.</ins>\n  <p>The \
         requested URL <code>{path}</code> was not found on this server.  <ins>That’s all we \
         know.</ins>\n"
    );
    Reply::new(StatusCode::NOT_FOUND, "text/html; charset=UTF-8", page.into())
        .header("referrer-policy", "no-referrer")
}

/// The canonical name of an HTTP status.
fn canonical(code: u16) -> &'static str {
    match code {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        412 => "FAILED_PRECONDITION",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        500 => "INTERNAL",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "UNKNOWN",
    }
}

/// JSON with an indent of two, as Google prints unary answers.
pub(crate) fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("a tree of strings and numbers always prints")
}

/// An HTTP status; 500 for a number that cannot be one.
pub(crate) fn http_status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The detail `google.rpc.ErrorInfo`.
pub(crate) fn error_info(reason: &str, domain: &str, metadata: Value) -> Value {
    let mut info = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": domain,
    });
    if metadata.as_object().is_some_and(|map| !map.is_empty()) {
        info["metadata"] = metadata;
    }
    info
}

#[derive(serde::Serialize)]
struct ErrorBody {
    error: StatusBody,
}

#[derive(serde::Serialize)]
struct StatusBody {
    code: u16,
    message: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Value>,
}
