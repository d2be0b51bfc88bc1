//! `cloudcode-pa.googleapis.com`: which RPC, who asks, and what it answers.

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::model::answer::{self, ModelAnswer, ResponseStamp};
use crate::model::rules;
use crate::proto;
use crate::proto::Node;
use crate::proto::fields::{self, MessageSpec};
use crate::reply::{Reply, StreamEvent};
use crate::state::{AccountStatus, OnboardingOperation, State, StreamPacing, TokenStatus};
use crate::status::{ApiError, PREDICTION, VALIDATION_HELP, VALIDATION_MESSAGE, VALIDATION_URL};

/// The calls that the service knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rpc {
    CountTokens,
    FetchAdminControls,
    GenerateContent,
    GlobalUserSetting,
    ListExperiments,
    LoadCodeAssist,
    OnboardUser,
    Operation(String),
    RecordMetrics,
    RetrieveUserQuota,
    SetGlobalUserSetting,
    StreamGenerateContent,
}

impl Rpc {
    /// The call of a path, if the method is the one it has.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1internal")?;
        if method == Method::GET {
            if let Some(name) = rest.strip_prefix('/') {
                return name.starts_with("operations/").then(|| Self::Operation(name.to_owned()));
            }
            let name = colon(rest)?;
            return (name == "getCodeAssistGlobalUserSetting").then_some(Self::GlobalUserSetting);
        }
        if method != Method::POST {
            return None;
        }
        match colon(rest)? {
            "countTokens" => Some(Self::CountTokens),
            "fetchAdminControls" => Some(Self::FetchAdminControls),
            "generateContent" => Some(Self::GenerateContent),
            "listExperiments" => Some(Self::ListExperiments),
            "loadCodeAssist" => Some(Self::LoadCodeAssist),
            "onboardUser" => Some(Self::OnboardUser),
            "recordCodeAssistMetrics" => Some(Self::RecordMetrics),
            "retrieveUserQuota" => Some(Self::RetrieveUserQuota),
            "setCodeAssistGlobalUserSetting" => Some(Self::SetGlobalUserSetting),
            "streamGenerateContent" => Some(Self::StreamGenerateContent),
            _ => None,
        }
    }

    /// The name in log, counts and scripts.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::CountTokens => "countTokens",
            Self::FetchAdminControls => "fetchAdminControls",
            Self::GenerateContent => "generateContent",
            Self::GlobalUserSetting => "getCodeAssistGlobalUserSetting",
            Self::ListExperiments => "listExperiments",
            Self::LoadCodeAssist => "loadCodeAssist",
            Self::OnboardUser => "onboardUser",
            Self::Operation(_) => "operations",
            Self::RecordMetrics => "recordCodeAssistMetrics",
            Self::RetrieveUserQuota => "retrieveUserQuota",
            Self::SetGlobalUserSetting => "setCodeAssistGlobalUserSetting",
            Self::StreamGenerateContent => "streamGenerateContent",
        }
    }

    pub(crate) fn streams(&self) -> bool {
        *self == Self::StreamGenerateContent
    }

    fn method(&self) -> String {
        match self {
            Self::GenerateContent => PREDICTION.to_owned(),
            Self::StreamGenerateContent => PREDICTION.replace(".Generate", ".StreamGenerate"),
            Self::CountTokens => PREDICTION.replace("GenerateContent", "CountTokens"),
            other => {
                let mut name = other.name().to_owned();
                name[..1].make_ascii_uppercase();
                format!("google.internal.cloud.code.v1internal.CloudCode.{name}")
            }
        }
    }

    /// Checks the caller and the body as the service does, and answers.
    pub(crate) fn answer(
        &self,
        call: &RpcRequest<'_>,
        google: &Backend,
    ) -> Result<Reply, ApiError> {
        self.caller(call, &google.state())?;
        let body = Node::read(call.body)?;
        let is_strict = google.state().strict;
        if let Some(message) = self.message().filter(|_| is_strict) {
            proto::check(&body, message)?;
        }
        match self {
            Self::CountTokens => count_tokens(&body),
            Self::FetchAdminControls => {
                project(&body, &google.state())?;
                Ok(Reply::ok(&json!({"adminControlsApplicable": false})))
            }
            Self::GenerateContent => {
                let response = generate(&body, call, google)?.whole(&call.stamp);
                Ok(Reply::ok(&json!({"response": response, "traceId": call.trace_id})))
            }
            Self::GlobalUserSetting => Ok(Reply::ok(&json!({
                "cloudaicompanionProject": google.state().project,
                "freeTierDataCollectionOptin": false,
            }))),
            Self::ListExperiments => {
                project(&body, &google.state())?;
                Ok(Reply::ok(&json!({"experimentIds": [], "flags": []})))
            }
            Self::LoadCodeAssist => Ok(Reply::ok(&load(&google.state()))),
            Self::OnboardUser => onboard(&body, call, &mut google.state()),
            Self::Operation(name) => poll(name, &mut google.state()),
            Self::RecordMetrics => {
                project(&body, &google.state())?;
                Ok(Reply::ok(&json!({})))
            }
            Self::RetrieveUserQuota => {
                let state = google.state();
                project(&body, &state)?;
                Ok(Reply::ok(&json!({"buckets": state.quota})))
            }
            Self::SetGlobalUserSetting => Ok(Reply::ok(&json!({
                "cloudaicompanionProject": google.state().project,
                "freeTierDataCollectionOptin": body.flag("free_tier_data_collection_optin"),
            }))),
            Self::StreamGenerateContent => {
                let answer = generate(&body, call, google)?;
                Ok(stream(&answer, call, google.state().pace()))
            }
        }
    }

    /// The message that the body has to be; none for what is only fetched.
    fn message(&self) -> Option<&'static MessageSpec> {
        match self {
            Self::CountTokens => Some(&fields::COUNT),
            Self::FetchAdminControls => Some(&fields::ADMIN_CONTROLS),
            Self::GenerateContent | Self::StreamGenerateContent => Some(&fields::GENERATE),
            Self::GlobalUserSetting | Self::Operation(_) => None,
            Self::ListExperiments => Some(&fields::EXPERIMENTS),
            Self::LoadCodeAssist => Some(&fields::LOAD),
            Self::OnboardUser => Some(&fields::ONBOARD),
            Self::RecordMetrics => Some(&fields::METRICS),
            Self::RetrieveUserQuota => Some(&fields::QUOTA),
            Self::SetGlobalUserSetting => Some(&fields::USER_SETTING),
        }
    }

    fn caller(&self, call: &RpcRequest<'_>, state: &State) -> Result<(), ApiError> {
        if let Some(name) = call.unknown_query_parameter() {
            return Err(ApiError::new(
                400,
                format!(
                    "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query \
                     parameter. Field '{name}' could not be found in request message."
                ),
            ));
        }
        if call.headers.contains_key("x-goog-api-key") || call.query("key").is_some() {
            // A client's key for the proxy is no key of Google's.
            return Err(ApiError::new(400, "API key not valid. Please pass a valid API key."));
        }
        let Some(token) = call.bearer else {
            return Err(ApiError::unauthenticated("CREDENTIALS_MISSING", &self.method()));
        };
        match state.tokens.standing(token) {
            TokenStatus::Valid { .. } => {}
            TokenStatus::Expired => {
                return Err(ApiError::unauthenticated("ACCESS_TOKEN_EXPIRED", &self.method()));
            }
            TokenStatus::Unknown => {
                let reason = "ACCESS_TOKEN_TYPE_UNSUPPORTED";
                return Err(ApiError::unauthenticated(reason, &self.method()));
            }
        }
        match call.headers.get("x-goog-user-project") {
            Some(project) => {
                Err(ApiError::service_disabled(&String::from_utf8_lossy(project.as_bytes())))
            }
            None => Ok(()),
        }
    }
}

