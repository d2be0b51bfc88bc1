//! The embedded file database: one redb table, key to expiry and value.
//!
//! Every write is a transaction that is on disk when it returns, so a process killed at any moment
//! loses at most the write it was in. Nothing that redb does wrong gets out: errors and panics
//! become [`StoreError`], the database is closed, and the next operation opens it again.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use code_assist_core::platform::StoreError;
use code_assist_core::time::Timestamp;
use redb::{Database, ReadableDatabase, ReadableTable, StorageError, TableDefinition};

use super::{Clock, Entry, Notice};

/// Entries in a file that belongs to this process alone.
#[derive(Debug, Clone)]
pub(crate) struct FileStore {
    path: Arc<Path>,
    clock: Clock,
    /// `None` after a failure, until the next operation opens it again.
    database: Arc<Mutex<Option<Opened>>>,
    works: Arc<AtomicBool>,
}

impl FileStore {
    /// Opens or creates the file at `path`, and its folder. A damaged file is set aside.
    ///
    /// # Errors
    ///
    /// The file is in use by another process, or cannot be read and written.
    pub(crate) fn open(path: &Path, clock: Clock) -> Result<(Self, Option<Notice>), StoreError> {
        let (opened, notice) = open(path, clock.now())?;
        let store = Self {
            path: path.into(),
            clock,
            database: Arc::new(Mutex::new(Some(opened))),
            works: Arc::new(AtomicBool::new(true)),
        };
        Ok((store, notice))
    }

    pub(super) async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let (key, now) = (key.to_owned(), self.clock.now());
        self.run(move |opened| {
            let table = opened.database.begin_read()?.open_table(TABLE)?;
            let found = table.get(key.as_str())?;
            let stored = found.as_ref().and_then(|found| Stored::read(found.value()));
            let live = stored.filter(|stored| !stored.is_expired(now));
            Ok(live.map(|stored| Bytes::copy_from_slice(stored.value)))
        })
        .await
    }

    pub(super) async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let expires_at = Some(self.clock.now() + ttl);
        self.restore(vec![Entry { key: key.into(), value, expires_at }]).await
    }

    pub(super) async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let now = self.clock.now();
        self.run(move |opened| {
            let table = opened.database.begin_read()?.open_table(TABLE)?;
            let mut entries = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                let stored = Stored::read(value.value()).filter(|stored| !stored.is_expired(now));
                if let Some(stored) = stored {
                    entries.push(stored.entry(key.value()));
                }
            }
            Ok(entries)
        })
        .await
    }

    pub(super) async fn restore(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.run(move |opened| {
            let writing = opened.database.begin_write()?;
            {
                let mut table = writing.open_table(TABLE)?;
                for entry in &entries {
                    table.insert(entry.key.as_str(), &*Stored::of(entry).bytes())?;
                    opened.next_expiry = opened.next_expiry.min(Stored::of(entry).expires_at);
                }
                if opened.next_expiry <= now.0 {
                    opened.next_expiry = sweep(&mut table, now)?;
                }
            }
            Ok(writing.commit()?)
        })
        .await
    }

    pub(super) async fn clear(&self) -> Result<usize, StoreError> {
        let count = self.entries().await?.len();
        self.run(move |opened| {
            let writing = opened.database.begin_write()?;
            writing.open_table(TABLE)?.retain(|_, _| false)?;
            opened.next_expiry = NEVER;
            Ok(writing.commit()?)
        })
        .await?;
        Ok(count)
    }

    pub(super) fn describe(&self) -> String {
        format!("file {}", self.path.display())
    }

    pub(super) fn connected(&self) -> bool {
        self.works.load(Ordering::Relaxed)
    }

    /// Does blocking work on the database, away from the tasks.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Opened) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || this.run_here(work)).await;
        let result = match done {
            Ok(result) => result,
            Err(_) => Err(StoreError("the key-value store was interrupted".into())),
        };
        self.works.store(result.is_ok(), Ordering::Relaxed);
        result
    }

    fn run_here<T>(
        &self,
        work: impl FnOnce(&mut Opened) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        // A panic of redb's is caught below, so poison can only mean a closed database.
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            let (opened, notice) = open(&self.path, self.clock.now())?;
            if let Some(notice) = notice {
                tracing::warn!("{notice}");
            }
            *database = Some(opened);
        }
        let Some(opened) = database.as_mut() else {
            return Err(StoreError("the key-value store is closed".into()));
        };
        let failure = match quietly(|| work(opened)) {
            Some(Ok(done)) => return Ok(done),
            Some(Err(failure)) => failure.to_string(),
            None => "the database failed an internal check".into(),
        };
        // After an error redb wants to be opened anew.
        let broken = database.take();
        let _ = quietly(move || drop(broken));
        Err(StoreError(format!("key-value store {}: {failure}", self.path.display())))
    }
}

