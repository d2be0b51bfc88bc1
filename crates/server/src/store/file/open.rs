//! Opening the database: its format, its damage, and what to do about it.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use code_assist_core::{ROTATED_KEY, StoreError, Timestamp};
use redb::{Database, ReadableTable};

use super::format::{ForeignFormat, migrate, probe};
use super::location::{open_file, prepare_folder, set_aside};
use super::record::{Record, TABLE, sweep};
use super::{catch_panic, safety_copy};
use crate::store::{Entry, Notice};

#[derive(Debug)]
pub(super) struct OpenDatabase {
    pub(super) database: Database,
    /// When the next entry expires, in milliseconds since the epoch. Writes sweep only after that.
    pub(super) next_expiry: u64,
}

/// Opens or creates the database. A damaged file is renamed and replaced by a new one, which the
/// notice reports.
pub(super) fn open(
    path: &Path,
    now: Timestamp,
) -> Result<(OpenDatabase, Option<Notice>), StoreError> {
    let unusable = |error: &dyn Display| {
        StoreError(format!("the key-value store {} cannot be used: {error}", path.display()))
    };
    prepare_folder(path).map_err(|error| unusable(&error))?;
    let mut notice = None;
    // Each try renames at most one damaged file. A further try is needed only if another process has
    // replaced the file meanwhile.
    for _ in 0..MAX_TRIES {
        let mut file = open_file(path).map_err(|error| unusable(&error))?;
        if let Some(foreign) = probe(&mut file).map_err(|error| unusable(&error))? {
            return Err(unusable(&foreign));
        }
        let handle = file.try_clone().map_err(|error| unusable(&error))?;
        let copy = safety_copy::read(path, now);
        let opened = catch_panic(|| open_database(handle, now, &copy));
        match opened.unwrap_or(Err(OpenError::Damaged(Damage::Panic))) {
            Ok((opened, rotated)) => {
                if rotated != copy {
                    report_copy(path, safety_copy::write(path, &rotated));
                }
                return Ok((opened, notice));
            }
            Err(OpenError::Busy) => {
                return Err(StoreError(format!(
                    "the key-value store {} is in use by another process (one process owns the \
                     file at a time; give this one a KV_URL of its own)",
                    path.display()
                )));
            }
            Err(error @ (OpenError::Io(_) | OpenError::Database(_) | OpenError::Foreign(_))) => {
                return Err(unusable(&error));
            }
            Err(OpenError::Damaged(damage)) => {
                let renamed = set_aside(path, &file, now).map_err(|error| unusable(&error))?;
                if let Some(aside) = renamed {
                    let (path, aside) = (path.display(), aside.display());
                    let kept = match copy.len() {
                        0 => "",
                        1 => ", but for the rotated refresh token, of which a copy is kept",
                        _ => ", but for the rotated refresh tokens, of which copies are kept",
                    };
                    notice = Some(Notice(format!(
                        "the key-value store {path} is damaged ({damage}); it was set aside as {aside} \
                         and a fresh one made. Its entries are lost{kept}"
                    )));
                }
            }
        }
    }
    Err(unusable(&"it keeps being replaced"))
}

/// Why a file does not open.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("it is in use by another process")]
    Busy,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Database(redb::Error),
    #[error(transparent)]
    Foreign(ForeignFormat),
    #[error(transparent)]
    Damaged(Damage),
}

/// What is wrong with the content of a file.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("it is not a database")]
    NotADatabase,
    #[error("{0}")]
    Corrupted(String),
    #[error("it cannot be repaired")]
    Unrepairable,
    #[error("it belongs to another program")]
    OtherProgram,
    /// redb panicked on it.
    #[error("it fails an internal check")]
    Panic,
}

impl From<redb::Error> for OpenError {
    fn from(error: redb::Error) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Busy,
            redb::Error::Io(error) if matches!(error.kind(), InvalidData | UnexpectedEof) => {
                Self::Damaged(Damage::NotADatabase)
            }
            redb::Error::Corrupted(message) => Self::Damaged(Damage::Corrupted(message)),
            // The probe has found no such version, so that only one half of the header names it.
            redb::Error::UpgradeRequired(_) => Self::Damaged(Damage::NotADatabase),
            redb::Error::RepairAborted => Self::Damaged(Damage::Unrepairable),
            redb::Error::TableTypeMismatch { .. } | redb::Error::TableIsMultimap(_) => {
                Self::Damaged(Damage::OtherProgram)
            }
            other => Self::Database(other),
        }
    }
}