/// What an RPC looks at.
#[derive(Debug)]
pub(crate) struct RpcRequest<'a> {
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    pub(crate) bearer: Option<&'a str>,
    pub(crate) seq: u64,
    pub(crate) stamp: ResponseStamp,
    pub(crate) trace_id: String,
}

impl RpcRequest<'_> {
    fn query(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    fn unknown_query_parameter(&self) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| !SYSTEM_PARAMETERS.contains(&key.as_ref()))
            .map(|(key, _)| key.into_owned())
    }

    fn wants_events(&self) -> bool {
        let alt = self.query("alt").or_else(|| self.query("$alt"));
        alt.is_some_and(|alt| alt == "sse")
    }
}

fn generate(
    body: &Node<'_>,
    call: &RpcRequest<'_>,
    google: &Backend,
) -> Result<ModelAnswer, ApiError> {
    let Some(request) = body.field("request") else {
        return Err(ApiError::invalid_argument());
    };
    let Some(model) = body.text("model") else {
        return Err(ApiError::invalid_argument());
    };
    entitled(body, model, &google.state())?;
    rules::generation(model, request)?;
    Ok(ModelAnswer::to(model, request, call.seq))
}

/// Whether this account may use this model in the project it names.
fn entitled(body: &Node<'_>, model: &str, state: &State) -> Result<(), ApiError> {
    licence(state)?;
    project(body, state)?;
    if state.models.iter().any(|known| known == model) {
        Ok(())
    } else {
        Err(ApiError::not_found())
    }
}

