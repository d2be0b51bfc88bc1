//! A second copy of the rotated refresh token, in a small file beside the database.
//!
//! Google has revoked the refresh token in the user's own file when it has replaced it. Every other
//! entry can be found out again; if this one is lost, a person has to sign in again. Nothing can be read from
//! a database that does not open, so the copy does not depend on it: a JSON file that is replaced in one step.
//! Values are as they are in the database, encrypted if `KV_ENCRYPTION_KEY` is set.

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

/// True for an entry of which a copy is kept.
pub(crate) fn is_irreplaceable(key: &str) -> bool {
    key == ROTATED_KEY
}

/// The file beside the database at `path`.
pub(super) fn path_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    path.with_file_name(name)
}

/// Reads the copy. A copy that is not there, or cannot be read, is none; the log says the latter.
pub(super) fn read(path: &Path, now: Timestamp) -> Option<Entry> {
    let path = path_of(path);
    let read = private_file::open(&path, OpenOptions::new().read(true)).and_then(|file| {
        let mut text = Vec::new();
        file.take(LARGEST).read_to_end(&mut text)?;
        let copy: StoredCopy = serde_json::from_slice(&text)?;
        let value = STANDARD.decode(copy.value).map_err(|_| io::ErrorKind::InvalidData)?;
        let expires_at = copy.expires_at.map(Timestamp);
        Ok(Entry { key: copy.key, value: Bytes::from(value), expires_at })
    });
    let entry = match read {
        Ok(entry) => entry,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!("{} is ignored: {}", path.display(), without_content(&error));
            }
            return None;
        }
    };
    let is_live = entry.expires_at.is_none_or(|at| at > now);
    (is_live && is_irreplaceable(&entry.key)).then_some(entry)
}

/// Writes the copy of an entry.
pub(super) fn write(path: &Path, entry: &Entry) -> io::Result<()> {
    let copy = StoredCopy {
        format: FORMAT,
        key: entry.key.clone(),
        value: STANDARD.encode(&entry.value),
        expires_at: entry.expires_at.map(|at| at.0),
    };
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
    key: String,
    /// In base64, since an encrypted value is not text.
    value: String,
    /// Milliseconds since the epoch.
    expires_at: Option<u64>,
}

const FORMAT: u32 = 1;
const SUFFIX: &str = ".refresh-token";
/// A bound on what is read into memory.
const LARGEST: u64 = 1 << 20;
