//! Reading a stream that is copied: the events in it, wherever its chunks are cut. The reader changes
//! nothing, and an event that is too long for it is passed over.

use bytes::{Buf, Bytes, BytesMut};

use crate::google::error::{self, UpstreamError};
use crate::google::usage::TokenUsage;
use crate::provider::code_assist::envelope;
use crate::sse::{Event, Reader};

/// The form of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamForm {
    /// A JSON array.
    Array,
    /// Server-sent events.
    Sse,
}

/// Finds the events of a stream.
#[derive(Debug)]
pub struct StreamObserver {
    reader: FormReader,
    /// The longest event that is held.
    limit: usize,
    /// An event was passed over.
    missed: bool,
}

#[derive(Debug)]
enum FormReader {
    Array(ArrayReader),
    Sse {
        reader: Reader,
        /// What is left of an event that is passed over.
        skipping: Option<SkippedEvent>,
    },
}

/// One event of a stream that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The event's JSON.
    pub text: Bytes,
    /// Lines outside the framing of server-sent events.
    pub bare: bool,
}

impl StreamObserver {
    /// An observer that holds at most `limit` bytes of an event, and one chunk.
    pub fn new(form: StreamForm, limit: usize) -> Self {
        let reader = match form {
            StreamForm::Array => FormReader::Array(ArrayReader::default()),
            StreamForm::Sse => FormReader::Sse { reader: Reader::new(usize::MAX), skipping: None },
        };
        Self { reader, limit, missed: false }
    }

    /// Adds the next chunk. [`Self::next`] must have returned `None` before.
    pub fn push(&mut self, chunk: &Bytes) {
        match &mut self.reader {
            FormReader::Array(reader) => reader.chunk = chunk.clone(),
            FormReader::Sse { reader, skipping } => {
                let rest = match skipping {
                    None => Some(chunk.clone()),
                    Some(skipped) => skipped.rest(chunk),
                };
                if let Some(rest) = rest {
                    *skipping = None;
                    reader.push(rest);
                }
            }
        }
    }

    /// Ends the stream: what is held becomes the last event.
    pub fn finish(&mut self) {
        match &mut self.reader {
            FormReader::Array(_) => {}
            FormReader::Sse { reader, .. } => reader.finish(),
        }
    }

    /// The next complete event, or `None` when more bytes are needed. More events may follow a `None`.
    pub fn take_event(&mut self) -> Option<Observed> {
        let next = match &mut self.reader {
            FormReader::Array(reader) => {
                reader.element().map(|text| Observed { text, bare: false })
            }
            // The limit is checked here, so that the reader has none.
            FormReader::Sse { reader, .. } => match reader.event().ok().flatten() {
                Some(Event::Data(text)) => Some(Observed { text, bare: false }),
                Some(Event::Bare(text)) => Some(Observed { text, bare: true }),
                None => None,
            },
        };
        if next.is_none() && self.held() > self.limit {
            self.pass_over();
        }
        next
    }

    /// Passes over the event that is not complete, which is then not seen.
    pub fn pass_over(&mut self) {
        if self.held() == 0 {
            return;
        }
        self.missed = true;
        match &mut self.reader {
            FormReader::Array(reader) => reader.pass_over(),
            FormReader::Sse { reader, skipping } => {
                let (in_line, after_cr) = reader.forget();
                *skipping = Some(SkippedEvent { in_line, after_cr });
            }
        }
    }

    /// How many bytes are held of an event that is not complete.
    pub fn held(&self) -> usize {
        match &self.reader {
            FormReader::Array(reader) => reader.held.len(),
            FormReader::Sse { reader, .. } => reader.held(),
        }
    }

    /// True if an event was passed over.
    pub fn has_missed(&self) -> bool {
        self.missed
    }

    /// True if the stream has text that is no event.
    pub fn has_stray_text(&self) -> bool {
        match &self.reader {
            FormReader::Array(reader) => reader.stray,
            FormReader::Sse { .. } => false,
        }
    }

    /// Where the stream stands between two events; `None` inside one, and behind the end of an array.
    pub fn boundary(&self) -> Option<Boundary> {
        match &self.reader {
            FormReader::Array(reader) => reader.boundary(),
            FormReader::Sse { reader, skipping } => {
                (reader.held() == 0 && skipping.is_none()).then_some(Boundary::Sse)
            }
        }
    }
}

/// The place between two events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// In an array whose last element needs a comma before the next.
    BeforeComma,
    /// In an array, behind a comma or its bracket.
    BeforeElement,
    /// Behind a blank line.
    Sse,
}

/// The place within an event that is passed over.
#[derive(Debug)]
struct SkippedEvent {
    in_line: bool,
    after_cr: bool,
}

