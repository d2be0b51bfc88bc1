use super::*;

fn repaired(json: &str, place: SchemaPlace) -> String {
    let schema: &RawValue = serde_json::from_str(json).unwrap();
    let repaired = repair(schema, place).unwrap();
    assert!(serde_json::from_str::<&RawValue>(&repaired).is_ok(), "{repaired} is no JSON");
    repaired.into_owned()
}

fn answer(json: &str) -> String {
    repaired(json, SchemaPlace::Answer)
}

#[test]
fn a_schema_that_needs_no_repair_keeps_its_bytes() {
    for json in [
        r#"{"type":"object","$schema":"x","properties":{"n":{"exclusiveMinimum":12345678901234567890}}}"#,
        "{ \"type\" :\n\"object\", \"properties\": { \"a\": {\"type\":[\"string\",\"null\"]} } }",
        r#"{"type":"object","properties":{"a":{"$ref":"\u0023/$defs/A"}},"$defs":{"A":{}}}"#,
        // Words that look like keywords, in data and as names of properties.
        r##"{"type":"object","default":{"const":1,"$ref":"#/no"},"enum":[{"allOf":[{}]}]}"##,
        r#"{"type":"object","examples":[{"const":"x"}],"description":"\"const\""}"#,
        r#"{"type":"object","properties":{"const":{"type":"string"},"$ref":{},"allOf":{}}}"#,
        r#"{"type":"object","properties":{"definitions":{"type":"array","items":{}}}}"#,
        r#"{"type":"object","allOf":[{"a":1},{"b":2}],"x-data":{"const":1}}"#,
        r#"{"type":"object","properties":{"a":{"allOf":[]},"b":{"allOf":[true]}}}"#,
    ] {
        for place in [SchemaPlace::Tool, SchemaPlace::Answer] {
            let schema: &RawValue = serde_json::from_str(json).unwrap();
            assert!(
                matches!(repair(schema, place), Ok(Cow::Borrowed(same)) if same == json),
                "{json}"
            );
        }
    }
}

#[test]
fn a_reference_loses_its_siblings_but_for_those_with_a_dollar() {
    for (json, expected) in [
        (
            r##"{"properties":{"p":{"title":"P","$ref":"#/$defs/P","$comment":"c","default":{"const":1}}},"$defs":{"P":{}}}"##,
            r##"{"properties":{"p":{"$ref":"#/$defs/P","$comment":"c"}},"$defs":{"P":{}}}"##,
        ),
        (
            r##"{"$ref":"#/definitions/P","title":"T","definitions":{"P":{"type":"string"}}}"##,
            r##"{"$ref":"#/$defs/P","$defs":{"P":{"type":"string"}}}"##,
        ),
    ] {
        assert_eq!(answer(json), expected, "{json}");
    }
}

#[test]
fn definitions_are_renamed_at_the_root_only() {
    for (json, expected) in [
        (
            r##"{"definitions":{"A":{"items":{"$ref":"#/definitions/A"}}},"anyOf":[{"$ref":"#/definitions/A"}]}"##,
            r##"{"$defs":{"A":{"items":{"$ref":"#/$defs/A"}}},"anyOf":[{"$ref":"#/$defs/A"}]}"##,
        ),
        // `$defs` wins.
        (
            r##"{"definitions":{"A":{"const":1},"B":{"const":2}},"$defs":{"A":{"const":3}}}"##,
            r##"{"$defs":{"A":{"enum":[3]},"B":{"enum":[2]}}}"##,
        ),
        (
            r##"{"items":{"$ref":"#\/definitions\/A\/items"},"definitions":{"A":{"items":{}}}}"##,
            r##"{"items":{"$ref":"#/$defs/A/items"},"$defs":{"A":{"items":{}}}}"##,
        ),
        (
            r##"{"properties":{"definitions":{"definitions":{"X":{}}}}}"##,
            r##"{"properties":{"definitions":{"definitions":{"X":{}}}}}"##,
        ),
    ] {
        assert_eq!(answer(json), expected, "{json}");
    }
}

