//! What takes longer than one request: batches, and operations of models that make videos.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::gemini_api::call::{ModelMethod, ResourceCall};
use crate::gemini_api::errors;
use crate::gemini_api::fields;
use crate::gemini_api::files::StoredFile;
use crate::gemini_api::generate::{checked, vector};
use crate::gemini_api::models::page;
use crate::gemini_api::state::{GeminiState, MadeFile};
use crate::model::{AnswerForm, ModelAnswer};
use crate::proto::Node;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::ApiError;

/// A batch or an operation. It is done after so many polls.
#[derive(Debug)]
pub(crate) struct Job {
    polls: u32,
    is_cancelled: bool,
    created: Timestamp,
    kind: JobKind,
    /// What it answers in the end.
    response: Value,
}

#[derive(Debug)]
enum JobKind {
    Batch { model: String, display_name: String, requests: usize },
    Video,
}

impl Job {
    fn is_done(&self) -> bool {
        self.polls == 0
    }

    /// The operation, as every call about it answers.
    fn operation(&self, name: &str) -> Value {
        let mut operation = json!({"name": name});
        let JobKind::Batch { model, display_name, requests } = &self.kind else {
            if self.is_done() {
                operation["done"] = true.into();
                operation["response"] = self.response.clone();
            }
            return operation;
        };
        let state = match (self.is_cancelled, self.is_done()) {
            (true, _) => "BATCH_STATE_CANCELLED",
            (false, true) => "BATCH_STATE_SUCCEEDED",
            (false, false) => "BATCH_STATE_PENDING",
        };
        let created = format!("{:.6}", self.created);
        let mut metadata = json!({
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "name": name,
            "model": format!("models/{model}"),
            "displayName": display_name,
            "createTime": created,
            "updateTime": created,
            "batchStats": {"requestCount": requests.to_string(),
                           "pendingRequestCount": requests.to_string()},
            "state": state,
        });
        if self.is_cancelled {
            operation["done"] = true.into();
            operation["error"] = json!({"code": 1, "message": "The operation was cancelled."});
        } else if self.is_done() {
            metadata["endTime"] = created.into();
            metadata["output"] = self.response.clone();
            operation["done"] = true.into();
            operation["response"] = self.response.clone();
        }
        operation["metadata"] = metadata;
        operation
    }
}

/// `batchGenerateContent` and `asyncBatchEmbedContent`.
pub(super) fn create(
    model: &str,
    method: ModelMethod,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let message = if method == ModelMethod::AsyncBatchEmbedContent {
        &fields::BATCH_EMBED_ASYNC
    } else {
        &fields::BATCH_GENERATE
    };
    let body = checked(request, backend, message)?;
    let mut state = backend.state();
    let state = &mut state.gemini;
    let batch = body.field("batch");
    let input = batch.and_then(|batch| batch.field("input_config"));
    let Some(input) = input else {
        return Err(ApiError::new(
            400,
            "* BatchGenerateContentRequest.batch.input_config: input_config is not specified\n",
        ));
    };
    let id = format!("batches/emulator{:06}", request.seq);
    let (requests, response) = match (input.field("requests"), input.text("file_name")) {
        (Some(inline), None) => {
            let list = inline.list("requests");
            if list.is_empty() {
                return Err(ApiError::invalid_argument());
            }
            (list.len(), inlined(model, method, list, request))
        }
        (None, Some(name)) => {
            if state.file(name).is_none() {
                return Err(errors::file_not_found(name));
            }
            let name = format!("files/batch-emulator{:06}", request.seq);
            state.put_generated(&name, 64, "application/jsonl");
            (1, json!({"responsesFile": name}))
        }
        _ => return Err(ApiError::invalid_argument()),
    };
    let display_name = batch.and_then(|batch| batch.text("display_name")).unwrap_or_default();
    let job = Job {
        polls: state.job_polls,
        is_cancelled: false,
        created: state.now(),
        kind: JobKind::Batch {
            model: model.to_owned(),
            display_name: display_name.to_owned(),
            requests,
        },
        response,
    };
    let reply = Reply::ok(&job.operation(&id));
    state.jobs.insert(id, job);
    Ok(reply)
}

