use bytes::{Bytes, BytesMut};

use super::read::read;
use super::write::CompletionsWriter;
use crate::dialect::openai::chat::ChatPlan;
use crate::dialect::translate::answer::{AnswerPlan, Birth};
use crate::dialect::translate::ids::IdSource;
use crate::dialect::translate::names::ToolNames;
use crate::dialect::translate::part::AnswerEvent;
use crate::dialect::translate::target::{SignatureRecall, Target};
use crate::error::{Error, RefusalCode};
use crate::google::ProviderKind;

fn writer(include_usage: bool) -> CompletionsWriter {
    let plan = ChatPlan {
        plan: AnswerPlan {
            model: "m".into(),
            names: ToolNames::default(),
            one_call: false,
            provider: ProviderKind::CodeAssist,
        },
        include_usage,
        thought_tag: Some("think".to_owned()),
        legacy_functions: false,
    };
    let signatures = SignatureRecall::default();
    CompletionsWriter::new(plan, Birth { seed: [7; 32], now: 5, signatures })
}

fn named(text: &[u8]) -> String {
    let id = IdSource::new([7; 32]).next("cmpl-");
    std::str::from_utf8(text).unwrap().replace(&id, "cmpl-R")
}

fn stream(include_usage: bool, events: &[&str]) -> (String, Result<(), Error>) {
    let mut writer = writer(include_usage);
    let mut out = BytesMut::new();
    for event in events {
        let event = AnswerEvent::read(event.as_bytes()).unwrap();
        if let Err(error) = writer.event(&event, &mut out) {
            return (named(&out), Err(error));
        }
    }
    let end = writer.end(&mut out);
    (named(&out), end)
}

const EVENTS: [&str; 3] = [
    r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true}]}}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"a\n"}]}}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"MAX_TOKENS"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}}"#,
];

