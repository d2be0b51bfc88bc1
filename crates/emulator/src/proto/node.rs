//! A JSON tree that keeps what a strict proto parser looks at: the order of keys and duplicates.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::status::{ApiError, FieldViolation};

/// A JSON value. Its strings borrow from the body where they can.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node<'a> {
    Flag(bool),
    List(Vec<Self>),
    Null,
    Number(Number),
    Object(Vec<(Cow<'a, str>, Self)>),
    Text(Cow<'a, str>),
}

impl<'a> Node<'a> {
    /// Reads a body, which must be exactly one JSON object. An empty body is an empty message.
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Ok(Self::Object(Vec::new()));
        }
        let node = serde_json::from_slice::<Self>(body).map_err(|error| {
            let what = if error.to_string().starts_with("trailing characters") {
                "Parsing terminated before end of input."
            } else if error.is_eof() {
                "Unexpected end of string."
            } else {
                "Unexpected token."
            };
            let near = excerpt(body, error.line(), error.column());
            let description = format!("Invalid JSON payload received. {what}\n{near}\n^");
            ApiError::bad_request(&[FieldViolation { field: String::new(), description }])
        })?;
        match node {
            Self::Object(_) => Ok(node),
            Self::Flag(_) | Self::List(_) | Self::Null | Self::Number(_) | Self::Text(_) => {
                let description = "Invalid JSON payload received. Unknown name \"\": Root \
                                   element must be a message."
                    .to_owned();
                Err(ApiError::bad_request(&[FieldViolation { field: String::new(), description }]))
            }
        }
    }

    /// The member of a proto name, in either spelling. `null` counts as absent.
    pub(crate) fn field(&self, proto_name: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        members
            .iter()
            .find(|(written, node)| is_spelling_of(written, proto_name) && *node != Self::Null)
            .map(|(_, node)| node)
    }

    pub(crate) fn text(&self, proto_name: &str) -> Option<&str> {
        self.field(proto_name)?.as_text()
    }

    pub(crate) fn flag(&self, proto_name: &str) -> bool {
        self.field(proto_name) == Some(&Self::Flag(true))
    }

    pub(crate) fn integer(&self, proto_name: &str) -> Option<i64> {
        match self.field(proto_name)? {
            Self::Number(number) => number.as_i64(),
            Self::Text(text) => text.parse().ok(),
            Self::Flag(_) | Self::List(_) | Self::Null | Self::Object(_) => None,
        }
    }

    /// The items of a list. One object counts as a list of one.
    pub(crate) fn list(&self, proto_name: &str) -> &[Self] {
        match self.field(proto_name) {
            Some(Self::List(items)) => items,
            Some(one @ Self::Object(_)) => std::slice::from_ref(one),
            _ => &[],
        }
    }

    /// The items of a list, to be changed.
    pub(crate) fn list_mut(&mut self, proto_name: &str) -> &mut [Self] {
        let Self::Object(members) = self else {
            return &mut [];
        };
        let found = members.iter_mut().find(|(name, _)| is_spelling_of(name, proto_name));
        match found {
            Some((_, Self::List(items))) => items,
            Some((_, one @ Self::Object(_))) => std::slice::from_mut(one),
            _ => &mut [],
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Flag(_) | Self::List(_) | Self::Null | Self::Number(_) | Self::Object(_) => None,
        }
    }

    /// The value as a `serde_json` tree. Of duplicate keys the last one wins.
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Flag(flag) => Value::Bool(*flag),
            Self::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            Self::Null => Value::Null,
            Self::Number(number) => Value::Number(number.clone()),
            Self::Object(members) => {
                let members = members.iter().map(|(name, node)| (name.to_string(), node.value()));
                Value::Object(members.collect::<Map<_, _>>())
            }
            Self::Text(text) => Value::String(text.to_string()),
        }
    }
}

/// Whether a key is a proto field name or its lowerCamelCase JSON name.
pub(crate) fn is_spelling_of(written: &str, proto_name: &str) -> bool {
    if written == proto_name {
        return true;
    }
    let mut written = written.bytes();
    let mut proto = proto_name.bytes();
    while let Some(byte) = proto.next() {
        let wanted = if byte == b'_' {
            proto.next().map(|next| next.to_ascii_uppercase())
        } else {
            Some(byte)
        };
        if written.next() != wanted {
            return false;
        }
    }
    written.next().is_none()
}

impl<'de: 'a, 'a> Deserialize<'de> for Node<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Node::Flag(flag))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(number).map_or(Node::Null, Node::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(MemberName(name)) = map.next_key()? {
            members.push((name, map.next_value()?));
        }
        Ok(Node::Object(members))
    }
}

struct MemberName<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for MemberName<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Node::deserialize(deserializer)? {
            Node::Text(text) => Ok(Self(text)),
            other => Ok(Self(Cow::Owned(other.value().to_string()))),
        }
    }
}

fn excerpt(body: &[u8], line: usize, column: usize) -> String {
    let line = body.split(|byte| *byte == b'\n').nth(line.saturating_sub(1)).unwrap_or_default();
    let start = column.saturating_sub(EXCERPT).min(line.len());
    let end = (column + EXCERPT).min(line.len());
    String::from_utf8_lossy(&line[start..end]).into_owned()
}

const EXCERPT: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proto_name_has_two_spellings() {
        for written in ["thinking_config", "thinkingConfig"] {
            assert!(is_spelling_of(written, "thinking_config"), "{written}");
        }
        for written in ["thinkingconfig", "ThinkingConfig", "thinkingConfigs", "thinking", ""] {
            assert!(!is_spelling_of(written, "thinking_config"), "{written}");
        }
    }

    #[test]
    fn the_tree_keeps_order_and_duplicate_keys() {
        let node = Node::read(br#"{"b":1,"a":"\u0041","b":null}"#).unwrap();
        let Node::Object(members) = node else { panic!("an object") };
        let names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["b", "a", "b"]);
        assert_eq!(members[1].1, Node::Text(Cow::Borrowed("A")));
    }

    #[test]
    fn a_body_of_two_values_is_refused() {
        assert!(Node::read(br#"{}, "project": "x""#).is_err());
        assert!(Node::read(b"{}{}").is_err());
        assert!(Node::read(b"[]").is_err());
        assert!(Node::read(b"{}\n ").is_ok());
    }
}