fn stream(answer: &ModelAnswer, call: &RpcRequest<'_>, pace: StreamPacing) -> Reply {
    let wrapped = |response: Value| json!({"response": response, "traceId": call.trace_id});
    let mut chunks: Vec<Value> =
        answer.pieces(pace.events, &call.stamp).into_iter().map(wrapped).collect();
    if pace.usage_chunk {
        chunks.push(wrapped(answer.usage_only(&call.stamp)));
    }
    if pace.metadata_chunk {
        chunks.push(json!({
            "traceId": call.trace_id,
            "remainingCredits": [{"creditType": "GOOGLE_ONE_AI", "creditAmount": "100"}],
        }));
    }
    if call.wants_events() {
        Reply::events(chunks.iter().map(|chunk| StreamEvent::Payload(chunk.to_string())).collect())
    } else {
        let printed = chunks.iter().map(|chunk| StreamEvent::Payload(crate::status::pretty(chunk)));
        Reply::array(printed.collect())
    }
}

fn count_tokens(body: &Node<'_>) -> Result<Reply, ApiError> {
    let Some(request) = body.field("request") else {
        return Err(ApiError::invalid_argument());
    };
    let model = request.text("model").unwrap_or_default();
    if !model.starts_with("models/") {
        return Err(ApiError::invalid_argument());
    }
    rules::counting(request)?;
    Ok(Reply::ok(&json!({"totalTokens": answer::tokens(request)})))
}

/// Model calls of an account that has no licence.
fn licence(state: &State) -> Result<(), ApiError> {
    match state.account {
        AccountStatus::Onboarded | AccountStatus::NoProject => Ok(()),
        AccountStatus::NeedsOnboarding => {
            Err(ApiError::new(403, "The caller does not have permission"))
        }
        AccountStatus::Ineligible | AccountStatus::UnsupportedClient => {
            Err(ApiError::subscription_required())
        }
        AccountStatus::ValidationRequired => Err(ApiError::validation_required()),
    }
}

fn project(body: &Node<'_>, state: &State) -> Result<(), ApiError> {
    let named = body.text("project").unwrap_or_default();
    if named == state.project { Ok(()) } else { Err(ApiError::consumer_invalid(named)) }
}

fn load(state: &State) -> Value {
    match state.account {
        AccountStatus::Onboarded => json!({
            "currentTier": standard_tier(),
            "allowedTiers": [standard_tier()],
            "cloudaicompanionProject": state.project,
            "gcpManaged": true,
        }),
        AccountStatus::NoProject => json!({
            "currentTier": standard_tier(),
            "allowedTiers": [standard_tier()],
            "gcpManaged": false,
        }),
        AccountStatus::NeedsOnboarding => json!({
            "allowedTiers": [free_tier(), {
                "id": "standard-tier",
                "name": "Gemini Code Assist",
                "userDefinedCloudaicompanionProject": true,
            }],
        }),
        AccountStatus::Ineligible => json!({
            "allowedTiers": [standard_tier()],
            "ineligibleTiers": [{
                "reasonCode": "INELIGIBLE_ACCOUNT",
                "reasonMessage": "Your current account is not eligible for Gemini Code Assist for \
                                  individuals.",
                "tierId": "free-tier",
                "tierName": "Gemini Code Assist for individuals",
            }],
        }),
        AccountStatus::UnsupportedClient => json!({
            "allowedTiers": [standard_tier()],
            "ineligibleTiers": [{
                "reasonCode": "UNSUPPORTED_CLIENT",
                "reasonMessage": "This client is no longer supported for Gemini Code Assist for \
                                  individuals. To continue using Gemini, please migrate to the \
                                  Antigravity suite of products: https://antigravity.google",
                "tierId": "free-tier",
                "tierName": "Gemini Code Assist for individuals",
            }],
        }),
        AccountStatus::ValidationRequired => json!({
            "allowedTiers": [standard_tier()],
            "ineligibleTiers": [{
                "reasonCode": "VALIDATION_REQUIRED",
                "reasonMessage": VALIDATION_MESSAGE,
                "tierId": "free-tier",
                "tierName": "Gemini Code Assist for individuals",
                "validationErrorMessage": VALIDATION_MESSAGE,
                "validationUrl": VALIDATION_URL,
                "validationUrlLinkText": "Verify your account",
                "validationLearnMoreUrl": VALIDATION_HELP,
                "validationLearnMoreLinkText": "Learn more",
            }],
        }),
    }
}

