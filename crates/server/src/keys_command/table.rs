//! The `[[key]]` table of a new key, as text.

use std::path::Path;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::OsRng;
use chacha20poly1305::aead::rand_core::RngCore;
use code_assist_core::KeyDigest;
use secrecy::SecretString;
use toml::{Table, Value};

use super::arguments::NewKey;

/// Makes a key of 256 random bits. The prefix lets scanners of repositories and logs find it.
pub(crate) fn new_key() -> SecretString {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into()
}

/// `sha256:` and the digest in hexadecimal, as `hash` takes it.
pub(super) fn hash(key: &str) -> String {
    format!("sha256:{}", KeyDigest::of(key))
}

/// The start of a digest: enough to tell the keys of one `id` apart.
pub(super) fn short(hash: &str) -> String {
    let digits = hash.strip_prefix("sha256:").unwrap_or(hash);
    format!("sha256:{}…", digits.get(..SHORT).unwrap_or(digits))
}

/// The table of a new key: its fields in the order of the documentation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NewTable {
    fields: Vec<(&'static str, Value)>,
}

impl NewTable {
    /// Takes each field from the arguments, else from `model`, another table of the same `id`. An `expires`
    /// that has passed is not taken from there.
    pub(super) fn new(arguments: &NewKey, hash: &str, model: Option<&Table>) -> Self {
        let copied = |name: &str| {
            let value = model?.get(name)?.clone();
            (name != "expires" || !has_passed(&value)).then_some(value)
        };
        let fields = FIELDS.into_iter().filter_map(|name| {
            let value = match name {
                "hash" => Some(Value::String(hash.to_owned())),
                name => given(arguments, name).or_else(|| copied(name)),
            };
            Some((name, value?))
        });
        Self { fields: fields.collect() }
    }

    /// The table as TOML.
    pub(super) fn text(&self) -> String {
        self.written(|value| value.to_string())
    }

    /// The table without a login that it holds as JSON.
    pub(super) fn shown(&self) -> String {
        self.written(|value| match is_json(value) {
            true => "'***'".to_owned(),
            false => value.to_string(),
        })
    }

    /// True if the table holds a login as JSON, which is a secret.
    pub(super) fn holds_a_login(&self) -> bool {
        self.fields.iter().any(|(_, value)| is_json(value))
    }

    /// The field with this name.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    fn written(&self, value_text: impl Fn(&Value) -> String) -> String {
        let mut text = "[[key]]\n".to_owned();
        for (name, value) in &self.fields {
            text.push_str(&format!("{name} = {}\n", value_text(value)));
        }
        text
    }
}

fn given(arguments: &NewKey, name: &str) -> Option<Value> {
    let list = |list: &Option<Vec<String>>| {
        let names = list.as_ref()?.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
        Some(Value::Array(names.map(|name| Value::String(name.to_owned())).collect()))
    };
    let text = |text: &Option<String>| text.clone().map(Value::String);
    match name {
        "id" => Some(Value::String(arguments.id.clone())),
        "models" => list(&arguments.models),
        "upstreams" => list(&arguments.upstreams),
        "requests_per_minute" => arguments.requests_per_minute.clone(),
        "tokens_per_minute" => arguments.tokens_per_minute.clone(),
        "tokens_per_day" => arguments.tokens_per_day.clone(),
        "tokens_per_month" => arguments.tokens_per_month.clone(),
        "cost_per_month" => arguments.cost_per_month.clone(),
        "max_concurrent" => arguments.max_concurrent.clone(),
        "expires" => arguments.expires.clone(),
        "credentials" => text(&arguments.credentials.as_deref().map(absolute)),
        "project" => text(&arguments.project),
        "code_assist_protocol" => text(&arguments.code_assist_protocol),
        "admin" => arguments.admin.map(Value::Boolean),
        _ => None,
    }
}

/// Makes a path independent of the folder that the proxy runs in. `~` is the proxy's matter.
fn absolute(path: &str) -> String {
    if path.starts_with('~') {
        return path.to_owned();
    }
    let absolute = std::path::absolute(Path::new(path));
    absolute.map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

fn is_json(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains('{'))
}

/// True for a time in the past.
pub(super) fn has_passed(expires: &Value) -> bool {
    let text = match expires {
        Value::Datetime(at) => at.to_string(),
        Value::String(text) => text.clone(),
        _ => return false,
    };
    text.parse::<jiff::Timestamp>().is_ok_and(|at| SystemTime::from(at) <= SystemTime::now())
}

const PREFIX: &str = "cap_";
const SHORT: usize = 8;