impl SkippedEvent {
    /// What follows the event's blank line, if it ends in this chunk.
    fn rest(&mut self, chunk: &Bytes) -> Option<Bytes> {
        let mut at = 0;
        while at < chunk.len() {
            match chunk[at] {
                b'\n' if self.after_cr => self.after_cr = false,
                end @ (b'\n' | b'\r') => {
                    self.after_cr = end == b'\r';
                    if !self.in_line {
                        let line_feed = self.after_cr && chunk.get(at + 1) == Some(&b'\n');
                        return Some(chunk.slice(at + 1 + usize::from(line_feed)..));
                    }
                    self.in_line = false;
                }
                _ => {
                    (self.in_line, self.after_cr) = (true, false);
                    let end = memchr::memchr2(b'\n', b'\r', &chunk[at..]);
                    at = end.map_or(chunk.len(), |end| at + end);
                    continue;
                }
            }
            at += 1;
        }
        None
    }
}

/// Finds the elements of a JSON array, or the only object of a text.
#[derive(Debug, Default)]
struct ArrayReader {
    chunk: Bytes,
    /// What is held of an element that is not complete.
    held: BytesMut,
    /// How many containers of an element are open.
    depth: usize,
    in_string: bool,
    escaped: bool,
    passes_over: bool,
    place: ArrayPlace,
    /// There was something else than objects.
    stray: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ArrayPlace {
    #[default]
    Outside,
    BeforeElement,
    BehindElement,
}

impl ArrayReader {
    /// The next complete element.
    fn element(&mut self) -> Option<Bytes> {
        loop {
            if self.depth == 0 && !self.find_element() {
                return None;
            }
            let end = self.end_of_element();
            let part = self.chunk.split_to(end);
            if self.depth > 0 {
                if !self.passes_over {
                    self.held.extend_from_slice(&part);
                }
                return None;
            }
            if self.place != ArrayPlace::Outside {
                self.place = ArrayPlace::BehindElement;
            }
            if std::mem::take(&mut self.passes_over) {
                continue;
            }
            if self.held.is_empty() {
                return Some(part);
            }
            self.held.extend_from_slice(&part);
            return Some(std::mem::take(&mut self.held).freeze());
        }
    }

    /// Moves to the next element. False if none begins in this chunk.
    fn find_element(&mut self) -> bool {
        while let Some(&byte) = self.chunk.first() {
            match byte {
                b'{' => return true,
                b'[' => self.place = ArrayPlace::BeforeElement,
                b']' => self.place = ArrayPlace::Outside,
                b',' if self.place == ArrayPlace::BehindElement => {
                    self.place = ArrayPlace::BeforeElement;
                }
                byte if byte.is_ascii_whitespace() => {}
                _ => self.stray = true,
            }
            self.chunk.advance(1);
        }
        false
    }

    /// The offset behind the element, or behind the chunk.
    fn end_of_element(&mut self) -> usize {
        let chunk = &self.chunk;
        let mut at = 0;
        while at < chunk.len() {
            if self.escaped {
                self.escaped = false;
            } else if self.in_string {
                match memchr::memchr2(b'"', b'\\', &chunk[at..]) {
                    None => return chunk.len(),
                    Some(next) => {
                        at += next;
                        self.in_string = chunk[at] != b'"';
                        self.escaped = chunk[at] == b'\\';
                    }
                }
            } else {
                match chunk[at] {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            return at + 1;
                        }
                    }
                    _ => {}
                }
            }
            at += 1;
        }
        chunk.len()
    }

    fn pass_over(&mut self) {
        self.passes_over = true;
        self.held = BytesMut::new();
    }

    fn boundary(&self) -> Option<Boundary> {
        match self.place {
            _ if self.depth > 0 => None,
            ArrayPlace::Outside => None,
            ArrayPlace::BeforeElement => Some(Boundary::BeforeElement),
            ArrayPlace::BehindElement => Some(Boundary::BeforeComma),
        }
    }
}

/// What an event of a stream means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Upstream states that it has failed.
    Error(Box<UpstreamError>),
    /// Something for the client.
    Event {
        /// The counts, if the event has them.
        usage: Option<TokenUsage>,
        /// The event says why the answer ended.
        finished: bool,
    },
    /// Nothing, such as an empty object.
    Nothing,
    /// A text that is no event.
    Stray,
}

