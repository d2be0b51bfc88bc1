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

use crate::backend::Backend;
use crate::proto::{self, ListRule, Node};
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::ApiError;

pub use self::access::ACCESS_TOKEN;
pub(crate) use self::caches::Caches;
pub(crate) use self::call::VertexCall;
use self::call::{ModelMethod, Target};
pub(crate) use self::predict::Operations;
pub(crate) use self::settings::VertexSettings;
pub use self::settings::{API_KEY, LOCATION, PROJECT};

/// Checks the caller and the body as the service does, and answers.
pub(crate) fn answer(
    call: &VertexCall,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    access::check_caller(call, request, &backend.state())?;
    let reply = match &call.target {
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
    }?;
    Ok(dressed(reply))
}

/// Adds what is in every answer of Google's: the offer of HTTP/3.
fn dressed(reply: Reply) -> Reply {
    reply.header("alt-svc", "h3=\":443\"; ma=2592000,h3-29=\":443\"; ma=2592000")
}

/// The error as the answer to the call.
pub(crate) fn refused(error: ApiError, call: &VertexCall) -> Reply {
    dressed(error.reply(call.streams()))
}
