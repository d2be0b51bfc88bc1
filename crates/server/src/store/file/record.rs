//! The rows of the table.

use bytes::{BufMut, Bytes, BytesMut};
use code_assist_core::Timestamp;
use redb::{StorageError, TableDefinition};

use crate::store::Entry;

/// A table row: the expiry in milliseconds since the epoch as a big-endian u64, then the value.
pub(super) struct Record<'a> {
    pub(super) expires_at: u64,
    pub(super) value: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (expires_at, value) = bytes.split_first_chunk::<8>()?;
        Some(Self { expires_at: u64::from_be_bytes(*expires_at), value })
    }

    pub(super) fn of(entry: &'a Entry) -> Self {
        Self { expires_at: entry.expires_at.map_or(NEVER, |at| at.0), value: &entry.value }
    }

    pub(super) fn bytes(&self) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(8 + self.value.len());
        bytes.put_u64(self.expires_at);
        bytes.put_slice(self.value);
        bytes
    }

    pub(super) fn entry(&self, key: &str) -> Entry {
        Entry {
            key: key.into(),
            value: Bytes::copy_from_slice(self.value),
            expires_at: (self.expires_at != NEVER).then_some(Timestamp(self.expires_at)),
        }
    }

    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now.0
    }
}

/// Removes expired entries and rows that are not entries. Returns when the next entry expires.
pub(super) fn sweep(
    table: &mut redb::Table<'_, &'static str, &'static [u8]>,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let mut next_expiry = NEVER;
    table.retain(|_, bytes| match Record::read(bytes) {
        Some(record) if !record.is_expired(now) => {
            next_expiry = next_expiry.min(record.expires_at);
            true
        }
        _ => false,
    })?;
    Ok(next_expiry)
}

pub(super) const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");

/// The expiry of an entry that does not expire.
pub(super) const NEVER: u64 = u64::MAX;
