use bytes::{Bytes, BytesMut};

use super::{Envelope, Form, OpenedResponse, open, wrap_count};
use crate::google::usage::TokenUsage;
use crate::request_texts::RequestTexts;

#[test]
fn a_request_is_wrapped_without_being_touched() {
    let request = Bytes::from_static(b" {\"contents\": []}\n");
    let wrapped = Envelope { model: "m", project: &"p\"\n".into(), prompt_id: "i" }
        .wrap(request.clone().into(), &mut RequestTexts::default());
    assert_eq!(
        wrapped.to_bytes(),
        "{\"model\":\"m\",\"project\":\"p\\\"\\n\",\"user_prompt_id\":\"i\",\"request\": {\"contents\": []}\n}"
    );
    assert_eq!(wrapped.pieces().nth(1).unwrap().as_ptr(), request.as_ptr());
    assert_eq!(wrap_count(request.into()).to_bytes(), "{\"request\": {\"contents\": []}\n}");
}

#[test]
fn a_response_is_sliced_out_and_the_other_keys_of_the_envelope_are_left() {
    let envelope = Bytes::from_static(
        br#"{"remainingCredits":[{"response":1}],"response":{"candidates":[],"responseId":"r"},"traceId":"t"}"#,
    );
    for form in [Form::AsWritten, Form::Compact] {
        let opened = open(&envelope, None).unwrap();
        let response = opened.response.unwrap().into_bytes(form);
        assert_eq!(response, r#"{"candidates":[],"responseId":"r"}"#);
        assert!(envelope.as_ptr_range().contains(&response.as_ptr()));
        assert_eq!(opened.trace_id.as_deref(), Some("t"));
    }
    assert_eq!(open(&envelope, Some("t")).unwrap().trace_id, None);
}

#[test]
fn a_missing_response_id_is_filled_from_the_trace() {
    for (envelope, earlier, expected) in [
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
        assert_eq!(line(envelope, earlier), expected, "{envelope}");
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
    assert_eq!(as_written(given), expected);
}

#[test]
fn line_separators_are_escaped_in_both_forms() {
    let given = "{\"response\":{ \"responseId\":\"r\",\"\u{2028}\":\"a\u{2029}b\u{85}é“\u{2027}\u{a0}\\\" \"}}";
    assert_eq!(
        as_written(given),
        "{ \"responseId\":\"r\",\"\\u2028\":\"a\\u2029b\\u0085é“\u{2027}\u{a0}\\\" \"}"
    );
    assert_eq!(
        line(given, None),
        "{\"responseId\":\"r\",\"\\u2028\":\"a\\u2029b\\u0085é“\u{2027}\u{a0}\\\" \"}"
    );
}

#[test]
fn an_event_over_several_lines_becomes_one() {
    let given = "{\n  \"response\": {\n    \"text\": \"a  b\\\\\",\n\t\"n\": [ 1.0, {} ],\r\n \"responseId\": \"r\"\n  }\n}\n";
    assert_eq!(line(given, None), r#"{"text":"a  b\\","n":[1.0,{}],"responseId":"r"}"#);
    assert_eq!(
        as_written(given),
        "{\n    \"text\": \"a  b\\\\\",\n\t\"n\": [ 1.0, {} ],\r\n \"responseId\": \"r\"\n  }"
    );
}

#[test]
fn an_error_is_written_on_one_line_also_from_an_array() {
    let error = r#"{"error":{"code":429,"message":"a b"}}"#;
    for given in [
        "{\"error\": {\n \"code\": 429, \"message\": \"a b\" }}",
        "[{\n  \"error\": {\n    \"code\": 429,\n    \"message\": \"a b\"\n  }\n}\n]\n",
    ] {
        let given = Bytes::from_static(given.as_bytes());
        let opened = open(&given, None).unwrap();
        assert_eq!(opened.error.unwrap(), error);
        assert!(opened.response.is_none());
    }
    let neither = Bytes::from_static(br#"{"error":null,"response":null}"#);
    let opened = open(&neither, None).unwrap();
    assert!(opened.error.is_none() && opened.response.is_none() && opened.trace_id.is_none());
}

#[test]
fn the_end_and_the_usage_of_an_answer_are_read() {
    for (response, finished) in [
        (r#"{"candidates":[{"finishReason":"STOP"}]}"#, true),
        (r#"{"candidates":[{},{"finish_reason":"MAX_TOKENS"}]}"#, true),
        (r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, true),
        (r#"{"candidates":[{"finishReason":null,"content":{"finishReason":"STOP"}}]}"#, false),
        (r#"{"promptFeedback":{"safetyRatings":[]},"finishReason":"STOP"}"#, false),
    ] {
        let envelope = Bytes::from(format!(r#"{{"response":{response}}}"#));
        assert_eq!(open(&envelope, None).unwrap().finished(), finished, "{response}");
    }
    let envelope = r#"{"response":{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":"33","thoughtsTokenCount":769,"x":{},"cachedContentTokenCount":null}}}"#;
    let usage = TokenUsage { prompt: 10, output: 33, thoughts: 769, cached: 0 };
    assert_eq!(open(&Bytes::from_static(envelope.as_bytes()), None).unwrap().usage(), Some(usage));
}

#[test]
fn what_is_not_an_envelope_is_refused() {
    for given in
        ["", "[]", "1", "[{},{}]", "{\"response\":[]}", "{\"response\":{}", "{} {}", "[[{}]]"]
    {
        assert!(open(&Bytes::from(given), None).is_err(), "{given}");
    }
}

/// The response as a unary answer has it.
fn as_written(envelope: &str) -> Bytes {
    let envelope = Bytes::copy_from_slice(envelope.as_bytes());
    open(&envelope, None).unwrap().response.unwrap().into_bytes(Form::AsWritten)
}

/// The response as a stream event has it: the two ways to write it agree.
fn line(envelope: &str, trace: Option<&str>) -> Bytes {
    let envelope = Bytes::copy_from_slice(envelope.as_bytes());
    let response = || -> OpenedResponse<'_> { open(&envelope, trace).unwrap().response.unwrap() };
    let mut line = BytesMut::new();
    response().write_line(&mut line);
    assert_eq!(response().into_bytes(Form::Compact), line);
    line.freeze()
}
