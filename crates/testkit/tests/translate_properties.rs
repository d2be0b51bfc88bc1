//! Properties of the requests to Gemini that other dialects' requests become, over generated drafts.

use std::collections::{BTreeMap, BTreeSet};

use code_assist_core::internals::dialect::translate::draft::{
    AnswerFormat, Call, ClientToolName, DraftConfig, DraftRequest, FunctionTool, GoogleTool, Media,
    Piece, Tool, ToolChoice, ToolResult,
};
use code_assist_core::internals::dialect::translate::request::{self, Written};
use code_assist_core::internals::dialect::translate::target::Target;
use code_assist_core::internals::dialect::translate::text::{JsonText, Text};
use code_assist_core::internals::google::ProviderKind;
use proptest::prelude::*;
use proptest::sample::select;
use serde::Deserialize;
use serde_json::value::RawValue;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn contents_alternate_and_every_call_is_answered(request in request(), target in target()) {
        let written = request::write(request.draft(), &target);
        prop_assume!(written.is_ok());
        let written = written.unwrap();
        let body = read(&written);
        check_contents(&body.contents, &target)?;
        let counted = request::write_count(request.draft(), &target).unwrap();
        let counted: Counted<'_> = serde_json::from_slice(&counted.body).unwrap();
        prop_assert_eq!(counted.request.contents.len(), body.contents.len());
    }

    #[test]
    fn no_text_and_no_result_of_the_users_is_lost(request in request(), target in target()) {
        let written = request::write(request.draft(), &target);
        prop_assume!(written.is_ok());
        let written = written.unwrap();
        let body = read(&written);
        let parts = || body.contents.iter().flat_map(|content| &content.parts);
        let texts: Vec<&str> = parts().filter_map(|part| part.text.map(RawValue::get)).collect();
        let mut rest = texts.iter();
        for piece in &request.pieces {
            let (PieceSpec::UserText(text) | PieceSpec::ModelText(text, _)) = piece else { continue };
            if text.get() != r#""""# {
                prop_assert!(rest.any(|sent| *sent == text.get()), "{} of {:?}", text, texts);
            }
        }
        let sent = String::from_utf8(written.body.to_vec()).unwrap();
        for (at, piece) in request.pieces.iter().enumerate() {
            let PieceSpec::Result(id, ..) = piece else { continue };
            let same = |other: &&PieceSpec| matches!(other, PieceSpec::Result(same, ..) if same == id);
            // Of several results of one call only the last is sent.
            let is_alone = request.pieces.iter().filter(same).count() == 1;
            let count = sent.matches(&result_mark(at)).count();
            prop_assert!(count == 1 || count == 0 && !is_alone, "{} of {}", result_mark(at), sent);
        }
        let is_call = |piece: &&PieceSpec| matches!(piece, PieceSpec::Call(..));
        let responses = parts().filter(|part| part.function_response.is_some()).count();
        prop_assert_eq!(responses, request.pieces.iter().filter(is_call).count());
    }

    #[test]
    fn names_upstream_are_legal_and_lead_back_to_the_clients(request in request(), target in target()) {
        let written = request::write(request.draft(), &target);
        prop_assume!(written.is_ok());
        let written = written.unwrap();
        let body = read(&written);
        let declared: Vec<&str> =
            body.tools.iter().flatten().flat_map(|tool| &tool.declarations).map(|one| one.name).collect();
        let parts = || body.contents.iter().flat_map(|content| &content.parts);
        let calls: Vec<&str> =
            parts().filter_map(|part| part.function_call.as_ref()).map(|call| call.name).collect();
        for name in declared.iter().chain(&calls) {
            prop_assert!(is_legal(name), "{}", name);
        }
        prop_assert_eq!(declared.iter().collect::<BTreeSet<_>>().len(), declared.len());
        // The client's own names, in the order in which they are declared and called.
        let mut known = BTreeSet::new();
        let offered: Vec<ClientToolName<'_>> = request
            .offered()
            .into_iter()
            .filter(|name| known.insert(name.clone()))
            .collect();
        prop_assert_eq!(offered.len(), declared.len());
        let mut sent = BTreeMap::new();
        let called = request.called();
        prop_assert_eq!(called.len(), calls.len());
        let pairs = offered.iter().chain(&called).zip(declared.iter().chain(&calls));
        for (client, upstream) in pairs {
            // One name on each side is one name on the other.
            prop_assert_eq!(sent.entry(client.clone()).or_insert(*upstream), upstream);
            let clients = sent.iter().filter(|(_, sent)| *sent == upstream).count();
            prop_assert_eq!(clients, 1, "{}", upstream);
            if client.namespace.is_none() && is_legal(&client.name) {
                prop_assert_eq!(&*client.name, *upstream);
            }
        }
        for client in &offered {
            let upstream = sent[client];
            prop_assert_eq!(&written.names.of(upstream).unwrap().client, client);
            let leaked = format!("default_api.{upstream}");
            let found = &written.names.of(&leaked).unwrap().client;
            prop_assert!(found == client || found.name == leaked);
        }
        for name in body.allowed() {
            prop_assert!(declared.contains(name));
        }
    }
}

