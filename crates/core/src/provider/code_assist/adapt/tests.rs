use bytes::Bytes;

use super::{AdaptedRequest, count, generate};

#[test]
fn a_body_with_nothing_to_correct_is_not_copied() {
    let body = Bytes::from(
        "\n{ \"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"\\u00e9\\/\"}]}],\
         \"generationConfig\":{\"temperature\":0.10,\"seed\":12345678901234567890,\"topK\":7.0},\
         \"unknown\":[ ] , \"role\":null}\n",
    );
    let adapted = generate(&body).unwrap();
    let pieces: Vec<_> = adapted.request.pieces().collect();
    assert_eq!(pieces, [&body]);
    assert_eq!(pieces[0].as_ptr(), body.as_ptr());
    assert_eq!((adapted.dropped.len(), adapted.temperature_zero), (0, false));
}

#[test]
fn large_values_are_sliced_on_both_sides_of_an_edit() {
    let data = "A".repeat(100_000);
    let body = format!(r#"{{"contents":[{{"parts":[{{"text":"{data}"}}]}},{{"parts":[]}}]}}"#);
    let body = Bytes::from(body);
    let request = generate(&body).unwrap().request;
    let inside = body.as_ptr_range();
    let sliced: usize =
        request.pieces().filter(|piece| inside.contains(&piece.as_ptr())).map(Bytes::len).sum();
    assert!(sliced > 99_000, "{sliced}");
    assert!(request.pieces().count() <= 4);
}

#[test]
fn a_missing_role_and_the_role_of_a_function_become_user() {
    for (body, expected) in [
        (r#"{"contents":[{"parts":[]}]}"#, r#"{"contents":[{"role":"user","parts":[]}]}"#),
        (r#"{"contents":[{}, { }]}"#, r#"{"contents":[{"role":"user"}, {"role":"user" }]}"#),
        (r#"{"contents":[{"role":null}]}"#, r#"{"contents":[{"role":"user"}]}"#),
        (r#"{"contents":[{"role" : ""}]}"#, r#"{"contents":[{"role" : "user"}]}"#),
        (r#"{"contents":[{"role" : "tool"}]}"#, r#"{"contents":[{"role" : "user"}]}"#),
        (
            r#"{"contents":[{"r\u006fle":"\u0066unction"}]}"#,
            r#"{"contents":[{"r\u006fle":"user"}]}"#,
        ),
        (r#"{"contents":[{"role":"model"},{"role":" "},{"role":7},"x",null,[{}]]}"#, ""),
        (r#"{"contents":null,"x":[{"role":"tool"}]}"#, ""),
        (
            r#"{"contents":[],"contents":{"role":"tool","role":null}}"#,
            r#"{"contents":[],"contents":[{"role":"user","role":"user"}]}"#,
        ),
    ] {
        assert_eq!(generated(body), if expected.is_empty() { body } else { expected });
    }
}

#[test]
fn a_single_object_in_place_of_a_list_becomes_a_list() {
    for (body, expected) in [
        (
            r#"{"contents":{"parts":{"text":"hi"}}}"#,
            r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#,
        ),
        (
            r#"{"tools":{"function_declarations":{"name":"f"}},"safety_settings":{"threshold":1}}"#,
            r#"{"tools":[{"function_declarations":[{"name":"f"}]}],"safety_settings":[{"threshold":1}]}"#,
        ),
        (
            r#"{"tools":[{"functionDeclarations":{"parts":{}}},{"googleSearch":{}}]}"#,
            r#"{"tools":[{"functionDeclarations":[{"parts":{}}]},{"googleSearch":{}}]}"#,
        ),
        (r#"{"tools":null,"safetySettings":null,"contents":"x"}"#, ""),
    ] {
        assert_eq!(generated(body), if expected.is_empty() { body } else { expected });
    }
}

#[test]
fn a_system_instruction_in_any_form_becomes_a_content() {
    for (given, expected) in [
        (r#""Be \"brief\"""#, r#"{"role":"user","parts":[{"text":"Be \"brief\""}]}"#),
        (r#"{"text":"a"}"#, r#"{"role":"user","parts":[{"text":"a"}]}"#),
        (r#"[{"text":"a"},"b"]"#, r#"{"role":"user","parts":[{"text":"a"},{"text":"b"}]}"#),
        (r#"{"parts":{"text":"a"}}"#, r#"{"parts":[{"text":"a"}]}"#),
        (r#"{"role":"system","parts":[{"text":"a"}]}"#, ""),
        (r#"{"parts":[]}"#, ""),
        (r#"{ }"#, ""),
        (r#"null"#, ""),
        (r#"[{"parts":[{"text":"a"}]},"b"]"#, ""), // two contents, which upstream refuses
    ] {
        let expected = if expected.is_empty() { given } else { expected };
        for name in ["systemInstruction", "system_instruction"] {
            let body = format!(r#"{{"{name}": {given} }}"#);
            assert_eq!(generated(&body), format!(r#"{{"{name}": {expected} }}"#));
        }
    }
}

#[test]
fn fields_that_only_the_public_api_has_are_removed_and_reported() {
    for (body, expected, dropped) in [
        (r#"{"model":"m"}"#, "{}", &["model"][..]),
        (r#"{ "model" : "m" , "x" : 1 }"#, r#"{ "x" : 1 }"#, &["model"]),
        (r#"{ "x" : 1 , "store" : true }"#, r#"{ "x" : 1 }"#, &["store"]),
        (r#"{"x":1,"store":0,"y":2}"#, r#"{"x":1,"y":2}"#, &["store"]),
        (
            r#"{"model":1,"store":2,"x":3,"service_tier":4,"store":5,"y":6,"serviceTier":[{}]}"#,
            r#"{"x":3,"y":6}"#,
            &["model", "store", "service_tier", "store", "serviceTier"],
        ),
        (r#"{"model":1, "store":2}"#, "{}", &["model", "store"]),
        (r#"{"m\u006fdel":1,"Model":2}"#, r#"{"Model":2}"#, &["model"]),
        (
            r#"{"generation_config":{"response_format":{"a":[1]},"topK":0,"httpOptions":{}},"store":1}"#,
            r#"{"generation_config":{"topK":0}}"#,
            &["generation_config.response_format", "generation_config.httpOptions", "store"],
        ),
        (
            r#"{"generationConfig":{"responseFormat":{}}}"#,
            r#"{"generationConfig":{}}"#,
            &["generationConfig.responseFormat"],
        ),
        (r#"{"contents":[],"x":{"model":1,"store":2}}"#, "", &[]),
    ] {
        let adapted = adapt(body);
        let expected = if expected.is_empty() { body } else { expected };
        assert_eq!(adapted.request.to_bytes(), expected, "{body}");
        assert_eq!(adapted.dropped, dropped, "{body}");
    }
}

#[test]
fn the_image_config_is_passed_on_with_all_its_members() {
    for name in ["imageConfig", "image_config", "image\\u0043onfig"] {
        for config in ["generationConfig", "generation_config"] {
            let image = r#"{ "aspectRatio":"16:9","image_size":"4K","httpOptions":{},"new":[1.0]}"#;
            let body = format!(r#"{{"{config}":{{"{name}" : {image},"topK":0}}}}"#);
            let adapted = adapt(&body);
            assert_eq!(adapted.request.to_bytes(), body);
            assert!(adapted.dropped.is_empty(), "{:?}", adapted.dropped);
        }
    }
}

#[test]
fn the_private_name_of_the_json_schema_is_renamed_unless_the_proper_one_is_there() {
    for (body, expected, dropped) in [
        (
            r#"{"generationConfig":{"_responseJsonSchema":{"_responseJsonSchema":1}}}"#,
            r#"{"generationConfig":{"responseJsonSchema":{"_responseJsonSchema":1}}}"#,
            &[][..],
        ),
        (
            r#"{"generationConfig":{"_response_json_schema":1,"_responseJsonSchema":2}}"#,
            r#"{"generationConfig":{"responseJsonSchema":1}}"#,
            &["generationConfig._responseJsonSchema"],
        ),
        (
            r#"{"generationConfig":{"_responseJsonSchema":1,"topP":1,"response_json_schema":{}}}"#,
            r#"{"generationConfig":{"topP":1,"response_json_schema":{}}}"#,
            &["generationConfig._responseJsonSchema"],
        ),
    ] {
        let adapted = adapt(body);
        assert_eq!(adapted.request.to_bytes(), expected, "{body}");
        assert_eq!(adapted.dropped, dropped, "{body}");
    }
}

#[test]
fn numbers_of_harm_categories_become_names() {
    assert_eq!(
        generated(r#"{"safetySettings":[{"category":8,"threshold":3},{"category": 11 }]}"#),
        concat!(
            r#"{"safetySettings":[{"category":"HARM_CATEGORY_HATE_SPEECH","threshold":3},"#,
            r#"{"category": "HARM_CATEGORY_CIVIC_INTEGRITY" }]}"#
        ),
    );
    let others =
        r#"{"safetySettings":[{"category":12},{"category":8.0},{"category":-1},{"category":"7"}]}"#;
    assert_eq!(generated(others), others);
}

#[test]
fn a_temperature_of_zero_is_zero_however_it_is_written() {
    for (value, zero) in [
        ("0", true),
        ("0.0", true),
        ("-0", true),
        ("0e5", true),
        ("0.00E-7", true),
        ("0.1", false),
        ("1e-400", false),
        ("null", false),
        ("\"0\"", false),
        ("[0]", false),
        ("0,\"temperature\":1", false),
        ("1,\"temperature\":0", false),
    ] {
        let body = format!(r#"{{"generation_config":{{"temperature":{value}}}}}"#);
        assert_eq!(adapt(&body).temperature_zero, zero, "{value}");
    }
    assert!(!adapt(r#"{"temperature":0}"#).temperature_zero);
}

#[test]
fn a_body_that_is_not_one_object_is_refused() {
    for body in
        ["", "[]", "1", "null", "{}x", "{}, \"project\": \"x\"", "{\"contents\":[}", "{\"a\":1"]
    {
        assert!(generate(&Bytes::from(body)).is_err(), "{body}");
        assert!(count(&Bytes::from(body), "m").is_err(), "{body}");
    }
}

#[test]
fn edits_and_reported_paths_are_bounded() {
    let bounded = format!(r#"{{"contents":[{}{{}}]}}"#, "{},".repeat(200_000));
    assert!(generate(&bounded.into()).is_ok());
    let excessive = format!(r#"{{"contents":[{}{{}}]}}"#, "{},".repeat(300_000));
    let error = generate(&excessive.into()).unwrap_err().to_string();
    assert!(error.starts_with("too many fields to correct at "), "{error}");
    let many = format!(r#"{{{}"x":1}}"#, r#""store":1,"#.repeat(1000));
    let adapted = adapt(&many);
    assert_eq!(adapted.request.to_bytes(), r#"{"x":1}"#);
    assert_eq!(adapted.dropped.len(), 65);
    assert_eq!(adapted.dropped[64], "...");
}

#[test]
fn a_count_folds_system_instruction_and_tools_into_the_contents() {
    for (body, contents, dropped) in [
        (
            r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#,
            r#"{"role":"user","parts":[{"text":"hi"}]}"#,
            &[][..],
        ),
        ("{}", "", &[]),
        (r#"{"contents":{"parts":{}}}"#, r#"{"role":"user","parts":[{}]}"#, &[]),
        (r#"{"contents":[{"role":""}]}"#, r#"{"role":"user"}"#, &[]),
        (
            r#"{"generateContentRequest":{"model":"models/x","contents":[{"role":"model"}],"safetySettings":[]}}"#,
            r#"{"role":"model"}"#,
            &["generateContentRequest.model", "generateContentRequest.safetySettings"],
        ),
        (
            r#"{"contents":[{"role":"user"}],"cachedContent":"c","generate_content_request":{"contents":[{}]},"tools":[1]}"#,
            r#"{"role":"user"}"#,
            &["cachedContent", "contents", "tools"],
        ),
        (
            r#"{"system_instruction":{"role":"system","parts":{"text":"s"}},"contents":[{"role":"user"}]}"#,
            r#"{"role":"user"},{"role":"user","parts":[{"text":"s"}]}"#,
            &[],
        ),
        (
            r#"{"systemInstruction":"s\n","tools":[{"functionDeclarations":[{"name":"\u0066\n"}]}]}"#,
            concat!(
                r#"{"role":"user","parts":[{"text":"s\n"}]},"#,
                r#"{"role":"user","parts":[{"text":"[{\"functionDeclarations\":[{\"name\":\"\\u0066\\n\"}]}]"}]}"#
            ),
            &[],
        ),
        (r#"{"systemInstruction":{"parts":[]},"tools":[],"generateContentRequest":null}"#, "", &[]),
        (r#"{"naïve, key":1}"#, "", &["na?ve??key"]),
    ] {
        let counted = count(&Bytes::from(body), "a\"b").unwrap();
        let expected = format!(r#"{{"model":"models/a\"b","contents":[{contents}]}}"#);
        assert_eq!(counted.request.to_bytes(), expected, "{body}");
        assert_eq!(counted.dropped, dropped, "{body}");
    }
    assert!(count(&Bytes::from(r#"{"generateContentRequest":[]}"#), "m").is_err());
}

#[test]
fn thoughts_are_counted_without_the_field_thought() {
    for (part, expected) in [
        (r#"{"text":"a","thought":true}"#, r#"{"text":"a"}"#),
        (r#"{"thought":true, "text":"a"}"#, r#"{"text":"a"}"#),
        (r#"{"thought":true}"#, r#"{"text":""}"#),
        (r#"{"thought":true,"thoughtSignature":"x"}"#, r#"{"thoughtSignature":"x","text":""}"#),
        (r#"{"thought":true,"text":null}"#, r#"{"text":""}"#),
        (r#"{"thoughtSignature":"x"}"#, r#"{"thoughtSignature":"x"}"#),
        (
            r#"{"functionCall":{"args":{"thought":1}}}"#,
            r#"{"functionCall":{"args":{"thought":1}}}"#,
        ),
    ] {
        let body = format!(r#"{{"contents":[{{"role":"model","parts":[{{}},{part}]}}]}}"#);
        let counted = count(&Bytes::from(body), "m").unwrap();
        let contents = format!(r#"{{"role":"model","parts":[{{}},{expected}]}}"#);
        let expected = format!(r#"{{"model":"models/m","contents":[{contents}]}}"#);
        assert_eq!(counted.request.to_bytes(), expected);
        if part.contains("thought\":true") {
            assert_eq!(counted.dropped, ["contents[0].parts[1].thought"]);
        }
    }
}

fn adapt(body: &str) -> AdaptedRequest {
    generate(&Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn generated(body: &str) -> Bytes {
    adapt(body).request.to_bytes()
}