/// An open database.
#[derive(Debug)]
struct Opened {
    database: Database,
    /// No entry expires before this (milliseconds since the epoch), so no write sweeps before.
    next_expiry: u64,
}

fn open(path: &Path, now: Timestamp) -> Result<(Opened, Option<Notice>), StoreError> {
    let cannot = |why: &dyn std::fmt::Display| {
        StoreError(format!("the key-value store {} cannot be used: {why}", path.display()))
    };
    prepare_folder(path).map_err(|error| cannot(&error))?;
    let mut notice = None;
    // A file is set aside at most once in each round. Rounds repeat only when another process
    // replaced the file under our eyes.
    for _ in 0..ROUNDS {
        let file = open_file(path).map_err(|error| cannot(&error))?;
        let handle = file.try_clone().map_err(|error| cannot(&error))?;
        match quietly(|| open_database(handle, now))
            .unwrap_or(Err(CredentialError::Damaged("it fails an internal check".into())))
        {
            Ok(opened) => return Ok((opened, notice)),
            Err(CredentialError::Busy) => {
                return Err(StoreError(format!(
                    "the key-value store {} is in use by another process (one process owns the \
                     file at a time; give this one a KV_URL of its own)",
                    path.display()
                )));
            }
            Err(CredentialError::BodyError(why)) => return Err(cannot(&why)),
            Err(CredentialError::Damaged(why)) => {
                let told = set_aside(path, &file, &why, now).map_err(|error| cannot(&error))?;
                notice = told.or(notice);
            }
        }
    }
    Err(cannot(&"it keeps being replaced"))
}

/// Why a file does not open.
enum CredentialError {
    /// Another process has it.
    Busy,
    /// The disk or its permissions are at fault.
    BodyError(String),
    /// The content is.
    Damaged(String),
}

impl From<redb::Error> for CredentialError {
    fn from(error: redb::Error) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Busy,
            redb::Error::Io(error) if matches!(error.kind(), InvalidData | UnexpectedEof) => {
                Self::Damaged("it is not a database".into())
            }
            redb::Error::Corrupted(why) => Self::Damaged(why),
            redb::Error::UpgradeRequired(version) => {
                Self::Damaged(format!("its format is of version {version}"))
            }
            redb::Error::RepairAborted => Self::Damaged("it cannot be repaired".into()),
            redb::Error::TableTypeMismatch { .. } | redb::Error::TableIsMultimap(_) => {
                Self::Damaged("it belongs to another program".into())
            }
            other => Self::BodyError(other.to_string()),
        }
    }
}

fn open_database(mut file: File, now: Timestamp) -> Result<Opened, CredentialError> {
    if has_no_magic(&mut file).map_err(|error| CredentialError::BodyError(error.to_string()))? {
        discard_unfinished(&mut file)?;
    }
    let mut database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_file(file)
        .map_err(redb::Error::from)?;
    // Checks every page, so that damage shows now and not in the middle of a request.
    database.check_integrity().map_err(redb::Error::from)?;
    let next_expiry = sweep_all(&database, now)?;
    Ok(Opened { database, next_expiry })
}

