mod calls;
mod properties;

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::caller::Caller;
use crate::dialect::translate::answer::AnswerPlan;
use crate::dialect::translate::draft::ClientToolName;
use crate::dialect::translate::ids::IdSource;
use crate::dialect::translate::names::{NamedTool, ToolNames};
use crate::dialect::translate::target::SignatureRecall;
use crate::google::ProviderKind;

fn plan() -> ChatPlan {
    let tool = |upstream: &str, client: &str, takes_text| NamedTool {
        upstream: upstream.to_owned(),
        client: ClientToolName { namespace: None, name: client.to_owned().into() },
        takes_text,
    };
    ChatPlan {
        plan: AnswerPlan {
            model: "m".into(),
            names: ToolNames::new(vec![
                tool("f", "f", false),
                tool("long_1", "a very long name", false),
                tool("patch", "patch", true),
            ]),
            one_call: false,
            provider: ProviderKind::CodeAssist,
        },
        include_usage: false,
        thought_tag: None,
        legacy_functions: false,
    }
}

fn birth() -> Birth {
    Birth { seed: [7; 32], now: 1_700_000_000, signatures: SignatureRecall::default() }
}

/// Names the ids of an answer as the tests do: `chatcmpl-R`, `call_1`, `call_2`, ….
fn named(text: &str) -> String {
    let mut ids = IdSource::new([7; 32]);
    let mut text = text.replace(&ids.next("chatcmpl-"), "chatcmpl-R");
    for place in 1..=6 {
        text = text.replace(&ids.next("call_"), &format!("call_{place}"));
    }
    text
}

/// The stream of some events, or as much of it as comes before an error, and the error.
fn streamed(plan: ChatPlan, events: &[&str]) -> (String, Option<Error>) {
    let mut writer = ChatWriter::new(plan, birth());
    let mut out = BytesMut::new();
    let mut end = Ok(());
    for event in events {
        let event = AnswerEvent::read(event.as_bytes()).unwrap();
        let length = out.len();
        end = writer.event(&event, &mut out);
        if end.is_err() {
            assert_eq!(out.len(), length, "an event with an error has no frames");
            break;
        }
    }
    let error = end.and_then(|()| writer.end(&mut out)).err();
    (named(std::str::from_utf8(&out).unwrap()), error)
}

fn stream(plan: ChatPlan, events: &[&str]) -> String {
    let (text, error) = streamed(plan, events);
    assert_eq!(error, None);
    text
}

/// The frames of these choices, and the end.
fn frames(choices: &[&str]) -> String {
    let mut text = String::new();
    for choice in choices {
        text += r#"data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":["#;
        text += &format!("{choice}]}}\n\n");
    }
    text + "data: [DONE]\n\n"
}

