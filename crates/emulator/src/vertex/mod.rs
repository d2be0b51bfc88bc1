//! `aiplatform.googleapis.com`, Vertex AI.

mod access;
mod caches;
mod call;
mod catalogue;
mod chat;
mod errors;
mod generate;
mod messages;
mod predict;
mod rules;
mod settings;
mod wire;

use http::HeaderMap;

use crate::backend::Backend;
use crate::gemini_api::errors as gemini_errors;
use crate::proto::{self, ListRule, Node};
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::ApiError;

pub use self::access::ACCESS_TOKEN;
pub(crate) use self::caches::Caches;
pub(crate) use self::call::VertexCall;
use self::call::{ModelMethod, Target};
pub(crate) use self::errors::sample as sample_error;
pub(crate) use self::predict::Operations;
pub(crate) use self::settings::VertexSettings;
pub use self::settings::{API_KEY, LOCATION, PROJECT};

/// Checks the caller and the body as the service does, and answers.
pub(crate) fn answer(call: &VertexCall, request: &ApiRequest<'_>, backend: &Backend) -> Reply {
    let answered = answered(call, request, backend);
    answered.unwrap_or_else(|error| error.reply(call.streams()))
}

fn answered(
    call: &VertexCall,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    access::check_caller(call, request, &backend.state())?;
    match &call.target {
        Target::Cache(cache_call, id) => {
            caches::one(*cache_call, id, call, request, &mut backend.state())
        }
        Target::Caches(cache_call) => caches::all(*cache_call, call, request, &mut backend.state()),
        Target::Catalogue(model) => catalogue::answer(model.as_deref(), request, &backend.state()),
        Target::ChatCompletions => chat::answer(call, request, backend),
        Target::Model(model, method) => {
            let mut body = Node::read(request.body)?;
            if backend.state().strict {
                proto::check(&body, messages::of(*method, call.version), ListRule::OneObject)?;
            }
            match method {
                ModelMethod::CountTokens => generate::count_tokens(model, &mut body),
                ModelMethod::EmbedContent => predict::embed(model, &body),
                ModelMethod::FetchPredictOperation => predict::fetch(&body, &mut backend.state()),
                ModelMethod::GenerateContent => {
                    generate::unary(call, model, &mut body, request, backend)
                }
                ModelMethod::Predict => predict::predict(model, &body),
                ModelMethod::PredictLongRunning => {
                    predict::start(call, model, &body, request, &mut backend.state())
                }
                ModelMethod::StreamGenerateContent => {
                    generate::stream(call, model, &mut body, request, backend)
                }
            }
        }
    }
}

/// The error that a rule names, or that of the rule's status.
pub(crate) fn scripted_error(call: &VertexCall, name: Option<&str>, status: u16) -> Reply {
    let named =
        name.and_then(|name| errors::named(name, call).or_else(|| gemini_errors::sample(name)));
    named.unwrap_or_else(|| errors::standard(status, call)).reply(call.streams())
}

/// What a proxy sent that it must not send to Vertex AI.
pub(crate) fn violation(headers: &HeaderMap, settings: &VertexSettings) -> Option<String> {
    access::forbidden_header(headers, settings).map(str::to_owned)
}

/// A header of every answer, which a proxy drops.
pub(crate) const FRONT_END: [(&str, &str); 1] =
    [("alt-svc", "h3=\":443\"; ma=2592000,h3-29=\":443\"; ma=2592000")];
