//! The errors of the Gemini API (docs/reference/upstreams.md 4.3 and 9).

use serde_json::{Value, json};

use crate::gemini_api::call::{CallKind, GeminiCall, ModelMethod};
use crate::status::{ApiError, ServiceMethod, error_info};

/// What the text of an error names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorContext<'a> {
    pub(crate) call: &'a GeminiCall,
    /// The key of the request, which one error prints.
    pub(crate) key: &'a str,
}

impl ErrorContext<'_> {
    fn model(&self) -> &str {
        self.call.model().unwrap_or("gemini-2.5-flash")
    }

    fn consumer(&self) -> Value {
        json!({"service": SERVICE, "consumer": format!("projects/{PROJECT_NUMBER}")})
    }
}

/// The error of a name, for a rule of the script.
pub(crate) fn named(name: &str, context: ErrorContext<'_>) -> Option<ApiError> {
    let model = context.model();
    Some(match name {
        "access_token_type_unsupported" => access_token_type_unsupported(context.call),
        "billing_required" => ApiError::new(
            400,
            "Gemini API free tier is not available in your country. Please enable billing on your \
             project in Google AI Studio.",
        )
        .precondition(),
        "corrupted_signature" => ApiError::new(400, "Corrupted thought signature."),
        "credits_depleted" => ApiError::new(
            429,
            "Your prepayment credits are depleted. Please go to AI Studio at \
             https://ai.studio/projects to manage your project and billing.",
        ),
        "deadline_exceeded" => {
            ApiError::new(504, "Deadline expired before operation could complete.")
        }
        "high_demand" => ApiError::new(
            503,
            "This model is currently experiencing high demand. Spikes in demand are usually \
             temporary. Please try again later.",
        ),
        "internal" => ApiError::new(
            500,
            "An internal error has occurred. Please retry or report in \
             https://developers.generativeai.google/guide/troubleshooting",
        ),
        "key_expired" => key_invalid("API key expired. Please renew the API key."),
        "key_invalid" => key_invalid(KEY_NOT_VALID),
        "key_ip_blocked" => key_ip_blocked(context),
        "key_leaked" => key_leaked(),
        "key_referrer_blocked" => key_referrer_blocked(context),
        "key_service_blocked" => key_service_blocked(context),
        "key_suspended" => key_suspended(context),
        "location" => {
            ApiError::new(400, "User location is not supported for the API use.").precondition()
        }
        "model_not_found" => model_not_found(model, context.call),
        "multiple_credentials" => multiple_credentials(),
        "overloaded" => ApiError::new(503, "The model is overloaded. Please try again later."),
        "quota_per_day" => quota(model, "20", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
        "quota_per_minute" => {
            quota(model, "10", "GenerateRequestsPerMinutePerProjectPerModel-FreeTier")
        }
        "quota_zero" => quota(model, "0", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
        "resource_exhausted" => {
            ApiError::new(429, "Resource has been exhausted (e.g. check quota).")
        }
        "service_disabled" => service_disabled(context),
        "spend_cap" => ApiError::new(
            429,
            "Your project has exceeded its monthly spending cap. Please go to AI Studio at \
             https://ai.studio/spend to manage your project spend cap.",
        ),
        _ => return None,
    })
}

/// Whether there is an error of this name.
pub(crate) fn is_known(name: &str) -> bool {
    sample(name).is_some()
}

/// The error of a name, of some call.
pub(crate) fn sample(name: &str) -> Option<ApiError> {
    let kind = CallKind::Model("gemini-2.5-flash".to_owned(), ModelMethod::GenerateContent);
    let call = GeminiCall { version: "v1beta", kind };
    named(name, ErrorContext { call: &call, key: "" })
}

/// Google's usual error for a status, for a rule that names nothing else.
pub(super) fn standard(code: u16, context: ErrorContext<'_>) -> ApiError {
    let name = match code {
        401 => "access_token_type_unsupported",
        404 => "model_not_found",
        429 => "resource_exhausted",
        500 => "internal",
        503 => "overloaded",
        504 => "deadline_exceeded",
        _ => "",
    };
    named(name, context).unwrap_or_else(|| {
        let method = context.call.method();
        ApiError::standard(code, ServiceMethod { service: SERVICE, method: &method })
    })
}

/// 400: the key is unknown or no longer valid. The status is not 401.
pub(super) fn key_invalid(message: &str) -> ApiError {
    ApiError::new(400, message)
        .detail(error_info("API_KEY_INVALID", "googleapis.com", json!({"service": SERVICE})))
        .detail(json!({
            "@type": "type.googleapis.com/google.rpc.LocalizedMessage",
            "locale": "en-US",
            "message": message,
        }))
}

pub(super) fn multiple_credentials() -> ApiError {
    ApiError::new(400, "Multiple authentication credentials received. Please pass only one.")
}

/// 401: a retired or unbound key, or a key as Bearer on a native path.
pub(super) fn access_token_type_unsupported(call: &GeminiCall) -> ApiError {
    let called = ServiceMethod { service: SERVICE, method: &call.method() };
    ApiError::unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED", called)
}

/// 403: an OAuth token without the scope of the Gemini API.
pub(super) fn insufficient_scopes(call: &GeminiCall) -> ApiError {
    ApiError::new(403, "Request had insufficient authentication scopes.").detail(error_info(
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        "googleapis.com",
        json!({"service": SERVICE, "method": call.method()}),
    ))
}

/// 403: no credential at all.
pub(super) fn unregistered_caller() -> ApiError {
    ApiError::new(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). Please \
         use API Key or other form of API consumer identity to call this API.",
    )
}

pub(super) fn key_leaked() -> ApiError {
    ApiError::new(403, "Your API key was reported as leaked. Please use another API key.")
}

/// 403 whose text has the key.
pub(super) fn key_suspended(context: ErrorContext<'_>) -> ApiError {
    let message =
        format!("Permission denied: Consumer 'api_key:{}' has been suspended.", context.key);
    let mut metadata = context.consumer();
    metadata["containerInfo"] = format!("api_key:{}", context.key).into();
    ApiError::new(403, message).detail(error_info("CONSUMER_SUSPENDED", "googleapis.com", metadata))
}

pub(super) fn key_service_blocked(context: ErrorContext<'_>) -> ApiError {
    let method = context.call.method();
    let mut metadata = context.consumer();
    metadata["methodName"] = method.clone().into();
    ApiError::new(403, format!("Requests to this API {SERVICE} method {method} are blocked."))
        .detail(error_info("API_KEY_SERVICE_BLOCKED", "googleapis.com", metadata))
}

pub(super) fn key_referrer_blocked(context: ErrorContext<'_>) -> ApiError {
    ApiError::new(403, "Requests from referer <empty> are blocked.").detail(error_info(
        "API_KEY_HTTP_REFERRER_BLOCKED",
        "googleapis.com",
        context.consumer(),
    ))
}

pub(super) fn key_ip_blocked(context: ErrorContext<'_>) -> ApiError {
    let message = "The provided API key has an IP address restriction. The originating IP address \
                   of the call (192.0.2.1) violates this restriction.";
    ApiError::new(403, message).detail(error_info(
        "API_KEY_IP_ADDRESS_BLOCKED",
        "googleapis.com",
        context.consumer(),
    ))
}

pub(super) fn model_not_found(model: &str, call: &GeminiCall) -> ApiError {
    let (version, method) = (call.version, call.name());
    ApiError::new(
        404,
        format!(
            "models/{model} is not found for API version {version}, or is not supported for \
             {method}. Call ListModels to see the list of available models and their supported \
             methods."
        ),
    )
}

/// 429 for a model that the tier of the key does not have.
pub(super) fn not_in_tier(model: &str) -> ApiError {
    quota(model, "0", "GenerateRequestsPerDayPerProjectPerModel-FreeTier")
}

/// A file of another project looks like one that does not exist.
pub(super) fn file_not_found(name: &str) -> ApiError {
    let id = name.strip_prefix("files/").unwrap_or(name);
    let message =
        format!("You do not have permission to access the File {id} or it may not exist.");
    ApiError::new(403, message)
}

pub(super) fn cached_content_not_found() -> ApiError {
    ApiError::new(403, "CachedContent not found (or permission denied)")
}

fn service_disabled(context: ErrorContext<'_>) -> ApiError {
    let url = format!(
        "https://console.developers.google.com/apis/api/{SERVICE}/overview?project={PROJECT_NUMBER}"
    );
    let message = format!(
        "Generative Language API has not been used in project {PROJECT_NUMBER} before or it is \
         disabled. Enable it by visiting {url} then retry. If you enabled this API recently, wait \
         a few minutes for the action to propagate to our systems and retry."
    );
    let mut metadata = context.consumer();
    metadata["containerInfo"] = PROJECT_NUMBER.into();
    metadata["serviceTitle"] = "Generative Language API".into();
    metadata["activationUrl"] = url.into();
    ApiError::new(403, message).detail(error_info("SERVICE_DISABLED", "googleapis.com", metadata))
}

fn quota(model: &str, limit: &str, id: &str) -> ApiError {
    let metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests";
    let message = format!(
        "You exceeded your current quota, please check your plan and billing details. For more \
         information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To \
         monitor your current usage, head to: https://ai.dev/rate-limit. \n* Quota exceeded for \
         metric: {metric}, limit: {limit}, model: {model}\nPlease retry in 37.82626638s."
    );
    ApiError::new(429, message)
        .detail(json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{"description": "Learn more about Gemini API quotas",
                       "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}],
        }))
        .detail(json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{
                "quotaMetric": metric,
                "quotaId": id,
                "quotaDimensions": {"location": "global", "model": model},
                "quotaValue": limit,
            }],
        }))
        // Even where the day's quota is used up, Google names a delay of seconds.
        .detail(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": "37s",
        }))
}

pub(super) const SERVICE: &str = "generativelanguage.googleapis.com";
pub(super) const KEY_NOT_VALID: &str = "API key not valid. Please pass a valid API key.";
const PROJECT_NUMBER: &str = "123456789012";