/// A choice of a frame.
fn delta(delta: &str) -> String {
    format!(r#"{{"index":0,"delta":{{{delta}}},"logprobs":null,"finish_reason":null}}"#)
}

const ROLE: &str = r#""role":"assistant","content":"""#;
const NO_TEXT_ROLE: &str = r#""role":"assistant","content":null"#;

/// The whole stream of one choice.
fn choice_0(deltas: &[&str], finish: &str) -> String {
    let mut choices: Vec<String> = deltas.iter().map(|text| delta(text)).collect();
    choices.push(format!(r#"{{"index":0,"delta":{{}},"finish_reason":"{finish}"}}"#));
    frames(&choices.iter().map(String::as_str).collect::<Vec<_>>())
}

fn whole(plan: ChatPlan, event: &str) -> Result<String, Error> {
    let event = AnswerEvent::read(event.as_bytes()).unwrap();
    let bytes = ChatWriter::new(plan, birth()).whole(&event)?;
    serde_json::from_slice::<Value>(&bytes).unwrap();
    Ok(named(std::str::from_utf8(&bytes).unwrap()))
}

/// The choices of an answer that is not streamed.
fn choices(plan: ChatPlan, event: &str) -> String {
    let text = whole(plan, event).unwrap();
    let from = text.find(r#""choices":["#).unwrap() + 11;
    text[from..text.find(r#"],"usage":"#).unwrap()].to_owned()
}

/// An answer of one candidate.
fn answer(parts: &str, rest: &str) -> String {
    format!(r#"{{"candidates":[{{"content":{{"role":"model","parts":[{parts}]}}{rest}}}]}}"#)
}

const STOP: &str = r#","finishReason":"STOP""#;

#[test]
fn a_text_is_streamed_byte_by_byte_as_the_contract_says() {
    let events = [
        r#"{"candidates":[{"content":{"parts":[{"text":"Hel"}],"role":"model"}}],"usageMetadata":{"promptTokenCount":10},"createTime":"2023-11-14T22:13:20.5Z"}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"lo"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":2,"thoughtsTokenCount":5,"totalTokenCount":17}}"#,
        r#"{"usageMetadata":{"trafficType":"ON_DEMAND"}}"#,
    ];
    assert_eq!(
        stream(plan(), &events),
        r#"data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}

data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":"Hel"},"logprobs":null,"finish_reason":null}]}

data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":"lo"},"logprobs":null,"finish_reason":null}]}

data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

"#
    );
    let with_usage = stream(ChatPlan { include_usage: true, ..plan() }, &events);
    let lines: Vec<&str> = with_usage.split("\n\n").collect();
    assert_eq!(lines.len(), 7);
    for line in &lines[..4] {
        assert!(line.ends_with(r#"}],"usage":null}"#), "{line}");
    }
    assert_eq!(
        lines[4],
        r#"data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":7,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0,"image_tokens":0,"text_tokens":0,"cache_write_tokens":0},"completion_tokens_details":{"reasoning_tokens":5,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}"#
    );
    assert_eq!(lines[5..], ["data: [DONE]", ""]);
}

#[test]
fn a_whole_text_is_one_object() {
    assert_eq!(
        whole(
            plan(),
            r#"{"candidates":[{"content":{"parts":[{"text":"Hel"},{"text":"lo\n"}]},"finishReason":"STOP","index":0}],"createTime":"2023-11-14T22:13:21Z","usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}}"#
        )
        .unwrap(),
        r#"{"id":"chatcmpl-R","object":"chat.completion","created":1700000001,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello\n","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0,"image_tokens":0,"text_tokens":0,"cache_write_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"system_fingerprint":null,"service_tier":"default"}"#
    );
}

#[test]
fn thoughts_are_reasoning() {
    let parts = answer(r#"{"thought":true,"text":"hm"},{"text":"x"}"#, STOP);
    assert_eq!(
        stream(plan(), &[&parts]),
        choice_0(&[ROLE, r#""reasoning_content":"hm""#, r#""content":"x""#], "stop")
    );
    assert_eq!(
        choices(plan(), &parts),
        r#"{"index":0,"message":{"role":"assistant","content":"x","refusal":null,"reasoning_content":"hm"},"logprobs":null,"finish_reason":"stop"}"#
    );
}

#[test]
fn a_client_that_asks_for_tags_gets_thoughts_within_the_text() {
    let tagged = ChatPlan { thought_tag: Some("think".to_owned()), ..plan() };
    let thought = answer(r#"{"thought":true,"text":"hm"}"#, "");
    let text = answer(r#"{"text":"x"}"#, STOP);
    assert_eq!(
        stream(tagged.clone(), &[&thought, &thought, &text]),
        choice_0(
            &[ROLE, r#""content":"<think>hm""#, r#""content":"hm""#, r#""content":"</think>x""#],
            "stop"
        )
    );
    let call = answer(r#"{"functionCall":{"name":"f"}}"#, STOP);
    let text = stream(tagged.clone(), &[&thought, &call]);
    let (close, call) = (text.find(r#""content":"</think>""#), text.find("tool_calls"));
    assert!(close.is_some() && close < call, "{text}");
    let only = answer(r#"{"thought":true,"text":"hm"}"#, STOP);
    let text = choices(tagged.clone(), &only);
    assert!(text.contains(r#""content":"<think>hm</think>""#), "{text}");
    let mut odd = tagged;
    odd.thought_tag = Some("a\"b".to_owned());
    assert!(choices(odd, &only).contains(r#""content":"<a\"b>hm</a\"b>""#));
}

#[test]
fn a_refused_prompt_is_a_refusal_and_keeps_its_usage() {
    let blocked =
        r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4}}"#;
    let refusal = r#""refusal":"The prompt was blocked (SAFETY).""#;
    assert_eq!(stream(plan(), &[blocked]), choice_0(&[NO_TEXT_ROLE, refusal], "content_filter"));
    let text = whole(plan(), blocked).unwrap();
    assert!(
        text.contains(&format!(
            r#""choices":[{{"index":0,"message":{{"role":"assistant","content":null,{refusal}}},"logprobs":null,"finish_reason":"content_filter"}}],"usage":{{"prompt_tokens":4,"#
        )),
        "{text}"
    );
}

#[test]
fn an_answer_that_fails_with_nothing_but_thoughts_is_an_error() {
    let failed = answer("", r#","finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"bad""#);
    let error = Error::NoAnswer {
        reason: "MALFORMED_FUNCTION_CALL".to_owned(),
        message: Some("bad".to_owned()),
    };
    assert_eq!(streamed(plan(), &[&failed]), (String::new(), Some(error.clone())));
    assert_eq!(whole(plan(), &failed), Err(error.clone()));
    let thought = answer(r#"{"thought":true,"text":"hm"}"#, "");
    let (text, found) = streamed(plan(), &[&thought, &failed]);
    assert_eq!(found, Some(error.clone()));
    assert!(
        text.contains("hm") && !text.contains("[DONE]") && !text.contains("\"stop\""),
        "{text}"
    );
    let mut out = BytesMut::new();
    ChatWriter::new(plan(), birth()).error(&error, &mut out);
    let text = std::str::from_utf8(&out).unwrap();
    assert!(text.starts_with(r#"data: {"error":{"message":"The model ended"#), "{text}");
    assert!(
        text.ends_with(
            "\"type\":\"server_error\",\"param\":null,\"code\":\"malformed_function_call\"}}\n\n"
        ),
        "{text}"
    );
}

#[test]
fn a_stream_that_is_cut_off_is_an_error_without_a_finish() {
    let (text, error) = streamed(plan(), &[&answer(r#"{"text":"Hel"}"#, "")]);
    assert_eq!(error, Some(Error::UpstreamIncomplete));
    assert!(text.ends_with("\"content\":\"Hel\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n"));
    assert_eq!(streamed(plan(), &[]), (String::new(), Some(Error::UpstreamIncomplete)));
    let mut out = BytesMut::new();
    ChatWriter::new(plan(), birth()).error(&Error::UpstreamIncomplete, &mut out);
    let text = std::str::from_utf8(&out).unwrap();
    assert!(text.contains(r#""code":"upstream_incomplete""#), "{text}");
    // Before a writer gets a whole answer, each candidate of it has a reason.
    assert_eq!(whole(plan(), &answer(r#"{"text":"x"}"#, "")), Err(Error::UpstreamIncomplete));
    assert_eq!(whole(plan(), &answer("", "")), Err(Error::UpstreamIncomplete));
    assert_eq!(whole(plan(), "{}"), Err(Error::UpstreamIncomplete));
}

#[test]
fn each_reason_has_its_word_with_and_without_a_call() {
    let failures = [
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "OTHER",
        "NO_IMAGE",
        "IMAGE_OTHER",
        "A_WORD_OF_TOMORROW",
    ];
    let filters = [
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "LANGUAGE",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    ];
    let rows = [
        ("STOP", "stop", "tool_calls"),
        ("MAX_TOKENS", "length", "length"),
        ("CONTINUATION", "length", "length"),
    ];
    let rows =
        rows.into_iter().chain(filters.map(|word| (word, "content_filter", "content_filter")));
    for (reason, with_text, with_call) in
        rows.chain(failures.map(|word| (word, "stop", "tool_calls")))
    {
        let rest = format!(r#","finishReason":"{reason}""#);
        for (part, expected) in
            [(r#"{"text":"x"}"#, with_text), (r#"{"functionCall":{"name":"f"}}"#, with_call)]
        {
            let end = answer("", &rest);
            let expected = format!(r#""finish_reason":"{expected}""#);
            let text = stream(plan(), &[&answer(part, ""), &end]);
            assert_eq!(text.matches(&expected).count(), 1, "{reason}: {text}");
            assert!(choices(plan(), &answer(part, &rest)).contains(&expected), "{reason}");
        }
        let nothing = streamed(plan(), &[&answer("", &rest)]).1;
        assert_eq!(nothing.is_some(), failures.contains(&reason), "{reason}");
    }
}

#[test]
fn sources_are_annotations_in_code_points_before_the_finish() {
    let grounding = r#","groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://a/","title":"A"}}],"groundingSupports":[{"segment":{"startIndex":2,"endIndex":4},"groundingChunkIndices":[0]}]}"#;
    let annotations = r#""annotations":[{"type":"url_citation","url_citation":{"start_index":1,"end_index":2,"url":"https://a/","title":"A"}}]"#;
    let parts = answer(r#"{"text":"ä\u00f6"},{"text":"x"}"#, &format!("{grounding}{STOP}"));
    assert_eq!(
        stream(plan(), &[&parts]),
        choice_0(&[ROLE, r#""content":"ä\u00f6""#, r#""content":"x""#, annotations], "stop")
    );
    assert!(choices(plan(), &parts).contains(&format!(r#""refusal":null,{annotations}}}"#)));
    let quoted = answer(
        r#"{"text":"ab"}"#,
        &format!(
            r#","citationMetadata":{{"citations":[{{"endIndex":1,"uri":"u","title":"t"}}]}}{STOP}"#
        ),
    );
    assert!(
        stream(plan(), &[&quoted])
            .contains(r#""url_citation":{"start_index":0,"end_index":1,"url":"u","title":"t"}}]"#)
    );
}

#[test]
fn the_signature_of_a_text_comes_before_the_finish() {
    let text = answer(r#"{"text":"x","thoughtSignature":"A"}"#, "");
    let end = answer(r#"{"text":"","thoughtSignature":"B"}"#, STOP);
    let signature = r#""extra_content":{"google":{"thought_signature":"B"}}"#;
    assert_eq!(
        stream(plan(), &[&text, &end]),
        choice_0(&[ROLE, r#""content":"x""#, signature], "stop")
    );
    let bare = answer(r#"{"text":"x"},{"thoughtSignature":"B"}"#, STOP);
    assert!(choices(plan(), &bare).contains(&format!(r#""refusal":null,{signature}}}"#)));
    // A thought's signature belongs to the thought, which does not come back.
    let thought =
        answer(r#"{"text":"x","thought":true,"thoughtSignature":"A"},{"text":"y"}"#, STOP);
    assert!(!stream(plan(), &[&thought]).contains("extra_content"));
}

#[test]
fn images_and_code_have_a_form_and_other_data_are_counted() {
    let parts = answer(
        r#"{"inlineData":{"mimeType":"image/png","data":"AA=="}},{"executableCode":{"language":"PYTHON","code":"print(\"a\")"}},{"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"a\n"}},{"text":"."},{"inlineData":{"mimeType":"audio/wav","data":"AA=="}},{"fileData":{"fileUri":"gs://a"}},{"inlineData":{"mimeType":"image/gif","data":"BB=="}}"#,
        STOP,
    );
    let image = |data: &str, mime: &str, index: u32| {
        format!(
            r#"{{"type":"image_url","image_url":{{"url":"data:{mime};base64,{data}"}},"index":{index}}}"#
        )
    };
    let (first, second) = (image("AA==", "image/png", 0), image("BB==", "image/gif", 1));
    assert_eq!(
        stream(plan(), &[&parts]),
        choice_0(
            &[
                ROLE,
                &format!(r#""images":[{first}]"#),
                r#""content":"```python\nprint(\"a\")\n```\n""#,
                r#""content":"\n```output\na\n\n```\n""#,
                r#""content":".""#,
                &format!(r#""images":[{second}]"#),
            ],
            "stop"
        )
    );
    let text = choices(plan(), &parts);
    assert!(text.contains(&format!(r#","images":[{first},{second}]}}"#)), "{text}");
    let event = AnswerEvent::read(parts.as_bytes()).unwrap();
    assert_eq!(event.unknown_parts(), 1);
}

#[test]
fn probabilities_stand_beside_their_text_and_keep_their_digits() {
    let logprobs = r#","logprobsResult":{"chosenCandidates":[{"token":"ä\n","tokenId":1,"logProbability":-0.10}],"topCandidates":[{"candidates":[{"token":"a","logProbability":-0.10},{"token":"b","logProbability":-2}]}]}"#;
    let content = r#"{"content":[{"token":"ä\n","logprob":-0.10,"bytes":[195,164,10],"top_logprobs":[{"token":"a","logprob":-0.10,"bytes":[97]},{"token":"b","logprob":-2,"bytes":[98]}]}],"refusal":null}"#;
    let text =
        stream(plan(), &[&answer(r#"{"text":"x"},{"text":"y"}"#, &format!("{logprobs}{STOP}"))]);
    assert_eq!(text.matches(content).count(), 1, "{text}");
    assert!(
        text.contains(&format!(r#""delta":{{"content":"x"}},"logprobs":{content},"#)),
        "{text}"
    );
    let text = stream(plan(), &[&answer("", &format!("{logprobs}{STOP}"))]);
    assert!(text.contains(&format!(r#""delta":{{}},"logprobs":{content},"#)), "{text}");
    let text = choices(plan(), &answer(r#"{"text":"x"}"#, &format!("{logprobs}{STOP}")));
    assert!(text.contains(&format!(r#"}},"logprobs":{content},"finish_reason":"stop""#)), "{text}");
    let text =
        stream(plan(), &[&answer(r#"{"text":"x"}"#, &format!(r#","logprobsResult":[1]{STOP}"#))]);
    assert!(text.contains(r#""delta":{"content":"x"},"logprobs":null"#), "{text}");
}

#[test]
fn candidates_interleave_by_index_and_each_has_one_role_and_one_finish() {
    let events = [
        r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}},{"index":1,"content":{"parts":[{"text":"b"}]}}]}"#,
        r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"d"}]},"finishReason":"MAX_TOKENS"}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"c"}]},"finishReason":"STOP"}]}"#,
    ];
    let text = stream(plan(), &events);
    let mut found = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("data: {")) {
        let value: Value = serde_json::from_str(&format!("{{{line}")).unwrap();
        let choice = &value["choices"][0];
        let what = match (&choice["delta"]["role"], &choice["finish_reason"]) {
            (Value::String(_), _) => "role",
            (_, Value::String(word)) => word,
            _ => choice["delta"]["content"].as_str().unwrap(),
        };
        found.push(format!("{}{what}", choice["index"]));
    }
    assert_eq!(found, ["0role", "0a", "1role", "1b", "1d", "0c", "0stop", "1length"]);
    let whole = choices(
        plan(),
        r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"},{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#,
    );
    let value: Value = serde_json::from_str(&format!("[{whole}]")).unwrap();
    assert_eq!((&value[0]["index"], &value[0]["message"]["content"]), (&0.into(), &"a".into()));
    assert_eq!((&value[1]["index"], &value[1]["message"]["content"]), (&1.into(), &"b".into()));
    // Vertex AI gives no index at all.
    let text = stream(
        plan(),
        &[
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"},{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}]}"#,
        ],
    );
    assert!(text.contains(r#"{"index":1,"delta":{"content":"b"}"#), "{text}");
    // One of two is cut off.
    assert_eq!(streamed(plan(), &events[..2]).1, Some(Error::UpstreamIncomplete));
}

#[test]
fn empty_texts_give_no_chunk_and_nothing_at_all_is_an_empty_text() {
    let empty = answer(r#"{"text":""},{"text":"","thought":true}"#, STOP);
    assert_eq!(stream(plan(), &[&empty]), choice_0(&[ROLE], "stop"));
    assert!(choices(plan(), &empty).contains(r#""content":"","refusal":null"#));
}

#[test]
fn separators_of_lines_are_escaped_and_lone_surrogates_survive() {
    let text = stream(plan(), &[&answer("{\"text\":\"a\u{2028}b\u{85}\\ud83d\"}", STOP)]);
    assert!(text.contains(r#""content":"a\u2028b\u0085\ud83d""#), "{text}");
    assert_eq!(text.lines().filter(|line| !line.is_empty()).count(), 4);
    let call = answer("{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\":\"\u{2028}\"}}}", STOP);
    assert!(stream(plan(), &[&call]).contains(r#""arguments":"{\"a\":\"\u2028\"}""#));
}

#[test]
fn what_is_kept_for_later_is_told() {
    let mut writer = ChatWriter::new(plan(), birth());
    let event = answer(
        r#"{"text":"x","thoughtSignature":"ABCD"}"#,
        r#","groundingMetadata":{"webSearchQueries":["q"]}"#,
    );
    assert_eq!(writer.held(), 0);
    writer.event(&AnswerEvent::read(event.as_bytes()).unwrap(), &mut BytesMut::new()).unwrap();
    assert_eq!(writer.held(), 4 + r#"{"webSearchQueries":["q"]}"#.len());
}

#[test]
fn a_beat_is_a_comment() {
    let mut out = BytesMut::new();
    ChatWriter::new(plan(), birth()).heartbeat(&mut out);
    assert_eq!(&out[..], b": \n\n");
}
