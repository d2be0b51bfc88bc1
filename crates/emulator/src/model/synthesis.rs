//! Values made up from a schema: arguments of function calls and structured answers.

use serde_json::{Map, Value};

use crate::model::prompt::ECHOED_CHARS;

/// A value that `schema` allows, with `text` for its free strings. The schema is JSON Schema or
/// Google's OpenAPI subset.
pub(super) fn instance_of(schema: &Value, text: &str) -> Value {
    Synthesis { root: schema, text }.value(schema, 0)
}

struct Synthesis<'a> {
    /// `$ref` is resolved in here.
    root: &'a Value,
    text: &'a str,
}

impl Synthesis<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Value {
        if depth > DEEPEST {
            return Value::Null;
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
            return first.clone();
        }
        if let Some(path) = schema["$ref"].as_str().or_else(|| schema["ref"].as_str()) {
            let pointer = path.trim_start_matches('#');
            return self.root.pointer(pointer).map_or(Value::Null, |at| self.value(at, depth + 1));
        }
        for choice in ["anyOf", "any_of", "oneOf", "allOf"] {
            if let Some(first) = schema[choice].as_array().and_then(|all| all.first()) {
                return self.value(first, depth + 1);
            }
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
            kind => kind.as_str().unwrap_or_default(),
        };
        match kind.to_ascii_uppercase().as_str() {
            "ARRAY" => {
                let least = schema["minItems"].as_u64().or_else(|| schema["min_items"].as_u64());
                let most = schema["maxItems"].as_u64().or_else(|| schema["max_items"].as_u64());
                let many = least.unwrap_or(1).max(1).min(most.unwrap_or(u64::MAX));
                let many = usize::try_from(many).unwrap_or(1).min(1000);
                Value::Array((0..many).map(|_| self.value(&schema["items"], depth + 1)).collect())
            }
            "BOOLEAN" => true.into(),
            "INTEGER" => (number(schema).round() as i64).into(),
            "NULL" => Value::Null,
            "NUMBER" => number(schema).into(),
            "STRING" => self.string(schema).into(),
            _ if schema["properties"].is_object() || kind.eq_ignore_ascii_case("OBJECT") => {
                let mut made = Map::new();
                for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                    let required = schema["required"].as_array().is_some_and(|required| {
                        required.iter().any(|one| one.as_str() == Some(name))
                    });
                    // Optional members are left out further down, so that recursion ends.
                    if required || depth < DEEPEST / 4 {
                        made.insert(name.clone(), self.value(property, depth + 1));
                    }
                }
                Value::Object(made)
            }
            _ => self.text.into(),
        }
    }

    fn string(&self, schema: &Value) -> String {
        let made = match schema["format"].as_str() {
            Some("date-time") => "2024-01-15T10:30:00Z",
            Some("date") => "2024-01-15",
            Some("time") => "10:30:00Z",
            Some("email") => "someone@example.com",
            Some("uri" | "url") => "https://example.org/",
            Some("uuid") => "123e4567-e89b-42d3-a456-426614174000",
            _ => self.text,
        };
        let bound = |names: [&str; 2]| {
            names.iter().find_map(|name| schema[*name].as_u64().map(|bound| bound as usize))
        };
        let least = bound(["minLength", "min_length"]).unwrap_or(0).min(ECHOED_CHARS);
        let most = bound(["maxLength", "max_length"]).unwrap_or(usize::MAX);
        let mut made: String = made.chars().take(most).collect();
        while made.chars().count() < least {
            made.push('x');
        }
        made
    }
}

/// 7, or the bound nearest to it.
fn number(schema: &Value) -> f64 {
    let bound = |names: [&str; 2]| names.iter().find_map(|name| schema[*name].as_f64());
    let least = bound(["minimum", "exclusiveMinimum"]);
    let most = bound(["maximum", "exclusiveMaximum"]);
    let open = |name: &str| if schema[name].is_number() { 1.0 } else { 0.0 };
    let mut number = 7.0;
    if let Some(most) = most {
        number = f64::min(number, most - open("exclusiveMaximum"));
    }
    if let Some(least) = least {
        number = f64::max(number, least + open("exclusiveMinimum"));
    }
    number
}

/// How deep a made-up value nests at most; recursive schemas end here.
const DEEPEST: usize = 24;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_instance_obeys_its_schema() {
        let schema = json!({"type": "OBJECT", "required": ["n", "tags"], "properties": {
            "n": {"type": "INTEGER", "minimum": 10},
            "tags": {"type": "ARRAY", "minItems": 2, "items": {"type": "STRING", "maxLength": 1}},
            "kind": {"type": "STRING", "enum": ["a", "b"]},
        }});
        assert_eq!(instance_of(&schema, "hi"), json!({"n": 10, "tags": ["h", "h"], "kind": "a"}));
    }

    #[test]
    fn references_are_resolved_and_recursion_ends() {
        let schema = json!({"$ref": "#/$defs/tree", "$defs": {"tree": {
            "type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/tree"}},
        }}});
        assert_eq!(instance_of(&schema, "hi")["next"]["name"], "hi");
    }
}