/// `batches.list`, `get`, `cancel` and `delete`.
pub(super) fn answer(
    call: &ResourceCall,
    request: &ApiRequest<'_>,
    state: &mut GeminiState,
) -> Result<Reply, ApiError> {
    match call {
        ResourceCall::List => {
            let batches = state.jobs.iter().filter(|(name, _)| name.starts_with("batches/"));
            let all: Vec<Value> = batches.map(|(name, job)| job.operation(name)).collect();
            page(request, "operations", &all, 50)
        }
        ResourceCall::Get(name) => poll(name, state),
        ResourceCall::Cancel(name) => {
            let job = state.jobs.get_mut(name).ok_or_else(ApiError::not_found)?;
            if !job.is_done() {
                job.is_cancelled = true;
                job.polls = 0;
            }
            Ok(Reply::ok(&json!({})))
        }
        ResourceCall::Delete(name) => {
            state.jobs.remove(name).map(|_| Reply::ok(&json!({}))).ok_or_else(ApiError::not_found)
        }
        ResourceCall::Create | ResourceCall::Update(_) => Err(ApiError::not_found()),
    }
}

/// `predictLongRunning`, with which Veo makes videos.
pub(super) fn make_video(
    model: &str,
    version: &str,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let body = checked(request, backend, &fields::PREDICT)?;
    if body.list("instances").is_empty() {
        return Err(ApiError::invalid_argument());
    }
    let mut state = backend.state();
    let state = &mut state.gemini;
    let name = format!("models/{model}/operations/emulator{:06}", request.seq);
    let file = format!("files/video{:06}", request.seq);
    state.put_generated(&file, VIDEO_BYTES, "video/mp4");
    let uri = format!("https://{}/{version}/{file}:download?alt=media", errors::SERVICE);
    let job = Job {
        polls: state.job_polls,
        is_cancelled: false,
        created: state.now(),
        kind: JobKind::Video,
        response: json!({
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1beta.\
                      PredictLongRunningResponse",
            "generateVideoResponse": {"generatedSamples": [{"video": {"uri": uri}}]},
        }),
    };
    let reply = Reply::ok(&job.operation(&name));
    state.jobs.insert(name, job);
    Ok(reply)
}

/// The state of an operation. Each call brings it nearer to its end.
pub(super) fn poll(name: &str, state: &mut GeminiState) -> Result<Reply, ApiError> {
    let job = state.jobs.get_mut(name).ok_or_else(ApiError::not_found)?;
    job.polls = job.polls.saturating_sub(1);
    Ok(Reply::ok(&job.operation(name)))
}

impl GeminiState {
    fn put_generated(&mut self, name: &str, bytes: u64, mime_type: &str) {
        let made = MadeFile { name: name.to_owned(), bytes, mime_type: mime_type.to_owned() };
        let file = StoredFile::generated(&made, self.now());
        self.files.insert(made.name, file);
    }
}

fn inlined(
    model: &str,
    method: ModelMethod,
    requests: &[Node<'_>],
    request: &ApiRequest<'_>,
) -> Value {
    let empty = Node::Null;
    let responses: Vec<Value> = requests
        .iter()
        .map(|item| {
            let inner = item.field("request").unwrap_or(&empty);
            let response = if method == ModelMethod::AsyncBatchEmbedContent {
                json!({"embedding": {"values": vector(model, 8)}})
            } else {
                let answer = ModelAnswer::to(AnswerForm::GeminiApi, model, inner, request.seq);
                answer.whole(&request.stamp)
            };
            let mut result = json!({"response": response});
            if let Some(metadata) = item.field("metadata") {
                result["metadata"] = metadata.value();
            }
            result
        })
        .collect();
    json!({"inlinedResponses": {"inlinedResponses": responses}})
}

/// The size of a made-up video.
const VIDEO_BYTES: u64 = 3 << 20;
