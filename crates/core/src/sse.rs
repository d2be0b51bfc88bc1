//! Server-sent events, read from chunks of any size.
//!
//! The reader is tolerant (`docs/reference/protocol.md` 4.1, 4.3; which line ends Google sends is
//! not documented): lines end with CRLF, LF or CR; `data:` may lack its space; several `data:`
//! lines are one event; the last event may lack its blank line; an error may come as bare JSON
//! lines. No other character ends a line: JSON strings may hold a raw U+2028.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Lines that are not SSE fields, up to a blank line or the end. Google's front ends write an
    /// error into a running stream in this form (`docs/reference/protocol.md` 4.3).
    Bare(Bytes),
    /// The data of an event. Several `data:` lines are joined by line feeds.
    Data(Bytes),
}

impl Event {
    /// How many bytes it holds.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bare(text) | Self::Data(text) => text.len(),
        }
    }

    /// Its bytes.
    pub(crate) fn text(&self) -> &Bytes {
        match self {
            Self::Bare(text) | Self::Data(text) => text,
        }
    }
}

/// An event is longer than the reader allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream event is longer than {limit} bytes")]
pub struct EventTooLongError {
    /// The longest event allowed, `MAX_EVENT_BYTES`.
    pub limit: usize,
}

/// Splits a byte stream into events. An event within one chunk is sliced, not copied.
///
/// ```
/// # #[cfg(feature = "internals")]
/// # fn example() -> Result<(), code_assist_core::internals::sse::EventTooLongError> {
/// use bytes::Bytes;
/// use code_assist_core::internals::sse::{Event, Reader};
///
/// let mut reader = Reader::new(1024);
/// reader.push(Bytes::from_static(b"data: {\"a\":1}\r\n\r\ndata: {\"b\""));
/// assert_eq!(reader.event()?, Some(Event::Data(Bytes::from_static(b"{\"a\":1}"))));
/// assert_eq!(reader.event()?, None, "the second event is not complete");
///
/// reader.push(Bytes::from_static(b":2}\r\n"));
/// reader.finish();
/// assert_eq!(reader.event()?, Some(Event::Data(Bytes::from_static(b"{\"b\":2}"))));
/// # Ok(())
/// # }
/// # #[cfg(feature = "internals")]
/// # example().unwrap();
/// ```
#[derive(Debug)]
pub struct Reader {
    /// The unread rest of the newest chunk.
    chunk: Bytes,
    /// The beginning of a line that is not complete yet.
    line: BytesMut,
    data: EventData,
    bare: BytesMut,
    /// The last line ended with CR: a LF that follows belongs to that line end.
    after_cr: bool,
    /// No line has been read yet: a byte order mark may follow.
    at_start: bool,
    finished: bool,
    limit: usize,
}