/// Returns the database, and the rotated refresh tokens in it.
fn open_database(
    mut file: File,
    now: Timestamp,
    copy: &[Entry],
) -> Result<(OpenDatabase, Vec<Entry>), OpenError> {
    if has_no_magic(&mut file)? {
        discard_unfinished(&mut file)?;
    }
    let mut database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_file(file)
        .map_err(redb::Error::from)?;
    // Checks every page, so that damage is found now and not during a request.
    database.check_integrity().map_err(redb::Error::from)?;
    let (next_expiry, rotated) = prepare_tables(&database, now, copy)?;
    Ok((OpenDatabase { database, next_expiry }, rotated))
}

/// True if the creation of the file was interrupted: redb writes its magic number last.
fn has_no_magic(file: &mut File) -> io::Result<bool> {
    let mut magic = [0xFF; MAGIC_BYTES];
    file.rewind()?;
    match file.read_exact(&mut magic) {
        Ok(()) => Ok(magic == [0; MAGIC_BYTES]),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Empties a file whose creation was interrupted, unless another process is creating it now.
fn discard_unfinished(file: &mut File) -> Result<(), OpenError> {
    if file.try_lock().is_err() {
        return Err(OpenError::Busy);
    }
    if has_no_magic(file)? {
        file.set_len(0)?;
    }
    Ok(file.unlock()?)
}

/// Migrates the tables, removes what has expired, and puts the safety copy back where the database has
/// no newer value: all in one transaction. Returns when the next entry expires, and the rotated refresh
/// tokens.
fn prepare_tables(
    database: &Database,
    now: Timestamp,
    copy: &[Entry],
) -> Result<(u64, Vec<Entry>), OpenError> {
    let writing = database.begin_write().map_err(redb::Error::from)?;
    migrate(&writing)?.map_err(OpenError::Foreign)?;
    let (next_expiry, rotated) = {
        let mut table = writing.open_table(TABLE).map_err(redb::Error::from)?;
        for copied in copy {
            restore(&mut table, copied)?;
        }
        let next_expiry = sweep(&mut table, now).map_err(redb::Error::from)?;
        (next_expiry, rotated_tokens(&table)?)
    };
    writing.commit().map_err(redb::Error::from)?;
    Ok((next_expiry, rotated))
}

/// Writes the safety copy into the table, unless the table has a value that expires as late or later,
/// and so was written as late or later.
fn restore(
    table: &mut redb::Table<'_, &'static str, &'static [u8]>,
    copy: &Entry,
) -> Result<(), redb::Error> {
    let stored = entry(table, &copy.key)?;
    if stored.is_none_or(|stored| Record::of(&stored).expires_at < Record::of(copy).expires_at) {
        table.insert(copy.key.as_str(), &*Record::of(copy).bytes())?;
    }
    Ok(())
}

/// The entries of which a copy is kept, in the byte order of their keys.
fn rotated_tokens(
    table: &redb::Table<'_, &'static str, &'static [u8]>,
) -> Result<Vec<Entry>, redb::Error> {
    let mut entries = Vec::new();
    for row in table.range(ROTATED_KEY..)? {
        let (key, value) = row?;
        let key = key.value();
        if !key.starts_with(ROTATED_KEY) {
            break;
        }
        if safety_copy::is_irreplaceable(key)
            && let Some(record) = Record::read(value.value())
        {
            entries.push(record.entry(key));
        }
    }
    Ok(entries)
}

fn entry(
    table: &redb::Table<'_, &'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<Entry>, redb::Error> {
    let found = table.get(key)?;
    Ok(found.as_ref().and_then(|found| Record::read(found.value())).map(|record| record.entry(key)))
}

/// Logs a safety copy that was not written. That is no failure, since the database has the entries.
pub(super) fn report_copy(path: &Path, saved: io::Result<()>) {
    if let Err(error) = saved {
        tracing::warn!(
            "there is no safety copy of the rotated refresh token at {}: {error}",
            safety_copy::path_of(path).display()
        );
    }
}

/// A store holds few and small entries. redb's default is a gibibyte.
pub(super) const CACHE_BYTES: usize = 1 << 20;
const MAGIC_BYTES: usize = 9;
const MAX_TRIES: usize = 4;
