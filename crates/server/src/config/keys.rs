//! The `[[key]]` and `[[price]]` tables of the TOML file. What is in them is checked with the settings.

use std::path::Path;

use serde_json::{Map, Number, Value};

use super::{ConfigFile, holds_json};

impl ConfigFile {
    /// Reads the value of `key` or `price`, and returns whether it holds a secret.
    pub(super) fn read_key_tables(&mut self, path: &Path, word: &str, value: toml::Value) -> bool {
        let toml::Value::Array(tables) = value else {
            let name = format!("{word} in {}", path.display());
            self.complain(&name, format!("must be a table under the line [[{word}]]"));
            return false;
        };
        let holds_a_secret = tables.iter().any(|table| {
            let has = |key| table.get(key).and_then(toml::Value::as_str);
            has("key").is_some() || has("credentials").is_some_and(holds_json)
        });
        let tables = tables.into_iter().map(json);
        match word {
            "key" => self.key_tables.keys.extend(tables),
            _ => self.key_tables.prices.extend(tables),
        }
        holds_a_secret
    }
}

/// The same value in JSON. A time is a string as in RFC 3339.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::Array(list) => list.into_iter().map(json).collect(),
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        // JSON has no number for what is not finite, which no key of these tables accepts.
        toml::Value::Float(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        toml::Value::Integer(number) => number.into(),
        toml::Value::String(text) => Value::String(text),
        toml::Value::Table(table) => {
            let members = table.into_iter().map(|(key, value)| (key, json(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_of_keys_and_prices_become_json_in_the_order_of_the_file() {
        let file = parsed(
            "[[key]]\nid = \"ada\"\nmodels = [\"gemini-2.5-*\"]\ntokens_per_day = 5\n\
             cost_per_month = 50.5\nexpires = 2027-01-31T00:00:00Z\nadmin = true\n\
             [[price]]\nmodel = \"*\"\ninput = inf\n\
             [[key]]\nid = \"bob\"\nexpires = 2027-01-31 01:30:00+02:00\n",
        );
        assert_eq!(file.problems, []);
        assert_eq!(
            file.key_tables.keys,
            [
                json!({"id": "ada", "models": ["gemini-2.5-*"], "tokens_per_day": 5,
                       "cost_per_month": 50.5, "expires": "2027-01-31T00:00:00Z", "admin": true}),
                json!({"id": "bob", "expires": "2027-01-31T01:30:00+02:00"}),
            ]
        );
        assert_eq!(file.key_tables.prices, [json!({"model": "*", "input": null})]);
    }

    #[test]
    fn what_is_no_list_of_tables_is_reported_with_the_line_that_begins_one() {
        for (text, line) in [
            ("[key]\nid = \"a\"\n", "key in c.toml: must be a table under the line [[key]]"),
            ("price = 1\n", "price in c.toml: must be a table under the line [[price]]"),
            (
                "[[keys]]\nid = \"a\"\n",
                "keys in c.toml: is not a setting; the tables are called [[key]]",
            ),
            (
                "[prices]\nx = 1\n",
                "prices in c.toml: is not a setting; the tables are called [[price]]",
            ),
            (
                "[server]\nx = 1\n",
                "server in c.toml: is not a setting; the file has no sections but [[upstream]], [[key]] \
                 and [[price]]",
            ),
        ] {
            let file = parsed(text);
            let all: Vec<String> = file.problems.iter().map(ToString::to_string).collect();
            assert_eq!(all, [line]);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_reported_if_its_tables_hold_a_secret() {
        use std::fs;
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        for (table, count) in [
            ("hash = \"sha256:00\"", 0),
            ("credentials = \"/ada.json\"", 0),
            ("key = \"hush\"", 1),
            ("credentials = '{\"refresh_token\":\"hush\"}'", 1),
        ] {
            fs::write(&path, format!("[[key]]\nid = \"ada\"\n{table}\n")).unwrap();
            for (mode, count) in [(0o600, 0), (0o644, count)] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                let file = ConfigFile::read(Some(&path), |_| None);
                assert_eq!(file.warnings.len(), count, "{table} {file:?}");
                assert!(!format!("{file:?}").contains("hush"));
            }
        }
    }

    fn parsed(text: &str) -> ConfigFile {
        let mut file = ConfigFile::default();
        file.parse(Path::new("c.toml"), text, None);
        file
    }
}
