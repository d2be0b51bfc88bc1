//! The tables as `code-assist-proxy config` prints them.

use serde_json::Value;

use super::KeyTables;
use super::fields::{KEY_FIELDS, PRICE_FIELDS, PROXY_KEYS_JSON, TableField};
use crate::settings::read::SettingsReader;
use crate::settings::redact::MASK;
use crate::settings::upstreams::parse::is_json;
use crate::settings::{Layer, Source};

impl KeyTables {
    /// The tables in force: those of `PROXY_KEYS_JSON`, else those of the file, with their source.
    pub fn in_force(self, layers: &[Layer<'_>]) -> (Self, Source) {
        let found = SettingsReader::new(layers, None).find(&PROXY_KEYS_JSON);
        let json = found.and_then(|it| Some((Self::from_json(&it.value).ok()?, it.source)));
        json.unwrap_or((self, Source::File))
    }

    /// Every table with its name, such as `key.ada`, and its keys with values that may be printed, each on
    /// one line. Keys that no such table has are left out.
    pub fn listing(&self) -> Vec<(String, Vec<(&'static str, String)>)> {
        let keys = (1..).zip(&self.keys).map(|(number, table)| {
            let id = table.get("id").and_then(Value::as_str);
            let name = id.map_or_else(|| format!("key.{number}"), |id| format!("key.{}", line(id)));
            (name, lines(table, KEY_FIELDS))
        });
        let prices = (1..).zip(&self.prices);
        let prices =
            prices.map(|(number, table)| (format!("price.{number}"), lines(table, PRICE_FIELDS)));
        keys.chain(prices).collect()
    }
}

fn lines(table: &Value, fields: &'static [TableField]) -> Vec<(&'static str, String)> {
    let shown = |field: &TableField| Some((field.name, shown(field.name, table.get(field.name)?)));
    fields.iter().filter(|field| field.name != "id").filter_map(shown).collect()
}

fn shown(key: &str, value: &Value) -> String {
    match (key, value) {
        ("key", _) => MASK.to_owned(),
        ("credentials", value) if value.as_str().is_none_or(is_json) => MASK.to_owned(),
        // A guessed key could be compared with a whole digest.
        ("hash", Value::String(hash)) => match hash.split_at_checked(SHOWN_OF_HASH) {
            Some((start, _)) if start.starts_with("sha256:") => format!("{}…", line(start)),
            _ => MASK.to_owned(),
        },
        ("hash", _) => MASK.to_owned(),
        (_, Value::String(text)) => line(text),
        (_, Value::Array(list)) => {
            let entries = list.iter().map(|entry| entry.as_str().map_or_else(String::new, line));
            entries.collect::<Vec<_>>().join(",")
        }
        (_, Value::Object(_)) => MASK.to_owned(),
        (_, other) => other.to_string(),
    }
}

fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `sha256:` and eight digits.
const SHOWN_OF_HASH: usize = 15;
