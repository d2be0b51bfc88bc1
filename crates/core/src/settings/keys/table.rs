//! One table of the file, read key by key.

use serde_json::{Map, Value};

use super::fields::{FieldKind, TableField};
use crate::settings::read::SettingsReader;
use crate::settings::suggest::suggestion;
use crate::settings::upstreams::ModelPattern;
use crate::time::Timestamp;

/// A table, and the words that stand for it in problems. No problem quotes a value, which may be secret.
pub(super) struct RawTable<'a> {
    pub(super) place: String,
    pub(super) values: &'a Map<String, Value>,
    pub(super) fields: &'static [TableField],
}

impl<'a> RawTable<'a> {
    /// Reports keys that no such table has, and needed ones that are missing.
    pub(super) fn check_keys(&self, reader: &mut SettingsReader<'_>) {
        let known = || self.fields.iter().map(|field| field.name.to_owned()).collect::<Vec<_>>();
        for key in self.values.keys() {
            if !self.fields.iter().any(|field| field.name == key) {
                let text = suggestion(key, &known(), "a key of these tables");
                reader.complain(&format!("{key} of {}", self.place), text);
            }
        }
        for field in self.fields.iter().filter(|field| field.is_needed) {
            if !self.values.contains_key(field.name) {
                reader.complain(
                    &self.place,
                    format!("has no {}; wanted: {}", field.name, field.kind),
                );
            }
        }
    }

    /// The name of a key in problems.
    pub(super) fn label(&self, key: &str) -> String {
        format!("{key} of {}", self.place)
    }

    /// Reports a value that is refused.
    pub(super) fn refuse(&self, reader: &mut SettingsReader<'_>, key: &str, wrong: &str) {
        let kind = self.fields.iter().find(|field| field.name == key).map(|field| field.kind);
        let wanted = kind.map(|kind| format!("; wanted: {kind}")).unwrap_or_default();
        reader.complain(&self.label(key), format!("{wrong}{wanted}"));
    }

    /// A string without the white space around it. `None` if it is missing, or bad, which is reported.
    pub(super) fn text(&self, reader: &mut SettingsReader<'_>, key: &str) -> Option<&'a str> {
        match self.values.get(key)?.as_str().map(str::trim) {
            Some("") => self.refuse(reader, key, "is empty"),
            Some(text) => return Some(text),
            None => self.refuse(reader, key, "is no string"),
        }
        None
    }

    /// A string that `parse` accepts.
    pub(super) fn parsed<T>(
        &self,
        reader: &mut SettingsReader<'_>,
        key: &str,
        parse: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.text(reader, key)?) {
            Ok(parsed) => Some(parsed),
            Err(wrong) => {
                self.refuse(reader, key, &wrong);
                None
            }
        }
    }

    /// A whole number within the bounds of its field. `None` also for 0, which is no limit.
    pub(super) fn limit(&self, reader: &mut SettingsReader<'_>, key: &str) -> Option<u64> {
        let value = self.values.get(key)?;
        let most = self.fields.iter().find_map(|field| match field.kind {
            FieldKind::Whole { max } if field.name == key => Some(max),
            _ => None,
        });
        match (value.as_u64(), most) {
            (Some(number), Some(most)) if number <= most => return (number > 0).then_some(number),
            _ if !value.is_number() => self.refuse(reader, key, "is no number"),
            _ if value.is_f64() => self.refuse(reader, key, "is no whole number"),
            _ => self.refuse(reader, key, "is out of range"),
        }
        None
    }

    /// A number with or without a fraction, within the bounds of its field.
    pub(super) fn amount(&self, reader: &mut SettingsReader<'_>, key: &str) -> Option<f64> {
        let value = self.values.get(key)?;
        let most = self.fields.iter().find_map(|field| match field.kind {
            FieldKind::Amount { max } if field.name == key => Some(f64::from(max)),
            _ => None,
        });
        match (value.as_f64(), most) {
            (Some(number), Some(most)) if (0.0..=most).contains(&number) => return Some(number),
            (Some(number), _) if number < 0.0 => self.refuse(reader, key, "is negative"),
            (Some(_), _) => self.refuse(reader, key, "is out of range"),
            (None, _) => self.refuse(reader, key, "is no number"),
        }
        None
    }

    /// True or false.
    pub(super) fn switch(&self, reader: &mut SettingsReader<'_>, key: &str) -> Option<bool> {
        let value = self.values.get(key)?.as_bool();
        if value.is_none() {
            self.refuse(reader, key, "is neither");
        }
        value
    }

    /// A point in time.
    pub(super) fn time(&self, reader: &mut SettingsReader<'_>, key: &str) -> Option<Timestamp> {
        self.parsed(reader, key, |text| {
            // The last time that jiff has is on the day before.
            if text.starts_with("9999-12-31") {
                return Err("is too late; without `expires` the key never ends".to_owned());
            }
            let time: jiff::Timestamp = text.parse().map_err(|_| "is no such time".to_owned())?;
            let since_1970 = u64::try_from(time.as_millisecond());
            since_1970.map(Timestamp).map_err(|_| "is before 1970".to_owned())
        })
    }

    /// The entries of a list, which is empty only if the key is missing or bad.
    pub(super) fn list(&self, reader: &mut SettingsReader<'_>, key: &str) -> Vec<&'a str> {
        let entries: Option<Vec<&'a str>> = match self.values.get(key) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
            Some(Value::String(text)) => Some(text.split(',').collect()),
            Some(_) => None,
        };
        let Some(mut entries) = entries else {
            self.refuse(reader, key, "is no list of strings");
            return Vec::new();
        };
        entries.iter_mut().for_each(|entry| *entry = entry.trim());
        entries.retain(|entry| !entry.is_empty());
        if entries.is_empty() {
            // It may be meant to allow nothing, and a missing list allows everything.
            self.refuse(reader, key, "is empty; remove it to allow all");
        }
        entries
    }

    /// Patterns of models' names.
    pub(super) fn patterns(&self, reader: &mut SettingsReader<'_>, key: &str) -> Vec<ModelPattern> {
        let patterns: Option<Vec<_>> =
            self.list(reader, key).into_iter().map(ModelPattern::new).collect();
        patterns.unwrap_or_else(|| {
            self.refuse(reader, key, "has an entry that is no model name");
            Vec::new()
        })
    }
}
