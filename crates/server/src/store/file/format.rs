//! The format of the file: which version of the program can read it.
//!
//! redb has a file format of its own. The number here counts what this program keeps in the tables: the
//! form of the rows, and of the values in them.
//!
//! | Format | Written by | Differs |
//! |---|---|---|
//! | 1 | 0.1 and 0.2.0 | no table `about` |
//! | 2 | later versions | the table `about` names format and version |
//!
//! A version that knows only format 1 reads and writes a file of format 2, since it does not look at
//! `about`. The tables `usage` and `usage_batches` need no number: versions that do not know them leave them
//! as they are, and this version makes them when it adds the first usage. A format that older versions cannot read needs a number of its own, and a step in
//! [`migrate`].

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use super::catch_panic;

/// A file that another version of the program has written, and that this one cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ForeignFormat {
    #[error(
        "code-assist-proxy {written_by} has written it in format {format}, and this version, {OURS}, \
         reads formats up to {FORMAT}. It is left as it is: run {written_by} again, or move the file \
         away to start with an empty store"
    )]
    Newer { format: u64, written_by: String },
    #[error(
        "another version of code-assist-proxy has written it: it is a redb file of version {0}, and \
         this version, {OURS}, reads version {REDB}. It is left as it is: with the version that wrote \
         it, export its entries (kv export); then move the file away and import them (kv import)"
    )]
    Redb(u8),
}

/// Brings the tables to this version's format, within the transaction. Returns an error for a newer
/// format.
pub(super) fn migrate(
    writing: &redb::WriteTransaction,
) -> Result<Result<(), ForeignFormat>, redb::Error> {
    let mut about = writing.open_table(ABOUT)?;
    let text = |key| -> Result<Option<String>, redb::Error> {
        Ok(about.get(key)?.map(|value| value.value().to_owned()))
    };
    let (format, written_by) = (text(FORMAT_KEY)?, text(WRITTEN_BY_KEY)?.unwrap_or_default());
    let format = parse(format.as_deref());
    if format > FORMAT {
        return Ok(Err(ForeignFormat::Newer { format, written_by }));
    }
    // The step from 1 to 2 is this table. A later step edits the entries here.
    if format < FORMAT || written_by != OURS {
        about.insert(FORMAT_KEY, FORMAT.to_string().as_str())?;
        about.insert(WRITTEN_BY_KEY, OURS)?;
    }
    Ok(Ok(()))
}

/// Finds out whether a file has a format that this version cannot read, without changing the file.
///
/// redb writes to a file when it opens it, to repair it after a crash. So a copy in memory is opened.
pub(super) fn probe(file: &mut File) -> io::Result<Option<ForeignFormat>> {
    let length = file.metadata()?.len();
    if !(1..=LARGEST_PROBED).contains(&length) {
        return Ok(None);
    }
    let mut copy = Vec::new();
    file.rewind()?;
    file.take(LARGEST_PROBED).read_to_end(&mut copy)?;
    file.seek(SeekFrom::Start(0))?;
    if let Some(version) = redb_version(&copy).filter(|version| *version != REDB) {
        return Ok(Some(ForeignFormat::Redb(version)));
    }
    // A file that does not open is damaged, which opening it in place finds too.
    Ok(catch_panic(|| probe_copy(&copy).ok().flatten()).flatten())
}

fn probe_copy(copy: &[u8]) -> Result<Option<ForeignFormat>, redb::Error> {
    let memory = InMemoryBackend::new();
    memory.set_len(copy.len() as u64)?;
    memory.write(0, copy)?;
    let database = Database::builder()
        .set_cache_size(super::open::CACHE_BYTES)
        .create_with_backend(memory)
        .map_err(redb::Error::from)?;
    let about = match database.begin_read()?.open_table(ABOUT) {
        Ok(about) => about,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let text = |key| -> Result<Option<String>, redb::Error> {
        Ok(about.get(key)?.map(|value| value.value().to_owned()))
    };
    let format = parse(text(FORMAT_KEY)?.as_deref());
    let written_by = text(WRITTEN_BY_KEY)?.unwrap_or_default();
    Ok((format > FORMAT).then_some(ForeignFormat::Newer { format, written_by }))
}

/// Reads a format's number. Only a later version can have written a text that is no number.
fn parse(format: Option<&str>) -> u64 {
    format.map_or(1, |text| text.parse().unwrap_or(u64::MAX))
}

/// Returns the version of a redb file. Both slots of its header name it; a file in which they differ,
/// or name a version far beyond the current one, is damaged.
fn redb_version(file: &[u8]) -> Option<u8> {
    let [first, second] = SLOTS.map(|at| file.get(at).copied());
    let version = first.filter(|_| file.starts_with(MAGIC) && first == second)?;
    (1..=LAST_REDB).contains(&version).then_some(version)
}

/// The format that this version writes.
const FORMAT: u64 = 2;
const OURS: &str = env!("CARGO_PKG_VERSION");

const ABOUT: TableDefinition<'_, &str, &str> = TableDefinition::new("about");
const FORMAT_KEY: &str = "format";
const WRITTEN_BY_KEY: &str = "written_by";

/// redb's own file format that the linked redb reads and writes.
const REDB: u8 = 3;
/// The greatest version that is taken for a later redb's. A greater one means damage.
const LAST_REDB: u8 = 15;
/// The first bytes of a redb file, and where its two transaction slots name the format (redb's
/// design document).
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
const SLOTS: [usize; 2] = [64, 192];

/// A store of entries without cached answers has one or two mebibytes. A larger file than this is not
/// copied; its format is found when it is opened.
const LARGEST_PROBED: u64 = 64 << 20;