/// Checks what Gemini demands of contents.
fn check_contents(contents: &[Content<'_>], target: &Target) -> Result<(), TestCaseError> {
    let is_3 = target.family.is_gemini_3();
    let mut asked: Vec<&FunctionCall<'_>> = Vec::new();
    let mut before = None;
    for content in contents {
        prop_assert_ne!(before, Some(content.role));
        before = Some(content.role);
        prop_assert!(!content.parts.is_empty());
        let (calls, responses): (Vec<_>, Vec<_>) = (
            content.parts.iter().filter_map(|part| part.function_call.as_ref()).collect(),
            content.parts.iter().map_while(|part| part.function_response.as_ref()).collect(),
        );
        let all = content.parts.iter().filter(|part| part.function_response.is_some()).count();
        prop_assert_eq!(all, responses.len(), "responses come first");
        prop_assert_eq!(responses.len(), asked.len());
        for (call, response) in asked.iter().zip(responses) {
            prop_assert_eq!((text_of(call.id), call.name), (text_of(response.id), response.name));
            prop_assert!(is_3 || call.id.is_none());
            prop_assert!(response.response.output.is_some() != response.response.error.is_some());
        }
        prop_assert!(content.role == "user" || content.role == "model");
        prop_assert!(content.role == "model" || calls.is_empty());
        let mut signatures = content.parts.iter().filter(|part| part.function_call.is_some());
        if let Some(first) = signatures.next().filter(|_| is_3) {
            prop_assert!(first.thought_signature.is_some_and(|signature| !signature.is_empty()));
        }
        if target.without_signatures {
            let placeholder = Some("skip_thought_signature_validator");
            let mut signatures = content.parts.iter().filter_map(|part| part.thought_signature);
            prop_assert!(signatures.all(|signature| Some(signature) == placeholder));
        }
        asked = calls;
    }
    prop_assert!(asked.is_empty(), "the last calls are answered");
    Ok(())
}

fn text_of(value: Option<&RawValue>) -> Option<&str> {
    value.map(RawValue::get)
}

fn is_legal(name: &str) -> bool {
    let mut letters = name.chars();
    name.len() <= 64
        && letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "_.:-".contains(letter))
}

fn read(written: &Written) -> Body<'_> {
    serde_json::from_slice(&written.body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&written.body)))
}

#[derive(Debug, Deserialize)]
struct Counted<'a> {
    #[serde(borrow, rename = "generateContentRequest")]
    request: Body<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    contents: Vec<Content<'a>>,
    #[serde(borrow, default)]
    tools: Option<Vec<ToolItem<'a>>>,
    #[serde(borrow, default)]
    tool_config: Option<ToolConfig<'a>>,
}

impl Body<'_> {
    fn allowed(&self) -> &[&str] {
        let calling = self.tool_config.as_ref().and_then(|config| config.calling.as_ref());
        calling.map_or(&[], |calling| &calling.allowed_function_names)
    }
}

#[derive(Debug, Deserialize)]
struct ToolConfig<'a> {
    #[serde(borrow, default, rename = "functionCallingConfig")]
    calling: Option<Calling<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Calling<'a> {
    #[serde(borrow, default)]
    allowed_function_names: Vec<&'a str>,
}

#[derive(Debug, Deserialize)]
struct ToolItem<'a> {
    #[serde(borrow, default, rename = "functionDeclarations")]
    declarations: Vec<Declaration<'a>>,
}

#[derive(Debug, Deserialize)]
struct Declaration<'a> {
    name: &'a str,
}

#[derive(Debug, Deserialize)]
struct Content<'a> {
    role: &'a str,
    #[serde(borrow)]
    parts: Vec<Part<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<FunctionCall<'a>>,
    #[serde(borrow, default)]
    function_response: Option<FunctionResponse<'a>>,
    #[serde(default)]
    thought_signature: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