#[test]
fn a_pointer_without_its_number_sign_gets_it() {
    for (json, expected) in [
        (
            r##"{"items":{"$ref":"/$defs/A"},"$defs":{"A":{}}}"##,
            r##"{"items":{"$ref":"#/$defs/A"},"$defs":{"A":{}}}"##,
        ),
        (
            r##"{"items":{"$ref":"/definitions/A"},"definitions":{"A":{}}}"##,
            r##"{"items":{"$ref":"#/$defs/A"},"$defs":{"A":{}}}"##,
        ),
        (r##"{"items":{"$ref":"/$defs/Gone"},"$defs":{}}"##, r#"{"items":{},"$defs":{}}"#),
    ] {
        assert_eq!(answer(json), expected, "{json}");
    }
}

#[test]
fn a_reference_to_nothing_is_removed() {
    for (json, expected) in [
        (r##"{"items":{"$ref":"#/definitions/Gone"}}"##, r#"{"items":{}}"#),
        (
            r##"{"items":{"$ref":"#/$defs/Gone","title":"t"},"$defs":{}}"##,
            r#"{"items":{"title":"t"},"$defs":{}}"#,
        ),
        (r##"{"items":{"$ref":"https://example.com/schema"}}"##, r#"{"items":{}}"#),
        (r##"{"items":{"$ref":"#name"}}"##, r#"{"items":{}}"#),
        (
            r##"{"items":{"$ref":"#/definitions"},"definitions":{"A":{}}}"##,
            r#"{"items":{},"$defs":{"A":{}}}"#,
        ),
    ] {
        assert_eq!(answer(json), expected, "{json}");
    }
    for kept in [
        r##"{"items":{"$ref":"#"}}"##,
        r##"{"items":{"$ref":"#/properties/a"},"properties":{"a":{}}}"##,
        r##"{"items":{"$ref":"#/$defs/a~1b%20c"},"$defs":{"a/b c":{}}}"##,
        r##"{"items":{"$ref":"#name"},"$defs":{"a":{"$anchor":"name"}}}"##,
        r##"{"items":{"$ref":"other"},"$defs":{"a":{"$id":"other"}}}"##,
    ] {
        assert_eq!(answer(kept), kept);
    }
}

#[test]
fn a_constant_becomes_an_enumeration() {
    for (json, expected) in [
        (r#"{"properties":{"k":{"const":"x"}}}"#, r#"{"properties":{"k":{"enum":["x"]}}}"#),
        (
            r#"{"oneOf":[{"const":-1.50},{"const":2}]}"#,
            r#"{"oneOf":[{"enum":[-1.50]},{"enum":[2]}]}"#,
        ),
        (r#"{"const":"x","enum":["x","y"]}"#, r#"{"const":"x","enum":["x","y"]}"#),
        // Enumerations have strings and numbers only.
        (r#"{"items":{"const":true}}"#, r#"{"items":{"const":true}}"#),
        (r#"{"items":{"const":null}}"#, r#"{"items":{"const":null}}"#),
    ] {
        assert_eq!(answer(json), expected, "{json}");
    }
}

#[test]
fn a_single_all_of_is_merged_and_the_outer_keywords_win() {
    for (json, expected) in [
        (
            r##"{"properties":{"p":{"title":"P","allOf":[{"$ref":"#/definitions/P"}]}},"definitions":{"P":{}}}"##,
            r##"{"properties":{"p":{"$ref":"#/$defs/P"}},"$defs":{"P":{}}}"##,
        ),
        (
            r#"{"title":"outer","allOf":[{"title":"inner","type":"string"}],"minLength":1}"#,
            r#"{"title":"outer","type":"string","minLength":1}"#,
        ),
        (
            r#"{"allOf":[{"allOf":[{"allOf":[{"a":1},{"b":{"const":1}}]}]}]}"#,
            r#"{"allOf":[{"a":1},{"b":{"const":1}}]}"#,
        ),
        (r#"{"items":{"allOf":[{"const":"x"}]}}"#, r#"{"items":{"enum":["x"]}}"#),
    ] {
        assert_eq!(answer(json), expected, "{json}");
    }
}

#[test]
fn the_root_of_a_tool_has_the_type_of_an_object() {
    for (json, expected) in [
        (r#"{"properties":{"a":{}}}"#, r#"{"type":"object","properties":{"a":{}}}"#),
        (r#"{ }"#, r#"{"type":"object"}"#),
        (r#"{"type":null,"properties":{}}"#, r#"{"type":"object","properties":{}}"#),
        (r#"{"type":["null","object"]}"#, r#"{"type":["null","object"]}"#),
        (r#"{"type":"OBJECT"}"#, r#"{"type":"OBJECT"}"#),
        (r#"{"anyOf":[{"const":1}]}"#, r#"{"type":"object","anyOf":[{"enum":[1]}]}"#),
        (
            r##"{"$ref":"#/definitions/A","definitions":{"A":{}}}"##,
            r##"{"$ref":"#/$defs/A","$defs":{"A":{}}}"##,
        ),
        (r##"{"$ref":"#/definitions/A"}"##, r#"{"type":"object"}"#),
    ] {
        assert_eq!(repaired(json, SchemaPlace::Tool), expected, "{json}");
    }
    for (json, error) in [
        (r#"{"type":"string"}"#, SchemaError::NotAnObjectType),
        (r#"{"type":["string","null"]}"#, SchemaError::NotAnObjectType),
        (r#"{"type":5}"#, SchemaError::NotAnObjectType),
        ("true", SchemaError::NotASchema),
        ("[]", SchemaError::NotASchema),
    ] {
        let schema: &RawValue = serde_json::from_str(json).unwrap();
        assert_eq!(repair(schema, SchemaPlace::Tool), Err(error), "{json}");
    }
    assert_eq!(answer(r#"{"type":"string"}"#), r#"{"type":"string"}"#);
    assert_eq!(answer("{}"), "{}");
}

#[test]
fn a_schema_of_any_depth_and_size_is_bounded_work() {
    let nested = |levels: usize| {
        let (before, after) = (r#"{"items":"#.repeat(levels), "}".repeat(levels));
        format!(r#"{before}{{"const":1}}{after}"#)
    };
    assert!(answer(&nested(20)).contains("enum"));
    let deep = nested(10_000);
    assert_eq!(answer(&deep), deep);
    let all_of = format!(r#"{}{{"const":1}}{}"#, r#"{"allOf":["#.repeat(5_000), "]}".repeat(5_000));
    assert!(answer(&all_of).len() <= all_of.len());
    // A list of many references to one definition each.
    let references = r##"{"$ref":"#/definitions/A"},"##.repeat(5_000);
    let wide = format!(r##"{{"anyOf":[{references}{{}}],"definitions":{{"A":{{}}}}}}"##);
    assert_eq!(answer(&wide).matches("#/$defs/A").count(), 5_000);
}

#[test]
fn definitions_stand_in_for_what_only_has_their_new_name() {
    let schema =
        r##"{"$ref":"#/definitions/P","$defs":"x","definitions":{"P":{"type":"string"}}}"##;
    let repaired = answer(schema);
    assert_eq!(repaired, r##"{"$ref":"#/$defs/P","$defs":{"P":{"type":"string"}}}"##);
    assert_eq!(answer(&repaired), repaired);
}

#[test]
fn a_root_that_is_a_reference_cannot_lead_into_a_keyword_that_the_repair_drops() {
    for schema in [
        r##"{"$ref":"#/parts/P","title":"x","parts":{"P":{"const":1}}}"##,
        r##"{"allOf":[{"$ref":"#/parts/P"}],"title":"x","parts":{"P":{}}}"##,
    ] {
        let repaired = answer(schema);
        assert!(!repaired.contains("$ref") && repaired.contains("title"), "{repaired}");
        assert_eq!(answer(&repaired), repaired);
    }
    let kept = r##"{"$ref":"#/$defs/P","$defs":{"P":{}}}"##;
    assert_eq!(answer(kept), kept);
}

#[test]
fn of_repeated_references_the_last_one_counts() {
    let repaired = answer(r##"{"$ref":"#/$defs/Q","$ref":"#/$defs/P","$defs":{"P":{}}}"##);
    assert_eq!(repaired, r##"{"$ref":"#/$defs/P","$defs":{"P":{}}}"##);
    let repaired =
        answer(r##"{"$ref":"#/$defs/P","$ref":"#/$defs/Q","title":"x","$defs":{"P":{}}}"##);
    assert_eq!(repaired, r##"{"title":"x","$defs":{"P":{}}}"##);
    let within = answer(r##"{"items":{"$ref":"#/$defs/P","$ref":"#/$defs/Q"},"$defs":{"P":{}}}"##);
    assert_eq!(within, r##"{"items":{},"$defs":{"P":{}}}"##);
}