impl Reader {
    /// A reader that refuses events longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            chunk: Bytes::new(),
            line: BytesMut::new(),
            data: EventData::None,
            bare: BytesMut::new(),
            after_cr: false,
            at_start: true,
            finished: false,
            limit,
        }
    }

    /// Adds the next chunk. [`Reader::event`] must have returned `None` before.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "events of the last chunk were not taken");
        self.chunk = chunk;
    }

    /// Ends the stream: the lines read so far become the last event.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Drops what is held of an event that is not complete. All pushed bytes have been read. Returns where
    /// in the event the reader stands: in the middle of a line, and behind a CR.
    pub(crate) fn forget(&mut self) -> (bool, bool) {
        let in_line = !self.line.is_empty();
        let fresh = Self::new(self.limit);
        let old = std::mem::replace(self, Self { at_start: false, ..fresh });
        (in_line, old.after_cr)
    }

    /// True after [`Reader::finish`].
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// How many bytes are held of events that are not complete.
    pub fn held(&self) -> usize {
        self.chunk.len() + self.line.len() + self.data.len() + self.bare.len()
    }

    /// The next complete event, or `None` when more bytes are needed.
    pub fn event(&mut self) -> Result<Option<Event>, EventTooLongError> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
            } else {
                self.field(line)?;
            }
        }
        if self.finished {
            return Ok(self.dispatch());
        }
        Ok(None)
    }

    /// The next complete line without its line end.
    fn line(&mut self) -> Result<Option<Bytes>, EventTooLongError> {
        if self.after_cr && !self.chunk.is_empty() {
            self.after_cr = false;
            if self.chunk[0] == b'\n' {
                self.chunk.advance(1);
            }
        }
        let end = match self.chunk.first() {
            None if !self.finished => return Ok(None),
            // The blank line that ends an event.
            Some(b'\n' | b'\r') => Some(0),
            _ => memchr2(b'\n', b'\r', &self.chunk),
        };
        let Some(end) = end else {
            self.bounded((self.line.len() + self.chunk.len()).saturating_sub(FIELD_NAME))?;
            self.line.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
            if self.finished && !self.line.is_empty() {
                return Ok(Some(self.line_from(Bytes::new())));
            }
            return Ok(None);
        };
        self.bounded((self.line.len() + end).saturating_sub(FIELD_NAME))?;
        let head = self.chunk.split_to(end);
        self.after_cr = self.chunk[0] == b'\r';
        self.chunk.advance(1);
        Ok(Some(self.line_from(head)))
    }

    /// The beginning of a line from earlier chunks, joined with its rest.
    fn line_from(&mut self, rest: Bytes) -> Bytes {
        let mut line = if self.line.is_empty() {
            rest
        } else {
            self.line.extend_from_slice(&rest);
            taken(&mut self.line)
        };
        if self.at_start {
            self.at_start = false;
            if line.starts_with(BYTE_ORDER_MARK) {
                line.advance(BYTE_ORDER_MARK.len());
            }
        }
        line
    }

    fn field(&mut self, mut line: Bytes) -> Result<(), EventTooLongError> {
        let value = match &line[..] {
            [b'd', b'a', b't', b'a', b':', b' ', ..] => Some(6),
            [b'd', b'a', b't', b'a', b':', ..] => Some(5),
            b"data" => Some(4),
            _ => None,
        };
        if let Some(value) = value {
            line.advance(value);
            self.bounded(self.data.len() + line.len())?;
            self.data.add(line);
            return Ok(());
        }
        match line.split(|byte| *byte == b':').next() {
            None | Some(b"" | b"event" | b"id" | b"retry") => {}
            Some(_) => {
                self.bounded(self.bare.len() + line.len())?;
                self.bare.extend_from_slice(&line);
                self.bare.extend_from_slice(b"\n");
            }
        }
        Ok(())
    }

    /// The event that the lines since the last blank line form.
    fn dispatch(&mut self) -> Option<Event> {
        let data = self.data.take();
        if !data.is_empty() {
            return Some(Event::Data(data));
        }
        (!self.bare.is_empty()).then(|| Event::Bare(taken(&mut self.bare)))
    }

    fn bounded(&self, len: usize) -> Result<(), EventTooLongError> {
        if len > self.limit { Err(EventTooLongError { limit: self.limit }) } else { Ok(()) }
    }
}

/// Takes what is in a buffer. What the buffer has free is used again, but that of a long event, which
/// would stay allocated until the end of the stream, is not kept.
pub(crate) fn taken(buffer: &mut BytesMut) -> Bytes {
    if buffer.len() > LONGEST_KEPT { std::mem::take(buffer) } else { buffer.split() }.freeze()
}

/// Empties a buffer. As in [`taken`], what it had for a long event is not kept.
pub(crate) fn clear(buffer: &mut BytesMut) {
    if buffer.len() > LONGEST_KEPT {
        *buffer = BytesMut::new();
    } else {
        buffer.clear();
    }
}

/// The `data:` lines of the current event. A single line, the usual case, is not copied.
#[derive(Debug)]
enum EventData {
    None,
    One(Bytes),
    Several(BytesMut),
}

impl EventData {
    fn add(&mut self, line: Bytes) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(line),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(first.len() + 1 + line.len());
                all.extend_from_slice(&first);
                all.extend_from_slice(b"\n");
                all.extend_from_slice(&line);
                Self::Several(all)
            }
            Self::Several(mut all) => {
                all.extend_from_slice(b"\n");
                all.extend_from_slice(&line);
                Self::Several(all)
            }
        };
    }

    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(line) => line.len(),
            Self::Several(all) => all.len(),
        }
    }

    fn take(&mut self) -> Bytes {
        match std::mem::replace(self, Self::None) {
            Self::None => Bytes::new(),
            Self::One(line) => line,
            Self::Several(all) => all.freeze(),
        }
    }
}

/// The length beyond which a buffer is not used again.
const LONGEST_KEPT: usize = 32 << 10;

