use super::*;

#[test]
fn sampling_and_limits_become_geminis() {
    let config = |fields: Value| gemini("gemini-2.5-pro", &fields)["generationConfig"].clone();
    assert_eq!(config(json!({"max_tokens": 128_000})), json!({"maxOutputTokens": 65_536}));
    assert_eq!(config(json!({"max_tokens": 0})), json!({"maxOutputTokens": 1}));
    let fields = json!({
        "temperature": 0, "top_p": 0.95, "top_k": 40, "stop_sequences": ["a", "", "b"],
    });
    let expected = json!({
        "maxOutputTokens": 100, "temperature": 0, "topP": 0.95, "topK": 40,
        "stopSequences": ["a", "b"],
    });
    assert_eq!(config(fields), expected);
}

#[test]
fn a_sixth_stop_sequence_is_left_out_and_named() {
    let stop = json!({"stop_sequences": ["a", "b", "c", "d", "e", "f"]});
    let (request, dropped) = written(&target("gemini-2.5-pro"), &stop);
    assert_eq!(request["generationConfig"]["stopSequences"], json!(["a", "b", "c", "d", "e"]));
    assert_eq!(dropped, ["stop_sequences"]);
}

#[test]
fn a_form_of_the_answer_becomes_a_json_schema() {
    let schema = json!({"type": "object", "properties": {"k": {"type": "string"}}});
    let format = json!({"type": "json_schema", "schema": schema});
    for fields in [json!({"output_config": {"format": format}}), json!({"output_format": format})] {
        let config = gemini("gemini-2.5-pro", &fields)["generationConfig"].clone();
        assert_eq!(config["responseMimeType"], "application/json");
        assert_eq!(config["responseJsonSchema"], schema);
    }
}

#[test]
fn thinking_becomes_a_budget_or_a_level() {
    let none = json!({});
    for (thinking, effort, pro_2_5, pro_3, flash_3) in [
        (json!(null), None, Value::Null, Value::Null, Value::Null),
        (
            json!({"type": "disabled"}),
            None,
            json!({"thinkingBudget": 128}),
            json!({"thinkingLevel": "LOW"}),
            json!({"thinkingLevel": "MINIMAL"}),
        ),
        (
            json!({"type": "enabled", "budget_tokens": 10_000}),
            None,
            json!({"thinkingBudget": 10_000, "includeThoughts": true}),
            json!({"thinkingLevel": "HIGH", "includeThoughts": true}),
            json!({"thinkingLevel": "MEDIUM", "includeThoughts": true}),
        ),
        (
            json!({"type": "enabled", "budget_tokens": 100_000}),
            None,
            json!({"thinkingBudget": 32_768, "includeThoughts": true}),
            json!({"thinkingLevel": "HIGH", "includeThoughts": true}),
            json!({"thinkingLevel": "HIGH", "includeThoughts": true}),
        ),
        (
            json!({"type": "enabled", "budget_tokens": 1000, "display": "omitted"}),
            None,
            json!({"thinkingBudget": 1000}),
            json!({"thinkingLevel": "LOW"}),
            json!({"thinkingLevel": "MINIMAL"}),
        ),
        (
            json!({"type": "adaptive", "display": "omitted"}),
            Some("medium"),
            json!({"thinkingBudget": 8192}),
            json!({"thinkingLevel": "HIGH"}),
            json!({"thinkingLevel": "MEDIUM"}),
        ),
        (
            json!({"type": "between_tools"}),
            Some("low"),
            json!({"thinkingBudget": 1024, "includeThoughts": true}),
            json!({"thinkingLevel": "LOW", "includeThoughts": true}),
            json!({"thinkingLevel": "LOW", "includeThoughts": true}),
        ),
        (
            json!({"type": "adaptive"}),
            None,
            json!({"thinkingBudget": -1, "includeThoughts": true}),
            json!({"includeThoughts": true}),
            json!({"includeThoughts": true}),
        ),
        (
            json!({"type": "adaptive", "display": "omitted"}),
            None,
            json!({"thinkingBudget": -1}),
            Value::Null,
            Value::Null,
        ),
    ] {
        let mut fields = none.clone();
        fields["thinking"] = thinking;
        if let Some(effort) = effort {
            fields["output_config"] = json!({"effort": effort});
        }
        for (model, expected) in [
            ("gemini-2.5-pro", pro_2_5),
            ("gemini-3-pro-preview", pro_3),
            ("gemini-3-flash-preview", flash_3),
        ] {
            let config = &gemini(model, &fields)["generationConfig"];
            assert_eq!(config["thinkingConfig"], expected, "{model} {fields}");
        }
    }
}

#[test]
fn the_plan_says_what_the_client_has_asked_for() {
    let plan = |fields: Value| read_fields(&target("gemini-3-pro-preview"), &fields).unwrap().1;
    for (thinking, is_asked_for, is_shown) in [
        (json!(null), false, false),
        (json!({"type": "disabled"}), false, false),
        (json!({"type": "enabled", "budget_tokens": 2000}), true, true),
        (json!({"type": "adaptive", "display": "omitted"}), true, false),
        (json!({"type": "adaptive", "display": "summarized"}), true, true),
        (json!({"type": "a_new_type"}), false, false),
    ] {
        let plan = plan(json!({"thinking": thinking}));
        assert_eq!((plan.thinking, plan.shows_thoughts), (is_asked_for, is_shown));
    }
    let first = plan(json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}));
    assert!(first.plan.one_call);
    let second = plan(json!({}));
    assert!(!second.plan.one_call);
    assert_eq!(&*second.plan.model, "claude-opus-5-5");
    assert_eq!(second.plan.provider, ProviderKind::GeminiApi);
}

#[test]
fn an_effort_without_its_use_and_an_unknown_way_to_think_are_named() {
    let dropped = |fields: Value| written(&target("gemini-3-pro-preview"), &fields).1;
    assert_eq!(dropped(json!({"output_config": {"effort": "high"}})), ["output_config.effort"]);
    assert_eq!(dropped(json!({"thinking": {"type": "a_new_type"}})), ["thinking"]);
}
