//! The tools, and which of them the model must or may call (`docs/reference/dialects.md` 2.2, 5.3).

use std::collections::HashSet;

use bytes::{BufMut, BytesMut};
use serde_json::value::RawValue;

use super::super::draft::{
    ClientToolName, DraftRequest, FunctionTool, GoogleTool, Tool, ToolChoice,
};
use super::super::json::push_string;
use super::super::names::UpstreamNames;
use super::super::schema::{self, SchemaPlace};
use super::super::target::Target;
use super::members::Members;
use super::parts::push_text;
use crate::error::{Error, Refusal, RefusalCode};
use crate::google::ProviderKind;

/// The schema of a function that takes one text.
const TEXT_SCHEMA: &str =
    r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#;
/// The path of the choice in all dialects, where the draft has no other.
const CHOICE: &str = "tool_choice";

/// What the model is offered.
#[derive(Debug)]
pub(super) struct Offer<'d, 'a> {
    /// The functions that are declared, each once.
    pub(super) functions: Vec<&'d FunctionTool<'a>>,
    /// The tools that Google runs, each once.
    google: Vec<(GoogleTool, Option<&'a RawValue>)>,
    mode: Option<Mode>,
    /// The functions that the model may call, if not all.
    allowed: Vec<&'d ClientToolName<'a>>,
    /// The public API takes tools of both kinds only with `includeServerSideToolInvocations`.
    includes_google: bool,
}

/// How the model calls functions. Without a mode it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Any,
    None,
    Validated,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Any => "ANY",
            Self::None => "NONE",
            Self::Validated => "VALIDATED",
        }
    }
}

impl<'d, 'a> Offer<'d, 'a> {
    /// Chooses what is offered. The paths of what is left out go to `dropped`.
    pub(super) fn of(
        draft: &'d DraftRequest<'a>,
        target: &Target,
        dropped: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let functions = functions(draft);
        let google = google_tools(draft, !functions.is_empty(), target, dropped);
        let includes_google = !functions.is_empty()
            && !google.is_empty()
            && target.provider == ProviderKind::GeminiApi;
        let mut offer =
            Self { functions, google, mode: None, allowed: Vec::new(), includes_google };
        offer.choose(draft, dropped)?;
        Ok(offer)
    }

    fn choose(
        &mut self,
        draft: &'d DraftRequest<'a>,
        dropped: &mut Vec<String>,
    ) -> Result<(), Error> {
        let has_functions = !self.functions.is_empty();
        match &draft.choice {
            ToolChoice::Auto | ToolChoice::Among(_) => {
                let is_strict = self.functions.iter().any(|function| function.strict);
                self.mode = is_strict.then_some(Mode::Validated);
            }
            ToolChoice::None => self.mode = has_functions.then_some(Mode::None),
            ToolChoice::Required if has_functions => self.mode = Some(Mode::Any),
            // Google's tools cannot be forced. A model that has nothing else uses them when it should.
            ToolChoice::Required if !self.google.is_empty() => dropped.push(CHOICE.to_owned()),
            ToolChoice::Required => {
                let message = "A tool must be called, and the request has none that the model can \
                               call. Offer a tool of type `function`, or let the model decide.";
                return Err(Refusal::error(RefusalCode::UnsupportedValue, CHOICE, message));
            }
            ToolChoice::Named { names, path } => self.force(draft, names, path, dropped)?,
        }
        Ok(())
    }

    /// Lets the model call only some functions, of which it must call one.
    fn force(
        &mut self,
        draft: &DraftRequest<'_>,
        names: &'d [ClientToolName<'a>],
        path: &'static str,
        dropped: &mut Vec<String>,
    ) -> Result<(), Error> {
        let declared: HashSet<_> = self.functions.iter().map(|function| &function.name).collect();
        for name in names {
            if declared.contains(name) {
                self.allowed.push(name);
                continue;
            }
            let kind = google_kind(name);
            if kind.is_some_and(|kind| self.google.iter().any(|(sent, _)| *sent == kind)) {
                continue;
            }
            return Err(not_offered(draft, name, kind, path));
        }
        if !self.allowed.is_empty() {
            self.mode = Some(Mode::Any);
        } else if names.is_empty() {
            let message = "A tool must be called, and the list of allowed tools is empty.";
            return Err(Refusal::error(RefusalCode::InvalidValue, path, message));
        } else {
            // Only Google's tools are named, which cannot be forced.
            dropped.push(path.to_owned());
        }
        Ok(())
    }

    /// True for no tools at all.
    pub(super) fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.google.is_empty()
    }

    /// Writes `tools` and `toolConfig`.
    pub(super) fn write(
        &self,
        names: &UpstreamNames<'_, 'a>,
        request: &mut Members<'_>,
    ) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        self.declare(names, request.key("tools"))?;
        request.object("toolConfig", |config| {
            config.object("functionCallingConfig", |calling| self.calling(names, calling));
            if self.includes_google {
                config.written("includeServerSideToolInvocations", "true");
            }
        });
        Ok(())
    }

    fn declare(&self, names: &UpstreamNames<'_, 'a>, out: &mut BytesMut) -> Result<(), Error> {
        out.put_u8(b'[');
        if !self.functions.is_empty() {
            out.put_slice(br#"{"functionDeclarations":["#);
            for (number, function) in self.functions.iter().enumerate() {
                if number > 0 {
                    out.put_u8(b',');
                }
                declaration(function, names.of(&function.name), out)?;
            }
            out.put_slice(b"]}");
        }
        for (number, (kind, options)) in self.google.iter().enumerate() {
            if number > 0 || !self.functions.is_empty() {
                out.put_u8(b',');
            }
            let mut tool = Members::begin(out);
            let options = options.map(RawValue::get).filter(|options| options.starts_with('{'));
            tool.written(google_name(*kind), options.unwrap_or("{}"));
            tool.end();
        }
        out.put_u8(b']');
        Ok(())
    }

    fn calling(&self, names: &UpstreamNames<'_, 'a>, calling: &mut Members<'_>) {
        let Some(mode) = self.mode else { return };
        push_string(mode.word(), calling.key("mode"));
        if self.allowed.is_empty() {
            return;
        }
        let out = calling.key("allowedFunctionNames");
        out.put_u8(b'[');
        for (number, name) in self.allowed.iter().enumerate() {
            if number > 0 {
                out.put_u8(b',');
            }
            push_string(names.of(name), out);
        }
        out.put_u8(b']');
    }
}

