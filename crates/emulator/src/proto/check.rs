//! The check of a body against its proto message: every name is a field, every value of its type.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::proto::fields::{EnumSpec, FieldKind, MessageSpec};
use crate::proto::{Node, is_spelling_of};
use crate::status::{ApiError, FieldViolation};

/// Refuses a body that the real parser refuses, and names all violations at once.
pub(crate) fn check(
    body: &Node<'_>,
    message: &'static MessageSpec,
    lists: ListRule,
) -> Result<(), ApiError> {
    let mut found = Violations { list: Vec::new(), lists };
    walk(body, message, "", &mut found);
    if found.list.is_empty() { Ok(()) } else { Err(ApiError::bad_request(&found.list)) }
}

/// What may stand where a list is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListRule {
    /// A list only. It is not known whether Code Assist accepts more.
    Strict,
    /// A list, or one object in place of a list of one (docs/reference/upstreams.md 3).
    OneObject,
}

struct Violations {
    list: Vec<FieldViolation>,
    lists: ListRule,
}

impl Violations {
    fn push(&mut self, violation: FieldViolation) {
        self.list.push(violation);
    }
}

fn walk(node: &Node<'_>, message: &'static MessageSpec, path: &str, found: &mut Violations) {
    let Node::Object(members) = node else {
        found.push(invalid(path, &type_url(message.name), node));
        return;
    };
    let mut set: Vec<&str> = Vec::new();
    for (written, value) in members {
        let known = message.fields.iter().find(|(name, _)| is_spelling_of(written, name));
        let Some((name, kind)) = known else {
            found.push(unknown(written, path, "Cannot find field."));
            continue;
        };
        if *value == Node::Null {
            continue;
        }
        if set.contains(name) {
            found.push(already_set(name, written, path));
            continue;
        }
        if let Some((oneof, choices)) = message.oneof
            && choices.contains(name)
            && set.iter().any(|earlier| choices.contains(earlier))
        {
            found.push(already_set(oneof, written, path));
            continue;
        }
        set.push(name);
        let below = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
        value_of(value, kind, &below, found);
    }
}

fn value_of(value: &Node<'_>, kind: &'static FieldKind, path: &str, found: &mut Violations) {
    match kind {
        FieldKind::Bytes => bytes(value, path, found),
        FieldKind::Choice(choice) => choose(value, choice, path, found),
        FieldKind::Choices(choice) => {
            each(value, path, found, |item, path, found| choose(item, choice, path, found));
        }
        FieldKind::Flag => {
            let text = value.as_text();
            if !matches!(value, Node::Flag(_)) && !matches!(text, Some("true" | "false")) {
                found.push(invalid(path, "TYPE_BOOL", value));
            }
        }
        FieldKind::Free => {}
        FieldKind::Map(message) => {
            let Node::Object(members) = value else {
                found.push(invalid(path, "Map", value));
                return;
            };
            for (index, (_, item)) in members.iter().enumerate() {
                walk(item, message, &format!("{path}[{index}].value"), found);
            }
        }
        FieldKind::Message(message) => walk(value, message, path, found),
        FieldKind::Messages(message) => {
            each(value, path, found, |item, path, found| walk(item, message, path, found));
        }
        FieldKind::Number => {
            let text = value.as_text();
            let digits = text.is_some_and(|text| text.parse::<f64>().is_ok());
            if !matches!(value, Node::Number(_)) && !digits {
                found.push(invalid(path, "TYPE_DOUBLE", value));
            }
        }
        FieldKind::Struct => {
            if !matches!(value, Node::Object(_)) {
                found.push(invalid(path, "type.googleapis.com/google.protobuf.Struct", value));
            }
        }
        FieldKind::Text => text(value, path, found),
        FieldKind::Texts => each(value, path, found, text),
    }
}

fn each(
    value: &Node<'_>,
    path: &str,
    found: &mut Violations,
    one: impl Fn(&Node<'_>, &str, &mut Violations),
) {
    let Node::List(items) = value else {
        if found.lists == ListRule::OneObject && matches!(value, Node::Object(_)) {
            return one(value, path, found);
        }
        found.push(invalid(path, "repeated field, expected a list", value));
        return;
    };
    for (index, item) in items.iter().enumerate() {
        one(item, &format!("{path}[{index}]"), found);
    }
}

fn text(value: &Node<'_>, path: &str, found: &mut Violations) {
    if value.as_text().is_none() {
        found.push(invalid(path, "TYPE_STRING", value));
    }
}

fn bytes(value: &Node<'_>, path: &str, found: &mut Violations) {
    let Some(text) = value.as_text() else {
        found.push(invalid(path, "TYPE_BYTES", value));
        return;
    };
    let url_safe = text.bytes().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if url_safe { &BASE64_URL_SAFE } else { &BASE64 };
    if engine.decode(text).is_err() {
        let start: String = text.chars().take(40).collect();
        let description = format!(
            "Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed for \"{start}\""
        );
        found.push(FieldViolation { field: path.to_owned(), description });
    }
}

fn choose(value: &Node<'_>, choice: &EnumSpec, path: &str, found: &mut Violations) {
    let known = match value {
        Node::Text(text) => choice
            .values
            .iter()
            .any(|name| *name == text || (choice.any_case && name.eq_ignore_ascii_case(text))),
        Node::Number(number) => number
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .is_some_and(|number| number < choice.values.len()),
        Node::Flag(_) | Node::List(_) | Node::Null | Node::Object(_) => false,
    };
    if !known {
        found.push(invalid(path, &type_url(choice.name), value));
    }
}

fn unknown(written: &str, path: &str, why: &str) -> FieldViolation {
    let at = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
    let description =
        format!("Invalid JSON payload received. Unknown name \"{written}\"{at}: {why}");
    FieldViolation { field: path.to_owned(), description }
}

fn already_set(field: &str, written: &str, path: &str) -> FieldViolation {
    let at = if path.is_empty() { "root" } else { path };
    let description = format!(
        "Invalid value at '{at}' (oneof), oneof field '{field}' is already set. Cannot set \
         '{written}'"
    );
    FieldViolation { field: path.to_owned(), description }
}

fn invalid(path: &str, kind: &str, value: &Node<'_>) -> FieldViolation {
    let mut shown = value.value().to_string();
    if shown.len() > SHOWN {
        shown = shown.chars().take(SHOWN).collect();
    }
    let description = format!("Invalid value at '{path}' ({kind}), {shown}");
    FieldViolation { field: path.to_owned(), description }
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/{name}")
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
/// base64 as the proto parser reads it: padded or not.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
/// The same for the URL-safe alphabet.
pub(crate) const BASE64_URL_SAFE: GeneralPurpose =
    GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const SHOWN: usize = 200;
