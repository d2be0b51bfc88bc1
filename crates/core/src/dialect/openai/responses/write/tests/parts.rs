//! The items of parts that are neither texts nor calls of functions.

use serde_json::json;

use super::*;

fn event(parts: &str) -> String {
    format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}]}}}}]}}"#)
}

#[test]
fn a_custom_tool_is_called_with_its_text() {
    for (args, input) in [
        (r#"{"input":"*** Begin\n\"x\" \u2028"}"#, "*** Begin\n\"x\" \u{2028}"),
        (r#"{"other":"x"}"#, r#"{"other":"x"}"#),
        (r#"{"input": 5}"#, r#"{"input":5}"#),
    ] {
        let call = event(&format!(r#"{{"functionCall":{{"name":"patch","args":{args}}}}}"#));
        let stream = stream_of(plan(), &[&call, STOP]);
        assert_eq!(
            kinds(&stream)[2..6],
            [
                "output_item.added",
                "custom_tool_call_input.delta",
                "custom_tool_call_input.done",
                "output_item.done"
            ]
        );
        let expected = json!([{
            "type": "custom_tool_call", "id": "<ctc_1>", "call_id": "<call_1>", "name": "patch",
            "input": input, "status": "completed",
        }]);
        assert_eq!(output(&stream), expected);
    }
}

#[test]
fn names_that_models_change_are_brought_back() {
    let call = event(
        r#"{"functionCall":{"name":"default_api.mcp__d__search"}},{"functionCall":{"name":"default_api:g"}}"#,
    );
    let output = output(&stream_of(plan(), &[&call, STOP]));
    assert_eq!(output[0]["namespace"], "mcp__d");
    assert_eq!(output[0]["name"], "search");
    assert_eq!(output[0]["arguments"], "{}");
    assert_eq!(output[1]["name"], "default_api:g");
    assert_eq!(output[1].get("namespace"), None);
}

#[test]
fn later_calls_are_withheld_where_calls_are_not_parallel() {
    let mut plan = plan();
    plan.plan.one_call = true;
    let calls = event(
        r#"{"functionCall":{"name":"f"},"thoughtSignature":"S"},{"functionCall":{"name":"f"},"thoughtSignature":"T"}"#,
    );
    let output = output(&stream_of(plan, &[&calls, &calls, STOP]));
    assert_eq!(output.as_array().unwrap().len(), 2);
    assert_eq!(output[0]["encrypted_content"], "gs1.c.f.S");
}

#[test]
fn an_id_of_geminis_is_kept_if_clients_can_carry_it() {
    for (id, is_kept) in [
        ("a_B-9", true),
        ("", false),
        ("a.b", false),
        (&*"x".repeat(64), true),
        (&*"x".repeat(65), false),
    ] {
        let call = event(&format!(r#"{{"functionCall":{{"name":"f","id":"{id}"}}}}"#));
        let output = output(&stream_of(plan(), &[&call, STOP]));
        let expected = if is_kept { id } else { "<call_1>" };
        assert_eq!(output[0]["call_id"], expected);
    }
}

#[test]
fn a_search_is_an_item_and_its_pages_are_annotations() {
    let stop = r#"{"candidates":[{"content":{"parts":[{"text":"äöx"}]},"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a \"b\"","c"],"groundingChunks":[{"web":{"uri":"https://e.x/1","title":"T"}}],"groundingSupports":[{"segment":{"startIndex":2,"endIndex":4},"groundingChunkIndices":[0]}]}}]}"#;
    let stream = stream_of(plan(), &[stop]);
    let annotation = json!({
        "type": "url_citation", "start_index": 1, "end_index": 2, "url": "https://e.x/1", "title": "T",
    });
    let search = |number: u32, query: &str| {
        json!({
            "type": "web_search_call", "id": format!("<ws_{number}>"), "status": "completed",
            "action": {"type": "search", "query": query},
        })
    };
    let output = output(&stream);
    assert_eq!(output[0]["content"][0]["annotations"], json!([annotation]));
    assert_eq!(output[1], search(1, "a \"b\""));
    assert_eq!(output[2], search(2, "c"));
    let added = frames(&stream)
        .into_iter()
        .find(|(event, _)| event == "response.output_text.annotation.added")
        .unwrap();
    assert_eq!(added.1["annotation"], annotation);
    assert_eq!(added.1["annotation_index"], 0);
}

/// Upstream counts from the beginning of the answer, clients from that of the message.
#[test]
fn annotations_count_from_the_beginning_of_their_message() {
    let first = event(r#"{"text":"äb"},{"functionCall":{"name":"f"}}"#);
    let stop = r#"{"candidates":[{"content":{"parts":[{"text":"öx"}]},"finishReason":"STOP","groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://e.x/1"}}],"groundingSupports":[{"segment":{"endIndex":2},"groundingChunkIndices":[0]},{"segment":{"startIndex":5,"endIndex":6},"groundingChunkIndices":[0]}]}}]}"#;
    let output = output(&stream_of(plan(), &[&first, stop]));
    let annotations = output[2]["content"][0]["annotations"].as_array().unwrap();
    assert_eq!(annotations.len(), 1);
    assert_eq!(
        (&annotations[0]["start_index"], &annotations[0]["end_index"]),
        (&json!(1), &json!(2))
    );
}

#[test]
fn code_that_google_runs_is_an_item_with_its_output() {
    let code = event(r#"{"executableCode":{"language":"PYTHON","code":"print(1)"}}"#);
    let result = event(r#"{"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"1\n"}}"#);
    let item = |outputs| {
        json!({
            "type": "code_interpreter_call", "id": "<ci_1>", "status": "completed",
            "code": "print(1)", "outputs": outputs, "container_id": "none",
        })
    };
    let stream = stream_of(plan(), &[&code, &result, STOP]);
    assert_eq!(output(&stream), json!([item(json!([{"type": "logs", "logs": "1\n"}]))]));
    assert_eq!(output(&stream_of(plan(), &[&code, STOP])), json!([item(json!([]))]));
    // Output without code has no item that it belongs to.
    assert_eq!(output(&stream_of(plan(), &[&result, STOP])), json!([]));
}

#[test]
fn an_image_is_an_item_and_other_media_are_left_out() {
    let blobs = event(
        r#"{"inlineData":{"mimeType":"image/png","data":"AA=="}},{"inlineData":{"mimeType":"audio/wav","data":"BB=="}}"#,
    );
    let expected = json!([{
        "type": "image_generation_call", "id": "<ig_1>", "status": "completed", "result": "AA==",
    }]);
    assert_eq!(output(&stream_of(plan(), &[&blobs, STOP])), expected);
}

#[test]
fn probabilities_are_given_to_clients_that_have_asked() {
    let stop = r#"{"candidates":[{"content":{"parts":[{"text":"ä"}]},"finishReason":"STOP","logprobsResult":{"chosenCandidates":[{"token":"ä","tokenId":5,"logProbability":-0.10}],"topCandidates":[{"candidates":[{"token":"ä","logProbability":-0.10},{"token":"b","logProbability":-2}]}]}}]}"#;
    let token = |token: &str, logprob: &str, bytes: &str| {
        format!(r#"{{"token":"{token}","logprob":{logprob},"bytes":[{bytes}]"#)
    };
    let logprobs = format!(
        r#""logprobs":[{},"top_logprobs":[{}}},{}}}]}}]"#,
        token("ä", "-0.10", "195,164"),
        token("ä", "-0.10", "195,164"),
        token("b", "-2", "98"),
    );
    let asked = ResponsesPlan { logprobs: true, ..plan() };
    let stream = stream_of(asked, &[stop]);
    // The delta, and what is done: the text, the part, the item, the answer.
    assert_eq!(stream.matches(&logprobs).count(), 5, "{stream}");
    assert!(!stream_of(plan(), &[stop]).contains("top_logprobs"));
}

#[test]
fn what_is_unknown_or_empty_gives_no_item() {
    let parts = event(r#"{"text":""},{"text":"","thought":true},{"newKind":{}},{"text":5}"#);
    let other = r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"other"}]}}]}"#;
    for events in [&[&*parts, STOP][..], &[r#"{"usageMetadata":{}}"#, other, STOP]] {
        assert_eq!(output(&stream_of(plan(), events)), json!([]));
    }
}

#[test]
fn separators_that_some_readers_take_for_line_ends_are_escaped() {
    let text = event("{\"text\":\"a\u{2028}b\u{85}\",\"thought\":true},{\"text\":\"c\u{2029}\"}");
    let call = event("{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\":\"\u{2028}\"}}}");
    let stream = stream_of(plan(), &[&text, &call, STOP]);
    assert!(!stream.contains(['\u{2028}', '\u{2029}', '\u{85}']));
    let output = output(&stream);
    assert_eq!(output[1]["content"][0]["text"], "c\u{2029}");
    assert_eq!(output[2]["arguments"], "{\"a\":\"\u{2028}\"}");
}