impl Observed {
    /// What the event means. One that cannot be read is not judged.
    pub fn meaning(&self) -> Meaning {
        let Ok(opened) = envelope::open_bare(&self.text) else {
            return match self.text.trim_ascii() {
                _ if self.bare => Meaning::Stray,
                b"" | b"[DONE]" => Meaning::Nothing,
                _ => Meaning::Event { usage: None, finished: false },
            };
        };
        if let Some(stated) = &opened.error {
            let error = error::from_event(stated).keeping(&error::without_keys(&self.text));
            return Meaning::Error(Box::new(error));
        }
        match &opened.response {
            Some(response) if !response.is_empty() => {
                Meaning::Event { usage: opened.usage(), finished: opened.finished() }
            }
            _ => Meaning::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a text in chunks of `size`, and the observer at the end.
    fn observe(
        form: StreamForm,
        text: &[u8],
        size: usize,
        limit: usize,
    ) -> (Vec<String>, StreamObserver) {
        let mut observer = StreamObserver::new(form, limit);
        let mut found = Vec::new();
        let mut take = |observer: &mut StreamObserver| {
            while let Some(event) = observer.take_event() {
                found.push(String::from_utf8(event.text.to_vec()).unwrap());
            }
        };
        for chunk in text.chunks(size) {
            observer.push(&Bytes::copy_from_slice(chunk));
            take(&mut observer);
        }
        observer.finish();
        take(&mut observer);
        (found, observer)
    }

    const ARRAY: &str = "[{\n  \"a\": \"}]\\\"[{\\\\\", \"b\": [{\"c\": {}}]\n}\n,\r\n{\"d\": \"\u{2028}\"}\n,\r\n{}\n]\n";

    #[test]
    fn the_elements_of_an_array_are_found_wherever_it_is_cut() {
        let expected = [
            "{\n  \"a\": \"}]\\\"[{\\\\\", \"b\": [{\"c\": {}}]\n}",
            "{\"d\": \"\u{2028}\"}",
            "{}",
        ];
        for size in 1..=ARRAY.len() {
            let (found, observer) = observe(StreamForm::Array, ARRAY.as_bytes(), size, 1 << 20);
            assert_eq!(found, expected, "chunks of {size}");
            assert_eq!((observer.held(), observer.boundary()), (0, None));
            assert!(!observer.has_stray_text() && !observer.has_missed());
        }
    }

    #[test]
    fn a_bare_object_and_a_page_are_told_from_an_array() {
        let (found, _) = observe(StreamForm::Array, b"{\"error\": {}}\n", 3, 100);
        assert_eq!(found, ["{\"error\": {}}"]);
        let (found, observer) = observe(StreamForm::Array, b"<html>", 3, 100);
        assert!(found.is_empty() && observer.has_stray_text());
    }

    #[test]
    fn an_event_that_is_too_long_is_passed_over_and_the_next_one_is_seen() {
        let long = "x".repeat(50);
        let array = format!("[{{\"a\":\"{long}\"}},{{\"b\":1}}]");
        for size in 1..=array.len() {
            let (found, observer) = observe(StreamForm::Array, array.as_bytes(), size, 10);
            let missed = observer.has_missed();
            assert!(found.ends_with(&["{\"b\":1}".to_owned()]), "chunks of {size}: {found:?}");
            assert_eq!(found.len(), if missed { 1 } else { 2 });
        }
        for end in ["\n", "\r\n", "\r"] {
            let sse = format!("data: {long}{end}data: y{end}{end}data: 1{end}{end}");
            for size in 1..=sse.len() {
                let (found, observer) = observe(StreamForm::Sse, sse.as_bytes(), size, 10);
                let missed = observer.has_missed();
                assert_eq!(found.last().unwrap(), "1", "chunks of {size}, {end:?}: {found:?}");
                assert_eq!(found.len(), if missed { 1 } else { 2 }, "chunks of {size}, {end:?}");
            }
        }
    }

    #[test]
    fn the_place_between_two_events_is_known() {
        let at = |text: &str, form| observe(form, text.as_bytes(), 1, 100).1.boundary();
        for (text, boundary) in [
            ("", None),
            ("[", Some(Boundary::BeforeElement)),
            ("[{", None),
            ("[{}", Some(Boundary::BeforeComma)),
            ("[{}\n,\r\n", Some(Boundary::BeforeElement)),
            ("[{}\n]", None),
        ] {
            assert_eq!(at(text, StreamForm::Array), boundary, "{text}");
        }
        let mut observer = StreamObserver::new(StreamForm::Sse, 100);
        for (chunk, is_boundary) in [("data: {}\r\n", false), ("\r\n", true), ("data", false)] {
            observer.push(&Bytes::from(chunk));
            while observer.take_event().is_some() {}
            assert_eq!(observer.boundary().is_some(), is_boundary, "{chunk}");
        }
    }

    #[test]
    fn an_event_says_what_it_means() {
        let meaning =
            |text: &str, bare| Observed { text: Bytes::from(text.to_owned()), bare }.meaning();
        let event = r#"{"candidates": [{"finishReason": "STOP"}],"usageMetadata": {"promptTokenCount": 5}}"#;
        let usage = Some(TokenUsage { prompt: 5, ..TokenUsage::default() });
        assert_eq!(meaning(event, false), Meaning::Event { usage, finished: true });
        let unread = Meaning::Event { usage: None, finished: false };
        assert_eq!(meaning("{not JSON", false), unread);
        assert_eq!(meaning(r#"{"a":1}"#, false), unread);
        for text in ["{}", "", "[DONE]"] {
            assert_eq!(meaning(text, false), Meaning::Nothing, "{text}");
        }
        assert_eq!(meaning("<html>", true), Meaning::Stray);
        for text in
            ["{\n  \"error\": {\n    \"code\": 503\n  }\n}\n", r#"[{"error":{"code":503}}]"#]
        {
            let Meaning::Error(error) = meaning(text, true) else { panic!("{text}") };
            assert_eq!(
                (error.http.as_u16(), error.as_sent.unwrap().as_ref()),
                (503, text.as_bytes())
            );
        }
    }
}
