//! Unpacking of gzip in steps, so that the memory of each step is reserved before it.

use std::io::Read;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use flate2::bufread::GzDecoder;

use super::BodyLimits;
use crate::context::RequestContext;
use crate::error::{BodyBound, Error};
use crate::memory;
use crate::platform::Platform;
use crate::policy::memory::{MemoryReservation, REQUEST_BASE};

/// Unpacks a body. The reservation, which covers the packed bytes, covers the unpacked ones afterwards.
pub(super) async fn unpack<P: Platform>(
    context: &mut RequestContext<P>,
    packed: Bytes,
    limits: &BodyLimits,
) -> Result<Bytes, Error> {
    let packed_bytes = packed.len();
    let held = context.memory.as_ref().map_or(0, MemoryReservation::bytes);
    let most = UnpackBound::of(packed_bytes, held, limits);
    let mut unpacking = Unpacking::new(packed);
    let mut capacity = 0;
    loop {
        // One byte more than allowed tells a body that is too long from one that just fits.
        let larger = (capacity * 2).clamp(FIRST_STEP, capacity + LARGEST_STEP).min(most.bytes + 1);
        if capacity == larger {
            return Err(most.error());
        }
        Box::pin(memory::grow(context, larger - capacity, limits.queue_timeout)).await?;
        capacity = larger;
        let step = move || {
            let done = unpacking.step(capacity);
            (unpacking, done)
        };
        let length = packed_bytes.max(capacity);
        let done;
        (unpacking, done) = memory::work_on(length, context, limits.queue_timeout, step).await?;
        if done? {
            break;
        }
    }
    if unpacking.out.len() > most.bytes {
        return Err(most.error());
    }
    let out = unpacking.out;
    context.shrink_memory(REQUEST_BASE + out.capacity());
    Ok(Bytes::from(out))
}

/// How long an unpacked body may be.
struct UnpackBound {
    bytes: usize,
    bound: BodyBound,
    /// What the message names.
    limit: usize,
}

impl UnpackBound {
    /// For a body of so many packed bytes whose request has reserved `held`.
    fn of(packed: usize, held: usize, limits: &BodyLimits) -> Self {
        let ratio = packed.saturating_mul(LARGEST_RATIO).max(FREE_OF_RATIO);
        let budget = limits.memory.saturating_sub(REQUEST_BASE);
        // The byte that tells a body that is too long needs memory too.
        let beside_packed = limits.memory.saturating_sub(held).saturating_sub(1);
        let bounds = [
            Self { bytes: ratio, bound: BodyBound::Ratio, limit: ratio },
            Self { bytes: limits.bytes, bound: BodyBound::Setting, limit: limits.bytes },
            Self { bytes: beside_packed, bound: BodyBound::Budget, limit: budget },
        ];
        let least = bounds.into_iter().min_by_key(|bound| bound.bytes);
        least.expect("there are three bounds")
    }

    fn error(&self) -> Error {
        Error::BodyTooLarge { limit: self.limit, bound: self.bound }
    }
}

/// A body that is being unpacked, member by member.
struct Unpacking {
    decoder: GzDecoder<Reader<Bytes>>,
    out: Vec<u8>,
    /// How many members have begun.
    members: usize,
    /// Where the current member's bytes begin in `out`.
    begins_at: usize,
}

impl Unpacking {
    fn new(packed: Bytes) -> Self {
        let decoder = GzDecoder::new(packed.reader());
        Self { decoder, out: Vec::new(), members: 1, begins_at: 0 }
    }

    /// Unpacks until there are `capacity` bytes. True at the end.
    fn step(&mut self, capacity: usize) -> Result<bool, Error> {
        self.out.reserve_exact(capacity - self.out.len());
        while self.out.len() < capacity {
            let left = (capacity - self.out.len()) as u64;
            let read = (&mut self.decoder).take(left).read_to_end(&mut self.out);
            read.map_err(|_| undecodable("gzip that cannot be decompressed"))?;
            if self.out.len() == capacity {
                break;
            }
            if !self.next_member()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Begins with the next member. False if there is none.
    fn next_member(&mut self) -> Result<bool, Error> {
        // Each member costs the set-up of a decoder, however short it is.
        if self.out.len() == self.begins_at {
            return Err(undecodable("gzip with an empty member"));
        }
        let rest = self.decoder.get_mut().get_mut().split_off(0);
        if rest.is_empty() {
            return Ok(false);
        }
        self.members += 1;
        if self.members > MOST_MEMBERS {
            return Err(undecodable("gzip of more than 16 members"));
        }
        self.begins_at = self.out.len();
        self.decoder = GzDecoder::new(rest.reader());
        Ok(true)
    }
}

fn undecodable(what: &str) -> Error {
    Error::UnsupportedEncoding { what: what.to_owned() }
}

/// What is unpacked whatever the length of the packed body: short texts may repeat themselves.
const FREE_OF_RATIO: usize = 1 << 20;

/// The most by which a body is unpacked beyond [`FREE_OF_RATIO`]. Deflate reaches 1,032; JSON with
/// prompts, about 10.
const LARGEST_RATIO: usize = 100;

/// Tools that compress in parallel write a few members. RFC 1952 sets no bound.
const MOST_MEMBERS: usize = 16;

const FIRST_STEP: usize = 64 << 10;
const LARGEST_STEP: usize = 8 << 20;