/// The length of `data: `, which does not count towards the limit of an event.
const FIELD_NAME: usize = 6;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `text` in chunks of the given sizes, the last size repeated.
    fn events(text: &[u8], size: usize) -> Vec<Event> {
        let mut reader = Reader::new(1 << 20);
        let mut found = Vec::new();
        for chunk in text.chunks(size.max(1)) {
            reader.push(Bytes::copy_from_slice(chunk));
            while let Some(event) = reader.event().unwrap() {
                found.push(event);
            }
        }
        reader.finish();
        while let Some(event) = reader.event().unwrap() {
            found.push(event);
        }
        found
    }

    fn data(text: &'static str) -> Event {
        Event::Data(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn all_three_line_ends_are_read() {
        for end in ["\r\n", "\n", "\r"] {
            let text = format!("data: {{\"a\":1}}{end}{end}data: {{\"b\":2}}{end}{end}");
            assert_eq!(events(text.as_bytes(), 4096), [data("{\"a\":1}"), data("{\"b\":2}")]);
        }
    }

    #[test]
    fn events_do_not_depend_on_the_chunks() {
        let text = "\u{feff}data: {\"t\":\"grüße \u{2028} 🦀\"}\r\n\r\n: note\r\nevent: x\r\n\
                    data:{\"n\":1,\r\ndata: \"m\":2}\r\n\r\ndata: last";
        let whole = events(text.as_bytes(), text.len());
        assert_eq!(
            whole,
            [data("{\"t\":\"grüße \u{2028} 🦀\"}"), data("{\"n\":1,\n\"m\":2}"), data("last")]
        );
        for size in 1..text.len() {
            assert_eq!(events(text.as_bytes(), size), whole, "chunks of {size}");
        }
        for cut in 1..text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            let mut reader = Reader::new(1 << 20);
            let mut found = Vec::new();
            for chunk in [head, tail] {
                reader.push(Bytes::copy_from_slice(chunk));
                while let Some(event) = reader.event().unwrap() {
                    found.push(event);
                }
            }
            reader.finish();
            while let Some(event) = reader.event().unwrap() {
                found.push(event);
            }
            assert_eq!(found, whole, "cut at {cut}");
        }
    }

    #[test]
    fn an_event_is_complete_as_soon_as_its_blank_line_is_read() {
        let mut reader = Reader::new(100);
        reader.push(Bytes::from_static(b"data: 1\r\n\r"));
        assert_eq!(reader.event(), Ok(Some(data("1"))), "the CR ends the line, its LF may be late");
        assert_eq!(reader.event(), Ok(None));
        reader.push(Bytes::from_static(b"\ndata: 2\n\n"));
        assert_eq!(reader.event(), Ok(Some(data("2"))));
    }

    #[test]
    fn the_buffer_of_a_long_event_is_not_kept() {
        let mut reader = Reader::new(1 << 20);
        for chunk in [b"data: ".to_vec(), vec![b'x'; LONGEST_KEPT], b"\n\n".to_vec()] {
            assert_eq!(reader.event(), Ok(None));
            reader.push(Bytes::from(chunk));
        }
        let Ok(Some(Event::Data(data))) = reader.event() else { panic!("no event") };
        assert!(data.len() == LONGEST_KEPT && data.is_unique());
    }

    #[test]
    fn an_event_within_one_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"data: {\"a\":1}\n\n");
        let mut reader = Reader::new(100);
        reader.push(chunk.clone());
        let Ok(Some(Event::Data(event))) = reader.event() else { panic!("an event") };
        assert_eq!(event.as_ptr(), chunk[6..].as_ptr());
    }

    #[test]
    fn bare_lines_are_an_event_of_their_own() {
        let text = b"data: {\"a\":1}\n\n[{\n  \"error\": {\n    \"code\": 503\n  }\n}]\n";
        let bare = Bytes::from_static(b"[{\n  \"error\": {\n    \"code\": 503\n  }\n}]\n");
        for size in 1..text.len() {
            assert_eq!(events(text, size), [data("{\"a\":1}"), Event::Bare(bare.clone())]);
        }
    }

    #[test]
    fn an_event_beyond_the_limit_is_refused_in_one_line_or_several() {
        for (text, size) in [("data: 0123456789\n\n", 3), ("data: 01234\ndata: 6789\n\n", 99)] {
            let mut reader = Reader::new(8);
            let mut refused = false;
            for chunk in text.as_bytes().chunks(size) {
                reader.push(Bytes::copy_from_slice(chunk));
                match reader.event() {
                    Err(EventTooLongError { limit: 8 }) => {
                        refused = true;
                        break;
                    }
                    other => assert_eq!(other, Ok(None)),
                }
            }
            assert!(refused, "{text}");
        }
    }

    #[test]
    fn an_empty_stream_has_no_events() {
        assert_eq!(events(b"", 1), []);
        assert_eq!(events(b"\r\n\r\n: ping\n\ndata:\n\n", 2), []);
    }
}
