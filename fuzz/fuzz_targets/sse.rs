//! However the network cuts a stream, the events are the same.
#![no_main]

use bytes::Bytes;
use code_assist_core::sse::{Event, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let whole = events(stream, stream.len().max(1));
    assert_eq!(events(stream, 1), whole, "byte by byte");
    assert_eq!(
        events(stream, usize::from(*cut) + 1),
        whole,
        "in pieces of {}",
        usize::from(*cut) + 1
    );
});

fn events(stream: &[u8], piece: usize) -> Vec<Event> {
    let mut reader = Reader::new(LIMIT);
    let mut events = Vec::new();
    for piece in stream.chunks(piece) {
        if reader.push(Bytes::copy_from_slice(piece)).is_err() {
            return events;
        }
        events.extend(std::iter::from_fn(|| reader.next()));
    }
    reader.finish();
    events.extend(std::iter::from_fn(|| reader.next()));
    events
}

/// Longer than any input: where the limit cuts is the business of the unit tests.
const LIMIT: usize = 1 << 20;