/// Whether the creation of the file was cut short: redb writes its magic number last.
fn has_no_magic(file: &mut File) -> io::Result<bool> {
    let mut magic = [0xFF; MAGIC_BYTES];
    file.rewind()?;
    match file.read_exact(&mut magic) {
        Ok(()) => Ok(magic == [0; MAGIC_BYTES]),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Empties a file whose creation was cut short, unless another process is just creating it.
fn discard_unfinished(file: &mut File) -> Result<(), CredentialError> {
    if file.try_lock().is_err() {
        return Err(CredentialError::Busy);
    }
    let emptied = match has_no_magic(file) {
        Ok(true) => file.set_len(0),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    emptied
        .and_then(|()| file.unlock())
        .map_err(|error| CredentialError::BodyError(error.to_string()))
}

fn sweep_all(database: &Database, now: Timestamp) -> Result<u64, redb::Error> {
    let writing = database.begin_write()?;
    let next_expiry = sweep(&mut writing.open_table(TABLE)?, now)?;
    writing.commit()?;
    Ok(next_expiry)
}

/// Removes what has expired and what is no entry, and returns when the next one expires.
fn sweep(
    table: &mut redb::Table<'_, &'static str, &'static [u8]>,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let mut next_expiry = NEVER;
    table.retain(|_, bytes| match Stored::read(bytes) {
        Some(stored) if !stored.is_expired(now) => {
            next_expiry = next_expiry.min(stored.expires_at);
            true
        }
        _ => false,
    })?;
    Ok(next_expiry)
}

/// Renames the damaged `file`, unless `path` no longer leads to it. Holds its lock meanwhile, so
/// that of two processes only one does.
fn set_aside(path: &Path, file: &File, why: &str, now: Timestamp) -> io::Result<Option<Notice>> {
    if file.try_lock().is_err() || !leads_to(path, file)? {
        return Ok(None);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".damaged-{}", now.0));
    let aside = path.with_file_name(name);
    fs::rename(path, &aside)?;
    Ok(Some(Notice(format!(
        "the key-value store {} is damaged ({why}); it was set aside as {} and a fresh one made",
        path.display(),
        aside.display()
    ))))
}

#[cfg(unix)]
fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn leads_to(path: &Path, _file: &File) -> io::Result<bool> {
    path.try_exists()
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
    let file = options.open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        if found.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
        }
    }
    Ok(file)
}

fn prepare_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;

        builder.mode(FOLDER_MODE).create(&folder)?;
        // A folder that we may not tighten is no reason to fail: the file itself is tight.
        let _ = tighten(&folder, path);
        Ok(())
    }
    #[cfg(not(unix))]
    builder.create(&folder)
}

/// Closes an existing folder to others, if it is the store's own. `/tmp` or a home folder is not.
#[cfg(unix)]
fn tighten(folder: &Path, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(folder)?.permissions().mode();
    let is_shared = mode & 0o1000 != 0;
    if mode & 0o077 == 0 || is_shared {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for entry in fs::read_dir(folder)? {
        if !entry?.file_name().to_string_lossy().starts_with(&name) {
            return Ok(());
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE))
}

/// What a table row holds: the expiry in milliseconds since the epoch, big endian, and the value.
struct Stored<'a> {
    expires_at: u64,
    value: &'a [u8],
}

impl<'a> Stored<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (expires_at, value) = bytes.split_first_chunk::<8>()?;
        Some(Self { expires_at: u64::from_be_bytes(*expires_at), value })
    }

    fn of(entry: &'a Entry) -> Self {
        Self { expires_at: entry.expires_at.map_or(NEVER, |at| at.0), value: &entry.value }
    }

    fn bytes(&self) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(8 + self.value.len());
        bytes.put_u64(self.expires_at);
        bytes.put_slice(self.value);
        bytes
    }

    fn entry(&self, key: &str) -> Entry {
        Entry {
            key: key.into(),
            value: Bytes::copy_from_slice(self.value),
            expires_at: (self.expires_at != NEVER).then_some(Timestamp(self.expires_at)),
        }
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now.0
    }
}

/// Runs `work`; `None` if it panicked. redb asserts what a damaged file breaks, and the message of
/// such a panic would only alarm: the caller says what is wrong.
fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |told| {
            if !QUIET.get() {
                usual(told);
            }
        }));
    });
    QUIET.set(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    done.ok()
}

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const NEVER: u64 = u64::MAX;
/// A store holds a handful of small entries; redb's own default is a gibibyte.
const CACHE_BYTES: usize = 1 << 20;
const MAGIC_BYTES: usize = 9;
const ROUNDS: usize = 4;
#[cfg(unix)]
const FILE_MODE: u32 = 0o600;
#[cfg(unix)]
const FOLDER_MODE: u32 = 0o700;

#[cfg(test)]
mod tests;
