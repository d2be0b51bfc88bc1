//! The JSON schema of the TOML file, for editors, written from the tables of settings and of the file's tables.

use serde_json::{Map, Value, json};

use super::keys::{FieldKind, KEY_FIELDS, PRICE_FIELDS, TableField};
use super::spec::{Kind, Secrecy, SettingSpec};
use super::table::SETTINGS;
use super::upstreams::UPSTREAM_FIELDS;

/// The JSON schema of the TOML file, as `docs/config.schema.json` has it.
pub fn config_schema() -> String {
    let mut properties = Map::new();
    for spec in SETTINGS {
        for name in spec.names() {
            properties.insert(name.to_lowercase(), setting(spec, name));
        }
    }
    let mut key = table(KEY_FIELDS);
    key["oneOf"] = json!([{"required": ["hash"]}, {"required": ["key"]}]);
    key["dependencies"] = json!({"project": ["credentials"]});
    for (name, table, doc) in [
        ("upstream", table(UPSTREAM_FIELDS), "An account at a provider."),
        ("key", key, "A key that clients present, with what its holder may do."),
        ("price", table(PRICE_FIELDS), "What tokens of models cost, in a currency of your own."),
    ] {
        properties
            .insert(name.to_owned(), json!({"type": "array", "description": doc, "items": table}));
    }
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": SCHEMA_URL,
        "title": "Settings of code-assist-proxy",
        "description": "docs/CONFIG.md has all of it. Generated from crates/core/src/settings; `cargo xtask \
                        docs` writes it anew.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    format!("{schema:#}\n")
}

/// Where editors find the schema.
pub(super) const SCHEMA_URL: &str = "https://raw.githubusercontent.com/code-assist-proxy/\
    code-assist-proxy/main/docs/config.schema.json";

fn setting(spec: &SettingSpec, name: &str) -> Value {
    let mut schema = match spec.kind {
        Kind::Bytes { min, max } => json!({
            "anyOf": [
                {"type": "integer", "minimum": min, "maximum": max},
                {"type": "string", "pattern": "^[0-9]+ *([KkMmGg][Ii][Bb])?$"},
            ],
        }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Decimal { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        Kind::Switch => json!({"type": "boolean"}),
        Kind::Text(form) if form.contains("separated by commas") => {
            json!({"type": ["string", "array"], "items": {"type": "string", "pattern": "^[^,]*$"}})
        }
        Kind::Text(form) if form.contains("number") => json!({"type": ["string", "integer"]}),
        Kind::Text(_) => json!({"type": "string"}),
        Kind::Whole { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
    };
    let mut doc = match name == spec.name {
        true => spec.doc.to_owned(),
        false => format!("Another name of `{}`. {}", spec.name.to_lowercase(), spec.doc),
    };
    doc.push_str(&format!(" Accepts: {}.", spec.kind));
    if spec.secrecy == Secrecy::Secret {
        doc.push_str(" Secret.");
    }
    schema["description"] = doc.into();
    // One that depends on variables is no value.
    if !spec.default.is_empty() && !spec.default.contains("${") {
        schema["default"] = default(spec);
    }
    schema
}

fn default(spec: &SettingSpec) -> Value {
    match spec.kind {
        Kind::Bytes { .. } | Kind::Decimal { .. } | Kind::Switch | Kind::Whole { .. } => {
            serde_json::from_str(spec.default).unwrap_or_else(|_| spec.default.into())
        }
        Kind::Choice(_) | Kind::Text(_) => spec.default.into(),
    }
}

fn table(fields: &[TableField]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let needed: Vec<&str> =
        fields.iter().filter(|field| field.is_needed).map(|field| field.name).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": needed,
        "properties": properties,
    })
}

fn property(field: &TableField) -> Value {
    let mut schema = match field.kind {
        FieldKind::Amount { max } => json!({"type": "number", "minimum": 0, "maximum": max}),
        FieldKind::Choice(words) => json!({ "enum": words }),
        FieldKind::Form(_, pattern) => json!({"type": "string", "pattern": pattern}),
        FieldKind::List(_) => json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
        FieldKind::Map(_) => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        FieldKind::Switch => json!({"type": "boolean"}),
        FieldKind::Text(_) => json!({"type": "string", "minLength": 1}),
        FieldKind::Time => json!({"type": "string", "format": "date-time"}),
        FieldKind::Whole { max } => json!({"type": "integer", "minimum": 0, "maximum": max}),
    };
    schema["description"] = format!("{} Accepts: {}.", field.doc, field.kind).into();
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::UpstreamTable;

    #[test]
    fn the_schema_knows_every_setting_and_every_key_of_every_table() {
        let schema: Value = serde_json::from_str(&config_schema()).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        for name in SETTINGS.iter().flat_map(SettingSpec::names) {
            assert!(properties[&name.to_lowercase()]["description"].is_string(), "{name}");
        }
        assert_eq!(schema["properties"]["port"]["maximum"], 65_535);
        assert_eq!(schema["properties"]["port"]["default"], 8787);
        assert_eq!(schema["properties"]["max_retry_attempts"]["maximum"], 10);
        let known = |table: &str| -> Vec<String> {
            let items = &schema["properties"][table]["items"]["properties"];
            items.as_object().unwrap().keys().cloned().collect()
        };
        let sorted = |names: &[&str]| {
            let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(known("upstream"), sorted(&UpstreamTable::KEYS));
        assert!(known("key").contains(&"tokens_per_month".to_owned()));
        assert_eq!(known("price"), ["cached", "input", "model", "output"]);
    }
}
