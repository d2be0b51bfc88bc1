//! Errors as Google writes them: API errors, OAuth errors and the front end's HTML page.

use http::StatusCode;
use serde_json::{Value, json};

use crate::reply::Reply;

/// A no from the API, before it is known whether a unary or a streaming call asked.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: u16,
    status: &'static str,
    message: String,
    details: Vec<Value>,
}

impl ApiError {
    pub(crate) fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, status: canonical(code), message: message.into(), details: Vec::new() }
    }

    /// The same 400 under its other canonical name.
    pub(crate) fn precondition(mut self) -> Self {
        self.status = "FAILED_PRECONDITION";
        self
    }

    pub(crate) fn detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// "Request contains an invalid argument.", the API's answer to nearly everything.
    pub(crate) fn invalid_argument() -> Self {
        Self::new(400, "Request contains an invalid argument.")
    }

    /// Unknown model, missing preview access and wrong operation look alike (protocol.md 7.2).
    pub(crate) fn not_found() -> Self {
        Self::new(404, "Requested entity was not found.")
    }

    /// A body that the proto parser refuses, one violation for each thing wrong (protocol.md 3.4).
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

    /// 401 with the reason that Google's front end gives (protocol.md 7.3).
    pub(crate) fn unauthenticated(reason: &str, method: &str) -> Self {
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
            json!({"service": "cloudcode-pa.googleapis.com", "method": method}),
        ))
    }

    /// A project that does not exist or is not the caller's.
    pub(crate) fn consumer_invalid(project: &str) -> Self {
        let message = format!("Permission denied on resource project {project}.");
        Self::new(403, message)
            .detail(json!({
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{"description": "Google developers console",
                           "url": "https://console.developers.google.com"}],
            }))
            .detail(error_info(
                "CONSUMER_INVALID",
                "googleapis.com",
                json!({"consumer": format!("projects/{project}"),
                       "containerInfo": project,
                       "service": "cloudcode-pa.googleapis.com"}),
            ))
    }

    /// What naming one's own project in `X-Goog-User-Project` leads to (protocol.md 2.2).
    pub(crate) fn service_disabled(project: &str) -> Self {
        let url = format!(
            "https://console.developers.google.com/apis/api/cloudcode-pa.googleapis.com/overview\
             ?project={project}"
        );
        let message = format!(
            "Cloud Code Private API has not been used in project {project} before or it is \
             disabled. Enable it by visiting {url} then retry."
        );
        Self::new(403, message).detail(error_info(
            "SERVICE_DISABLED",
            "googleapis.com",
            json!({"service": "cloudcode-pa.googleapis.com",
                   "consumer": format!("projects/{project}"),
                   "containerInfo": project,
                   "serviceTitle": "Cloud Code Private API",
                   "activationUrl": url}),
        ))
    }

    /// An account without a licence.
    pub(crate) fn subscription_required() -> Self {
        let message = "You do not have a valid license of this product. Please contact your \
                       administrator. (#3501)";
        Self::new(403, message)
            .detail(error_info(
                "SUBSCRIPTION_REQUIRED",
                "cloudaicompanion.googleapis.com",
                json!({}),
            ))
            .detail(json!({
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{"description": "Troubleshoot",
                           "url": "https://cloud.google.com/gemini/docs/codeassist/set-up-gemini"}],
            }))
    }

    /// An account that has to be verified in a browser.
    pub(crate) fn validation_required() -> Self {
        Self::new(403, VALIDATION_MESSAGE)
            .detail(error_info(
                "VALIDATION_REQUIRED",
                "cloudcode-pa.googleapis.com",
                json!({"validation_error_message": VALIDATION_MESSAGE,
                       "validation_url": VALIDATION_URL,
                       "validation_url_link_text": "Verify your account",
                       "validation_learn_more_url": VALIDATION_HELP,
                       "validation_learn_more_link_text": "Learn more"}),
            ))
            .detail(json!({
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{"description": "Verify your account", "url": VALIDATION_URL},
                          {"description": "Learn more", "url": VALIDATION_HELP}],
            }))
    }

    /// The usual sentence for a status that a script asks for without a body.
    pub(crate) fn standard(code: u16) -> Self {
        match code {
            400 => Self::invalid_argument(),
            401 => Self::unauthenticated("ACCESS_TOKEN_EXPIRED", PREDICTION),
            403 => Self::new(403, "The caller does not have permission"),
            404 => Self::not_found(),
            429 => Self::new(429, "Resource has been exhausted (e.g. check quota)."),
            503 => Self::new(503, "The service is currently unavailable."),
            504 => Self::new(504, "Deadline expired before operation could complete."),
            other => Self::new(other, "Internal error encountered."),
        }
    }

    /// As an object for unary calls, as an array of one for streaming ones (protocol.md 4.3).
    pub(crate) fn reply(self, streaming: bool) -> Reply {
        let code = self.code;
        let error = self.json();
        let pretty = if streaming { pretty(&[error]) } else { pretty(&error) };
        let mut reply = Reply::json(status(code), pretty + "\n");
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

/// One thing wrong with a body: where, in proto spelling, and the sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldViolation {
    pub(crate) field: String,
    pub(crate) description: String,
}

/// A flat OAuth error (protocol.md 1.7).
pub(crate) fn oauth(code: u16, error: &str, description: &str) -> Reply {
    let body = json!({"error": error, "error_description": description});
    Reply::json(status(code), pretty(&body))
}

/// The front end's page for a path or method it has no route for (protocol.md 7.1).
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
pub(crate) fn canonical(code: u16) -> &'static str {
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

/// An HTTP status, 500 for a number that is none.
pub(crate) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn error_info(reason: &str, domain: &str, metadata: Value) -> Value {
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

pub(crate) const PREDICTION: &str =
    "google.internal.cloud.code.v1internal.PredictionService.GenerateContent";
pub(crate) const VALIDATION_MESSAGE: &str = "Verify your account to continue.";
pub(crate) const VALIDATION_URL: &str = "https://accounts.google.com/signin/continue?sarp=1&scc=1";
pub(crate) const VALIDATION_HELP: &str = "https://support.google.com/accounts?p=al_alert";