struct FunctionCall<'a> {
    #[serde(default)]
    id: Option<&'a RawValue>,
    name: &'a str,
}

#[derive(Debug, Deserialize)]
struct FunctionResponse<'a> {
    #[serde(default)]
    id: Option<&'a RawValue>,
    name: &'a str,
    #[serde(borrow)]
    response: Response<'a>,
}

#[derive(Debug, Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// What a draft is made of.
#[derive(Debug)]
struct RequestSpec {
    system: Vec<Box<RawValue>>,
    pieces: Vec<PieceSpec>,
    functions: Vec<ClientToolName<'static>>,
    google: Vec<GoogleTool>,
    choice: ToolChoice<'static>,
    schema: Option<Box<RawValue>>,
}

#[derive(Debug, Clone)]
enum PieceSpec {
    System(Box<RawValue>),
    UserText(Box<RawValue>),
    UserMedia,
    ModelText(Box<RawValue>, Option<&'static str>),
    ModelMedia,
    Call(&'static str, ClientToolName<'static>, Option<&'static str>),
    Result(&'static str, Option<&'static str>, Vec<Box<RawValue>>, bool),
    Signature(&'static str),
    EndOfModel,
}

impl RequestSpec {
    fn draft(&self) -> DraftRequest<'_> {
        let function = |name: &ClientToolName<'static>| {
            Tool::Function(FunctionTool {
                name: name.clone(),
                description: None,
                schema: self.schema.as_deref(),
                strict: false,
                takes_text: false,
            })
        };
        let google = |kind: &GoogleTool| Tool::Google {
            kind: *kind,
            path: "tools".to_owned(),
            options: None,
        };
        let format = match &self.schema {
            Some(schema) => AnswerFormat::Schema(schema, "response_format"),
            None => AnswerFormat::Text,
        };
        DraftRequest {
            system: self.system.iter().map(|json| text(json)).collect(),
            pieces: self.pieces.iter().enumerate().map(|(at, spec)| spec.piece(at)).collect(),
            tools: self
                .functions
                .iter()
                .map(function)
                .chain(self.google.iter().map(google))
                .collect(),
            choice: self.choice.clone(),
            config: DraftConfig { format, ..DraftConfig::default() },
            ..DraftRequest::default()
        }
    }

    /// The functions that the choice leaves.
    fn offered(&self) -> Vec<ClientToolName<'static>> {
        let is_offered = |name: &&ClientToolName<'static>| match &self.choice {
            ToolChoice::Among(names) => names.contains(name),
            _ => true,
        };
        self.functions.iter().filter(is_offered).cloned().collect()
    }

    fn called(&self) -> Vec<ClientToolName<'static>> {
        let called = |piece: &PieceSpec| match piece {
            PieceSpec::Call(_, name, _) => Some(name.clone()),
            _ => None,
        };
        self.pieces.iter().filter_map(called).collect()
    }
}

impl PieceSpec {
    fn piece(&self, at: usize) -> Piece<'_> {
        let media = || Media::Inline {
            mime: "image/png".into(),
            data: "AA==".into(),
            resolution: Some("MEDIA_RESOLUTION_LOW"),
        };
        match self {
            Self::System(json) => Piece::System(text(json)),
            Self::UserText(json) => Piece::UserText(text(json)),
            Self::UserMedia => Piece::UserMedia(media()),
            Self::ModelText(json, signature) => {
                Piece::ModelText { text: text(json), signature: signature.map(Into::into) }
            }
            Self::ModelMedia => Piece::ModelMedia(media()),
            Self::Call(id, name, signature) => Piece::Call(Call {
                id: (*id).into(),
                name: name.clone(),
                args: r#"{"a":1}"#.into(),
                signature: signature.map(Into::into),
            }),
            Self::Result(id, name, texts, has_media) => Piece::Result(ToolResult {
                id: (*id).into(),
                name: name.map(Into::into),
                texts: texts
                    .iter()
                    .map(|json| text(json))
                    .chain([result_mark(at).into()])
                    .collect(),
                media: has_media.then(media).into_iter().collect(),
                is_error: texts.len() > 1,
            }),
            Self::Signature(signature) => Piece::Signature((*signature).into()),
            Self::EndOfModel => Piece::EndOfModel,
        }
    }
}

/// A text that only the result at a position has.
fn result_mark(at: usize) -> String {
    format!("<result at {at}>")
}

