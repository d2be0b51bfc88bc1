//! `generativelanguage.googleapis.com`, the Gemini API (docs/reference/upstreams.md 1, 3 to 6).

mod batches;
mod call;
pub(crate) mod errors;
mod fields;
mod files;
mod generate;
mod interactions;
mod json;
mod keys;
mod live;
mod models;
mod multipart;
mod openai;
mod resources;
mod state;
mod uploads;

use http::HeaderMap;
use serde_json::json;

use crate::backend::Backend;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::ApiError;

pub(crate) use self::call::GeminiCall;
use self::call::{CallKind, Collection, ModelMethod};
use self::errors::ErrorContext;
use self::keys::Tier;
pub use self::keys::{API_KEY, STANDARD_API_KEY};
pub(crate) use self::live::LiveSession;
use self::state::StreamErrorForm;
pub(crate) use self::state::{GeminiState, GeminiStateChange};
pub(crate) use self::uploads::UploadSink;

/// Checks the caller and the request as the service does, and answers.
pub(crate) fn answer(call: &GeminiCall, request: &ApiRequest<'_>, backend: &Backend) -> Reply {
    let answered = check_caller(call, request, backend)
        .and_then(|tier| dispatch(call, tier, request, backend));
    answered.unwrap_or_else(|error| error_reply(call, error, &backend.state().gemini))
}

/// Where the bytes of an upload go while they arrive. It is `None` if the body is read whole.
pub(crate) fn upload_sink(
    call: &GeminiCall,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Option<UploadSink>, Reply> {
    let CallKind::Upload(target) = &call.kind else {
        return Ok(None);
    };
    let sink = check_caller(call, request, backend)
        .and_then(|_| uploads::sink(call, target, request, &mut backend.state().gemini));
    sink.map_err(|error| error_reply(call, error, &backend.state().gemini))
}

/// The error that a rule of the script names, or else the usual one for its status.
pub(crate) fn scripted_error(
    call: &GeminiCall,
    name: Option<&str>,
    status: u16,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Reply {
    let key = keys::key_of(request.headers, request.query("key"));
    let context = ErrorContext { call, key: &key };
    let named = name.and_then(|name| errors::named(name, context));
    let error = named.unwrap_or_else(|| errors::standard(status, context));
    error_reply(call, error, &backend.state().gemini)
}

/// What a proxy sent that it must not send to the Gemini API.
pub(crate) fn violation(headers: &HeaderMap, backend: &Backend) -> Option<String> {
    if !backend.state().gemini.strict_headers {
        return None;
    }
    keys::forbidden_header(headers).map(str::to_owned)
}

/// The headers of every answer (docs/reference/upstreams.md 1.4). A proxy drops the first five.
pub(crate) const FRONT_END: [(&str, &str); 6] = [
    ("alt-svc", "h3=\":443\"; ma=2592000,h3-29=\":443\"; ma=2592000"),
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "vary,vary,vary,content-encoding,date,server,content-length"),
    ("set-cookie", "NID=emulator; path=/; domain=.google.com; HttpOnly"),
    ("strict-transport-security", "max-age=31536000"),
    ("server-timing", "gfet4t7; dur=361"),
];

fn check_caller(
    call: &GeminiCall,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Tier, ApiError> {
    if let Some(header) = violation(request.headers, backend) {
        let message = format!(
            "The emulator refuses the header {header}: a proxy must not send it to the Gemini API."
        );
        return Err(ApiError::new(400, message));
    }
    if let Some(name) = request.unknown_query_parameter(call.own_parameters()) {
        return Err(ApiError::unknown_query_parameter(&name));
    }
    let state = backend.state();
    if matches!(call.kind, CallKind::Upload(_)) && uploads::continues(request) {
        return keys::check_optional(call, request, &state).map(|()| Tier::Paid);
    }
    keys::check(call, request, &state)
}

fn dispatch(
    call: &GeminiCall,
    tier: Tier,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    match &call.kind {
        CallKind::CreateAuthToken => {
            let name = format!("auth_tokens/emulator{:06}", request.seq);
            backend.state().gemini.auth_tokens.insert(name.clone());
            Ok(Reply::ok(&json!({"name": name})))
        }
        CallKind::DownloadFile(name) => files::download(name, request, &backend.state().gemini),
        CallKind::Interaction(interaction) => interactions::answer(interaction, request, backend),
        CallKind::Live { .. } => live::accept(request.headers),
        CallKind::Model(model, method) => {
            models::check(model, *method, tier, call, &backend.state().gemini)?;
            of_model(model, *method, call, request, backend)
        }
        CallKind::OpenAi(openai) => openai::answer(openai, call, tier, request, backend),
        CallKind::Operation(name) => batches::poll(name, &mut backend.state().gemini),
        CallKind::RegisterFiles => {
            let body = generate::checked(request, backend, &fields::REGISTER_FILES)?;
            Ok(files::register(&body, &mut backend.state().gemini, call.version))
        }
        CallKind::Resource(collection, resource) => match collection {
            Collection::Batches => batches::answer(resource, request, &mut backend.state().gemini),
            Collection::Files => {
                files::answer(resource, call.version, request, &mut backend.state().gemini)
            }
            Collection::Models => match resource {
                call::ResourceCall::Get(name) => models::get(name, call, &backend.state().gemini),
                _ => models::list(request, &backend.state().gemini),
            },
            Collection::CachedContents
            | Collection::FileSearchStores
            | Collection::TunedModels
            | Collection::Webhooks => {
                resources::answer(*collection, resource, call, request, backend)
            }
        },
        CallKind::Upload(target) => {
            let state = &mut backend.state().gemini;
            uploads::answer(call, target, request, &backend.url, state)
        }
    }
}

fn of_model(
    model: &str,
    method: ModelMethod,
    call: &GeminiCall,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    match method {
        ModelMethod::AsyncBatchEmbedContent | ModelMethod::BatchGenerateContent => {
            batches::create(model, method, request, backend)
        }
        ModelMethod::BatchEmbedContents => generate::batch_embed(model, request, backend),
        ModelMethod::CountTokens => generate::count_tokens(model, request, backend),
        ModelMethod::EmbedContent => generate::embed(request, backend),
        ModelMethod::GenerateContent => generate::unary(model, request, backend),
        ModelMethod::Predict => generate::predict(request, backend),
        ModelMethod::PredictLongRunning => {
            batches::make_video(model, call.version, request, backend)
        }
        ModelMethod::StreamGenerateContent => generate::stream(model, request, backend),
    }
}

/// An error in the form of the call: OpenAI's endpoint always has an array of one.
fn error_reply(call: &GeminiCall, error: ApiError, state: &GeminiState) -> Reply {
    match &call.kind {
        CallKind::OpenAi(_) => error.reply(true),
        CallKind::Interaction(_) => interactions::error_reply(&error),
        _ if call.streams() => error.reply(state.stream_errors == StreamErrorForm::Array),
        _ => error.reply(false),
    }
}
