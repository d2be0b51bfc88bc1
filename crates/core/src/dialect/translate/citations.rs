//! Where the facts of an answer come from: `groundingMetadata` and `citationMetadata`
//! (`docs/reference/dialects.md` 3.1).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{Word, read_fields};
use super::part::Candidate;
use super::text::JsonText;

/// A page that a part of the answer's text comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Citation {
    /// Where that part begins, in code points of the answer's text.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The page's URL.
    pub url: String,
    /// Its title; empty if upstream gives none.
    pub title: String,
}

/// A page that a search has found, or that is quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its URL.
    pub url: String,
    /// Its title; empty if upstream gives none.
    pub title: String,
}

impl Page {
    fn cited(self, start: usize, end: usize) -> Citation {
        Citation { start, end, url: self.url, title: self.title }
    }
}

/// The sources of one candidate, as far as they have come. Metadata are whole each time that they come, so
/// the last ones with content are kept.
#[derive(Debug, Default)]
pub struct Sources {
    grounding: Option<Box<str>>,
    quotes: Option<Box<str>>,
}

impl Sources {
    /// Keeps the sources in an event's candidate.
    pub fn note(&mut self, candidate: &Candidate<'_>) {
        keep(candidate.grounding_metadata, &mut self.grounding);
        keep(candidate.citation_metadata, &mut self.quotes);
    }

    /// True while no source has come.
    pub fn is_empty(&self) -> bool {
        self.grounding.is_none() && self.quotes.is_none()
    }

    /// How many bytes are kept.
    pub fn held(&self) -> usize {
        self.grounding.as_ref().map_or(0, |text| text.len())
            + self.quotes.as_ref().map_or(0, |text| text.len())
    }

    /// The searches that the model has made (`webSearchQueries`).
    pub fn queries(&self) -> Vec<String> {
        let queries = self.grounding().queries.unwrap_or_default();
        queries.into_iter().map(|query| Cow::from(query).into_owned()).collect()
    }

    /// The pages that the searches have found (`groundingChunks[].web`).
    pub fn pages(&self) -> Vec<Page> {
        let chunks = self.grounding().chunks.unwrap_or_default();
        chunks.iter().filter_map(Chunk::page).collect()
    }

    /// The citations: of each supported segment its pages, or the pages alone where no segment is
    /// supported; then what the answer quotes. `positions` knows the answer's text.
    pub fn citations(&self, positions: &Positions) -> Vec<Citation> {
        let mut citations = Vec::new();
        let grounding = self.grounding();
        let chunks = grounding.chunks.unwrap_or_default();
        let supports = grounding.supports.unwrap_or_default();
        for support in &supports {
            let segment = support.segment.map(|segment| serde_json::from_str(segment.get()));
            let Segment { start, end } = segment.and_then(Result::ok).unwrap_or_default();
            let (start, end) = positions.span(start, end);
            let indexes = support.chunks.iter().flatten();
            let pages = indexes.filter_map(|index| chunks.get(*index).and_then(Chunk::page));
            citations.extend(pages.map(|page| page.cited(start, end)));
        }
        if supports.is_empty() {
            let pages = chunks.iter().filter_map(Chunk::page);
            citations.extend(pages.map(|page| page.cited(0, 0)));
        }
        for quote in self.quotes().quotes.unwrap_or_default() {
            let Some(url) = quote.uri.filter(|url| !url.is_empty()) else { continue };
            let (start, end) =
                positions.span(quote.start.unwrap_or_default(), quote.end.unwrap_or_default());
            let title = quote.title.unwrap_or_default().into_owned();
            citations.push(Citation { start, end, url: url.into_owned(), title });
        }
        citations
    }

    /// What cannot be read is no source: an answer does not fail for its annotations.
    fn grounding(&self) -> Grounding<'_> {
        let text = self.grounding.as_deref().unwrap_or("{}");
        serde_json::from_str(text).unwrap_or_default()
    }

    fn quotes(&self) -> Quotes<'_> {
        let text = self.quotes.as_deref().unwrap_or("{}");
        serde_json::from_str(text).unwrap_or_default()
    }
}

