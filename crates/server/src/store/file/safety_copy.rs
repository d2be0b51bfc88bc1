//! A second copy of the rotated refresh tokens, in a small file beside the database.
//!
//! Google has revoked the refresh token in the user's own file when it has replaced it. Every other
//! entry can be found out again; if one of these is lost, a person has to sign in again. Nothing can be read
//! from a database that does not open, so the copy does not depend on it: a JSON file that is replaced in one
//! step. Values are as they are in the database, encrypted if `KV_ENCRYPTION_KEY` is set.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use code_assist_core::{ROTATED_KEY, Timestamp};
use serde::{Deserialize, Serialize};

use crate::private_file;
use crate::store::Entry;

/// True for an entry of which a copy is kept: the operator's, that of an upstream with a name of its own, and that
/// of a key's own login.
pub(crate) fn is_irreplaceable(key: &str) -> bool {
    key.strip_prefix(ROTATED_KEY).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The file beside the database at `path`.
pub(super) fn path_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    path.with_file_name(name)
}

/// Reads the entries of the copy that have not expired, in the byte order of their keys. A copy that is not
/// there, or cannot be read, has none; the log says the latter.
pub(super) fn read(path: &Path, now: Timestamp) -> Vec<Entry> {
    let path = path_of(path);
    let read = private_file::open(&path, OpenOptions::new().read(true)).and_then(|file| {
        let mut text = Vec::new();
        file.take(LARGEST).read_to_end(&mut text)?;
        let copy: StoredCopy = serde_json::from_slice(&text)?;
        copy.entries.into_iter().chain(copy.only).map(StoredEntry::entry).collect()
    });
    let mut entries: Vec<Entry> = read.unwrap_or_else(|error: io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!("{} is ignored: {}", path.display(), without_content(&error));
        }
        Vec::new()
    });
    entries.retain(|it| is_irreplaceable(&it.key) && it.expires_at.is_none_or(|at| at > now));
    entries.sort_by(|one, other| one.key.cmp(&other.key));
    entries
}

/// Puts these entries into the copy, which keeps the others that have not expired.
pub(super) fn add(path: &Path, entries: &[&Entry], now: Timestamp) -> io::Result<()> {
    let mut kept = read(path, now);
    kept.retain(|old| entries.iter().all(|new| new.key != old.key));
    kept.extend(entries.iter().map(|&entry| entry.clone()));
    kept.sort_by(|one, other| one.key.cmp(&other.key));
    write(path, &kept)
}

/// Replaces the copy. Without entries there is no copy.
pub(super) fn write(path: &Path, entries: &[Entry]) -> io::Result<()> {
    if entries.is_empty() {
        return remove(path);
    }
    let entries = entries.iter().map(StoredEntry::of).collect();
    let copy = StoredCopy { format: FORMAT, entries, only: None };
    private_file::replace(&path_of(path), serde_json::to_string(&copy)?.as_bytes())
}

/// Removes the copy, if there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path_of(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// serde's messages quote what they found.
fn without_content(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            "it is not what this program writes".to_owned()
        }
        _ => error.to_string(),
    }
}

#[derive(Serialize, Deserialize)]
struct StoredCopy {
    /// For versions to come. Unknown fields are ignored.
    format: u32,
    #[serde(default)]
    entries: Vec<StoredEntry>,
    /// The one entry of format 1.
    #[serde(flatten, skip_serializing)]
    only: Option<StoredEntry>,
}

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    key: String,
    /// In base64, since an encrypted value is not text.
    value: String,
    /// Milliseconds since the epoch.
    expires_at: Option<u64>,
}

impl StoredEntry {
    fn of(entry: &Entry) -> Self {
        Self {
            key: entry.key.clone(),
            value: STANDARD.encode(&entry.value),
            expires_at: entry.expires_at.map(|at| at.0),
        }
    }

    fn entry(self) -> io::Result<Entry> {
        let value = STANDARD.decode(self.value).map_err(|_| io::ErrorKind::InvalidData)?;
        let expires_at = self.expires_at.map(Timestamp);
        Ok(Entry { key: self.key, value: Bytes::from(value), expires_at })
    }
}

const FORMAT: u32 = 2;
const SUFFIX: &str = ".refresh-token";
/// A bound on what is read into memory.
const LARGEST: u64 = 1 << 20;