fn text(json: &RawValue) -> Text<'_> {
    Text::Json(JsonText::of(json).expect("a string is drawn"))
}

fn request() -> impl Strategy<Value = RequestSpec> {
    let choice = prop_oneof![
        4 => Just(ToolChoice::Auto),
        1 => Just(ToolChoice::None),
        1 => Just(ToolChoice::Required),
        2 => prop::collection::vec(tool_name(), 0..3)
            .prop_map(|names| ToolChoice::Named { names, path: "tool_choice" }),
        2 => prop::collection::vec(tool_name(), 0..3).prop_map(ToolChoice::Among),
    ];
    let google =
        select(vec![GoogleTool::Search, GoogleTool::CodeExecution, GoogleTool::UrlContext]);
    let schema = select(vec![
        None,
        Some("{}"),
        Some(r#"{ "type":"object","properties":{"a":{"const":12345678901234567890}}}"#),
    ]);
    (
        prop::collection::vec(json_text(), 0..3),
        prop::collection::vec(piece(), 0..12),
        prop::collection::vec(tool_name(), 0..6),
        prop::collection::vec(google, 0..3),
        choice,
        schema,
    )
        .prop_map(|(system, pieces, functions, google, choice, schema)| RequestSpec {
            system,
            pieces,
            functions,
            google,
            choice,
            schema: schema.map(|schema| {
                RawValue::from_string(schema.to_owned()).expect("the schemas are JSON")
            }),
        })
}

fn piece() -> impl Strategy<Value = PieceSpec> {
    let raw_signature = || select(vec![None, Some(""), Some("S+/=")]);
    let result_name = select(vec![None, None, Some("f"), Some("a b")]);
    prop_oneof![
        1 => json_text().prop_map(PieceSpec::System),
        2 => json_text().prop_map(PieceSpec::UserText),
        1 => Just(PieceSpec::UserMedia),
        2 => (json_text(), raw_signature())
            .prop_map(|(text, signature)| PieceSpec::ModelText(text, signature)),
        1 => Just(PieceSpec::ModelMedia),
        4 => (call_id(), tool_name(), raw_signature())
            .prop_map(|(id, name, signature)| PieceSpec::Call(id, name, signature)),
        4 => (call_id(), result_name, prop::collection::vec(json_text(), 0..3), any::<bool>())
            .prop_map(|(id, name, texts, media)| PieceSpec::Result(id, name, texts, media)),
        1 => select(vec!["gs1.c.f.S", "gs1.g.t.T", "gs1.v.f.S", "gs1.c.-.", "gs1", "EqQB"])
            .prop_map(PieceSpec::Signature),
        1 => Just(PieceSpec::EndOfModel),
    ]
}

fn call_id() -> impl Strategy<Value = &'static str> {
    select(vec!["", "1", "2", "3", "call_\\\"\n"])
}

fn tool_name() -> impl Strategy<Value = ClientToolName<'static>> {
    let name = select(vec![
        "f",
        "g",
        "a b",
        "a_b",
        "a/b",
        "",
        "1x",
        "_1x",
        "n__f",
        "default_api.f",
        "a_very_long_name_of_a_tool_that_some_server_of_the_client_offers_to_it",
        "a_very_long_name_of_a_tool_that_some_server_of_the_client_offers_too_",
        "schön",
    ]);
    let namespace = select(vec![None, None, None, Some("n"), Some("n__f")]);
    (namespace, name).prop_map(|(namespace, name)| ClientToolName {
        namespace: namespace.map(Into::into),
        name: name.into(),
    })
}

/// Strings as clients write them.
fn json_text() -> impl Strategy<Value = Box<RawValue>> {
    let written = prop_oneof![
        3 => select(vec![
            r#""""#, r#""a""#, r#""\ud83d""#, r#""\u0000\"\\\/""#, "\"\u{2028}\u{85}ä\"",
        ]).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| serde_json::to_string(&text).expect("a string is JSON")),
    ];
    written.prop_map(|json| RawValue::from_string(json).expect("JSON is drawn"))
}

fn target() -> impl Strategy<Value = Target> {
    let model = select(vec!["gemini-2.5-pro", "gemini-3-pro-preview", "something"]);
    let provider =
        select(vec![ProviderKind::CodeAssist, ProviderKind::GeminiApi, ProviderKind::Vertex]);
    (model, provider, any::<bool>()).prop_map(|(model, provider, without_signatures)| Target {
        without_signatures,
        ..Target::new(model, provider)
    })
}
