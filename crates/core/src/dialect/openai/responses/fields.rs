//! Fields of a request. Of a field that comes twice the last one counts, and `null` is an absent field.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::dialect::translate::text::JsonText;
use crate::error::{Error, Refusal, RefusalCode};

/// The members of an object that are not `null`.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((Key(name), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.insert(name, value);
                }
                members.retain(|_, value| value.get() != "null");
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'a> Members<'a> {
    /// All members, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }

    /// The value of a member.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied()
    }

    /// The value of a member, if it is a string.
    pub(super) fn text(&self, name: &str) -> Option<JsonText<'a>> {
        self.get(name).and_then(JsonText::of)
    }

    /// The content of a member, if it is a string.
    pub(super) fn word(&self, name: &str) -> Option<Cow<'a, str>> {
        self.text(name).map(JsonText::decoded)
    }

    /// True for a member that is `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.get() == "true")
    }
}

/// Reads a value at `path` that must have a certain form, which `form` names for people.
pub(super) fn read_as<'a, T: Deserialize<'a>>(
    value: &'a RawValue,
    path: impl Into<String>,
    form: &str,
) -> Result<T, Error> {
    serde_json::from_str(value.get()).map_err(|_| {
        Refusal::error(RefusalCode::InvalidValue, path, format!("The value must be {form}."))
    })
}

/// The value, if it is a number.
pub(super) fn number<'a>(value: &'a RawValue, path: &str) -> Result<&'a RawValue, Error> {
    read_as::<serde_json::Number>(value, path, "a number")?;
    Ok(value)
}