const FIELDS: [&str; 15] = [
    "id",
    "hash",
    "models",
    "upstreams",
    "requests_per_minute",
    "tokens_per_minute",
    "tokens_per_day",
    "tokens_per_month",
    "cost_per_month",
    "max_concurrent",
    "expires",
    "credentials",
    "project",
    "code_assist_protocol",
    "admin",
];

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Subcommand};
    use secrecy::ExposeSecret;

    use super::super::arguments::KeysTask;
    use super::*;

    #[test]
    fn a_key_is_256_bits_and_no_two_are_equal() {
        let keys: Vec<String> = (0..100).map(|_| new_key().expose_secret().to_owned()).collect();
        for key in &keys {
            let bits = key.strip_prefix("cap_").unwrap();
            assert_eq!(URL_SAFE_NO_PAD.decode(bits).unwrap().len(), 32, "{key}");
            assert!(!key.contains('='), "{key}");
        }
        let different: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(different.len(), 100);
    }

    #[test]
    fn a_table_holds_every_flag_as_toml() {
        let arguments = read(&[
            "ada",
            "--models=gemini-2.5-*, x",
            "--upstreams=vertex",
            "--requests-per-minute=60",
            "--tokens-per-minute=200_000",
            "--tokens-per-day=1",
            "--tokens-per-month=0",
            "--cost-per-month=50.0",
            "--max-concurrent=10",
            "--expires=2027-01-31",
            "--credentials=/etc/ada's.json",
            "--project=p",
            "--code-assist-protocol=off",
            "--admin",
        ]);
        let text = NewTable::new(&arguments, "sha256:00", None).text();
        let expected = "[[key]]\nid = \"ada\"\nhash = \"sha256:00\"\nmodels = [\"gemini-2.5-*\", \"x\"]\n\
            upstreams = [\"vertex\"]\nrequests_per_minute = 60\ntokens_per_minute = 200000\n\
            tokens_per_day = 1\ntokens_per_month = 0\ncost_per_month = 50.0\nmax_concurrent = 10\n\
            expires = 2027-01-31T00:00:00Z\ncredentials = \"/etc/ada's.json\"\nproject = \"p\"\n\
            code_assist_protocol = \"off\"\nadmin = true\n";
        assert_eq!(text, expected);
        assert!(text.parse::<Table>().is_ok());
    }

    #[test]
    fn no_text_of_a_flag_leaves_its_value() {
        let id = "a\"\n[[key]]\nid = 'b\\";
        let text = NewTable::new(&read(&[id]), "sha256:00", None).text();
        let table: Table = text.parse().unwrap();
        let keys = table["key"].as_array().unwrap();
        assert_eq!((keys.len(), keys[0]["id"].as_str()), (1, Some(id)));
    }

    #[test]
    fn a_second_key_has_the_settings_of_the_first_but_for_those_given_and_a_past_expiry() {
        let first = "id = \"ada\"\nhash = \"sha256:11\"\ntokens_per_day = 5\nadmin = true\n\
            max_concurrent = 3\nkey = \"hush\"\nexpires = ";
        let copied = |expires: &str| {
            let model: Table = format!("{first}{expires}\n").parse().unwrap();
            let arguments = read(&["ada", "--tokens-per-day=7", "--admin=false"]);
            NewTable::new(&arguments, "sha256:00", Some(&model))
        };
        let expected = "[[key]]\nid = \"ada\"\nhash = \"sha256:00\"\ntokens_per_day = 7\n\
            max_concurrent = 3\n";
        let later = copied("2999-01-01T00:00:00Z").text();
        assert_eq!(later, format!("{expected}expires = 2999-01-01T00:00:00Z\nadmin = false\n"));
        assert_eq!(copied("2020-01-01T00:00:00Z").text(), format!("{expected}admin = false\n"));
    }

    #[test]
    fn a_login_that_is_copied_as_json_is_not_shown() {
        let model: Table = "credentials = '{\"refresh_token\":\"hush\"}'".parse().unwrap();
        let table = NewTable::new(&read(&["ada"]), "sha256:00", Some(&model));
        assert!(table.holds_a_login() && table.text().contains("hush"));
        assert!(!table.shown().contains("hush"), "{}", table.shown());
    }

    fn read(arguments: &[&str]) -> NewKey {
        let command = KeysTask::augment_subcommands(clap::Command::new("keys"));
        let all = ["keys", "new"].iter().chain(arguments);
        let matches = command.try_get_matches_from(all).unwrap();
        match KeysTask::from_arg_matches(&matches).unwrap() {
            KeysTask::New(new) => *new,
            _ => panic!("not new"),
        }
    }
}