fn keep(metadata: Option<&RawValue>, kept: &mut Option<Box<str>>) {
    if let Some(metadata) = metadata.filter(|metadata| metadata.get() != "{}") {
        *kept = Some(metadata.get().into());
    }
}

/// `groundingMetadata`.
#[derive(Default)]
struct Grounding<'a> {
    queries: Option<Vec<Word<'a>>>,
    chunks: Option<Vec<Chunk<'a>>>,
    supports: Option<Vec<Support<'a>>>,
}

read_fields!(Grounding {
    "webSearchQueries" | "web_search_queries" => queries: Vec<Word<'de>>,
    "groundingChunks" | "grounding_chunks" => chunks: Vec<Chunk<'de>>,
    "groundingSupports" | "grounding_supports" => supports: Vec<Support<'de>>,
});

/// A page, or something else that a tool has found.
#[derive(Default)]
struct Chunk<'a> {
    web: Option<Web<'a>>,
}

read_fields!(Chunk { "web" => web: Web<'de> });

impl Chunk<'_> {
    fn page(&self) -> Option<Page> {
        let web = self.web.as_ref()?;
        let url = web.uri.as_deref().filter(|url| !url.is_empty())?.to_owned();
        let title = web.title.as_deref().unwrap_or_default().to_owned();
        Some(Page { url, title })
    }
}

/// A page.
#[derive(Default)]
struct Web<'a> {
    uri: Option<Cow<'a, str>>,
    title: Option<Cow<'a, str>>,
}

read_fields!(Web { "uri" => uri: Word<'de>, "title" => title: Word<'de> });

/// A segment of the text, and the chunks that it comes from.
#[derive(Default)]
struct Support<'a> {
    segment: Option<&'a RawValue>,
    chunks: Option<Vec<usize>>,
}

read_fields!(Support {
    "segment" => segment: &'de RawValue,
    "groundingChunkIndices" | "grounding_chunk_indices" => chunks: Vec<usize>,
});

/// A segment in bytes. `partIndex` is not read: pieces of a stream are one part, and a whole answer with
/// several parts of text has not been seen with sources.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Segment {
    #[serde(rename = "startIndex", alias = "start_index")]
    start: usize,
    #[serde(rename = "endIndex", alias = "end_index")]
    end: usize,
}

/// `citationMetadata`, under either name that its list has.
#[derive(Default)]
struct Quotes<'a> {
    quotes: Option<Vec<Quote<'a>>>,
}

read_fields!(Quotes {
    "citationSources" | "citation_sources" | "citations" => quotes: Vec<Quote<'de>>,
});

/// What an answer quotes.
#[derive(Default)]
struct Quote<'a> {
    start: Option<usize>,
    end: Option<usize>,
    uri: Option<Cow<'a, str>>,
    title: Option<Cow<'a, str>>,
}

read_fields!(Quote {
    "startIndex" | "start_index" => start: usize,
    "endIndex" | "end_index" => end: usize,
    "uri" => uri: Word<'de>,
    "title" => title: Word<'de>,
});

/// Converts positions in UTF-8 bytes to positions in code points, for a text that comes in pieces. An
/// ASCII text is only counted; of what follows its first other character, one bit is kept for each byte.
#[derive(Debug, Default)]
pub struct Positions {
    /// The length of the text before its first character that is not ASCII.
    ascii: usize,
    /// The length in bytes of the rest.
    rest: usize,
    /// Of each byte of the rest, whether a character begins there.
    begins: Vec<u64>,
    /// Where the client gets text that is not upstream's: the position in bytes, and its code points.
    inserted: Vec<(usize, usize)>,
}

