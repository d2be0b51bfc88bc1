//! Texts of a JSON document, kept as they are written. They are decoded only to be compared or joined, so
//! that a lone surrogate, which has no form in UTF-8, survives.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A JSON string as it is written, with its quotes and escapes.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub struct JsonText<'a>(#[serde(borrow)] &'a RawValue);

impl<'a> JsonText<'a> {
    /// The string if the value is one.
    pub fn of(value: &'a RawValue) -> Option<Self> {
        value.get().starts_with('"').then_some(Self(value))
    }

    /// True if the value is a string. (Any JSON value can be read into this type.)
    pub fn is_string(self) -> bool {
        self.0.get().starts_with('"')
    }

    /// The string with its quotes.
    pub fn quoted(self) -> &'a str {
        self.0.get()
    }

    /// The string without its quotes, with its escapes.
    pub fn escaped(self) -> &'a str {
        let text = self.0.get();
        text.get(1..text.len().saturating_sub(1)).unwrap_or_default()
    }

    /// True for `""`.
    pub fn is_empty(self) -> bool {
        self.escaped().is_empty()
    }

    /// The content. Each lone surrogate becomes U+FFFD.
    pub fn decoded(self) -> Cow<'a, str> {
        self.decoded_with(|_| "\u{fffd}")
    }

    /// The JSON that the string holds, as the arguments of calls come. A lone surrogate keeps its escape,
    /// which means the same one level down.
    pub fn embedded(self) -> Cow<'a, str> {
        self.decoded_with(|escape| escape)
    }

    /// The content. `lone` gives what the escape of a lone surrogate becomes.
    fn decoded_with(self, lone: fn(&'a str) -> &'a str) -> Cow<'a, str> {
        let escaped = self.escaped();
        if memchr::memchr(b'\\', escaped.as_bytes()).is_none() {
            return Cow::Borrowed(escaped);
        }
        match serde_json::from_str(self.quoted()) {
            Ok(text) => Cow::Owned(text),
            Err(_) => Cow::Owned(with_surrogates(escaped, lone)),
        }
    }
}

/// Decodes the inside of a JSON string that has lone surrogates. `lone` gives what the escape of one becomes.
#[cold]
fn with_surrogates<'t>(escaped: &'t str, lone: fn(&'t str) -> &'t str) -> String {
    let mut text = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        // A pair of surrogates is one character; every other escape is decoded by itself.
        let escape = &rest[at..];
        let decoded = [12, 6, 2].into_iter().find_map(|len| {
            let one = escape.get(..len)?;
            let decoded: String = serde_json::from_str(&format!("\"{one}\"")).ok()?;
            (decoded.chars().count() == 1).then_some((len, decoded))
        });
        let len = match decoded {
            Some((len, one)) => {
                text.push_str(&one);
                len
            }
            None => {
                let len = 6.min(escape.len());
                text.push_str(lone(escape.get(..len).unwrap_or_default()));
                len
            }
        };
        rest = escape.get(len..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// A text for a Gemini request: one of the client's own, as it is written, or a new one.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    /// The client's own.
    Json(JsonText<'a>),
    /// A new one, without quotes and escapes.
    Plain(Cow<'a, str>),
}

impl Text<'_> {
    /// True for a text without characters.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Json(text) => text.is_empty(),
            Self::Plain(text) => text.is_empty(),
        }
    }

    /// The content. Each lone surrogate becomes U+FFFD.
    pub fn decoded(&self) -> Cow<'_, str> {
        match self {
            Self::Json(text) => text.decoded(),
            Self::Plain(text) => Cow::Borrowed(text),
        }
    }
}

impl<'a> From<JsonText<'a>> for Text<'a> {
    fn from(text: JsonText<'a>) -> Self {
        Self::Json(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Plain(Cow::Owned(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(json: &str) -> String {
        let value: &RawValue = serde_json::from_str(json).unwrap();
        JsonText::of(value).unwrap().decoded().into_owned()
    }

    #[test]
    fn a_text_is_decoded_and_its_lone_surrogates_are_replaced() {
        for (json, text) in [
            (r#""""#, ""),
            (r#""plain""#, "plain"),
            (r#""a\nb\\c""#, "a\nb\\c"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""cut \ud83d""#, "cut \u{fffd}"),
            (r#""\ud83d\ud83d\ude00 \u00e4\n""#, "\u{fffd}😀 ä\n"),
            (r#""\ude00 after""#, "\u{fffd} after"),
        ] {
            assert_eq!(decoded(json), text, "{json}");
        }
    }
}
