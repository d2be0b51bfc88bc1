//! The rules that a request has to obey beyond its proto message: roles, empty lists, thinking,
//! signatures.

use crate::model::AnswerForm;
use crate::proto::Node;
use crate::status::ApiError;

/// The rules of `generateContent` and `streamGenerateContent`.
pub(crate) fn generation(
    form: AnswerForm,
    model: &str,
    request: &Node<'_>,
) -> Result<(), ApiError> {
    contents(form, "GenerateContentRequest", request)?;
    function_responses(request)?;
    let family = ModelFamily::of(model);
    if let Some(config) = request.field("generation_config") {
        response_format(config, request, family)?;
        if let Some(thinking) = config.field("thinking_config") {
            self::thinking(thinking, family)?;
        }
    }
    for tool in request.list("tools") {
        for declaration in tool.list("function_declarations") {
            function(declaration)?;
        }
    }
    if family.needs_signatures() {
        signatures(form, request)?;
    }
    if form == AnswerForm::CodeAssist && request.field("cached_content").is_some() {
        // The caches of the public API are unknown to Code Assist (docs/reference/protocol.md 3.2).
        return Err(ApiError::not_found());
    }
    Ok(())
}

/// The rules of `countTokens` (docs/reference/protocol.md 2.5).
pub(crate) fn counting(form: AnswerForm, request: &Node<'_>) -> Result<(), ApiError> {
    contents(form, "CountTokensRequest", request)?;
    if form != AnswerForm::CodeAssist {
        return Ok(());
    }
    for (at, content) in request.list("contents").iter().enumerate() {
        for (place, part) in content.list("parts").iter().enumerate() {
            if part.field("thought").is_some() {
                return Err(ApiError::new(
                    400,
                    format!(
                        "* CountTokensRequest.contents[{at}].parts[{place}].data: required oneof \
                         field 'data' must have one initialized field\n"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// The families of models whose rules differ (docs/reference/protocol.md 6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ModelFamily {
    Flash25,
    FlashLite25,
    Flash3,
    Pro25,
    Pro3,
    Pro31,
}

impl ModelFamily {
    fn of(model: &str) -> Self {
        let old = model.starts_with("gemini-2");
        if model.contains("flash-lite") {
            if old { Self::FlashLite25 } else { Self::Flash3 }
        } else if model.contains("flash") {
            if old { Self::Flash25 } else { Self::Flash3 }
        } else if old {
            Self::Pro25
        } else if model.starts_with("gemini-3-pro") {
            Self::Pro3
        } else {
            Self::Pro31
        }
    }

    fn needs_signatures(self) -> bool {
        self.levels().is_some()
    }

    fn levels(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Flash25 | Self::FlashLite25 | Self::Pro25 => None,
            Self::Flash3 => Some(&["MINIMAL", "LOW", "MEDIUM", "HIGH"]),
            Self::Pro3 => Some(&["LOW", "HIGH"]),
            Self::Pro31 => Some(&["LOW", "MEDIUM", "HIGH"]),
        }
    }

    /// The smallest and the greatest thinking budget, and whether 0 turns thinking off.
    fn budget(self) -> (i64, i64, bool) {
        match self {
            Self::Flash25 | Self::Flash3 => (0, 24_576, true),
            Self::FlashLite25 => (512, 24_576, true),
            Self::Pro25 => (128, 32_768, false),
            Self::Pro3 | Self::Pro31 => (0, 32_768, true), // accepted for compatibility
        }
    }
}

fn contents(form: AnswerForm, message: &str, request: &Node<'_>) -> Result<(), ApiError> {
    let is_public = form == AnswerForm::GeminiApi;
    let contents = request.list("contents");
    if contents.is_empty() {
        return Err(missing(form, || format!("{message}.contents: contents is not specified")));
    }
    for (at, content) in contents.iter().enumerate() {
        let known = match content.text("role") {
            Some("user" | "model") => true,
            Some("function") | None => is_public,
            Some(_) => false,
        };
        if !known {
            return Err(ApiError::new(400, "Please use a valid role: user, model."));
        }
        parts(form, &format!("{message}.contents[{at}]"), content)?;
    }
    match request.field("system_instruction") {
        // Its role is not checked (docs/reference/protocol.md 3.2).
        Some(instruction) => parts(form, &format!("{message}.system_instruction"), instruction),
        None => Ok(()),
    }
}

fn parts(form: AnswerForm, path: &str, content: &Node<'_>) -> Result<(), ApiError> {
    let is_public = form == AnswerForm::GeminiApi;
    let parts = content.list("parts");
    if parts.is_empty() {
        return Err(missing(form, || format!("{path}.parts: contents.parts must not be empty.")));
    }
    for (at, part) in parts.iter().enumerate() {
        let public: &[&str] = if is_public { &PUBLIC_PART_DATA } else { &[] };
        if !PART_DATA.iter().chain(public).any(|name| part.field(name).is_some()) {
            return Err(missing(form, || {
                format!(
                    "{path}.parts[{at}].data: required oneof field 'data' must have one \
                     initialized field"
                )
            }));
        }
        let uri = part.field("file_data").and_then(|file| file.text("file_uri"));
        let Some(uri) = uri else { continue };
        if is_public && uri.starts_with("gs://") {
            return Err(ApiError::new(400, format!("Invalid or unsupported file uri: {uri}")));
        }
        if !is_public && uri.starts_with("https://generativelanguage.googleapis.com/") {
            return Err(ApiError::new(400, format!("Unsupported file uri: {uri}")));
        }
    }
    Ok(())
}

/// The refusal of something that is missing. Only the Gemini API names the place.
fn missing(form: AnswerForm, what: impl FnOnce() -> String) -> ApiError {
    match form {
        AnswerForm::GeminiApi => ApiError::new(400, format!("* {}\n", what())),
        AnswerForm::CodeAssist | AnswerForm::Vertex => ApiError::invalid_argument(),
    }
}

/// A content with function responses has one for each call of the content before it.
fn function_responses(request: &Node<'_>) -> Result<(), ApiError> {
    let contents = request.list("contents");
    for (at, content) in contents.iter().enumerate() {
        let responses = count(content, "function_response");
        let before = at.checked_sub(1).and_then(|at| contents.get(at));
        let calls = before.map_or(0, |content| count(content, "function_call"));
        let answers = responses > 0 || (calls > 0 && content.text("role") == Some("user"));
        if answers && responses != calls {
            return Err(ApiError::new(
                400,
                "Please ensure that the number of function response parts is equal to the number \
                 of function call parts of the function call turn.",
            ));
        }
    }
    Ok(())
}

fn count(content: &Node<'_>, kind: &str) -> usize {
    content.list("parts").iter().filter(|part| part.field(kind).is_some()).count()
}

fn function(declaration: &Node<'_>) -> Result<(), ApiError> {
    let name = declaration.text("name").unwrap_or_default();
    let has_valid_start =
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let has_valid_rest = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'));
    if !has_valid_start || !has_valid_rest || name.len() > 128 {
        return Err(ApiError::new(
            400,
            format!(
                "Unable to submit request because function declaration has an invalid name \
                 `{name}`."
            ),
        ));
    }
    if declaration.field("parameters").is_some()
        && declaration.field("parameters_json_schema").is_some()
    {
        return Err(ApiError::new(
            400,
            format!(
                "Function declaration `{name}`: parameters and parametersJsonSchema are mutually \
                 exclusive."
            ),
        ));
    }
    Ok(())
}

fn response_format(
    config: &Node<'_>,
    request: &Node<'_>,
    family: ModelFamily,
) -> Result<(), ApiError> {
    let schema = config.field("response_schema").is_some();
    let json_schema = config.field("response_json_schema").is_some();
    let media = config.text("response_mime_type").unwrap_or("text/plain");
    if schema && json_schema {
        return Err(ApiError::new(
            400,
            "Only one of response_schema and response_json_schema may be set.",
        ));
    }
    if (schema || json_schema) && media == "text/plain" {
        return Err(ApiError::new(
            400,
            "Invalid response_mime_type. Response schema requires response_mime_type to be \
             'application/json' or 'text/x.enum'.",
        ));
    }
    let functions =
        request.list("tools").iter().any(|tool| !tool.list("function_declarations").is_empty());
    if media == "application/json" && functions && family.levels().is_none() {
        return Err(ApiError::new(
            400,
            "Function calling with a response mime type: 'application/json' is unsupported",
        ));
    }
    Ok(())
}

fn thinking(config: &Node<'_>, family: ModelFamily) -> Result<(), ApiError> {
    let level = config.text("thinking_level").map(str::to_ascii_uppercase);
    let budget = config.integer("thinking_budget");
    if config.field("thinking_level").is_some() && budget.is_some() {
        return Err(ApiError::new(
            400,
            "You can only set only one of thinking budget and thinking level.",
        ));
    }
    if config.field("thinking_level").is_some() {
        let Some(levels) = family.levels() else {
            return Err(ApiError::new(400, "Thinking level is not supported for this model."));
        };
        if let Some(level) = level
            && level != "THINKING_LEVEL_UNSPECIFIED"
            && !levels.contains(&level.as_str())
        {
            return Err(ApiError::new(
                400,
                format!("Thinking level {level} is not supported for this model."),
            ));
        }
    }
    if let Some(budget) = budget {
        let (least, most, off) = family.budget();
        if budget == 0 && !off {
            return Err(ApiError::new(
                400,
                "Budget 0 is invalid. This model only works in thinking mode.",
            ));
        }
        let in_range = (least..=most).contains(&budget) || budget == -1 || budget == 0;
        if !in_range {
            return Err(ApiError::new(
                400,
                format!(
                    "The thinking budget {budget} is invalid. Please choose a value between \
                     {least} and {most}."
                ),
            ));
        }
        if budget == 0 && config.flag("include_thoughts") {
            return Err(ApiError::new(
                400,
                "Thinking is disabled: thinking_config.include_thoughts is only enabled when \
                 thinking is enabled.",
            ));
        }
    }
    Ok(())
}

/// Gemini 3 requires a signature on the first call of each model content since the last user text
/// (docs/reference/protocol.md 6.5).
fn signatures(form: AnswerForm, request: &Node<'_>) -> Result<(), ApiError> {
    let contents = request.list("contents");
    let opened = contents.iter().rposition(|content| {
        content.text("role") == Some("user")
            && count(content, "text") > 0
            && count(content, "function_response") == 0
    });
    for (at, content) in contents.iter().enumerate().skip(opened.map_or(0, |at| at + 1)) {
        if content.text("role") != Some("model") {
            continue;
        }
        let parts = content.list("parts");
        let first =
            parts.iter().enumerate().find(|(_, part)| part.field("function_call").is_some());
        let Some((place, part)) = first else { continue };
        if part.text("thought_signature").is_none_or(str::is_empty) {
            let name = part.field("function_call").and_then(|call| call.text("name"));
            if form == AnswerForm::GeminiApi {
                return Err(ApiError::new(
                    400,
                    format!(
                        "Unable to submit request because function call `default_api:{}` in the \
                         {}. content block is missing a `thought_signature`. Learn more: \
                         https://ai.google.dev/gemini-api/docs/thought-signatures",
                        name.unwrap_or_default(),
                        at + 1
                    ),
                ));
            }
            return Err(ApiError::new(
                400,
                format!(
                    "Function call is missing a thought_signature in functionCall parts. This is \
                     required for tools to work correctly, and missing thought_signature may lead \
                     to degraded model performance. Additional data, function call \
                     `default_api:{}` , position {}. Please refer to \
                     https://ai.google.dev/gemini-api/docs/thought-signatures for more details.",
                    name.unwrap_or_default(),
                    at + place + 1
                ),
            ));
        }
    }
    Ok(())
}

const PART_DATA: [&str; 7] = [
    "text",
    "inline_data",
    "file_data",
    "function_call",
    "function_response",
    "executable_code",
    "code_execution_result",
];

/// More kinds of data that only the Gemini API knows.
const PUBLIC_PART_DATA: [&str; 2] = ["tool_call", "tool_response"];
