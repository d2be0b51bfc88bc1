//! The catalogue of Google's models, without previews.

use serde_json::{Value, json};

use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;
use crate::status::ApiError;

/// The list, or one model.
pub(super) fn answer(
    model: Option<&str>,
    request: &ApiRequest<'_>,
    state: &State,
) -> Result<Reply, ApiError> {
    if let Some(model) = model {
        return Ok(Reply::ok(&entry(model)));
    }
    let number = |name| {
        request.query(name).map_or(Ok(None), |text| {
            text.parse::<usize>().map(Some).map_err(|_| ApiError::invalid_argument())
        })
    };
    let start = number("pageToken")?.unwrap_or(0);
    let size = number("pageSize")?.filter(|size| *size > 0).unwrap_or(100);
    // The list has no previews (docs/reference/upstreams.md 5.2).
    let models = &state.vertex.models;
    let page: Vec<Value> = models.iter().skip(start).take(size).map(|model| entry(model)).collect();
    let mut list = json!({"publisherModels": page});
    if start + size < models.len() {
        list["nextPageToken"] = (start + size).to_string().into();
    }
    Ok(Reply::ok(&list))
}

fn entry(model: &str) -> Value {
    json!({
        "name": format!("publishers/google/models/{model}"),
        "versionId": "default",
        "openSourceCategory": "PROPRIETARY",
        "launchStage": if model.ends_with("-preview") { "PUBLIC_PREVIEW" } else { "GA" },
        "publisherModelTemplate":
            format!("projects/{{user-project}}/locations/{{location}}/publishers/google/models/\
                     {model}"),
    })
}
