//! Properties of the projects in requests of Code Assist's own protocol, over generated bodies.

use bytes::Bytes;
use code_assist_core::internals::provider::code_assist::pass_through;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_project_but_the_operators_is_left_and_nothing_else_is_changed(
        body in object(3),
        spaced in any::<bool>(),
        escaped in any::<bool>(),
    ) {
        let mut text = match spaced {
            true => serde_json::to_string_pretty(&body).unwrap(),
            false => body.to_string(),
        };
        if escaped {
            text = text.replace("\"project\"", "\"\\u0070roject\"").replace("Project\"", "Pro\\u006Aect\"");
        }
        let text = Bytes::from(text);
        let replaced = in_ours(&text);
        let read: Value = serde_json::from_slice(&replaced).expect("it stays JSON");
        prop_assert_eq!(read, expected(body));
        prop_assert_eq!(in_ours(&replaced), replaced, "once is enough");
    }

    #[test]
    fn a_body_without_a_foreign_project_keeps_every_byte(body in object(3), spaced in any::<bool>()) {
        let body = expected(body);
        let text = if spaced { serde_json::to_string_pretty(&body).unwrap() } else { body.to_string() };
        prop_assert_eq!(in_ours(&Bytes::from(text.clone())), text);
    }
}

fn in_ours(text: &Bytes) -> Bytes {
    let named = pass_through::named_projects(text).expect("the generator makes objects");
    pass_through::in_project(text, named, OURS).to_bytes()
}

/// The body as it has to be: what names a project in it and in its objects, but for the request to the
/// model, names ours.
fn expected(body: Value) -> Value {
    let Value::Object(members) = body else { return body };
    let in_member = |(key, value): (String, Value)| match value {
        Value::Object(inner) if key != "request" && !names_a_project(&key) => {
            (key, Value::Object(with_ours(inner)))
        }
        value => (key, value),
    };
    Value::Object(with_ours(members.into_iter().map(in_member).collect()))
}

fn with_ours(members: Map<String, Value>) -> Map<String, Value> {
    let ours = |(key, value): (String, Value)| {
        let value = if names_a_project(&key) && !value.is_null() { json!(OURS) } else { value };
        (key, value)
    };
    members.into_iter().map(ours).collect()
}

fn names_a_project(key: &str) -> bool {
    KEYS[..5].contains(&key)
}

fn object(depth: u32) -> BoxedStrategy<Value> {
    let leaf = select(vec![json!(null), json!("a"), json!(OURS), json!(1), json!([1, "project"])]);
    let value = if depth == 0 {
        leaf.boxed()
    } else {
        prop_oneof![3 => leaf, 2 => object(depth - 1)].boxed()
    };
    let members = prop::collection::vec((select(KEYS.to_vec()), value), 0..6);
    members
        .prop_map(|members| {
            let members = members.into_iter().map(|(key, value)| (key.to_owned(), value));
            Value::Object(members.collect())
        })
        .boxed()
}

const OURS: &str = "the \"operator's\" project";

const KEYS: [&str; 10] = [
    "project",
    "cloudaicompanionProject",
    "cloudaicompanion_project",
    "duetProject",
    "duet_project",
    "metadata",
    "request",
    "model",
    "Project",
    "projects",
];
