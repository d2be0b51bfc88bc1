//! Whole requests. The numbers are those of the goldens in `docs/reference/dialects.md` 9.1.

mod config;
mod contents;
mod signatures;
mod tools;

use serde_json::value::RawValue;

use super::super::draft::*;
use super::super::text::{JsonText, Text};
use super::*;

pub(super) const PRO_25: &str = "gemini-2.5-pro";
pub(super) const PRO_3: &str = "gemini-3-pro-preview";

/// A target at Code Assist.
pub(super) fn target(model: &str) -> Target {
    Target::new(model, ProviderKind::CodeAssist)
}

pub(super) fn raw(json: &'static str) -> &'static RawValue {
    serde_json::from_str(json).unwrap()
}

/// A text as a client writes it.
pub(super) fn text(json: &'static str) -> Text<'static> {
    Text::Json(JsonText::of(raw(json)).unwrap())
}

pub(super) fn plain(name: &'static str) -> ClientToolName<'static> {
    ClientToolName { namespace: None, name: name.into() }
}

pub(super) fn user(json: &'static str) -> Piece<'static> {
    Piece::UserText(text(json))
}

pub(super) fn model(json: &'static str) -> Piece<'static> {
    Piece::ModelText { text: text(json), signature: None }
}

/// A call without a signature, whose arguments are `{}`.
pub(super) fn call(id: &'static str, name: &'static str) -> Piece<'static> {
    signed_call(id, name, None)
}

pub(super) fn signed_call(
    id: &'static str,
    name: &'static str,
    signature: Option<&'static str>,
) -> Piece<'static> {
    let signature = signature.map(Into::into);
    Piece::Call(Call { id: id.into(), name: plain(name), args: "{}".into(), signature })
}

pub(super) fn tool_result(id: &'static str, json: &'static str) -> ToolResult<'static> {
    let texts = vec![text(json)];
    ToolResult { id: id.into(), name: None, texts, media: Vec::new(), is_error: false }
}

pub(super) fn result(id: &'static str, json: &'static str) -> Piece<'static> {
    Piece::Result(tool_result(id, json))
}

pub(super) fn image(data: &'static str) -> Media<'static> {
    Media::Inline { mime: "image/png".into(), data: data.into(), resolution: None }
}

pub(super) fn function(name: &'static str) -> FunctionTool<'static> {
    let name = plain(name);
    FunctionTool { name, description: None, schema: None, strict: false, takes_text: false }
}

pub(super) fn body(written: &Written) -> String {
    let body = String::from_utf8(written.body.to_vec()).unwrap();
    serde_json::from_str::<&RawValue>(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    body
}

/// The contents that become of a conversation.
pub(super) fn contents_of(pieces: Vec<Piece<'_>>, target: &Target) -> String {
    let written = write(DraftRequest { pieces, ..Default::default() }, target).unwrap();
    let body = body(&written);
    let contents = body.strip_prefix(r#"{"contents":"#).and_then(|rest| rest.strip_suffix('}'));
    contents.unwrap_or_else(|| panic!("{body}")).to_owned()
}

/// The parts of a conversation of one content.
pub(super) fn parts_of(pieces: Vec<Piece<'_>>, target: &Target) -> String {
    let contents = contents_of(pieces, target);
    let parts = contents
        .strip_prefix(r#"[{"role":"user","parts":["#)
        .or_else(|| contents.strip_prefix(r#"[{"role":"model","parts":["#))
        .and_then(|rest| rest.strip_suffix("]}]"));
    parts.unwrap_or_else(|| panic!("{contents}")).to_owned()
}

pub(super) fn refusal(draft: DraftRequest<'_>, target: &Target) -> (RefusalCode, String) {
    match write(draft, target) {
        Err(Error::Refused(refusal)) => {
            assert!(refusal.message.ends_with('.'), "{}", refusal.message);
            (refusal.code, refusal.path)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plain_request_has_instructions_contents_and_settings_golden_1() {
    let draft = DraftRequest {
        system: vec![text(r#""A""#)],
        pieces: vec![user(r#""hi""#)],
        config: DraftConfig { temperature: Some(raw("0")), ..Default::default() },
        ..Default::default()
    };
    let written = write(draft, &target(PRO_25)).unwrap();
    assert_eq!(
        body(&written),
        r#"{"systemInstruction":{"parts":[{"text":"A"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"temperature":0}}"#
    );
    assert!(written.dropped.is_empty());
    assert_eq!(written.foreign, None);
}

#[test]
fn instructions_alone_are_what_the_user_says() {
    let system = || vec![text(r#""A""#), text(r#""""#), text(r#""B""#)];
    for pieces in [vec![], vec![user(r#""""#)], vec![Piece::EndOfModel, model(r#""""#)]] {
        let draft = DraftRequest { system: system(), pieces, ..Default::default() };
        assert_eq!(
            body(&write(draft, &target(PRO_25)).unwrap()),
            r#"{"contents":[{"role":"user","parts":[{"text":"A"},{"text":"B"}]}]}"#
        );
    }
    let draft =
        DraftRequest { system: system(), pieces: vec![model(r#""x""#)], ..Default::default() };
    assert_eq!(
        body(&write(draft, &target(PRO_25)).unwrap()),
        r#"{"systemInstruction":{"parts":[{"text":"A"},{"text":"B"}]},"contents":[{"role":"model","parts":[{"text":"x"}]}]}"#
    );
}

#[test]
fn a_request_without_any_content_is_refused_by_the_name_of_its_field() {
    for (paths, path) in [
        (FieldPaths::CHAT, "messages"),
        (FieldPaths::MESSAGES, "messages"),
        (FieldPaths::RESPONSES, "input"),
    ] {
        let mut draft = DraftRequest {
            system: vec![text(r#""""#)],
            pieces: vec![Piece::UserText(text(r#""""#)), Piece::EndOfModel],
            ..Default::default()
        };
        draft.config.paths = paths;
        let refused = (RefusalCode::InvalidValue, path.to_owned());
        assert_eq!(refusal(draft, &target(PRO_25)), refused);
    }
}

#[test]
fn every_field_is_at_its_place() {
    let draft = DraftRequest {
        system: vec![text(r#""A""#)],
        pieces: vec![user(r#""hi""#)],
        tools: vec![Tool::Function(function("f"))],
        choice: ToolChoice::Required,
        config: DraftConfig { top_k: Some(raw("40.0")), ..Default::default() },
        cached_content: Some(raw(r#""cachedContents/x""#)),
        safety_settings: Some(raw(r#"[ {"category":1} ]"#)),
        dropped: vec!["logit_bias".to_owned()],
    };
    let written = write(draft, &target(PRO_25)).unwrap();
    assert_eq!(
        body(&written),
        r#"{"systemInstruction":{"parts":[{"text":"A"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]}],"tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY"}},"generationConfig":{"topK":40.0},"cachedContent":"cachedContents/x","safetySettings":[ {"category":1} ]}"#
    );
    assert_eq!(written.dropped, ["logit_bias"]);
    let nothing = DraftRequest {
        pieces: vec![user(r#""hi""#)],
        cached_content: Some(raw("null")),
        safety_settings: Some(raw("null")),
        ..Default::default()
    };
    assert_eq!(
        body(&write(nothing, &target(PRO_25)).unwrap()),
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#
    );
}

#[test]
fn a_count_names_the_model() {
    let draft = DraftRequest {
        pieces: vec![user(r#""hi""#)],
        tools: vec![Tool::Function(function("f"))],
        ..Default::default()
    };
    assert_eq!(
        body(&write_count(draft, &target(PRO_25)).unwrap()),
        r#"{"generateContentRequest":{"model":"models/gemini-2.5-pro","contents":[{"role":"user","parts":[{"text":"hi"}]}],"tools":[{"functionDeclarations":[{"name":"f"}]}]}}"#
    );
}

#[test]
fn the_buffer_of_a_usual_request_does_not_grow() {
    let mut pieces = vec![user(r#""a text of some length, with \u00e4 and \n in it""#)];
    for _ in 0..50 {
        pieces.push(model(r#""I look.""#));
        pieces.push(call("toolu_01234567890123456789abcd", "Bash"));
        pieces.push(result("toolu_01234567890123456789abcd", r#""some output""#));
    }
    let tools = (0..20).map(|_| Tool::Function(function("Bash"))).collect();
    let draft = DraftRequest { pieces, tools, ..Default::default() };
    let reserved = length(&draft);
    let written = write(draft, &target(PRO_3)).unwrap();
    assert!(written.body.len() <= reserved, "{} > {reserved}", written.body.len());
    assert!(reserved < 2 * written.body.len(), "{reserved} for {}", written.body.len());
}