impl Positions {
    /// Takes the next piece of the text.
    pub fn push(&mut self, text: JsonText<'_>) {
        let mut rest = text.escaped();
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            let (before, escape) = rest.split_at(at);
            self.push_str(before);
            let (character, length) = unescaped(escape);
            self.push_str(character.encode_utf8(&mut [0; 4]));
            rest = escape.get(length..).unwrap_or_default();
        }
        self.push_str(rest);
    }

    /// Takes the next piece of the text, decoded.
    pub fn push_str(&mut self, text: &str) {
        let mut rest = text;
        if self.rest == 0 {
            let at = text.bytes().position(|byte| !byte.is_ascii()).unwrap_or(text.len());
            self.ascii += at;
            rest = text.get(at..).unwrap_or_default();
        }
        for byte in rest.bytes() {
            let (word, bit) = (self.rest / 64, self.rest % 64);
            if bit == 0 {
                self.begins.push(0);
            }
            // A byte within a character is 10xxxxxx.
            if let Some(word) = self.begins.get_mut(word).filter(|_| byte & 0xc0 != 0x80) {
                *word |= 1 << bit;
            }
            self.rest += 1;
        }
    }

    /// The client gets text here that upstream does not count.
    pub fn insert(&mut self, text: &str) {
        let code_points = text.chars().count();
        if code_points > 0 {
            self.inserted.push((self.ascii + self.rest, code_points));
        }
    }

    /// The position in code points of a byte of the text, or the text's end. A byte within a character
    /// counts as the character's end.
    pub fn code_point(&self, byte: usize) -> usize {
        let Some(within) = byte.checked_sub(self.ascii) else { return byte };
        let within = within.min(self.rest);
        let (words, bits) = (within / 64, within % 64);
        let ones = |word: &u64| word.count_ones() as usize;
        let whole: usize = self.begins.iter().take(words).map(ones).sum();
        let partly = self.begins.get(words).map_or(0, |word| ones(&(word & ((1 << bits) - 1))));
        self.ascii + whole + partly
    }

    /// The positions in the client's text of a segment of upstream's.
    pub fn span(&self, start: usize, end: usize) -> (usize, usize) {
        let before = |counts: &dyn Fn(usize) -> bool| -> usize {
            let inserted = self.inserted.iter().filter(|(at, _)| counts(*at));
            inserted.map(|(_, code_points)| code_points).sum()
        };
        if end <= start {
            return (0, 0);
        }
        (
            self.code_point(start) + before(&|at| at <= start),
            self.code_point(end) + before(&|at| at < end),
        )
    }

    /// How many bytes are kept.
    pub fn held(&self) -> usize {
        self.begins.capacity() * 8 + self.inserted.capacity() * 16
    }
}

