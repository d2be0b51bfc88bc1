use bytes::Bytes;

use super::{Envelope, Form, Unwrapped, unwrap, wrap_count};

#[test]
fn a_request_is_wrapped_without_being_touched() {
    let request = Bytes::from_static(b" {\"contents\": []}\n");
    let wrapped = Envelope { model: "m", project: &"p\"\n".into(), prompt_id: "i" }
        .wrap(request.clone().into());
    assert_eq!(
        wrapped.to_bytes(),
        "{\"model\":\"m\",\"project\":\"p\\\"\\n\",\"user_prompt_id\":\"i\",\"request\": {\"contents\": []}\n}"
    );
    assert_eq!(wrapped.pieces().nth(1).unwrap().as_ptr(), request.as_ptr());
    assert_eq!(wrap_count(request.into()).to_bytes(), "{\"request\": {\"contents\": []}\n}");
}

#[test]
fn an_answer_is_sliced_out_and_the_wrappers_keys_stay_behind() {
    let wrapper = Bytes::from_static(
        br#"{"remainingCredits":[{"response":1}],"response":{"candidates":[],"responseId":"r"},"traceId":"t"}"#,
    );
    for form in [Form::AsWritten, Form::Compact] {
        let unwrapped = unwrap(&wrapper, form, None).unwrap();
        let response = unwrapped.response.unwrap();
        assert_eq!(response, r#"{"candidates":[],"responseId":"r"}"#);
        assert!(wrapper.as_ptr_range().contains(&response.as_ptr()));
        assert_eq!(unwrapped.trace_id.as_deref(), Some("t"));
    }
    assert_eq!(unwrap(&wrapper, Form::Compact, Some("t")).unwrap().trace_id, None);
}

#[test]
fn a_missing_response_id_is_filled_from_the_trace() {
    for (wrapper, earlier, expected) in [
        (r#"{"response":{"a":1},"traceId":"t"}"#, None, r#"{"a":1,"responseId":"t"}"#),
        (r#"{"trace_id":"t","response":{ }}"#, None, r#"{"responseId":"t"}"#),
        (
            r#"{"response":{"responseId":null,"a":1},"traceId":"t"}"#,
            None,
            r#"{"responseId":"t","a":1}"#,
        ),
        (
            r#"{"response":{"a":1},"traceId":"\"\u0041\\"}"#,
            None,
            r#"{"a":1,"responseId":"\"\u0041\\"}"#,
        ),
        (r#"{"response":{"a":1}}"#, Some("e\""), r#"{"a":1,"responseId":"e\""}"#),
        (r#"{"response":{"a":1},"traceId":""}"#, Some("e"), r#"{"a":1,"responseId":"e"}"#),
        (r#"{"response":{"a":1},"traceId":"t"}"#, Some("e"), r#"{"a":1,"responseId":"t"}"#),
        (r#"{"response":{"a":1},"traceId":7}"#, None, r#"{"a":1}"#),
        (r#"{"response":{"responseId":""},"traceId":"t"}"#, None, r#"{"responseId":""}"#),
        (
            "{\"response\":{\"a\":1},\"traceId\":\"\u{2028}\"}",
            None,
            r#"{"a":1,"responseId":"\u2028"}"#,
        ),
    ] {
        assert_eq!(taken(wrapper, Form::Compact, earlier).response.unwrap(), expected, "{wrapper}");
    }
}

#[test]
fn citations_have_the_public_name() {
    let given = concat!(
        r#"{"response":{"responseId":"r","citationMetadata":{"citations":1},"candidates":["#,
        r#"{"citationMetadata":{"citations":[{"citations":1}]},"content":{"citations":1}},"#,
        r#"{"citation_metadata":{"c\u0069tations":[]}},"#,
        r#"{"citationMetadata":{"citations":[],"citationSources":[]}},null]}}"#
    );
    let expected = concat!(
        r#"{"responseId":"r","citationMetadata":{"citations":1},"candidates":["#,
        r#"{"citationMetadata":{"citationSources":[{"citations":1}]},"content":{"citations":1}},"#,
        r#"{"citation_metadata":{"citationSources":[]}},"#,
        r#"{"citationMetadata":{"citations":[],"citationSources":[]}},null]}"#
    );
    assert_eq!(taken(given, Form::AsWritten, None).response.unwrap(), expected);
}

#[test]
fn line_separators_are_escaped_in_both_forms() {
    let given = "{\"response\":{ \"responseId\":\"r\",\"\u{2028}\":\"a\u{2029}b\u{85}é“\u{2027}\u{a0}\\\" \"}}";
    assert_eq!(
        taken(given, Form::AsWritten, None).response.unwrap(),
        "{ \"responseId\":\"r\",\"\\u2028\":\"a\\u2029b\\u0085é“\u{2027}\u{a0}\\\" \"}"
    );
    assert_eq!(
        taken(given, Form::Compact, None).response.unwrap(),
        "{\"responseId\":\"r\",\"\\u2028\":\"a\\u2029b\\u0085é“\u{2027}\u{a0}\\\" \"}"
    );
}

#[test]
fn an_event_over_several_lines_becomes_one() {
    let given = "{\n  \"response\": {\n    \"text\": \"a  b\\\\\",\n\t\"n\": [ 1.0, {} ],\r\n \"responseId\": \"r\"\n  }\n}\n";
    assert_eq!(
        taken(given, Form::Compact, None).response.unwrap(),
        r#"{"text":"a  b\\","n":[1.0,{}],"responseId":"r"}"#
    );
    assert_eq!(
        taken(given, Form::AsWritten, None).response.unwrap(),
        "{\n    \"text\": \"a  b\\\\\",\n\t\"n\": [ 1.0, {} ],\r\n \"responseId\": \"r\"\n  }"
    );
}

#[test]
fn errors_come_out_on_one_line_also_from_an_array() {
    let error = r#"{"error":{"code":429,"message":"a b"}}"#;
    for given in [
        "{\"error\": {\n \"code\": 429, \"message\": \"a b\" }}",
        "[{\n  \"error\": {\n    \"code\": 429,\n    \"message\": \"a b\"\n  }\n}\n]\n",
    ] {
        let unwrapped = taken(given, Form::AsWritten, None);
        assert_eq!(unwrapped.error.unwrap(), error);
        assert_eq!(unwrapped.response, None);
    }
    assert_eq!(
        taken(r#"{"error":null,"response":null}"#, Form::Compact, None),
        Unwrapped::default()
    );
}

#[test]
fn the_end_and_the_usage_are_noticed() {
    for (response, finished) in [
        (r#"{"candidates":[{"finishReason":"STOP"}]}"#, true),
        (r#"{"candidates":[{},{"finish_reason":"MAX_TOKENS"}]}"#, true),
        (r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, true),
        (r#"{"candidates":[{"finishReason":null,"content":{"finishReason":"STOP"}}]}"#, false),
        (r#"{"promptFeedback":{"safetyRatings":[]},"finishReason":"STOP"}"#, false),
    ] {
        let wrapper = format!(r#"{{"response":{response}}}"#);
        assert_eq!(taken(&wrapper, Form::Compact, None).finished, finished, "{response}");
    }
    let wrapper = r#"{"response":{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":"33","thoughtsTokenCount":769,"x":{},"cachedContentTokenCount":null}}}"#;
    let usage =
        crate::google::usage::TokenUsage { prompt: 10, output: 33, thoughts: 769, cached: 0 };
    assert_eq!(taken(wrapper, Form::Compact, None).usage, Some(usage));
}

#[test]
fn what_is_not_a_wrapper_is_refused() {
    for given in
        ["", "[]", "1", "[{},{}]", "{\"response\":[]}", "{\"response\":{}", "{} {}", "[[{}]]"]
    {
        assert!(unwrap(&Bytes::from(given), Form::Compact, None).is_err(), "{given}");
    }
}

fn taken(wrapper: &str, form: Form, trace: Option<&str>) -> Unwrapped {
    unwrap(&Bytes::copy_from_slice(wrapper.as_bytes()), form, trace).unwrap()
}
