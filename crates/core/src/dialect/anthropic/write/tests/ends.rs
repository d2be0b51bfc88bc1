use super::*;

#[test]
fn each_end_has_its_stop_reason() {
    let text = part(r#"{"text":"a"}"#);
    let call = part(r#"{"functionCall":{"name":"f"}}"#);
    let thought = part(r#"{"text":"a","thought":true}"#);
    for (before, reason, expected) in [
        (&text, "STOP", "end_turn"),
        (&thought, "STOP", "end_turn"),
        (&call, "STOP", "tool_use"),
        (&text, "MAX_TOKENS", "max_tokens"),
        (&call, "MAX_TOKENS", "max_tokens"),
        (&text, "CONTINUATION", "max_tokens"),
        (&thought, "SAFETY", "refusal"),
        (&call, "RECITATION", "refusal"),
        (&text, "MALFORMED_FUNCTION_CALL", "end_turn"),
        (&call, "OTHER", "tool_use"),
        (&text, "A_WORD_OF_TOMORROW", "end_turn"),
    ] {
        let end = format!(r#"{{"candidates":[{{"finishReason":"{reason}"}}]}}"#);
        let delta = delta(&stream(writer(Thoughts::Absent), &[before, &end]).unwrap());
        assert_eq!(delta["delta"]["stop_reason"], expected, "{reason}");
        assert_eq!(delta["delta"]["stop_sequence"], Value::Null);
        assert_eq!(delta["delta"].get("stop_details").is_some(), expected == "refusal");
    }
}

#[test]
fn a_filter_says_why_it_has_stopped_the_answer() {
    let filtered = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"SAFETY","finishMessage":"Too hot."}]}"#;
    let prompt =
        r#"{"promptFeedback":{"blockReason":"BLOCKLIST"},"usageMetadata":{"promptTokenCount":9}}"#;
    for (event, content, explanation, tokens) in [
        (filtered, json!([{"type":"text","text":"a"}]), "SAFETY: Too hot.", 0),
        (prompt, json!([]), "BLOCKLIST: Google has stopped the request or its answer.", 9),
    ] {
        let details = json!({"type":"refusal","category":null,"explanation":explanation});
        let streamed = stream(writer(Thoughts::Absent), &[event]).unwrap();
        assert_eq!(Value::Array(blocks(&streamed)), content);
        assert_eq!(delta(&streamed)["delta"]["stop_reason"], "refusal");
        assert_eq!(delta(&streamed)["delta"]["stop_details"], details);
        assert_eq!(delta(&streamed)["usage"]["input_tokens"], tokens);
        let whole = whole(writer(Thoughts::Absent), event).unwrap();
        assert_eq!((&whole["content"], &whole["stop_details"]), (&content, &details));
    }
}

#[test]
fn a_failure_with_nothing_but_thoughts_is_an_error_and_not_an_empty_message() {
    let failed = r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true}]},"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"no"}]}"#;
    let error = Error::NoAnswer {
        reason: "MALFORMED_FUNCTION_CALL".to_owned(),
        message: Some("no".to_owned()),
    };
    let mut out = BytesMut::new();
    let event = AnswerEvent::read(failed.as_bytes()).unwrap();
    assert_eq!(writer(Thoughts::Shown).event(&event, &mut out), Err(error.clone()));
    assert!(out.is_empty());
    assert_eq!(whole(writer(Thoughts::Shown), failed), Err(error.clone()));

    // After a thought the error ends the stream.
    let mut writer = writer(Thoughts::Shown);
    let thought = part(r#"{"text":"hm","thought":true}"#);
    writer.event(&AnswerEvent::read(thought.as_bytes()).unwrap(), &mut out).unwrap();
    out.clear();
    assert_eq!(writer.event(&event, &mut out), Err(error.clone()));
    assert!(out.is_empty());
    writer.error(&error, &mut out);
    let [frame] = &frames(std::str::from_utf8(&out).unwrap())[..] else { panic!("{out:?}") };
    assert_eq!(frame["error"]["type"], "api_error");
    assert_eq!(frame["request_id"], "req-1");
}

#[test]
fn an_answer_without_an_end_is_an_error() {
    let text = part(r#"{"text":"Hel"}"#);
    assert_eq!(stream(writer(Thoughts::Absent), &[&text]), Err(Error::UpstreamIncomplete));
    assert_eq!(whole(writer(Thoughts::Absent), &text), Err(Error::UpstreamIncomplete));
    assert_eq!(whole(writer(Thoughts::Absent), "{}"), Err(Error::UpstreamIncomplete));
}

#[test]
fn an_error_and_a_sign_of_life_are_frames_of_their_own() {
    let mut writer = writer(Thoughts::Absent);
    let mut out = BytesMut::new();
    writer.heartbeat(&mut out);
    assert_eq!(&out[..], b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
    out.clear();
    writer.error(&Error::Internal, &mut out);
    let (before, after) = (
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"",
        "\"},\"request_id\":\"req-1\"}\n\n",
    );
    let frame = std::str::from_utf8(&out).unwrap();
    assert!(frame.starts_with(before) && frame.ends_with(after), "{frame}");
}

#[test]
fn a_search_comes_after_the_text_and_is_counted() {
    let text = part(r#"{"text":"So."}"#);
    let end = r#"{"candidates":[{"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a \"b\""],"groundingChunks":[{"web":{"uri":"https://x.example/1","title":"X \"1\""}},{"web":{"uri":"https://x.example/2"}}]}}]}"#;
    let streamed = stream(writer(Thoughts::Absent), &[&text, end]).unwrap();
    let mut ids = IdSource::new([1; 32]);
    let id = [ids.next("msg_"), ids.next("srvtoolu_")][1].clone();
    let expected = json!([
        {"type":"text","text":"So."},
        {"type":"server_tool_use","id":id,"name":"web_search","input":{"query":"a \"b\""}},
        {"type":"web_search_tool_result","tool_use_id":id,"content":[
            {"type":"web_search_result","url":"https://x.example/1","title":"X \"1\"","encrypted_content":"","page_age":null},
            {"type":"web_search_result","url":"https://x.example/2","title":"","encrypted_content":"","page_age":null}
        ]}
    ]);
    assert_eq!(Value::Array(blocks(&streamed)), expected);
    assert_eq!(delta(&streamed)["usage"]["server_tool_use"], json!({"web_search_requests":1}));
    assert_eq!(delta(&streamed)["delta"]["stop_reason"], "end_turn");

    let event = end
        .replace(r#"{"finishReason""#, r#"{"content":{"parts":[{"text":"So."}]},"finishReason""#);
    let whole = whole(writer(Thoughts::Absent), &event).unwrap();
    assert_eq!(whole["content"], expected);
    assert_eq!(whole["usage"]["server_tool_use"], json!({"web_search_requests":1}));
}

#[test]
fn what_is_held_is_bounded_by_what_came() {
    let mut writer = writer(Thoughts::Shown);
    let mut out = BytesMut::new();
    assert_eq!(writer.held(), 0);
    let text = part(r#"{"text":"a long text that is gone at once"}"#);
    writer.event(&AnswerEvent::read(text.as_bytes()).unwrap(), &mut out).unwrap();
    assert_eq!(writer.held(), 0);
    let end = r#"{"candidates":[{"finishReason":"SAFETY","finishMessage":"no","groundingMetadata":{"webSearchQueries":["a"]}}]}"#;
    writer.event(&AnswerEvent::read(end.as_bytes()).unwrap(), &mut out).unwrap();
    assert!(writer.held() > 8, "{}", writer.held());
}
