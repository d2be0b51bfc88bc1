use super::*;

/// The error for these fields as a client sees it.
fn refusal(fields: &Value) -> (u16, String) {
    let error = read_fields(&target("gemini-3-pro-preview"), fields).unwrap_err();
    let fault = Fault::of(&error, Dialect::Anthropic);
    assert_eq!(fault.kind, "invalid_request_error", "{}", fault.message);
    assert_eq!(fault.should_retry, Some(false));
    (fault.status.as_u16(), fault.message)
}

#[test]
fn a_refusal_begins_with_the_path_of_the_field() {
    let user = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    let model = |block: Value| json!({"messages": [{"role": "assistant", "content": [block]}]});
    let image = |source: Value| user(json!({"type": "image", "source": source}));
    for (fields, begin) in [
        (json!({"model": null}), "model: Field required"),
        (json!({"max_tokens": null}), "max_tokens: Field required"),
        (json!({"max_tokens": "many"}), "max_tokens: This must be a whole number"),
        (json!({"max_tokens": -1}), "max_tokens: "),
        (json!({"temperature": "hot"}), "temperature: This must be a number."),
        (json!({"stop_sequences": "x"}), "stop_sequences: "),
        (json!({"stop_sequences": ["a", 1]}), "stop_sequences.1: This must be a string."),
        (json!({"system": 1}), "system: This must be an array."),
        (json!({"system": [{"type": "image"}]}), "system.0: "),
        (json!({"messages": null}), "messages: Field required"),
        (json!({"messages": []}), "messages: There must be at least one message."),
        (json!({"messages": {}}), "messages: This must be an array."),
        (
            json!({"messages": [{"role": "user", "content": "a"}, "b"]}),
            "messages.1: This must be an object.",
        ),
        (json!({"messages": [{"content": "a"}]}), "messages.0.role: Field required"),
        (json!({"messages": [{"role": "tool", "content": "a"}]}), "messages.0.role: "),
        (json!({"messages": [{"role": "user"}]}), "messages.0.content: Field required"),
        (
            json!({"messages": [{"role": "user", "content": 1}]}),
            "messages.0.content: This must be an array.",
        ),
        (user(json!("x")), "messages.0.content.0: This must be an object."),
        (user(json!({"text": "x"})), "messages.0.content.0.type: Field required"),
        (user(json!({"type": "text"})), "messages.0.content.0.text: Field required"),
        (
            user(json!({"type": "text", "text": 1})),
            "messages.0.content.0.text: This must be a string.",
        ),
        (user(json!({"type": "container_upload", "file_id": "f"})), "messages.0.content.0: "),
        (
            user(json!({"type": "a_new_type"})),
            "messages.0.content.0: A user's message has no block `a_new_type`",
        ),
        (
            image(json!({"type": "file", "file_id": "f"})),
            "messages.0.content.0: No files are kept here",
        ),
        (
            image(json!({"type": "base64", "data": "AA=="})),
            "messages.0.content.0.source.media_type: Field required",
        ),
        (
            image(json!({"type": "url", "url": "http://169.254.169.254/a"})),
            "messages.0.content.0: URLs of images are not fetched here",
        ),
        (user(json!({"type": "image"})), "messages.0.content.0.source: Field required"),
        (user(json!({"type": "tool_result"})), "messages.0.content.0.tool_use_id: Field required"),
        (
            user(
                json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "audio"}]}),
            ),
            "messages.0.content.0.content.0: ",
        ),
        (
            model(json!({"type": "tool_use", "id": "t"})),
            "messages.0.content.0.name: Field required",
        ),
        (model(json!({"type": "tool_result", "tool_use_id": "t"})), "messages.0.content.0: "),
        (json!({"thinking": "on"}), "thinking: This must be an object."),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens: Field required"),
        (json!({"output_config": {"effort": "huge"}}), "output_config.effort: The effort `huge`"),
        (
            json!({"output_config": {"format": {"type": "json_schema"}}}),
            "output_config.format.schema: Field required",
        ),
        (json!({"tools": [{"input_schema": {}}]}), "tools.0.name: Field required"),
        (json!({"tools": ["x"]}), "tools.0: This must be an object."),
        (json!({"tool_choice": {"type": "some"}}), "tool_choice.type: "),
        (json!({"tool_choice": {"type": "tool"}}), "tool_choice.name: Field required"),
        (json!({"tool_choice": {"type": "tool", "name": "f"}}), "tool_choice.name: "),
    ] {
        let (status, message) = refusal(&fields);
        assert_eq!(status, 400);
        assert!(message.starts_with(begin), "{fields}: {message}");
    }
}

#[test]
fn a_thread_is_refused_in_the_words_that_make_sdks_send_whole_conversations() {
    for (fields, code, path) in [
        (json!({"thread": {"type": "create"}}), RefusalCode::ThreadUnsupported, "thread"),
        (
            json!({"thread": {"type": "continue", "previous_message_id": "msg_1"}}),
            RefusalCode::ThreadNotFound,
            "thread.previous_message_id",
        ),
        (
            json!({"previous_message_id": "msg_1"}),
            RefusalCode::ThreadNotFound,
            "previous_message_id",
        ),
    ] {
        let Err(Error::Refused(refusal)) = read_fields(&target("gemini-2.5-pro"), &fields) else {
            panic!("{fields}")
        };
        assert_eq!((refusal.code, &*refusal.path), (code, path));
    }
    assert!(read_fields(&target("gemini-2.5-pro"), &json!({"thread": null})).is_ok());
}

#[test]
fn a_body_that_is_no_request_is_refused() {
    let read = |body: &'static str| read(&Bytes::from(body), &target("gemini-2.5-pro"));
    assert!(matches!(read("{"), Err(Error::MalformedJson { .. })));
    assert!(matches!(read(""), Err(Error::MalformedJson { .. })));
    assert!(matches!(read("{} {}"), Err(Error::MalformedJson { .. })));
    assert!(matches!(read("[]"), Err(Error::Refused(_))));
}
