use bytes::Bytes;

use super::ChatPlan;
use super::read::read;
use crate::dialect::translate::request::Written;
use crate::dialect::translate::target::Target;
use crate::error::{Error, RefusalCode};
use crate::google::ProviderKind;

const FLASH_2: &str = "gemini-2.5-flash";
const FLASH_3: &str = "gemini-3.6-flash";

fn chat(body: &str, model: &str) -> Result<(Written, ChatPlan), Error> {
    let target = Target::new(model, ProviderKind::CodeAssist);
    read(&Bytes::copy_from_slice(body.as_bytes()), &target)
}

/// The Gemini request, and what was left out.
fn written(body: &str, model: &str) -> (String, Vec<String>) {
    let (written, _) = chat(body, model).unwrap_or_else(|error| panic!("{body}: {error:?}"));
    (String::from_utf8(written.body.to_vec()).unwrap(), written.dropped)
}

/// The same for a request of one message with more fields.
fn with(fields: &str, model: &str) -> (String, Vec<String>) {
    let body = format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{fields}}}"#);
    let (text, dropped) = written(&body, model);
    let rest = text.strip_prefix(r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}]"#);
    (rest.unwrap_or_else(|| panic!("{text}")).trim_start_matches(',').to_owned(), dropped)
}

fn refused(body: &str) -> (RefusalCode, String) {
    match chat(body, FLASH_2) {
        Err(Error::Refused(refusal)) => (refusal.code, refusal.path),
        other => panic!("{body}: {other:?}"),
    }
}

