//! `generateContent`, `streamGenerateContent` and `countTokens`.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::code_assist::access::check_model_access;
use crate::model::{self, AnswerForm, ModelAnswer, rules};
use crate::proto::Node;
use crate::reply::{Reply, StreamEvent};
use crate::request::ApiRequest;
use crate::state::StreamPacing;
use crate::status::{self, ApiError};

/// The answer to the request inside the envelope, unless a check refuses it.
fn model_answer(
    body: &Node<'_>,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<ModelAnswer, ApiError> {
    let Some(inner) = body.field("request") else {
        return Err(ApiError::invalid_argument());
    };
    let Some(model) = body.text("model") else {
        return Err(ApiError::invalid_argument());
    };
    check_model_access(body, model, request, &backend.state())?;
    rules::generation(AnswerForm::CodeAssist, model, inner)?;
    Ok(ModelAnswer::to(AnswerForm::CodeAssist, model, inner, request.seq))
}

/// `generateContent`.
pub(super) fn unary(
    body: &Node<'_>,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let response = model_answer(body, request, backend)?.whole(&request.stamp);
    Ok(Reply::ok(&envelope(&response, &request.trace_id)))
}

/// `streamGenerateContent`.
pub(super) fn stream(
    body: &Node<'_>,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let answer = model_answer(body, request, backend)?;
    Ok(paced(&answer, request, backend.state().pacing()))
}

/// The events of a stream: the answer in pieces, then the tails that the state asks for.
fn paced(answer: &ModelAnswer, request: &ApiRequest<'_>, pacing: StreamPacing) -> Reply {
    let in_envelope = |response: Value| envelope(&response, &request.trace_id);
    let mut chunks: Vec<Value> =
        answer.pieces(pacing.events, &request.stamp).into_iter().map(in_envelope).collect();
    if pacing.usage_chunk {
        chunks.push(in_envelope(answer.usage_only(&request.stamp)));
    }
    if pacing.metadata_chunk {
        chunks.push(json!({
            "traceId": request.trace_id,
            "remainingCredits": [{"creditType": "GOOGLE_ONE_AI", "creditAmount": "100"}],
        }));
    }
    if request.wants_events() {
        Reply::events(chunks.iter().map(|chunk| StreamEvent::Payload(chunk.to_string())).collect())
    } else {
        let pretty = chunks.iter().map(|chunk| StreamEvent::Payload(status::pretty(chunk)));
        Reply::array(pretty.collect())
    }
}

/// `countTokens`. Its envelope names the model inside `request`.
pub(super) fn count_tokens(body: &Node<'_>) -> Result<Reply, ApiError> {
    let Some(request) = body.field("request") else {
        return Err(ApiError::invalid_argument());
    };
    let model = request.text("model").unwrap_or_default();
    if !model.starts_with("models/") {
        return Err(ApiError::invalid_argument());
    }
    rules::counting(AnswerForm::CodeAssist, request)?;
    Ok(Reply::ok(&json!({"totalTokens": model::count_tokens(request)})))
}

fn envelope(response: &Value, trace_id: &str) -> Value {
    json!({"response": response, "traceId": trace_id})
}

/// An event with one inline image of `bytes` bytes of base64.
pub(crate) fn image_event(bytes: usize) -> StreamEvent {
    let response = model::image_response("gemini-2.5-flash", bytes);
    StreamEvent::Payload(format!("{{\"response\":{response}}}"))
}