/// The character that `escape` begins with, and the length of its escape. A lone surrogate is U+FFFD.
fn unescaped(escape: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(0) else {
        // Every other escape is of one ASCII character. Which one makes no difference to a position.
        return ('\n', 2);
    };
    match char::decode_utf16([first].into_iter().chain(unit(6))).next() {
        Some(Ok(character)) => (character, character.len_utf16() * 6),
        _ => (char::REPLACEMENT_CHARACTER, 6),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sources(grounding: &Value, quotes: &Value) -> Sources {
        let [grounding, quotes] =
            [grounding, quotes].map(|value| serde_json::value::to_raw_value(value).unwrap());
        let mut sources = Sources::default();
        sources.note(&Candidate {
            grounding_metadata: Some(&grounding),
            citation_metadata: Some(&quotes),
            ..Candidate::default()
        });
        sources
    }

    fn positions(pieces: &[&str]) -> Positions {
        let mut positions = Positions::default();
        for piece in pieces {
            positions.push_str(piece);
        }
        positions
    }

    fn citation(start: usize, end: usize, url: &str, title: &str) -> Citation {
        Citation { start, end, url: url.to_owned(), title: title.to_owned() }
    }

    #[test]
    fn every_byte_of_a_text_in_any_pieces_has_its_code_point() {
        for text in ["", "plain ASCII", "äöx", "a😀b", &"ab€".repeat(50), &"x".repeat(100)] {
            for cut in text.char_indices().map(|(at, _)| at) {
                let positions = positions(&[&text[..cut], "", &text[cut..]]);
                for (count, (at, _)) in text.char_indices().enumerate() {
                    assert_eq!(positions.code_point(at), count, "{text} at {at}, cut at {cut}");
                }
                assert_eq!(positions.code_point(text.len()), text.chars().count());
                assert_eq!(positions.code_point(text.len() + 100), text.chars().count());
            }
        }
    }

    #[test]
    fn escapes_are_counted_as_their_characters() {
        for json in [
            r#""""#,
            r#""a\n\"\\b""#,
            r#""\u003cä\u00e4\u20ac\ud83d\ude00x""#,
            r#""cut \ud83d""#,
            r#""\ud83d\ud83d\ude00 \ude00 \u0041""#,
        ] {
            let value: &RawValue = serde_json::from_str(json).unwrap();
            let text = JsonText::of(value).unwrap();
            let mut pushed = Positions::default();
            pushed.push(text);
            let decoded = positions(&[&text.decoded()]);
            assert_eq!((pushed.ascii, pushed.rest), (decoded.ascii, decoded.rest), "{json}");
            assert_eq!(pushed.begins, decoded.begins, "{json}");
        }
    }

    #[test]
    fn a_supported_segment_is_given_in_code_points_with_each_of_its_pages() {
        let sources = sources(
            &json!({
                "webSearchQueries": ["q"],
                "groundingChunks": [
                    {"web": {"uri": "https://a/", "title": "A"}},
                    {"retrievedContext": {"uri": "gs://b"}},
                    {"web": {"uri": "https://c/"}}],
                "groundingSupports": [
                    {"segment": {"startIndex": 2, "endIndex": 4, "text": "ö"}, "groundingChunkIndices": [0, 1, 2, 9]},
                    {"segment": {"endIndex": 4}, "groundingChunkIndices": [2]},
                    {"segment": {"endIndex": 4}}],
            }),
            &Value::Null,
        );
        let text = positions(&["äö", "x"]);
        assert_eq!(
            sources.citations(&text),
            [
                citation(1, 2, "https://a/", "A"),
                citation(1, 2, "https://c/", ""),
                citation(0, 2, "https://c/", "")
            ]
        );
        assert_eq!(sources.queries(), ["q"]);
        assert_eq!(sources.pages().len(), 2);
        assert!(!sources.is_empty() && sources.held() > 100);
    }

    #[test]
    fn pages_without_supports_are_cited_for_no_segment() {
        let sources =
            sources(&json!({"groundingChunks": [{"web": {"uri": "https://a/"}}]}), &Value::Null);
        assert_eq!(sources.citations(&positions(&["x"])), [citation(0, 0, "https://a/", "")]);
    }

    #[test]
    fn a_quote_is_a_citation_where_it_has_a_url() {
        for name in ["citationSources", "citations"] {
            let quotes = json!({name: [
                {"startIndex": 2, "endIndex": 3, "uri": "https://a/", "license": "mit"},
                {"startIndex": 0, "endIndex": 2, "title": "a book"}]});
            let sources = sources(&json!({}), &quotes);
            assert_eq!(sources.citations(&positions(&["äb"])), [citation(1, 2, "https://a/", "")]);
        }
    }

    #[test]
    fn text_that_the_proxy_inserts_shifts_what_follows() {
        let mut text = positions(&[]);
        text.insert("<think>ö</think>");
        text.push_str("ab");
        text.insert("12345");
        text.push_str("cd");
        assert_eq!(text.span(0, 2), (16, 18));
        assert_eq!(text.span(2, 4), (23, 25));
        assert_eq!(text.span(1, 3), (17, 24));
        assert_eq!(text.span(0, 0), (0, 0));
    }

    #[test]
    fn sources_that_cannot_be_read_are_none_and_empty_ones_replace_nothing() {
        for odd in [json!([1]), json!("x"), json!({"groundingChunks": {"web": 1}})] {
            let sources = sources(&odd, &odd);
            assert_eq!(sources.citations(&positions(&["x"])), []);
            assert_eq!((sources.queries(), sources.pages()), (vec![], vec![]));
        }
        let mut sources =
            sources(&json!({"groundingChunks": [{"web": {"uri": "u"}}]}), &Value::Null);
        let empty = serde_json::value::to_raw_value(&json!({})).unwrap();
        sources.note(&Candidate { grounding_metadata: Some(&empty), ..Candidate::default() });
        assert_eq!(sources.pages().len(), 1);
    }
}
