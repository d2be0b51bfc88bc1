use std::collections::HashSet;

use super::*;

/// Parts of each kind, and the blocks that they become for a client that wants to see thoughts.
fn part_cases() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("a text", r#"{"text":"a"}"#, json!([{"type":"text","text":"a"}])),
        ("an empty text", r#"{"text":""}"#, json!([])),
        ("a text that is none", r#"{"text":12}"#, json!([])),
        (
            "arguments that are none",
            r#"{"functionCall":{"id":"a","name":"f","args":[1]}}"#,
            json!([{"type":"tool_use","id":"a","name":"f","input":{}}]),
        ),
        ("an image that is none", r#"{"inlineData":{"mimeType":"image/png","data":1}}"#, json!([])),
        ("an unknown part", r#"{"toolCall":{"x":1}}"#, json!([])),
        (
            "a thought without a signature",
            r#"{"text":"hm","thought":true}"#,
            json!([{"type":"thinking","thinking":"hm","signature":"gs1.c.-."}]),
        ),
        (
            "a signed text after a thought",
            r#"{"text":"hm","thought":true},{"text":"a","thoughtSignature":"S"}"#,
            json!([
                {"type":"thinking","thinking":"hm","signature":"gs1.c.t.S"},
                {"type":"text","text":"a"}
            ]),
        ),
        (
            "a signed text alone",
            r#"{"text":"a","thoughtSignature":"S"}"#,
            json!([
                {"type":"thinking","thinking":"","signature":"gs1.c.t.S"},
                {"type":"text","text":"a"}
            ]),
        ),
        (
            "a signature after its text",
            r#"{"text":"a"},{"text":"b","thoughtSignature":"S"},{"text":"","thoughtSignature":"T"}"#,
            json!([{"type":"text","text":"ab"}]),
        ),
        (
            "a signed call after a thought and a text",
            r#"{"text":"hm","thought":true},{"text":"a"},{"functionCall":{"id":"i-1_A","name":"f"},"thoughtSignature":"S"}"#,
            json!([
                {"type":"thinking","thinking":"hm","signature":"gs1.c.-."},
                {"type":"text","text":"a"},
                {"type":"thinking","thinking":"","signature":"gs1.c.f.S"},
                {"type":"tool_use","id":"i-1_A","name":"f","input":{}}
            ]),
        ),
        (
            "parallel calls",
            r#"{"functionCall":{"id":"a","name":"f","args":{"n":1.50}},"thoughtSignature":"S"},{"functionCall":{"id":"b","name":"g"}}"#,
            json!([
                {"type":"thinking","thinking":"","signature":"gs1.c.f.S"},
                {"type":"tool_use","id":"a","name":"f","input":{"n":1.5}},
                {"type":"tool_use","id":"b","name":"g","input":{}}
            ]),
        ),
        (
            "code and its output",
            r#"{"text":"a"},{"executableCode":{"language":"PYTHON","code":"print(1)"}},{"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"1\n"}}"#,
            json!([{"type":"text","text":"a\n```python\nprint(1)\n```\n\n```output\n1\n```\n"}]),
        ),
        (
            "an image",
            r#"{"inlineData":{"mimeType":"image/png","data":"AA=="}}"#,
            json!([{"type":"text","text":"![image](data:image/png;base64,AA==)"}]),
        ),
        ("a recording", r#"{"inlineData":{"mimeType":"audio/wav","data":"AA=="}}"#, json!([])),
    ]
}

#[test]
fn each_part_has_its_blocks_streamed_and_whole() {
    for (name, parts, expected) in part_cases() {
        let event = format!(
            r#"{{"candidates":[{{"content":{{"parts":[{parts}]}},"finishReason":"STOP"}}]}}"#
        );
        let streamed = stream(writer(Thoughts::Shown), &[&event]).unwrap();
        assert_eq!(Value::Array(blocks(&streamed)), expected, "{name}");
        let whole = whole(writer(Thoughts::Shown), &event).unwrap();
        assert_eq!(whole["content"], expected, "{name}");
        assert_eq!(whole["stop_reason"], delta(&streamed)["delta"]["stop_reason"], "{name}");
        assert_eq!(whole["usage"], delta(&streamed)["usage"], "{name}");
    }
}

#[test]
fn a_client_that_omits_thoughts_gets_signatures_in_empty_blocks() {
    let thought = part(r#"{"text":"hm","thought":true}"#);
    let call = part(r#"{"functionCall":{"id":"a","name":"f"},"thoughtSignature":"S"}"#);
    let stream = stream(writer(Thoughts::Omitted), &[&thought, &call, STOP]).unwrap();
    let expected = json!([
        {"type":"thinking","thinking":"","signature":"gs1.c.f.S"},
        {"type":"tool_use","id":"a","name":"f","input":{}}
    ]);
    assert_eq!(Value::Array(blocks(&stream)), expected);
}

#[test]
fn a_client_without_thinking_gets_the_signature_on_the_call() {
    let thought = part(r#"{"text":"hm","thought":true},{"text":"a","thoughtSignature":"T"}"#);
    let call =
        part(r#"{"functionCall":{"id":"a","name":"f","args":{"x":1}},"thoughtSignature":"S"}"#);
    let streamed = stream(writer(Thoughts::Absent), &[&thought, &call, STOP]).unwrap();
    let call = json!({"type":"tool_use","id":"a","name":"f","input":{"x":1},
        "extra_content":{"google":{"thought_signature":"S"}}});
    assert_eq!(blocks(&streamed), [json!({"type":"text","text":"a"}), call]);
}

#[test]
fn the_signature_of_a_call_is_remembered_by_the_id_that_the_client_gets() {
    let memory = std::sync::Arc::new(CallSignatures::new(1 << 16));
    for thoughts in [Thoughts::Absent, Thoughts::Shown] {
        let recall = SignatureRecall::new(memory.clone(), Caller::default());
        let writer = writer_with(thoughts, 1, recall.clone(), |_| {});
        let call = part(r#"{"functionCall":{"id":"no/id","name":"f"},"thoughtSignature":"S"}"#);
        let streamed = stream(writer, &[&call, STOP]).unwrap();
        let blocks = blocks(&streamed);
        let id = blocks.last().unwrap()["id"].as_str().unwrap();
        assert!(id.starts_with("toolu_"), "{id}");
        assert_eq!(recall.recall(id).as_deref(), Some(&b"S"[..]));
    }
}

#[test]
fn an_id_of_geminis_is_kept_once_and_where_clients_take_it() {
    let long = "x".repeat(65);
    let calls: Vec<String> = ["a", "a", "", "b.c", &long, "ü"]
        .iter()
        .map(|id| format!(r#"{{"functionCall":{{"id":"{id}","name":"f"}}}}"#))
        .collect();
    let event = part(&calls.join(","));
    let blocks = blocks(&stream(writer(Thoughts::Absent), &[&event, STOP]).unwrap());
    let ids: Vec<&str> = blocks.iter().map(|block| block["id"].as_str().unwrap()).collect();
    assert_eq!(ids[0], "a");
    assert!(ids[1..].iter().all(|id| id.starts_with("toolu_") && id.len() == 30), "{ids:?}");
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
}

#[test]
fn a_tool_has_the_name_that_the_client_knows() {
    let writer = writer_with(Thoughts::Absent, 1, SignatureRecall::default(), |plan| {
        plan.names = ToolNames::new(vec![NamedTool {
            upstream: "a_b".to_owned(),
            client: ClientToolName { namespace: None, name: "a b".into() },
            takes_text: false,
        }]);
    });
    let calls = ["a_b", "default_api:a_b", "other"]
        .map(|name| format!(r#"{{"functionCall":{{"name":"{name}"}}}}"#));
    let event = part(&calls.join(","));
    let blocks = blocks(&stream(writer, &[&event, STOP]).unwrap());
    let names: Vec<&Value> = blocks.iter().map(|block| &block["name"]).collect();
    assert_eq!(names, ["a b", "a b", "other"]);
}

#[test]
fn of_parallel_calls_a_client_that_takes_one_gets_the_first() {
    let writer =
        writer_with(Thoughts::Absent, 1, SignatureRecall::default(), |plan| plan.one_call = true);
    let first = part(r#"{"functionCall":{"name":"f"}},{"functionCall":{"name":"g"}}"#);
    let second = part(r#"{"functionCall":{"name":"h"}}"#);
    let end = r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3}}"#;
    let streamed = stream(writer, &[&first, &second, end]).unwrap();
    let blocks = blocks(&streamed);
    assert_eq!((blocks.len(), &blocks[0]["name"]), (1, &json!("f")));
    assert_eq!(delta(&streamed)["usage"]["input_tokens"], 3);
}

#[test]
fn any_order_of_parts_keeps_the_rules_of_streams() {
    let kinds = [
        r#"{"text":"a"}"#,
        r#"{"text":"t","thought":true}"#,
        r#"{"text":"a","thoughtSignature":"T"}"#,
        r#"{"functionCall":{"name":"f"},"thoughtSignature":"S"}"#,
        r#"{"functionCall":{"id":"i","name":"f","args":{}}}"#,
        r#"{"text":"","thoughtSignature":"T"}"#,
        r#"{"inlineData":{"mimeType":"image/png","data":"AA=="}}"#,
    ];
    let count = kinds.len();
    for thoughts in [Thoughts::Absent, Thoughts::Omitted, Thoughts::Shown] {
        for order in 0..count.pow(4) {
            let parts: Vec<&str> =
                (0..4).map(|place| kinds[order / count.pow(place) % count]).collect();
            let mut events: Vec<String> = parts.iter().map(|one| part(one)).collect();
            events.push(STOP.to_owned());
            let events: Vec<&str> = events.iter().map(String::as_str).collect();
            let streamed = blocks(&stream(writer(thoughts), &events).unwrap());
            let event = format!(
                r#"{{"candidates":[{{"content":{{"parts":[{}]}},"finishReason":"STOP"}}]}}"#,
                parts.join(",")
            );
            let whole = whole(writer(thoughts), &event).unwrap();
            assert_eq!(Value::Array(streamed), whole["content"], "{parts:?}");
        }
    }
}