fn onboard(body: &Node<'_>, call: &RpcRequest<'_>, state: &mut State) -> Result<Reply, ApiError> {
    let project = body.text("cloudaicompanion_project").map(str::to_owned);
    match body.text("tier_id") {
        // The free tier never takes a project (protocol.md 2.7).
        Some("free-tier") if project.is_some() => {
            return Err(ApiError::new(400, "Precondition check failed.").precondition());
        }
        Some("free-tier") => {}
        // Onboarding a licensed tier without a project is a 500 there (protocol.md 7.2).
        Some("standard-tier" | "legacy-tier") if project.is_none() => {
            return Err(ApiError::standard(500));
        }
        Some("standard-tier" | "legacy-tier") => {}
        _ => return Err(ApiError::invalid_argument()),
    }
    match state.account {
        AccountStatus::Onboarded | AccountStatus::NeedsOnboarding | AccountStatus::NoProject => {}
        AccountStatus::ValidationRequired => return Err(ApiError::validation_required()),
        AccountStatus::Ineligible | AccountStatus::UnsupportedClient => {
            return Err(ApiError::subscription_required());
        }
    }
    let name = format!("operations/emulator-{:06}", call.seq);
    let operation = OnboardingOperation { polls_left: state.onboarding_polls, project };
    let reply = progress(&name, &operation, state);
    state.operations.insert(name, operation);
    Ok(Reply::ok(&reply))
}

fn poll(name: &str, state: &mut State) -> Result<Reply, ApiError> {
    let Some(mut operation) = state.operations.remove(name) else {
        return Err(ApiError::not_found());
    };
    operation.polls_left = operation.polls_left.saturating_sub(1);
    let reply = progress(name, &operation, state);
    state.operations.insert(name.to_owned(), operation);
    Ok(Reply::ok(&reply))
}

fn progress(name: &str, operation: &OnboardingOperation, state: &mut State) -> Value {
    if operation.polls_left > 0 {
        return json!({"name": name, "done": false});
    }
    if let Some(error) = &state.onboarding_error {
        return json!({"name": name, "done": true, "error": error});
    }
    if let Some(project) = &operation.project {
        state.project.clone_from(project);
    }
    state.account = AccountStatus::Onboarded;
    json!({
        "name": name,
        "done": true,
        "response": {
            "@type": "type.googleapis.com/google.internal.cloud.code.v1internal.OnboardUserResponse",
            "cloudaicompanionProject": {"id": state.project, "name": state.project},
        },
    })
}

fn standard_tier() -> Value {
    json!({
        "id": "standard-tier",
        "name": "Gemini Code Assist",
        "description": "Unlimited coding assistant with the most powerful Gemini models",
        "userDefinedCloudaicompanionProject": true,
        "isDefault": true,
        "privacyNotice": {},
    })
}

fn free_tier() -> Value {
    json!({
        "id": "free-tier",
        "name": "Gemini Code Assist for individuals",
        "description": "Gemini-powered code suggestions and chat in multiple IDEs",
        "isDefault": true,
        "privacyNotice": {"showNotice": true, "noticeText": "Terms apply."},
    })
}

fn colon(rest: &str) -> Option<&str> {
    rest.strip_prefix(':').or_else(|| rest.strip_prefix("%3A")).or_else(|| rest.strip_prefix("%3a"))
}

const SYSTEM_PARAMETERS: [&str; 19] = [
    "$.xgafv",
    "$alt",
    "$callback",
    "$fields",
    "$key",
    "$prettyPrint",
    "$unique",
    "access_token",
    "alt",
    "callback",
    "fields",
    "key",
    "oauth_token",
    "passwd",
    "prettyPrint",
    "quotaUser",
    "upload_protocol",
    "uploadType",
    "userIp",
];
