//! Calls of tools.

use super::*;

#[test]
fn a_call_and_its_finish_may_come_in_two_events() {
    let memory = Arc::new(crate::policy::call_signatures::CallSignatures::new(10_000));
    let call = answer(
        r#"{"functionCall":{"name":"f","args":{ "a": 1.0 }},"thoughtSignature":"S+/="}"#,
        "",
    );
    let end = answer(r#"{"text":""}"#, STOP);
    assert_eq!(
        stream(plan(), &[&call, &end]),
        choice_0(
            &[
                NO_TEXT_ROLE,
                r#""tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":1.0}"},"extra_content":{"google":{"thought_signature":"S+/="}}}]"#,
            ],
            "tool_calls"
        )
    );
    let signatures = SignatureRecall::new(Arc::clone(&memory), Caller::Unknown);
    let mut writer = ChatWriter::new(plan(), Birth { signatures: signatures.clone(), ..birth() });
    let event = AnswerEvent::read(call.as_bytes()).unwrap();
    writer.event(&event, &mut BytesMut::new()).unwrap();
    let mut ids = IdSource::new([7; 32]);
    ids.next("chatcmpl-");
    assert_eq!(signatures.recall(&ids.next("call_")).as_deref(), Some(&b"S+/="[..]));
}

#[test]
fn two_calls_of_one_event_are_two_chunks_with_two_ids() {
    let calls = answer(
        r#"{"functionCall":{"name":"f"}},{"functionCall":{"id":"fc-1","name":"default_api.f","args":null}}"#,
        STOP,
    );
    assert_eq!(
        stream(plan(), &[&calls]),
        choice_0(
            &[
                NO_TEXT_ROLE,
                r#""tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]"#,
                r#""tool_calls":[{"index":1,"id":"fc-1","type":"function","function":{"name":"f","arguments":"{}"}}]"#,
            ],
            "tool_calls"
        )
    );
    assert_eq!(
        choices(plan(), &calls),
        r#"{"index":0,"message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"fc-1","type":"function","function":{"name":"f","arguments":"{}"}}]},"logprobs":null,"finish_reason":"tool_calls"}"#
    );
}

#[test]
fn geminis_own_id_is_given_only_if_it_is_legal_and_new() {
    let long = "x".repeat(65);
    for (id, is_given) in [
        ("abc_-9", true),
        ("", false),
        ("a.b", false),
        ("é", false),
        (&long, false),
        (&long[1..], true),
    ] {
        let call = answer(&format!(r#"{{"functionCall":{{"id":"{id}","name":"f"}}}}"#), STOP);
        let expected = if is_given { id } else { "call_1" };
        let text = stream(plan(), &[&call]);
        assert!(text.contains(&format!(r#""id":"{expected}","type""#)), "{id}: {text}");
    }
    let call = answer(r#"{"functionCall":{"id":"same","name":"f"}}"#, "");
    let end = answer("", STOP);
    let text = stream(plan(), &[&call, &call, &end]);
    assert_eq!(text.matches(r#""id":"same""#).count(), 1, "{text}");
    assert!(text.contains(r#""index":1,"id":"call_1""#), "{text}");
}

#[test]
fn a_tool_has_the_clients_name_and_an_unknown_one_keeps_its_own() {
    let calls =
        answer(r#"{"functionCall":{"name":"long_1"}},{"functionCall":{"name":"new\"one"}}"#, STOP);
    let text = stream(plan(), &[&calls]);
    assert!(text.contains(r#""function":{"name":"a very long name","#), "{text}");
    assert!(text.contains(r#""function":{"name":"new\"one","#), "{text}");
}

#[test]
fn a_custom_tool_gets_its_text() {
    for (args, input) in [
        (r#"{"input":"*** \"a\"\n"}"#, r#"*** \"a\"\n"#),
        (r#"{"input":3}"#, r#"{\"input\":3}"#),
        (r#"{"text":"x"}"#, r#"{\"text\":\"x\"}"#),
    ] {
        let call = answer(&format!(r#"{{"functionCall":{{"name":"patch","args":{args}}}}}"#), STOP);
        let given = format!(
            r#""id":"call_1","type":"custom","custom":{{"name":"patch","input":"{input}"}}}}]"#
        );
        let text = stream(plan(), &[&call]);
        assert!(text.contains(&format!(r#""tool_calls":[{{"index":0,{given}"#)), "{text}");
        let text = choices(plan(), &call);
        assert!(text.contains(&format!(r#""tool_calls":[{{{given}"#)), "{text}");
    }
}

#[test]
fn of_several_calls_a_client_that_wants_one_gets_the_first() {
    let mut one = plan();
    one.plan.one_call = true;
    let call = |name: &str| answer(&format!(r#"{{"functionCall":{{"name":"{name}"}}}}"#), "");
    let text = stream(one.clone(), &[&call("f"), &call("long_1"), &answer("", STOP)]);
    assert_eq!(text.matches("tool_calls\":[").count(), 1, "{text}");
    assert!(text.contains(r#""finish_reason":"tool_calls""#), "{text}");
    // Each candidate has a first call of its own.
    let two = r#"{"candidates":[{"index":0,"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"},{"index":1,"content":{"parts":[{"functionCall":{"name":"f"}},{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}"#;
    assert_eq!(stream(one, &[two]).matches("tool_calls\":[").count(), 2);
}

#[test]
fn a_client_with_legacy_functions_gets_one_function_call() {
    let legacy = ChatPlan { legacy_functions: true, ..plan() };
    let calls = answer(
        r#"{"functionCall":{"name":"f","args":{"a":"b"}}},{"functionCall":{"name":"f"}}"#,
        STOP,
    );
    let call = r#""function_call":{"name":"f","arguments":"{\"a\":\"b\"}"}"#;
    assert_eq!(stream(legacy.clone(), &[&calls]), choice_0(&[NO_TEXT_ROLE, call], "function_call"));
    assert_eq!(
        choices(legacy, &calls),
        format!(
            r#"{{"index":0,"message":{{"role":"assistant","content":null,"refusal":null,{call}}},"logprobs":null,"finish_reason":"function_call"}}"#
        )
    );
}
