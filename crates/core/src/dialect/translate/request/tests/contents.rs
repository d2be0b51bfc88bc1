//! Merging of pieces, and pairing of calls and results.

use super::*;

#[test]
fn an_instruction_in_the_middle_stays_there_as_the_users_golden_2() {
    let pieces = vec![user(r#""x""#), Piece::System(text(r#""B \ud83d""#)), user(r#""y""#)];
    assert_eq!(
        parts_of(pieces, &target(PRO_25)),
        r#"{"text":"x"},{"text":"<system>\nB \ud83d\n</system>"},{"text":"y"}"#
    );
    let after_model = vec![model(r#""x""#), Piece::System(text(r#""B""#)), model(r#""y""#)];
    assert_eq!(
        contents_of(after_model, &target(PRO_25)),
        r#"[{"role":"model","parts":[{"text":"x"}]},{"role":"user","parts":[{"text":"<system>\nB\n</system>"}]},{"role":"model","parts":[{"text":"y"}]}]"#
    );
}

#[test]
fn texts_keep_their_bytes() {
    for json in [
        r#""\ud83d \/ \u00e4""#,
        "\"ä\u{2028}\u{85}\"",
        r#""12345678901234567890""#,
        r#""{\"a\":1}""#,
    ] {
        assert_eq!(parts_of(vec![user(json)], &target(PRO_25)), format!(r#"{{"text":{json}}}"#));
    }
    let own = Piece::UserText(Text::from("a \"b\"\n".to_owned()));
    assert_eq!(parts_of(vec![own], &target(PRO_25)), r#"{"text":"a \"b\"\n"}"#);
    // A reader has not looked whether the value is a string.
    let number: JsonText<'_> = serde_json::from_str(r#"["a"]"#).unwrap();
    assert_eq!(
        parts_of(vec![Piece::UserText(number.into())], &target(PRO_25)),
        r#"{"text":"[\"a\"]"}"#
    );
}

#[test]
fn media_are_parts() {
    let precise = Media::Inline {
        mime: "image/png".into(),
        data: "AA==".into(),
        resolution: Some("MEDIA_RESOLUTION_HIGH"),
    };
    let file = Media::File { mime: "image/jpeg".into(), uri: "https://a/b?\"".into() };
    let pieces = || {
        vec![
            user(r#""x""#),
            Piece::UserMedia(precise.clone()),
            Piece::UserMedia(file.clone()),
            Piece::ModelMedia(image("BB==")),
        ]
    };
    let rest = r#"{"fileData":{"mimeType":"image/jpeg","fileUri":"https://a/b?\""}}]},{"role":"model","parts":[{"inlineData":{"mimeType":"image/png","data":"BB=="}}]}]"#;
    assert_eq!(
        contents_of(pieces(), &target(PRO_3)),
        format!(
            r#"[{{"role":"user","parts":[{{"text":"x"}},{{"inlineData":{{"mimeType":"image/png","data":"AA=="}},"mediaResolution":{{"level":"MEDIA_RESOLUTION_HIGH"}}}},{rest}"#
        )
    );
    assert_eq!(
        contents_of(pieces(), &target(PRO_25)),
        format!(
            r#"[{{"role":"user","parts":[{{"text":"x"}},{{"inlineData":{{"mimeType":"image/png","data":"AA=="}}}},{rest}"#
        )
    );
}

#[test]
fn neighbours_of_one_side_become_one_content() {
    let pieces = vec![
        user(r#""a""#),
        user(r#""""#),
        user(r#""b""#),
        model(r#""""#),
        user(r#""c""#),
        model(r#""d""#),
        Piece::EndOfModel,
        model(r#""e""#),
    ];
    assert_eq!(
        contents_of(pieces, &target(PRO_25)),
        r#"[{"role":"user","parts":[{"text":"a"},{"text":"b"},{"text":"c"}]},{"role":"model","parts":[{"text":"d"},{"text":"e"}]}]"#
    );
}

#[test]
fn a_prefill_stays_last_and_a_model_may_begin() {
    assert_eq!(
        contents_of(vec![model(r#""a""#), user(r#""b""#), model(r#""c""#)], &target(PRO_25)),
        r#"[{"role":"model","parts":[{"text":"a"}]},{"role":"user","parts":[{"text":"b"}]},{"role":"model","parts":[{"text":"c"}]}]"#
    );
}

#[test]
fn results_come_in_the_order_of_the_calls_golden_6_and_28() {
    let mut failed = tool_result("b", r#""no \"b\"""#);
    failed.is_error = true;
    let pieces = vec![
        model(r#""I look.""#),
        signed_call("a", "f", Some("S")),
        call("b", "g"),
        Piece::Result(failed),
        user(r#""and""#),
        result("a", r#""1""#),
    ];
    assert_eq!(
        contents_of(pieces, &target(PRO_25)),
        r#"[{"role":"model","parts":[{"text":"I look."},{"functionCall":{"name":"f","args":{}},"thoughtSignature":"S"},{"functionCall":{"name":"g","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"1"}}},{"functionResponse":{"name":"g","response":{"error":"no \"b\""}}},{"text":"and"}]}]"#
    );
}

#[test]
fn gemini_3_gets_the_ids_of_calls_and_results() {
    let pieces = vec![call("call.1\"", "f"), result("call.1\"", r#""1""#)];
    assert_eq!(
        contents_of(pieces, &target(PRO_3)),
        r#"[{"role":"model","parts":[{"functionCall":{"id":"call.1\"","name":"f","args":{}},"thoughtSignature":"skip_thought_signature_validator"}]},{"role":"user","parts":[{"functionResponse":{"id":"call.1\"","name":"f","response":{"output":"1"}}}]}]"#
    );
    // The response has the id of its call, and none where the call has none.
    let mut named = tool_result("other", r#""1""#);
    named.name = Some("f".into());
    let contents = contents_of(vec![call("a", "f"), Piece::Result(named)], &target(PRO_3));
    assert!(contents.contains(r#"{"functionResponse":{"id":"a","name":"f""#), "{contents}");
    let contents = contents_of(vec![call("", "f")], &target(PRO_3));
    assert!(!contents.contains(r#""id""#), "{contents}");
}

#[test]
fn arguments_and_results_keep_their_bytes() {
    let args = r#"{ "z":12345678901234567890,"a":1.10,"s":"\ud83d\/" }"#;
    let call = Call { id: "a".into(), name: plain("f"), args: args.into(), signature: None };
    let mut result = tool_result("a", r#""\ud83d""#);
    result.texts.push(text(r#""{\"$ref\":1.0}""#));
    result.texts.push(Text::from("x\ny".to_owned()));
    let contents = contents_of(vec![Piece::Call(call), Piece::Result(result)], &target(PRO_25));
    assert!(contents.contains(&format!(r#""args":{args}}}"#)), "{contents}");
    assert!(contents.contains(r#"{"output":"\ud83d\n{\"$ref\":1.0}\nx\ny"}"#), "{contents}");
}

#[test]
fn a_call_without_a_result_gets_an_error_golden_8() {
    assert_eq!(
        contents_of(vec![call("a", "f"), user(r#""stop""#)], &target(PRO_25)),
        r#"[{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"error":"No result was returned for this call."}}},{"text":"stop"}]}]"#
    );
    let error = r#""response":{"error":"No result was returned for this call."}"#;
    for (pieces, missing) in [
        // At the very end.
        (vec![user(r#""x""#), call("a", "f")], 1),
        // The model goes on.
        (vec![call("a", "f"), Piece::EndOfModel, model(r#""x""#)], 1),
        (vec![call("a", "f"), Piece::EndOfModel, call("b", "f")], 2),
        // A late result answers nothing.
        (vec![call("a", "f"), user(r#""x""#), model(r#""y""#), result("a", r#""1""#)], 1),
        // Two messages of the model's are one step.
        (vec![call("a", "f"), model(r#""x""#), call("b", "f"), result("a", r#""1""#)], 1),
    ] {
        let contents = contents_of(pieces, &target(PRO_25));
        assert_eq!(contents.matches(error).count(), missing, "{contents}");
        let count = |key| contents.matches(key).count();
        assert_eq!(count("functionCall"), count("functionResponse"), "{contents}");
    }
}

#[test]
fn a_result_that_no_call_asked_for_is_a_text_at_its_place() {
    let mut other = tool_result("z", r#""\"2\"""#);
    other.media.push(image("AA=="));
    let pieces = vec![
        user(r#""x""#),
        Piece::Result(other),
        user(r#""y""#),
        model(r#""m""#),
        result("q", r#""3""#),
    ];
    assert_eq!(
        contents_of(pieces, &target(PRO_3)),
        r#"[{"role":"user","parts":[{"text":"x"},{"text":"[result of an earlier call] \"2\""},{"inlineData":{"mimeType":"image/png","data":"AA=="}},{"text":"y"}]},{"role":"model","parts":[{"text":"m"}]},{"role":"user","parts":[{"text":"[result of an earlier call] 3"}]}]"#
    );
    let mut silent = tool_result("z", r#""""#);
    silent.texts.clear();
    assert_eq!(
        parts_of(vec![Piece::Result(silent)], &target(PRO_3)),
        r#"{"text":"[result of an earlier call]"}"#
    );
}

/// The outputs in the order of the calls; `-` for a call without a result, `+` and a text for an orphan.
fn outputs(
    calls: &[(&'static str, &'static str)],
    results: Vec<ToolResult<'static>>,
) -> Vec<String> {
    let mut pieces: Vec<_> = calls.iter().map(|(id, name)| call(id, name)).collect();
    pieces.extend(results.into_iter().map(Piece::Result));
    let contents: serde_json::Value =
        serde_json::from_str(&contents_of(pieces, &target(PRO_25))).unwrap();
    let output = |part: &serde_json::Value| {
        let response = &part["functionResponse"]["response"];
        let orphan =
            || part["text"].as_str().map(|text| text.replace("[result of an earlier call] ", "+"));
        response["output"]
            .as_str()
            .map(str::to_owned)
            .or_else(orphan)
            .unwrap_or_else(|| "-".to_owned())
    };
    contents[1]["parts"].as_array().unwrap().iter().map(output).collect()
}

#[test]
fn results_find_their_calls_by_id_then_by_name_then_in_order() {
    let by_id = |id: &'static str, json: &'static str| tool_result(id, json);
    let by_name = |id: &'static str, name: &'static str, json: &'static str| ToolResult {
        name: Some(name.into()),
        ..tool_result(id, json)
    };
    for (calls, results, expected) in [
        // By id, whatever the name is.
        (
            vec![("a", "f"), ("b", "g")],
            vec![by_name("b", "f", r#""2""#), by_id("a", r#""1""#)],
            vec!["1", "2"],
        ),
        // The last one of several counts.
        (
            vec![("a", "f"), ("b", "g")],
            vec![by_id("a", r#""1""#), by_id("a", r#""2""#)],
            vec!["2", "-"],
        ),
        // Calls that share an id are answered in order.
        (
            vec![("a", "f"), ("b", "g"), ("a", "h")],
            vec![by_id("a", r#""1""#), by_id("b", r#""2""#), by_id("a", r#""3""#)],
            vec!["1", "2", "3"],
        ),
        (
            vec![("a", "f"), ("a", "g")],
            vec![by_id("a", r#""1""#), by_id("a", r#""2""#), by_id("a", r#""3""#)],
            vec!["1", "3"],
        ),
        // By name, among the calls that no id has found.
        (
            vec![("a", "f"), ("b", "f"), ("c", "g")],
            vec![by_name("x", "f", r#""2""#), by_id("a", r#""1""#), by_name("", "g", r#""3""#)],
            vec!["1", "2", "3"],
        ),
        (
            vec![("", "f"), ("", "g"), ("", "f")],
            vec![
                by_name("", "f", r#""1""#),
                by_name("", "f", r#""2""#),
                by_name("", "g", r#""3""#),
            ],
            vec!["1", "3", "2"],
        ),
        (vec![("", "f")], vec![by_name("", "f", r#""1""#), by_name("", "f", r#""2""#)], vec!["2"]),
        (
            vec![("a", "f")],
            vec![by_id("a", r#""1""#), by_name("x", "f", r#""2""#)],
            vec!["1", "+2"],
        ),
        (
            vec![("a", "f")],
            vec![by_name("x", "f", r#""1""#), by_name("", "f", r#""2""#)],
            vec!["1", "+2"],
        ),
        // In order, where there is neither id nor name.
        (
            vec![("", "f"), ("a", "g"), ("", "h")],
            vec![
                by_id("", r#""1""#),
                by_id("a", r#""2""#),
                by_id("", r#""3""#),
                by_id("", r#""4""#),
            ],
            vec!["1", "2", "3", "+4"],
        ),
        (vec![("a", "f")], vec![by_id("x", r#""1""#)], vec!["-", "+1"]),
    ] {
        assert_eq!(outputs(&calls, results), expected, "{calls:?}");
    }
}

#[test]
fn media_of_results_are_in_the_response_or_after_all_of_them_by_family_golden_22() {
    let pieces = || {
        let mut with_media = tool_result("a", r#""1""#);
        with_media.media = vec![
            image("AA=="),
            image("BB=="),
            Media::File { mime: "application/pdf".into(), uri: "gs://b/c".into() },
        ];
        vec![
            call("a", "a b"),
            call("b", "g"),
            user(r#""x""#),
            Piece::Result(with_media),
            result("b", r#""2""#),
        ]
    };
    let contents = contents_of(pieces(), &target(PRO_3));
    let user = contents.split_once(r#""role":"user","#).unwrap().1;
    assert_eq!(
        user,
        r#""parts":[{"functionResponse":{"id":"a","name":"a_b","response":{"output":"1"},"parts":[{"inlineData":{"mimeType":"image/png","data":"AA=="}},{"inlineData":{"mimeType":"image/png","data":"BB=="}}]}},{"functionResponse":{"id":"b","name":"g","response":{"output":"2"}}},{"text":"Returned by a_b:"},{"fileData":{"mimeType":"application/pdf","fileUri":"gs://b/c"}},{"text":"x"}]}]"#
    );
    let contents = contents_of(pieces(), &target(PRO_25));
    let user = contents.split_once(r#""role":"user","#).unwrap().1;
    assert_eq!(
        user,
        r#""parts":[{"functionResponse":{"name":"a_b","response":{"output":"1"}}},{"functionResponse":{"name":"g","response":{"output":"2"}}},{"text":"Returned by a_b:"},{"inlineData":{"mimeType":"image/png","data":"AA=="}},{"inlineData":{"mimeType":"image/png","data":"BB=="}},{"fileData":{"mimeType":"application/pdf","fileUri":"gs://b/c"}},{"text":"x"}]}]"#
    );
}
