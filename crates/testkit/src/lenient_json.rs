//! A second reader of what protobuf's JSON parser takes, for the tests of the core's `json::lenient`. It
//! shares no code with that module: it is simple and recursive, and makes a tree.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bytes::Bytes;
use code_assist_core::internals::json::Cursor;
use code_assist_core::internals::json::lenient::{NAMES, NormalizeError, Normalized, normalize};
use code_assist_core::internals::provider::code_assist::adapt::{count, generate};
use code_assist_core::internals::provider::code_assist::envelope::{Envelope, wrap_count};
use code_assist_core::internals::request_texts::RequestTexts;
use serde::de::IgnoredAny;
use serde_json::Value;

/// A JSON value. Numbers are kept as they are written, and strings as UTF-16, since JSON has lone
/// surrogates. Members keep their order and their duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// `null`, `true`, `false` or a number.
    Word(String),
    /// A string.
    Text(Vec<u16>),
    /// An array.
    Array(Vec<Self>),
    /// An object.
    Object(Vec<(Vec<u16>, Self)>),
}

impl Tree {
    /// The names of an object's members, in order and with duplicates.
    pub fn keys(&self) -> Vec<String> {
        match self {
            Self::Object(members) => {
                members.iter().map(|(key, _)| String::from_utf16_lossy(key)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The tree as strict JSON.
    pub fn to_json(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Text(units) => quoted(units),
            Self::Array(items) => {
                let items: Vec<_> = items.iter().map(Self::to_json).collect();
                format!("[{}]", items.join(","))
            }
            Self::Object(members) => {
                let members = members.iter();
                let members: Vec<_> = members
                    .map(|(key, value)| format!("{}:{}", quoted(key), value.to_json()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

fn quoted(units: &[u16]) -> String {
    let mut text = String::from("\"");
    for unit in units {
        write!(text, "\\u{unit:04x}").expect("a string is written to memory");
    }
    text + "\""
}

/// What protobuf's parser makes of a text, and the names of the leniencies in it; `None` if it refuses
/// the text.
pub fn read(text: &[u8]) -> Option<(Tree, String)> {
    let mut reader = TreeReader::new(text, false)?;
    let tree = reader.document()?;
    let found: Vec<_> = NAMES.into_iter().filter(|name| reader.found.contains(name)).collect();
    Some((tree, found.join(", ")))
}

/// The tree of a strict JSON text.
pub fn read_strict(text: &[u8]) -> Option<Tree> {
    TreeReader::new(text, true)?.document()
}

struct TreeReader {
    chars: Vec<char>,
    at: usize,
    strict: bool,
    found: BTreeSet<&'static str>,
    depth: usize,
}

impl TreeReader {
    fn new(text: &[u8], strict: bool) -> Option<Self> {
        let chars = std::str::from_utf8(text).ok()?.chars().collect();
        Some(Self { chars, at: 0, strict, found: BTreeSet::new(), depth: 0 })
    }

    fn document(&mut self) -> Option<Tree> {
        if self.take('\u{feff}') {
            self.allow("byte-order-mark")?;
        }
        let tree = self.value()?;
        self.blanks()?;
        (self.at == self.chars.len()).then_some(tree)
    }

    fn value(&mut self) -> Option<Tree> {
        self.blanks()?;
        match self.peek()? {
            '{' => Some(Tree::Object(self.items('}', Self::member)?)),
            '[' => Some(Tree::Array(self.items(']', Self::value)?)),
            '"' | '\'' => Some(Tree::Text(self.string()?)),
            _ => self.word(),
        }
    }

    /// The items from an opening bracket to `end`.
    fn items<T>(&mut self, end: char, item: fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.depth += 1;
        if self.depth > if self.strict { DEEPEST + 8 } else { DEEPEST } {
            return None;
        }
        self.at += 1;
        let mut items = Vec::new();
        self.blanks()?;
        while !self.take(end) {
            items.push(item(self)?);
            self.blanks()?;
            if self.take(',') {
                self.blanks()?;
                if self.peek() == Some(end) {
                    self.allow("trailing-commas")?;
                }
            } else if self.peek() != Some(end) {
                return None;
            }
        }
        self.depth -= 1;
        Some(items)
    }

    fn member(&mut self) -> Option<(Vec<u16>, Tree)> {
        let key = match self.peek()? {
            '"' | '\'' => self.string()?,
            _ => self.bare_key()?,
        };
        self.blanks()?;
        if !self.take(':') {
            return None;
        }
        Some((key, self.value()?))
    }

    fn bare_key(&mut self) -> Option<Vec<u16>> {
        self.allow("bare-keys")?;
        let key = self.run(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$');
        let refused = ["true", "false", "null"].contains(&&*key)
            || key.starts_with(|c: char| c.is_ascii_digit())
            || key.is_empty();
        (!refused).then(|| key.encode_utf16().collect())
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Option<Tree> {
        let word = self.run(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let is_json = ["true", "false", "null"].contains(&&*word) || is_number(&word);
        is_json.then_some(Tree::Word(word))
    }

    fn string(&mut self) -> Option<Vec<u16>> {
        let quote = self.next()?;
        if quote == '\'' {
            self.allow("single-quotes")?;
        }
        let mut text = Vec::new();
        loop {
            let c = match self.next()? {
                c if c == quote => return Some(text),
                '\\' => match self.next()? {
                    c @ ('"' | '\\' | '/') => c,
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        text.push(self.code_unit()?);
                        continue;
                    }
                    other => {
                        self.allow("escapes")?;
                        if other < ' ' {
                            self.allow("control-characters")?;
                        }
                        if other == 'v' { '\u{b}' } else { other }
                    }
                },
                c => {
                    if c < ' ' {
                        self.allow("control-characters")?;
                    }
                    c
                }
            };
            text.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        }
    }

    fn code_unit(&mut self) -> Option<u16> {
        let hex: String = (0..4).map_while(|_| self.next()).collect();
        let is_hex = hex.len() == 4 && hex.chars().all(|c| c.is_ascii_hexdigit());
        u16::from_str_radix(&hex, 16).ok().filter(|_| is_hex)
    }

    fn blanks(&mut self) -> Option<()> {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r' | '\n') => {}
                Some('\u{b}' | '\u{c}') => self.allow("control-characters")?,
                _ => return Some(()),
            }
            self.at += 1;
        }
    }

    /// Notes a leniency; `None` where the text has to be strict.
    fn allow(&mut self, name: &'static str) -> Option<()> {
        self.found.insert(name);
        (!self.strict).then_some(())
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += 1;
        c
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    /// The longest run of such characters.
    fn run(&mut self, wanted: fn(char) -> bool) -> String {
        let run: String = self.chars[self.at..].iter().take_while(|c| wanted(**c)).collect();
        self.at += run.len();
        run
    }
}

fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let word = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = word.split_once(['e', 'E']).unwrap_or((word, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_whole = whole == "0" || !whole.starts_with('0') && digits(whole);
    is_whole && digits(fraction) && digits(exponent)
}

/// Panics unless the core rewrites a text as this reader understands it, and no body gets out of the
/// envelope by being rewritten.
pub fn check_normalize(text: &[u8]) {
    let given = Bytes::copy_from_slice(text);
    let is_strict = Cursor::new(text).is_ok_and(|mut cursor| is_one_value(&mut cursor));
    let Normalized { text: written, found } = match normalize(&given, usize::MAX) {
        Ok(normalized) => normalized,
        Err(NormalizeError::Malformed(_)) => {
            assert!(!is_strict, "strict JSON is refused");
            assert_eq!(read(text), None, "a text that can be read is refused");
            return;
        }
        Err(NormalizeError::TooLarge) => panic!("there is no limit"),
    };
    assert_eq!(found.is_empty(), is_strict, "{found}");
    assert!(!is_strict || written == given, "strict JSON is changed");

    let mut cursor = Cursor::new(&written).expect("the outcome is UTF-8");
    assert!(is_one_value(&mut cursor), "the outcome is not exactly one strict value");
    let again = normalize(&written, written.len()).expect("the outcome can be read");
    assert!(again.found.is_empty() && again.text == written, "a second pass changes the text");

    let (tree, names) = read(text).expect("the reference takes what the core takes");
    assert_eq!(found.to_string(), names);
    assert_eq!(read_strict(&written).as_ref(), Some(&tree), "the outcome means something else");
    if !is_deep(&written) {
        serde_json::from_slice::<IgnoredAny>(&written).expect("the outcome is JSON");
        // Lone surrogates have no form in a `Value`.
        if let Ok(value) = serde_json::from_slice::<Value>(&written) {
            let expected: Value = serde_json::from_str(&tree.to_json()).expect("a tree is JSON");
            assert_eq!(value, expected, "serde_json reads something else");
        }
    }

    if let Ok(adapted) = generate(&written) {
        let sent = Envelope { model: "m", project: &"p".into(), prompt_id: "i" }
            .wrap(adapted.request, &mut RequestTexts::default())
            .to_bytes();
        let keys = read_strict(&sent).expect("what is sent is strict JSON").keys();
        assert_eq!(keys, ["model", "project", "user_prompt_id", "request"]);
    }
    if let Ok(adapted) = count(&written, "m") {
        let sent = wrap_count(adapted.request).to_bytes();
        let sent = read_strict(&sent).expect("what is sent is strict JSON");
        assert_eq!(sent.keys(), ["request"]);
        let Tree::Object(members) = sent else { unreachable!("it has keys") };
        assert_eq!(members[0].1.keys(), ["model", "contents"]);
    }
}

fn is_one_value(cursor: &mut Cursor<'_>) -> bool {
    cursor.skip().is_ok() && cursor.end().is_ok()
}

/// True for a text that may be deeper than serde_json reads.
fn is_deep(text: &[u8]) -> bool {
    text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > 100
}

/// The bound of the core's own readers.
const DEEPEST: usize = 512;
