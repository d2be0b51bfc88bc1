//! JSON as the events of the Gemini API have it: a blank after colons, none after commas.

use std::io;

use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// The text of a value on one line (docs/reference/upstreams.md 4.2).
pub(crate) fn event_json(value: &Value) -> String {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, BlankAfterColon);
    value.serialize(&mut serializer).expect("a tree of strings and numbers always prints");
    String::from_utf8(text).expect("JSON is UTF-8")
}

struct BlankAfterColon;

impl Formatter for BlankAfterColon {
    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_blank_follows_colons_only() {
        let value = json!({"a": [1, {"b": "c:d"}], "e": null});
        assert_eq!(event_json(&value), r#"{"a": [1,{"b": "c:d"}],"e": null}"#);
    }
}
