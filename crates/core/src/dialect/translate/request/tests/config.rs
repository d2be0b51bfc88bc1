//! `generationConfig`.

use super::*;
use crate::dialect::translate::effort::Effort;
use crate::error::RefusalCode;

/// The settings, and what is dropped.
fn written(config: DraftConfig<'_>, target: &Target) -> (String, Vec<String>) {
    written_beside(config, vec![], target)
}

fn written_beside(
    config: DraftConfig<'_>,
    tools: Vec<Tool<'_>>,
    target: &Target,
) -> (String, Vec<String>) {
    let draft = DraftRequest { pieces: vec![user(r#""x""#)], config, tools, ..Default::default() };
    let written = write(draft, target).unwrap();
    let body = body(&written);
    let config = body.split_once(r#","generationConfig":"#).map_or("", |(_, config)| config);
    (config.strip_suffix('}').unwrap_or_default().to_owned(), written.dropped)
}

#[test]
fn settings_without_a_value_are_left_out() {
    assert_eq!(written(DraftConfig::default(), &target(PRO_25)), (String::new(), vec![]));
    let config = DraftConfig {
        temperature: Some(raw("null")),
        stop: vec![text(r#""""#)],
        candidates: Some(1),
        presence_penalty: Some(raw("0")),
        frequency_penalty: Some(raw("-0.00")),
        image_config: Some((None, Some(raw("null")))),
        ..Default::default()
    };
    assert_eq!(written(config, &target(PRO_3)), (String::new(), vec![]));
}

#[test]
fn tokens_and_stops_are_limited_golden_9() {
    let stops = [r#""a""#, r#""""#, r#""b""#, r#""\n\ud83d""#, r#""d""#, r#""e""#, r#""f""#];
    let config = || DraftConfig {
        max_output_tokens: Some(128_000),
        stop: stops.into_iter().map(text).collect(),
        ..Default::default()
    };
    let sent = r#"{"maxOutputTokens":65536,"stopSequences":["a","b","\n\ud83d","d","e"]}"#;
    assert_eq!(written(config(), &target(PRO_25)), (sent.to_owned(), vec!["stop".to_owned()]));
    let config = DraftConfig { paths: FieldPaths::MESSAGES, ..config() };
    assert_eq!(written(config, &target(PRO_25)).1, ["stop_sequences"]);
    let config = DraftConfig {
        max_output_tokens: Some(u64::MAX),
        stop: stops[..6].iter().map(|stop| text(stop)).collect(),
        ..Default::default()
    };
    let short = Target { output_limit: 8192, ..target(PRO_25) };
    let sent = r#"{"maxOutputTokens":8192,"stopSequences":["a","b","\n\ud83d","d","e"]}"#;
    assert_eq!(written(config, &short), (sent.to_owned(), vec![]));
    let config = DraftConfig { max_output_tokens: Some(5), ..Default::default() };
    assert_eq!(written(config, &target(PRO_25)).0, r#"{"maxOutputTokens":5}"#);
}

#[test]
fn numbers_keep_their_digits() {
    let config = DraftConfig {
        temperature: Some(raw("0.10")),
        top_p: Some(raw("1e0")),
        top_k: Some(raw("40.0")),
        candidates: Some(3),
        presence_penalty: Some(raw("0.50")),
        frequency_penalty: Some(raw("-1")),
        logprobs: Some(4),
        ..Default::default()
    };
    assert_eq!(
        written(config, &target(PRO_25)).0,
        r#"{"temperature":0.10,"topP":1e0,"topK":40.0,"candidateCount":3,"presencePenalty":0.50,"frequencyPenalty":-1,"responseLogprobs":true,"logprobs":4}"#
    );
    let config = DraftConfig { logprobs: Some(0), ..Default::default() };
    assert_eq!(written(config, &target(PRO_25)).0, r#"{"responseLogprobs":true}"#);
}

#[test]
fn a_seed_has_31_bits() {
    for (seed, sent) in [
        (0, 0),
        (42, 42),
        ((1 << 31) - 1, 2_147_483_647),
        (1 << 31, 0),
        (i64::MAX, 2_147_483_647),
        (-1, 2_147_483_647),
        (i64::MIN, 0),
    ] {
        let config = DraftConfig { seed: Some(seed), ..Default::default() };
        assert_eq!(written(config, &target(PRO_25)).0, format!(r#"{{"seed":{sent}}}"#));
    }
}

#[test]
fn penalties_go_where_they_are_taken() {
    let config = || DraftConfig {
        presence_penalty: Some(raw("0.5")),
        frequency_penalty: Some(raw("1")),
        ..Default::default()
    };
    let sent = (r#"{"presencePenalty":0.5,"frequencyPenalty":1}"#.to_owned(), vec![]);
    let dropped =
        (String::new(), vec!["presence_penalty".to_owned(), "frequency_penalty".to_owned()]);
    use ProviderKind::{CodeAssist, GeminiApi, Vertex};
    for (model, provider, expected) in [
        (PRO_25, CodeAssist, &sent),
        (PRO_25, Vertex, &sent),
        (PRO_25, GeminiApi, &dropped),
        ("gemini-2.0-flash", GeminiApi, &sent),
        ("something", GeminiApi, &sent),
        (PRO_3, CodeAssist, &dropped),
        (PRO_3, Vertex, &dropped),
        ("gemini-3.6-flash", GeminiApi, &dropped),
    ] {
        assert_eq!(&written(config(), &Target::new(model, provider)), expected, "{model}");
    }
}

#[test]
fn an_answer_may_be_json_golden_10() {
    let of = |format| DraftConfig { format, ..Default::default() };
    let json = r#"{"responseMimeType":"application/json"}"#;
    assert_eq!(written(of(AnswerFormat::Json), &target(PRO_25)).0, json);
    let schema = r#"{"type":"object", "properties":{"k":{"type":"string"}}}"#;
    let format = AnswerFormat::Schema(raw(schema), "response_format");
    assert_eq!(
        written(of(format), &target(PRO_25)).0,
        format!(r#"{{"responseMimeType":"application/json","responseJsonSchema":{schema}}}"#)
    );
    let golden = r##"{"properties":{"k":{"const":"x"},"p":{"$ref":"#/definitions/P","title":"P"}},"definitions":{"P":{"type":"string"}}}"##;
    let repaired = r##"{"properties":{"k":{"enum":["x"]},"p":{"$ref":"#/$defs/P"}},"$defs":{"P":{"type":"string"}}}"##;
    let format = AnswerFormat::Schema(raw(golden), "response_format");
    assert_eq!(
        written(of(format), &target(PRO_25)).0,
        format!(r#"{{"responseMimeType":"application/json","responseJsonSchema":{repaired}}}"#)
    );
    let format = AnswerFormat::Schema(raw("null"), "response_format");
    assert_eq!(written(of(format), &target(PRO_25)).0, json);
    let pieces = vec![user(r#""x""#)];
    let config = of(AnswerFormat::Schema(raw("7"), "response_format"));
    assert_eq!(
        refusal(DraftRequest { pieces, config, ..Default::default() }, &target(PRO_25)),
        (RefusalCode::InvalidValue, "response_format".to_owned())
    );
}

#[test]
fn json_beside_functions_is_dropped_before_gemini_3() {
    let tools = || vec![Tool::Function(function("f"))];
    let schema = || AnswerFormat::Schema(raw("{}"), "output_format");
    for (format, paths, path) in [
        (AnswerFormat::Json, FieldPaths::CHAT, "response_format"),
        (AnswerFormat::Json, FieldPaths::RESPONSES, "text.format"),
        (schema(), FieldPaths::MESSAGES, "output_format"),
    ] {
        let config = DraftConfig { format, paths, ..Default::default() };
        assert_eq!(
            written_beside(config, tools(), &target(PRO_25)),
            (String::new(), vec![path.to_owned()])
        );
    }
    let config = DraftConfig { format: schema(), ..Default::default() };
    let (sent, dropped) = written_beside(config, tools(), &target(PRO_3));
    assert_eq!(sent, r#"{"responseMimeType":"application/json","responseJsonSchema":{}}"#);
    assert!(dropped.is_empty());
    let search = Tool::Google { kind: GoogleTool::Search, path: String::new(), options: None };
    let config = DraftConfig { format: AnswerFormat::Json, ..Default::default() };
    let (sent, _) = written_beside(config, vec![search], &target(PRO_25));
    assert_eq!(sent, r#"{"responseMimeType":"application/json"}"#);
}

#[test]
fn thinking_is_by_family() {
    let of = |thinking| DraftConfig { thinking, ..Default::default() };
    let high = || of(Thinking::Effort { effort: Effort::High, shows: false });
    let budget = written(high(), &target(PRO_25)).0;
    assert_eq!(budget, r#"{"thinkingConfig":{"thinkingBudget":24576}}"#);
    let level = written(high(), &target(PRO_3)).0;
    assert!(level.contains(r#""thinkingLevel":"#), "{level}");
    let own = of(Thinking::Written(r#"{"thinking_budget":1.0}"#.into()));
    assert_eq!(written(own, &target(PRO_25)).0, r#"{"thinkingConfig":{"thinking_budget":1.0}}"#);
}

#[test]
fn an_image_may_be_asked_for() {
    let config = DraftConfig {
        wants_image: true,
        image_config: Some((Some(raw(r#""16:9""#)), Some(raw(r#""2K""#)))),
        ..Default::default()
    };
    assert_eq!(
        written(config, &target("gemini-2.5-flash-image")).0,
        r#"{"responseModalities":["TEXT","IMAGE"],"imageConfig":{"aspectRatio":"16:9","imageSize":"2K"}}"#
    );
}