fn messages(messages: &str, model: &str) -> (String, Vec<String>) {
    written(&format!(r#"{{"messages":[{messages}]}}"#), model)
}

fn contents(list: &str) -> String {
    format!(r#"{{"contents":[{list}]}}"#)
}

#[test]
fn golden_1_instructions_at_the_head_and_a_zero_temperature() {
    let body = r#"{"model":"google/gemini-2.5-pro","messages":[{"role":"developer","content":"A"},{"role":"user","content":"hi"}],"temperature":0,"user":"u"}"#;
    let (text, dropped) = written(body, "gemini-2.5-pro");
    assert_eq!(
        text,
        r#"{"systemInstruction":{"parts":[{"text":"A"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"temperature":0}}"#
    );
    assert!(dropped.is_empty());
    let (_, plan) = chat(body, "gemini-2.5-pro").unwrap();
    assert_eq!(plan.plan.model.as_ref(), "google/gemini-2.5-pro");
}

#[test]
fn golden_2_a_later_instruction_stays_at_its_place() {
    let list = r#"{"role":"user","content":"a"},{"role":"system","content":"B"},{"role":"user","content":"c"}"#;
    assert_eq!(
        messages(list, FLASH_2).0,
        contents(
            r#"{"role":"user","parts":[{"text":"a"},{"text":"<system>\nB\n</system>"},{"text":"c"}]}"#
        )
    );
}

#[test]
fn golden_3_an_image_is_spliced() {
    let list = r#"{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}"#;
    let expected = r#"{"role":"user","parts":[{"text":"x"},{"inlineData":{"mimeType":"image/png","data":"AA=="}}]}"#;
    assert_eq!(messages(list, FLASH_2).0, contents(expected));
    let bare =
        list.replace(r#"{"url":"data:image/png;base64,AA=="}"#, r#""data:image/png;base64,AA==""#);
    assert_eq!(messages(&bare, FLASH_2).0, contents(expected));
}

#[test]
fn golden_4_a_url_is_not_fetched() {
    for url in [
        "http://169.254.169.254/a",
        "file:///etc/passwd",
        "https://127.0.0.1/a.png",
        "https://example.com/a.png",
    ] {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#
        );
        assert_eq!(
            refused(&body),
            (RefusalCode::UnsupportedValue, "messages[0].content[0]".into())
        );
    }
}

#[test]
fn golden_5_a_schema_keeps_its_bytes() {
    let schema = r#"{"$schema":"s","type":"object","properties":{"n":{"type":"number","exclusiveMinimum":0}}}"#;
    let fields = format!(
        r#""tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}],"tool_choice":"required""#
    );
    assert_eq!(
        with(&fields, FLASH_2).0,
        format!(
            r#""tools":[{{"functionDeclarations":[{{"name":"f","parametersJsonSchema":{schema}}}]}}],"toolConfig":{{"functionCallingConfig":{{"mode":"ANY"}}}}}}"#
        )
    );
}

const CALLS: &str = r#"{"role":"user","content":"go"},{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"n\":1}"}EXTRA},{"id":"b","type":"function","function":{"name":"f","arguments":""}}]},{"role":"tool","tool_call_id":"b","content":"2"},{"role":"tool","tool_call_id":"a","content":"1"}"#;

#[test]
fn golden_6_results_follow_their_calls_and_signatures_come_back() {
    let list = CALLS.replace("EXTRA", r#","extra_content":{"google":{"thought_signature":"S"}}"#);
    assert_eq!(
        messages(&list, FLASH_3).0,
        contents(concat!(
            r#"{"role":"user","parts":[{"text":"go"}]},"#,
            r#"{"role":"model","parts":[{"functionCall":{"id":"a","name":"f","args":{"n":1}},"thoughtSignature":"S"},"#,
            r#"{"functionCall":{"id":"b","name":"f","args":{}}}]},"#,
            r#"{"role":"user","parts":[{"functionResponse":{"id":"a","name":"f","response":{"output":"1"}}},"#,
            r#"{"functionResponse":{"id":"b","name":"f","response":{"output":"2"}}}]}"#,
        ))
    );
}

#[test]
fn golden_7_a_missing_signature_is_skipped_from_gemini_3_on() {
    let list = CALLS.replace("EXTRA", "");
    let (text, _) = messages(&list, FLASH_3);
    assert!(
        text.contains(r#""args":{"n":1}},"thoughtSignature":"skip_thought_signature_validator"}"#),
        "{text}"
    );
    assert_eq!(text.matches("thoughtSignature").count(), 1);
    let (text, _) = messages(&list, FLASH_2);
    assert!(!text.contains("thoughtSignature") && !text.contains(r#""id""#), "{text}");
}

#[test]
fn golden_8_a_call_without_a_result_gets_one() {
    let list = r#"{"role":"user","content":"go"},{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"user","content":"stop"}"#;
    let (text, _) = messages(list, FLASH_2);
    assert!(text.ends_with(r#"{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"error":"No result was returned for this call."}}},{"text":"stop"}]}]}"#), "{text}");
}

#[test]
fn golden_9_limits_are_kept() {
    let (text, dropped) =
        with(r#""max_tokens":128000,"stop":["a","","b","c","d","e","f"]"#, FLASH_2);
    assert_eq!(
        text,
        r#""generationConfig":{"maxOutputTokens":65536,"stopSequences":["a","b","c","d","e"]}}"#
    );
    assert_eq!(dropped, ["stop"]);
}

#[test]
fn golden_10_the_schema_of_an_answer_is_repaired() {
    let fields = r##""response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"properties":{"k":{"const":"x"},"p":{"$ref":"#/definitions/P","title":"P"}},"definitions":{"P":{"type":"string"}}}}}"##;
    assert_eq!(
        with(fields, FLASH_2).0,
        r##""generationConfig":{"responseMimeType":"application/json","responseJsonSchema":{"properties":{"k":{"enum":["x"]},"p":{"$ref":"#/$defs/P"}},"$defs":{"P":{"type":"string"}}}}}"##
    );
}

#[test]
fn each_setting_has_its_place() {
    for (fields, model, config) in [
        (r#""max_completion_tokens":5,"max_tokens":9"#, FLASH_2, r#"{"maxOutputTokens":5}"#),
        (
            r#""temperature":0.70,"top_p":1.0,"top_k":40"#,
            FLASH_2,
            r#"{"temperature":0.70,"topP":1.0,"topK":40}"#,
        ),
        (r#""stop":"a\ud83d""#, FLASH_2, r#"{"stopSequences":["a\ud83d"]}"#),
        (r#""n":3"#, FLASH_2, r#"{"candidateCount":3}"#),
        (r#""seed":-1"#, FLASH_2, r#"{"seed":2147483647}"#),
        (r#""seed":18446744073709551615"#, FLASH_2, r#"{"seed":2147483647}"#),
        (r#""seed":9223372036854775815"#, FLASH_2, r#"{"seed":7}"#),
        (r#""max_tokens":1000000000000000000000"#, FLASH_2, r#"{"maxOutputTokens":65536}"#),
        (
            r#""presence_penalty":0.5,"frequency_penalty":0.0"#,
            FLASH_2,
            r#"{"presencePenalty":0.5}"#,
        ),
        (
            r#""logprobs":true,"top_logprobs":3"#,
            FLASH_2,
            r#"{"responseLogprobs":true,"logprobs":3}"#,
        ),
        (
            r#""response_format":{"type":"json_object"}"#,
            FLASH_2,
            r#"{"responseMimeType":"application/json"}"#,
        ),
        (
            r#""reasoning_effort":"low""#,
            FLASH_2,
            r#"{"thinkingConfig":{"thinkingBudget":1024,"includeThoughts":true}}"#,
        ),
        (r#""reasoning_effort":"none""#, FLASH_2, r#"{"thinkingConfig":{"thinkingBudget":0}}"#),
        (
            r#""reasoning":{"effort":"high","exclude":true}"#,
            FLASH_3,
            r#"{"thinkingConfig":{"thinkingLevel":"HIGH"}}"#,
        ),
        (
            r#""reasoning":{"max_tokens":99999}"#,
            FLASH_2,
            r#"{"thinkingConfig":{"thinkingBudget":24576,"includeThoughts":true}}"#,
        ),
        (
            r#""reasoning":{"enabled":false}"#,
            FLASH_3,
            r#"{"thinkingConfig":{"thinkingLevel":"MINIMAL"}}"#,
        ),
        (
            r#""extra_body":{"google":{"thinking_config":{"thinking_budget": 7}}}"#,
            FLASH_2,
            r#"{"thinkingConfig":{"thinking_budget": 7}}"#,
        ),
        (
            r#""modalities":["text","image"],"image_config":{"aspect_ratio":"1:1"}"#,
            FLASH_2,
            r#"{"responseModalities":["TEXT","IMAGE"],"imageConfig":{"aspectRatio":"1:1"}}"#,
        ),
    ] {
        let (text, dropped) = with(fields, model);
        assert_eq!(text, format!(r#""generationConfig":{config}}}"#), "{fields}");
        assert!(dropped.is_empty(), "{fields}: {dropped:?}");
    }
}

#[test]
fn what_has_no_place_is_left_out_and_named_unless_it_changes_nothing() {
    for fields in [
        r#""user":"u","safety_identifier":"s","prompt_cache_key":"k","prompt_cache_retention":"24h""#,
        r#""metadata":{"a":"b"},"store":false,"service_tier":"auto","logit_bias":{ },"stream":true"#,
        r#""stream_options":{"include_obfuscation":false},"presence_penalty":0,"n":1,"whatever":null"#,
        r#""modalities":["text"],"response_format":{"type":"text"},"tool_choice":"auto""#,
    ] {
        assert_eq!(with(fields, FLASH_2), ("}".into(), Vec::new()), "{fields}");
    }
    let fields = r#""logit_bias":{"1":2},"service_tier":"flex","store":true,"prediction":{},"verbosity":"low","audio":{},"whatever":1,"google":{"x":1}"#;
    let (text, mut dropped) = with(fields, FLASH_2);
    dropped.sort();
    assert_eq!(text, "}");
    assert_eq!(
        dropped,
        [
            "audio",
            "google.x",
            "logit_bias",
            "prediction",
            "service_tier",
            "store",
            "verbosity",
            "whatever"
        ]
    );
}

#[test]
fn what_would_change_the_kind_of_the_answer_is_refused() {
    use RefusalCode::{InvalidValue, UnsupportedParameter, UnsupportedValue};
    for (fields, code, path) in [
        (r#""n":9"#, UnsupportedValue, "n"),
        (r#""n":0"#, UnsupportedValue, "n"),
        (r#""n":100000000000000000000"#, UnsupportedValue, "n"),
        (r#""n":1.5"#, InvalidValue, "n"),
        (r#""modalities":["text","audio"]"#, UnsupportedValue, "modalities[1]"),
        (r#""temperature":"1""#, InvalidValue, "temperature"),
        (r#""reasoning_effort":"huge""#, UnsupportedValue, "reasoning_effort"),
        (
            r#""reasoning_effort":"low","google":{"thinking_config":{}}"#,
            UnsupportedParameter,
            "reasoning_effort",
        ),
        (r#""response_format":{"type":"grammar"}"#, UnsupportedValue, "response_format.type"),
        (
            r#""tool_choice":{"type":"function","function":{"name":"g"}}"#,
            UnsupportedValue,
            "tool_choice",
        ),
        (r#""tools":[{"type":"function","function":{}}]"#, InvalidValue, "tools[0].function.name"),
        (r#""max_tokens":-1"#, InvalidValue, "max_tokens"),
        (r#""stop":[1]"#, InvalidValue, "stop[0]"),
    ] {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{fields}}}"#);
        assert_eq!(refused(&body), (code, path.to_owned()), "{fields}");
    }
    for (list, code, path) in [
        ("", InvalidValue, "messages"),
        (r#"{"content":"x"}"#, InvalidValue, "messages[0].role"),
        (r#"{"role":"critic"}"#, UnsupportedValue, "messages[0].role"),
        (r#"{"role":5}"#, InvalidValue, "messages[0].role"),
        (
            r#"{"role":"user","content":[{"type":"smell"}]}"#,
            UnsupportedValue,
            "messages[0].content[0].type",
        ),
        (
            r#"{"role":"user","content":[{"type":"text","text":5}]}"#,
            InvalidValue,
            "messages[0].content[0].text",
        ),
        (
            r#"{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}"#,
            UnsupportedValue,
            "messages[0].content[0]",
        ),
        (
            r#"{"role":"user","content":[{"type":"file","file":{"file_data":"AA=="}}]}"#,
            UnsupportedValue,
            "messages[0].content[0]",
        ),
    ] {
        assert_eq!(
            refused(&format!(r#"{{"messages":[{list}]}}"#)),
            (code, path.to_owned()),
            "{list}"
        );
    }
    assert!(matches!(chat("{", FLASH_2), Err(Error::MalformedJson { .. })));
}

#[test]
fn each_kind_of_tool_and_choice_has_its_form() {
    let f = r#"{"type":"function","function":{"name":"f"}}"#;
    let g = r#"{"type":"function","function":{"name":"g"}}"#;
    let declared = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| format!(r#"{{"name":"{name}"}}"#)).collect();
        format!(r#""tools":[{{"functionDeclarations":[{}]}}]"#, names.join(","))
    };
    let mode = |mode: &str| format!(r#","toolConfig":{{"functionCallingConfig":{{{mode}}}}}"#);
    for (choice, names, config) in [
        (r#""auto""#, &["f", "g"][..], String::new()),
        (r#""none""#, &["f", "g"], mode(r#""mode":"NONE""#)),
        (
            r#"{"type":"function","function":{"name":"g"}}"#,
            &["f", "g"],
            mode(r#""mode":"ANY","allowedFunctionNames":["g"]"#),
        ),
        (
            r#"{"type":"function","name":"g"}"#,
            &["f", "g"],
            mode(r#""mode":"ANY","allowedFunctionNames":["g"]"#),
        ),
        (
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"g"}}]}}"#,
            &["g"],
            String::new(),
        ),
        (
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"g"}}]}}"#,
            &["f", "g"],
            mode(r#""mode":"ANY","allowedFunctionNames":["g"]"#),
        ),
    ] {
        let (text, dropped) =
            with(&format!(r#""tools":[{f},{g}],"tool_choice":{choice}"#), FLASH_2);
        assert_eq!(text, format!("{}{config}}}", declared(names)), "{choice}");
        assert!(dropped.is_empty());
    }
    let (text, dropped) = with(
        &format!(r#""tools":[{f},{{"type":"web_search"}},{{"type":"mcp","server":1}}]"#),
        FLASH_2,
    );
    assert_eq!(text, format!("{}}}", declared(&["f"])));
    assert_eq!(dropped, ["tools[2]", "tools[1]"]);
    for fields in [
        r#""tools":[{"type":"web_search_preview"}]"#,
        r#""web_search_options":{}"#,
        r#""tools":[{"google_search":{}}]"#,
    ] {
        assert_eq!(with(fields, FLASH_2).0, r#""tools":[{"googleSearch":{}}]}"#, "{fields}");
    }
    let custom = r#""tools":[{"type":"custom","custom":{"name":"p","description":"D","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"start: X"}}}}]"#;
    assert_eq!(
        with(custom, FLASH_2).0,
        r#""tools":[{"functionDeclarations":[{"name":"p","description":"D\n\nThe input must match this grammar (lark):\nstart: X","parametersJsonSchema":{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}}]}]}"#
    );
}

#[test]
fn the_plan_says_what_the_answer_needs() {
    let plan = |fields: &str| {
        let body =
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{fields}}}"#);
        chat(&body, FLASH_2).unwrap().1
    };
    let usual = plan("");
    assert!(!usual.plan.one_call && !usual.include_usage);
    assert!(!usual.legacy_functions && usual.thought_tag.is_none());
    assert!(plan(r#","stream_options":{"include_usage":true}"#).include_usage);
    assert!(plan(r#","parallel_tool_calls":false"#).plan.one_call);
    let legacy = plan(r#","functions":[{"name":"f"}],"function_call":{"name":"f"}"#);
    assert!(legacy.legacy_functions && legacy.plan.one_call);
    let google = plan(
        r#","google":{"thinking_config":{"include_thoughts":true},"thought_tag_marker":"thought"}"#,
    );
    assert_eq!(google.thought_tag.as_deref(), Some("thought"));
}

#[test]
fn an_assistant_keeps_its_text_images_calls_and_signature() {
    let list = r#"{"role":"user","content":"a"},{"role":"assistant","content":"t\ud83d","refusal":"no","reasoning_content":"hm","extra_content":{"google":{"thought_signature":"S"}},"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}],"function_call":{"name":"f","arguments":"nope"}},{"role":"function","name":"f","content":"r"}"#;
    let (text, dropped) = messages(list, FLASH_2);
    assert_eq!(
        text,
        contents(concat!(
            r#"{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"text":"t\ud83d"},"#,
            r#"{"text":"no","thoughtSignature":"S"},{"inlineData":{"mimeType":"image/png","data":"AA=="}},"#,
            r#"{"functionCall":{"name":"f","args":{"_raw":"nope"}}}]},"#,
            r#"{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"r"}}}]}"#,
        ))
    );
    assert_eq!(dropped, ["messages[1].function_call.arguments"]);
}

#[test]
fn recordings_and_files_are_spliced_with_their_types() {
    for (part, inline) in [
        (
            r#"{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}"#,
            r#""mimeType":"audio/wav","data":"AA==""#,
        ),
        (
            r#"{"type":"file","file":{"file_data":"data:application/pdf;charset=x;base64,AA==","filename":"a"}}"#,
            r#""mimeType":"application/pdf","data":"AA==""#,
        ),
        (
            r#"{"type":"file","file":{"file_data":"AA==","filename":"a.PDF"}}"#,
            r#""mimeType":"application/pdf","data":"AA==""#,
        ),
        (
            r#"{"type":"video_url","video_url":{"url":"data:text\/plain,a%20b"}}"#,
            r#""mimeType":"text/plain","data":"YSBi""#,
        ),
    ] {
        let (text, _) = messages(&format!(r#"{{"role":"user","content":[{part}]}}"#), FLASH_2);
        assert_eq!(
            text,
            contents(&format!(r#"{{"role":"user","parts":[{{"inlineData":{{{inline}}}}}]}}"#))
        );
    }
}

#[test]
fn each_type_of_content_has_its_form_or_is_refused() {
    const TEXT: &str = r#"{"text":"a"}"#;
    const IMAGE: &str = r#"{"inlineData":{"mimeType":"image/png","data":"AA=="}}"#;
    for (part, sent) in [
        (r#"{"type":"text","text":"a"}"#, TEXT),
        (r#"{"type":"input_text","text":"a"}"#, TEXT),
        (r#"{"type":"output_text","text":"a","annotations":[]}"#, TEXT),
        (r#"{"type":"refusal","refusal":"a"}"#, TEXT),
        (r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}"#, IMAGE),
        (r#"{"type":"image_url","image_url":"data:image/png;base64,AA=="}"#, IMAGE),
        (r#"{"type":"input_image","image_url":"data:image/png;base64,AA=="}"#, IMAGE),
        (r#"{"type":"video_url","video_url":{"url":"data:image/png;base64,AA=="}}"#, IMAGE),
        (r#"{"type":"text","text":""},{"type":"text","text":"a"}"#, TEXT),
    ] {
        let (text, dropped) =
            messages(&format!(r#"{{"role":"user","content":[{part}]}}"#), FLASH_2);
        assert_eq!(text, contents(&format!(r#"{{"role":"user","parts":[{sent}]}}"#)), "{part}");
        assert!(dropped.is_empty(), "{part}");
    }
    for (part, code, path) in [
        (r#"{"type":"hologram"}"#, RefusalCode::UnsupportedValue, ".type"),
        (r#"{"type":"input_audio","input_audio":{"data":"AA=="}}"#, RefusalCode::InvalidValue, ""),
        (r#"{"type":"file","file":{"file_id":"file-1"}}"#, RefusalCode::UnsupportedValue, ""),
        (r#"{"type":"file","file":{"file_data":"AA=="}}"#, RefusalCode::UnsupportedValue, ""),
        (r#"{"type":"file","file":{}}"#, RefusalCode::InvalidValue, ""),
        (r#"{"type":"image_url","image_url":{}}"#, RefusalCode::InvalidValue, ""),
        (r#"{"type":"image_url"}"#, RefusalCode::InvalidValue, ".image_url"),
        (r#"{"type":"text"}"#, RefusalCode::InvalidValue, ".text"),
        (r#"{}"#, RefusalCode::InvalidValue, ".type"),
    ] {
        let first = r#"{"type":"text","text":"a"}"#;
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{first},{part}]}}]}}"#);
        let path = format!("messages[0].content[1]{path}");
        assert_eq!(refused(&body), (code, path), "{part}");
    }
}