#[test]
fn a_completion_is_streamed_as_text_alone() {
    let (text, end) = stream(false, &EVENTS);
    assert_eq!(end, Ok(()));
    assert_eq!(
        text,
        r#"data: {"id":"cmpl-R","object":"text_completion","created":5,"model":"m","choices":[{"text":"a\n","index":0,"logprobs":null,"finish_reason":null}]}

data: {"id":"cmpl-R","object":"text_completion","created":5,"model":"m","choices":[{"text":"b","index":0,"logprobs":null,"finish_reason":null}]}

data: {"id":"cmpl-R","object":"text_completion","created":5,"model":"m","choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"length"}]}

data: [DONE]

"#
    );
    let (text, _) = stream(true, &EVENTS);
    assert_eq!(text.matches("],\"usage\":null}\n\n").count(), 3);
    assert!(text.contains(r#""choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"#));
    assert!(text.ends_with("}\n\ndata: [DONE]\n\n"));
}

#[test]
fn a_whole_completion_is_one_object() {
    let event = r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true},{"text":"a\n"},{"text":"b"}]},"finishReason":"STOP"},{"finishReason":"SAFETY"}]}"#;
    let bytes = writer(false).whole(&AnswerEvent::read(event.as_bytes()).unwrap()).unwrap();
    let text = named(&bytes);
    let head = r#"{"id":"cmpl-R","object":"text_completion","created":5,"model":"m","choices":[{"text":"a\nb","index":0,"logprobs":null,"finish_reason":"stop"},{"text":"","index":1,"logprobs":null,"finish_reason":"content_filter"}],"usage":{"prompt_tokens":0,"#;
    assert!(text.starts_with(head), "{text}");
    assert!(text.ends_with(r#"},"system_fingerprint":null}"#), "{text}");
    serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
}

#[test]
fn a_completion_that_is_cut_off_or_has_failed_is_an_error() {
    let (text, end) = stream(true, &EVENTS[..2]);
    assert_eq!(end, Err(Error::UpstreamIncomplete));
    assert!(text.contains(r#""text":"a\n""#) && !text.contains("[DONE]"), "{text}");
    let failed = r#"{"candidates":[{"finishReason":"OTHER"}]}"#;
    let error = Error::NoAnswer { reason: "OTHER".to_owned(), message: None };
    assert_eq!(stream(true, &[failed]), (String::new(), Err(error.clone())));
    let event = AnswerEvent::read(failed.as_bytes()).unwrap();
    assert_eq!(writer(true).whole(&event), Err(error.clone()));
    let mut out = BytesMut::new();
    writer(true).error(&error, &mut out);
    assert!(
        out.starts_with(br#"data: {"error":{"message":"#)
            && out.ends_with(b"\"code\":\"other\"}}\n\n")
    );
    out.clear();
    writer(true).heartbeat(&mut out);
    assert_eq!(&out[..], b": \n\n");
}

/// The Gemini request for a body, and what was left out; or the code and path of a refusal.
fn asked(body: &str) -> Result<(String, Vec<String>), (RefusalCode, String)> {
    let target = Target::new("gemini-2.5-flash", ProviderKind::CodeAssist);
    match read(&Bytes::copy_from_slice(body.as_bytes()), &target) {
        Ok((written, _)) => {
            Ok((String::from_utf8(written.body.to_vec()).unwrap(), written.dropped))
        }
        Err(Error::Refused(refusal)) => Err((refusal.code, refusal.path)),
        Err(error) => panic!("{body}: {error:?}"),
    }
}

#[test]
fn a_prompt_is_one_message_of_the_users() {
    let contents = |rest: &str| {
        format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"a\ud83d"}}]}}]{rest}}}"#)
    };
    for (fields, rest) in [
        (r#""prompt":"a\ud83d""#, ""),
        (r#""prompt":["a\ud83d"]"#, ""),
        (
            r#""prompt":"a\ud83d","suffix":null,"echo":false,"best_of":1,"n":1,"user":"u","stream":true"#,
            "",
        ),
        (r#""prompt":"a\ud83d","suffix":"""#, ""),
        (
            r#""prompt":"a\ud83d","max_tokens":16,"temperature":0.10,"stop":["b",""],"n":2,"seed":3"#,
            r#","generationConfig":{"maxOutputTokens":16,"temperature":0.10,"stopSequences":["b"],"candidateCount":2,"seed":3}"#,
        ),
    ] {
        let found = asked(&format!(r#"{{"model":"m",{fields}}}"#));
        assert_eq!(found, Ok((contents(rest), vec![])), "{fields}");
    }
    let (_, dropped) = asked(r#"{"prompt":"a","logit_bias":{"1":2},"grammar":"x"}"#).unwrap();
    assert_eq!(dropped, ["grammar", "logit_bias"]);
}

#[test]
fn a_completion_that_gemini_has_no_form_for_is_refused() {
    use RefusalCode::{InvalidValue, UnsupportedParameter};
    for (fields, code, path) in [
        (r#""prompt":"a","suffix":"b""#, UnsupportedParameter, "suffix"),
        (r#""prompt":"a","echo":true"#, UnsupportedParameter, "echo"),
        (r#""prompt":"a","best_of":2"#, UnsupportedParameter, "best_of"),
        (r#""prompt":[1,2]"#, UnsupportedParameter, "prompt"),
        (r#""prompt":[[1,2]]"#, UnsupportedParameter, "prompt"),
        (r#""prompt":["a","b"]"#, UnsupportedParameter, "prompt"),
        (r#""prompt":[]"#, UnsupportedParameter, "prompt"),
        (r#""prompt":7"#, UnsupportedParameter, "prompt"),
        (r#""prompt":"""#, InvalidValue, "prompt"),
        (r#""prompt":[""]"#, InvalidValue, "prompt"),
        (r#""prompt":null"#, InvalidValue, "prompt"),
        (r#""model":"m""#, InvalidValue, "prompt"),
    ] {
        assert_eq!(asked(&format!("{{{fields}}}")), Err((code, path.to_owned())), "{fields}");
    }
}

#[test]
fn the_plan_of_a_completion_names_the_clients_model() {
    let body = Bytes::from_static(
        br#"{"model":"google/m","prompt":"a","stream_options":{"include_usage":true}}"#,
    );
    let target = Target::new("gemini-2.5-flash", ProviderKind::Vertex);
    let (_, plan) = read(&body, &target).unwrap();
    assert_eq!(plan.plan.model.as_ref(), "google/m");
    assert_eq!(plan.plan.provider, ProviderKind::Vertex);
    assert!(plan.include_usage && plan.thought_tag.is_none());
}
