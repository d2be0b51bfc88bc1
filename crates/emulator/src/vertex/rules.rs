//! The rules of Vertex AI beyond its messages: roles, signatures, categories by number.

use std::borrow::Cow;

use crate::model::{AnswerForm, rules};
use crate::proto::Node;
use crate::status::{ApiError, FieldViolation};
use crate::vertex::errors;
use crate::vertex::messages::LAST_CATEGORY_NUMBER;

/// The rules of `generateContent` and `streamGenerateContent`.
pub(super) fn generation(model: &str, request: &mut Node<'_>) -> Result<(), ApiError> {
    roles(model, request)?;
    categories(request)?;
    signatures(model, request)?;
    rules::generation(AnswerForm::Vertex, model, request)
}

/// The rules of `countTokens`.
pub(super) fn counting(model: &str, request: &mut Node<'_>) -> Result<(), ApiError> {
    roles(model, request)?;
    rules::counting(AnswerForm::Vertex, request)
}

/// Gemini 2 takes the roles `function` and `tool` as `user`; a missing role and any other one is
/// refused (docs/reference/upstreams.md 3.1).
fn roles(model: &str, request: &mut Node<'_>) -> Result<(), ApiError> {
    let is_old = model.starts_with("gemini-2");
    for content in request.list_mut("contents") {
        let is_function = matches!(content.text("role"), Some("function" | "tool"));
        if let Node::Object(members) = content
            && is_function
            && is_old
        {
            for (_, role) in members.iter_mut().filter(|(name, _)| name == "role") {
                *role = Node::Text(Cow::Borrowed("user"));
            }
        } else if !matches!(content.text("role"), Some("user" | "model")) {
            return Err(ApiError::new(400, "Please use a valid role: user, model."));
        }
    }
    Ok(())
}

/// Refuses the numbers of the Gemini API's categories.
fn categories(request: &Node<'_>) -> Result<(), ApiError> {
    for (at, setting) in request.list("safety_settings").iter().enumerate() {
        if let Some(Node::Number(number)) = setting.field("category")
            && number.as_u64().is_none_or(|number| number > LAST_CATEGORY_NUMBER)
        {
            let field = format!("safety_settings[{at}].category");
            let description = format!(
                "Invalid value at '{field}' \
                 (type.googleapis.com/google.cloud.aiplatform.v1beta1.HarmCategory), {number}"
            );
            return Err(ApiError::bad_request(&[FieldViolation { field, description }]));
        }
    }
    Ok(())
}

/// Refuses foreign signatures, and on Gemini 3 a call without one since the last user text
/// (docs/reference/upstreams.md 7.3).
fn signatures(model: &str, request: &Node<'_>) -> Result<(), ApiError> {
    if AnswerForm::Vertex.foreign_signature(request).is_some() {
        return Err(errors::foreign_signature());
    }
    if model.starts_with("gemini-2") {
        return Ok(());
    }
    let contents = request.list("contents");
    let has = |content: &Node<'_>, name: &str| {
        content.list("parts").iter().any(|part| part.field(name).is_some())
    };
    let opened = contents.iter().rposition(|content| {
        content.text("role") == Some("user")
            && has(content, "text")
            && !has(content, "function_response")
    });
    for (at, content) in contents.iter().enumerate().skip(opened.map_or(0, |at| at + 1)) {
        if content.text("role") != Some("model") {
            continue;
        }
        let call = content.list("parts").iter().find_map(|part| {
            part.field("function_call").map(|call| (call, part.text("thought_signature")))
        });
        if let Some((call, None | Some(""))) = call {
            let name = call.text("name").unwrap_or_default();
            return Err(errors::signature_missing(name, at + 1));
        }
    }
    Ok(())
}
