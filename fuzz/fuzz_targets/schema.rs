//! The repair of a schema leaves a JSON object, and has nothing to repair in its own output.
#![no_main]

use code_assist_core::internals::dialect::translate::schema::{SchemaPlace, repair};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let Ok(schema) = serde_json::from_slice::<&RawValue>(data) else {
        return;
    };
    let valid = serde_json::from_slice::<Value>(data).is_ok();
    for place in [SchemaPlace::Tool, SchemaPlace::Answer] {
        let Ok(repaired) = repair(schema, place) else {
            continue;
        };
        let again: &RawValue = serde_json::from_str(&repaired).expect("a repaired schema is JSON");
        if valid {
            serde_json::from_str::<Map<String, Value>>(&repaired).expect("it is an object");
        }
        let twice = repair(again, place).expect("a repaired schema is accepted");
        // Of a schema that is nested too deep the inside is left as it is.
        if data.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() < 30 {
            assert_eq!(twice, repaired, "a second repair changes {}", schema.get());
        }
    }
});
