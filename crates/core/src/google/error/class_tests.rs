//! A test for each row of `docs/reference/upstreams.md` 4.3.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{UpstreamError, read};
use crate::failure::{FailoverReason as R, FailureClass as C};

fn google(status: u16, name: &str, reason: &str, message: &str, more: &str) -> UpstreamError {
    let info = match reason {
        "" => String::new(),
        reason => {
            format!(r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}"}}"#)
        }
    };
    let comma = if info.is_empty() || more.is_empty() { "" } else { "," };
    let text = format!(
        r#"{{"error":{{"code":{status},"message":"{message}","status":"{name}","details":[{info}{comma}{more}]}}}}"#
    );
    read(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &Bytes::from(text))
}

fn quota(id: &str) -> String {
    format!(
        r#"{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"{id}"}}]}},{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"37s"}}"#
    )
}

/// Status, its name, reason, message, more details; class, and the reason for another upstream.
type Row<'a> = (u16, &'a str, &'a str, &'a str, &'a str, C, Option<R>);

#[test]
fn each_error_has_its_class_and_the_reason_for_which_another_upstream_may_help() {
    const LEAKED: &str = "Your API key was reported as leaked. Please use another API key.";
    const DENIED: &str = "Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/x' (or it may not exist).";
    const PUBLISHER: &str = "Publisher Model `projects/p/locations/l/publishers/google/models/x` was not found or your project does not have access to it.";
    const SUSPENDED: &str = "Permission denied: Consumer 'api_key:AIzaSyA0123456789abcdefghijklmnopqrst' has been suspended.";
    const DEPLETED: &str = "Your prepayment credits are depleted. Please go to AI Studio.";
    let (minute, day) = (
        quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
        quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
    );
    let both = format!("{minute},{day}");
    let rows: &[Row<'_>] = &[
        (
            400,
            "INVALID_ARGUMENT",
            "API_KEY_INVALID",
            "API key not valid. Please pass a valid API key.",
            "",
            C::Credentials,
            Some(R::Account),
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "",
            "API key expired. Please renew the API key.",
            "",
            C::Credentials,
            Some(R::Account),
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "",
            "API Key not found. Please pass a valid API key.",
            "",
            C::Credentials,
            Some(R::Account),
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "",
            "Multiple authentication credentials received. Please pass only one.",
            "",
            C::Request,
            None,
        ),
        (
            400,
            "FAILED_PRECONDITION",
            "",
            "User location is not supported for the API use.",
            "",
            C::Account,
            Some(R::Account),
        ),
        (
            400,
            "FAILED_PRECONDITION",
            "",
            "Gemini API free tier is not available in your country. Please enable billing on your project.",
            "",
            C::Account,
            Some(R::Account),
        ),
        (400, "INVALID_ARGUMENT", "", "Corrupted thought signature.", "", C::Request, None),
        (
            400,
            "INVALID_ARGUMENT",
            "",
            "Request contains an invalid argument.",
            "",
            C::Request,
            None,
        ),
        (
            413,
            "INVALID_ARGUMENT",
            "",
            "Request payload size exceeds the limit",
            "",
            C::Request,
            None,
        ),
        (
            401,
            "UNAUTHENTICATED",
            "ACCESS_TOKEN_TYPE_UNSUPPORTED",
            "Request had invalid authentication credentials.",
            "",
            C::Unauthenticated,
            Some(R::Account),
        ),
        (
            401,
            "UNAUTHENTICATED",
            "CREDENTIALS_MISSING",
            "API keys are not supported by this API.",
            "",
            C::Unauthenticated,
            Some(R::Account),
        ),
        (
            401,
            "UNAUTHENTICATED",
            "ACCESS_TOKEN_EXPIRED",
            "expired",
            "",
            C::Unauthenticated,
            Some(R::Account),
        ),
        (402, "INVALID_ARGUMENT", "", "payment_required", "", C::Billing, Some(R::Billing)),
        (
            403,
            "PERMISSION_DENIED",
            "SERVICE_DISABLED",
            "X API has not been used in project 1 before or it is disabled.",
            "",
            C::Project,
            Some(R::Account),
        ),
        (
            403,
            "PERMISSION_DENIED",
            "BILLING_DISABLED",
            "This API method requires billing to be enabled.",
            "",
            C::Account,
            Some(R::Account),
        ),
        (403, "PERMISSION_DENIED", "CONSUMER_INVALID", "no", "", C::Project, Some(R::Account)),
        (
            403,
            "PERMISSION_DENIED",
            "API_KEY_SERVICE_BLOCKED",
            "Requests to this API are blocked.",
            "",
            C::Credentials,
            Some(R::Account),
        ),
        (
            403,
            "PERMISSION_DENIED",
            "API_KEY_HTTP_REFERRER_BLOCKED",
            "blocked",
            "",
            C::Credentials,
            Some(R::Account),
        ),
        (
            403,
            "PERMISSION_DENIED",
            "API_KEY_IP_ADDRESS_BLOCKED",
            "blocked",
            "",
            C::Credentials,
            Some(R::Account),
        ),
        (403, "PERMISSION_DENIED", "", LEAKED, "", C::Credentials, Some(R::Account)),
        (403, "PERMISSION_DENIED", "CONSUMER_SUSPENDED", SUSPENDED, "", C::Account, None),
        (403, "PERMISSION_DENIED", "", SUSPENDED, "", C::Account, None),
        (
            403,
            "PERMISSION_DENIED",
            "IAM_PERMISSION_DENIED",
            DENIED,
            "",
            C::Account,
            Some(R::Account),
        ),
        (
            403,
            "PERMISSION_DENIED",
            "",
            "You do not have permission to access the File abc or it may not exist.",
            "",
            C::Request,
            None,
        ),
        (
            404,
            "NOT_FOUND",
            "",
            "models/x is not found for API version v1beta, or is not supported for generateContent.",
            "",
            C::Request,
            Some(R::NotFound),
        ),
        (404, "NOT_FOUND", "", PUBLISHER, "", C::Request, Some(R::NotFound)),
        (404, "NOT_FOUND", "", "files/abc was not found", "", C::Request, None),
        (404, "NOT_FOUND", "", "CachedContent not found: cachedContents/x", "", C::Request, None),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "",
            "You exceeded your current quota. Please retry in 37.8s.",
            &minute,
            C::Throttled,
            Some(R::Capacity),
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "",
            "You exceeded your current quota. Please retry in 37.8s.",
            &day,
            C::Quota,
            Some(R::Quota),
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "",
            "You exceeded your current quota. Please retry in 37.8s.",
            &both,
            C::Quota,
            Some(R::Quota),
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "",
            "Quota exceeded for metric: x, limit: 0, model: gemini-9 Please retry in 37.8s.",
            &minute,
            C::Quota,
            Some(R::Quota),
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "",
            "Your project has exceeded its monthly spending cap.",
            "",
            C::Billing,
            Some(R::Billing),
        ),
        (429, "RESOURCE_EXHAUSTED", "", DEPLETED, "", C::Billing, Some(R::Billing)),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "",
            "Resource exhausted. Please try again later.",
            "",
            C::Throttled,
            Some(R::Capacity),
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "",
            "Resource has been exhausted (e.g. check quota).",
            "",
            C::Throttled,
            Some(R::Capacity),
        ),
        (
            500,
            "INTERNAL",
            "",
            "An internal error has occurred. Please retry",
            "",
            C::ServerError,
            Some(R::Unreachable),
        ),
        (
            503,
            "UNAVAILABLE",
            "",
            "The model is overloaded. Please try again later.",
            "",
            C::Unavailable,
            Some(R::Capacity),
        ),
        (
            504,
            "DEADLINE_EXCEEDED",
            "",
            "Deadline expired before operation could complete.",
            "",
            C::GatewayTimeout,
            None,
        ),
        (499, "CANCELLED", "", "The operation was cancelled.", "", C::Request, None),
    ];
    for (status, name, reason, message, more, class, failover) in rows {
        let error = google(*status, name, reason, message, more);
        let found = (error.class(), error.failover_reason());
        assert_eq!(found, (*class, *failover), "{status} {reason} {message}");
        assert!(!error.message.contains("AIza"), "{}", error.message);
        assert!(!String::from_utf8_lossy(&error.body).contains("AIza"));
    }
}

#[test]
fn the_short_delay_of_a_days_quota_is_not_believed() {
    let day = google(429, "RESOURCE_EXHAUSTED", "", "retry in 37.8s.", &quota("RequestsPerDay"));
    assert_eq!(day.retry_delay, None);
    assert!(day.quota_delay().unwrap().as_secs() >= 600);
    let minute =
        google(429, "RESOURCE_EXHAUSTED", "", "retry in 37.8s.", &quota("RequestsPerMinute"));
    assert_eq!(minute.retry_delay.unwrap().as_secs(), 37);
}

#[test]
fn a_client_that_has_google_repeat_its_words_puts_no_key_in_doubt() {
    let echo = "Invalid value at 'generation_config' (TYPE_ENUM), 'API key not valid'";
    let error = google(400, "INVALID_ARGUMENT", "", echo, "");
    assert_eq!((error.class(), error.failover_reason()), (C::Request, None));
}
