//! A stream has the same events wherever the network cuts it.
#![no_main]

use bytes::Bytes;
use code_assist_core::internals::sse::{Event, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let cut = usize::from(*cut) + 1;
    let whole = events(stream, usize::MAX);
    assert_eq!(events(stream, 1), whole, "byte by byte");
    assert_eq!(events(stream, cut), whole, "in pieces of {cut}");
});

fn events(stream: &[u8], piece: usize) -> Vec<Event> {
    let mut reader = Reader::new(LIMIT);
    let mut events = Vec::new();
    for piece in stream.chunks(piece) {
        reader.push(Bytes::copy_from_slice(piece));
        take(&mut reader, &mut events);
    }
    reader.finish();
    take(&mut reader, &mut events);
    events
}

fn take(reader: &mut Reader, events: &mut Vec<Event>) {
    while let Some(event) = reader.event().expect("shorter than the limit") {
        events.push(event);
    }
}

/// Longer than any input: unit tests cover the limit.
const LIMIT: usize = 1 << 20;