/// The functions that are declared. Of several with one name the first is: Gemini refuses a second one.
fn functions<'d, 'a>(draft: &'d DraftRequest<'a>) -> Vec<&'d FunctionTool<'a>> {
    let among: Option<HashSet<_>> = match &draft.choice {
        ToolChoice::Among(names) => Some(names.iter().collect()),
        _ => None,
    };
    let mut seen = HashSet::with_capacity(draft.tools.len());
    draft
        .tools
        .iter()
        .filter_map(|tool| match tool {
            Tool::Function(function) => Some(function),
            Tool::Google { .. } => None,
        })
        .filter(|function| among.as_ref().is_none_or(|among| among.contains(&function.name)))
        .filter(|function| seen.insert(&function.name))
        .collect()
}

/// The tools of Google's that are sent. Before Gemini 3 none goes with functions; search alone does later.
fn google_tools<'a>(
    draft: &DraftRequest<'a>,
    has_functions: bool,
    target: &Target,
    dropped: &mut Vec<String>,
) -> Vec<(GoogleTool, Option<&'a RawValue>)> {
    let mut sent: Vec<(GoogleTool, Option<&RawValue>)> = Vec::new();
    for tool in &draft.tools {
        let Tool::Google { kind, path, options } = tool else { continue };
        let is_wanted = match &draft.choice {
            // The mode is only about functions, so that these tools are left out as the client wants it.
            ToolChoice::None => false,
            ToolChoice::Among(names) => names.iter().any(|name| google_kind(name) == Some(*kind)),
            _ => true,
        };
        if !is_wanted || sent.iter().any(|(other, _)| other == kind) {
            continue;
        }
        let goes_with_functions = *kind == GoogleTool::Search && target.family.is_gemini_3();
        if has_functions && !goes_with_functions {
            dropped.push(path.clone());
        } else {
            sent.push((*kind, *options));
        }
    }
    sent
}

/// The error about a forced tool that is not offered.
fn not_offered(
    draft: &DraftRequest<'_>,
    name: &ClientToolName<'_>,
    kind: Option<GoogleTool>,
    path: &str,
) -> Error {
    let is_left_out = draft
        .tools
        .iter()
        .any(|tool| matches!(tool, Tool::Google { kind: offered, .. } if Some(*offered) == kind));
    let name = &name.name;
    if is_left_out {
        let message = format!(
            "The tool `{name}` cannot be forced: this model does not take it beside functions. \
             Offer it alone, or let the model decide."
        );
        return Refusal::error(RefusalCode::UnsupportedValue, path, message);
    }
    let message = format!(
        "The tool `{name}` is not among the tools of this request that the model can call."
    );
    Refusal::error(RefusalCode::UnsupportedValue, path, message)
}

/// The tool of Google's that a client's name of a hosted tool stands for.
fn google_kind(name: &ClientToolName<'_>) -> Option<GoogleTool> {
    let starts = |words: [&str; 2]| words.iter().any(|word| name.name.starts_with(word));
    if name.namespace.is_some() {
        None
    } else if starts(["web_search", "google_search"]) {
        Some(GoogleTool::Search)
    } else if starts(["code_execution", "code_interpreter"]) {
        Some(GoogleTool::CodeExecution)
    } else if starts(["web_fetch", "url_context"]) {
        Some(GoogleTool::UrlContext)
    } else {
        None
    }
}

fn google_name(kind: GoogleTool) -> &'static str {
    match kind {
        GoogleTool::Search => "googleSearch",
        GoogleTool::CodeExecution => "codeExecution",
        GoogleTool::UrlContext => "urlContext",
    }
}

fn declaration(function: &FunctionTool<'_>, name: &str, out: &mut BytesMut) -> Result<(), Error> {
    let mut members = Members::begin(out);
    push_string(name, members.key("name"));
    if let Some(description) = function.description.as_ref().filter(|text| !text.is_empty()) {
        push_text(description, members.key("description"));
    }
    if function.takes_text {
        members.written("parametersJsonSchema", TEXT_SCHEMA);
    } else if let Some(schema) = function.schema.filter(|schema| !says_nothing(schema)) {
        let repaired = schema::repair(schema, SchemaPlace::Tool).map_err(|error| {
            let message = format!("The parameters of the tool `{}`: {error}.", function.name.name);
            Refusal::error(RefusalCode::InvalidValue, "tools", message)
        })?;
        members.written("parametersJsonSchema", &repaired);
    }
    members.end();
    Ok(())
}

/// True for a schema of no arguments, which is left out.
fn says_nothing(schema: &RawValue) -> bool {
    let json = schema.get();
    // A longer one with only white space more may go, too.
    if json.len() > 64 {
        return false;
    }
    let compact: String = json.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    matches!(
        &*compact,
        "null"
            | "{}"
            | r#"{"type":"object","properties":{}}"#
            | r#"{"properties":{},"type":"object"}"#
    )
}
