//! Opening the file: permissions, damage, and what to do about it.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use code_assist_core::{StoreError, Timestamp};
use redb::Database;

use super::catch_panic;
use super::record::{TABLE, sweep};
use crate::store::Notice;

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
        let file = open_file(path).map_err(|error| unusable(&error))?;
        let handle = file.try_clone().map_err(|error| unusable(&error))?;
        let opened = catch_panic(|| open_database(handle, now));
        match opened.unwrap_or(Err(OpenError::Damaged(Damage::Panic))) {
            Ok(opened) => return Ok((opened, notice)),
            Err(OpenError::Busy) => {
                return Err(StoreError(format!(
                    "the key-value store {} is in use by another process (one process owns the \
                     file at a time; give this one a KV_URL of its own)",
                    path.display()
                )));
            }
            Err(error @ (OpenError::Io(_) | OpenError::Database(_))) => {
                return Err(unusable(&error));
            }
            Err(OpenError::Damaged(damage)) => {
                let renamed = set_aside(path, &file, &damage, now);
                notice = renamed.map_err(|error| unusable(&error))?.or(notice);
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
    Damaged(Damage),
}

/// What is wrong with the content of a file.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("it is not a database")]
    NotADatabase,
    #[error("{0}")]
    Corrupted(String),
    #[error("its format is of version {0}")]
    Version(u8),
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
            redb::Error::UpgradeRequired(version) => Self::Damaged(Damage::Version(version)),
            redb::Error::RepairAborted => Self::Damaged(Damage::Unrepairable),
            redb::Error::TableTypeMismatch { .. } | redb::Error::TableIsMultimap(_) => {
                Self::Damaged(Damage::OtherProgram)
            }
            other => Self::Database(other),
        }
    }
}

fn open_database(mut file: File, now: Timestamp) -> Result<OpenDatabase, OpenError> {
    if has_no_magic(&mut file)? {
        discard_unfinished(&mut file)?;
    }
    let mut database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_file(file)
        .map_err(redb::Error::from)?;
    // Checks every page, so that damage is found now and not during a request.
    database.check_integrity().map_err(redb::Error::from)?;
    let next_expiry = sweep_all(&database, now)?;
    Ok(OpenDatabase { database, next_expiry })
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

fn sweep_all(database: &Database, now: Timestamp) -> Result<u64, redb::Error> {
    let writing = database.begin_write()?;
    let next_expiry = sweep(&mut writing.open_table(TABLE)?, now)?;
    writing.commit()?;
    Ok(next_expiry)
}

/// Renames the damaged `file`, unless `path` is another file by now. The file is locked meanwhile, so
/// that only one of several processes renames it.
fn set_aside(
    path: &Path,
    file: &File,
    damage: &Damage,
    now: Timestamp,
) -> io::Result<Option<Notice>> {
    if file.try_lock().is_err() || !is_same_file(path, file)? {
        return Ok(None);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".damaged-{}", now.0));
    let aside = path.with_file_name(name);
    fs::rename(path, &aside)?;
    Ok(Some(Notice(format!(
        "the key-value store {} is damaged ({damage}); it was set aside as {} and a fresh one made",
        path.display(),
        aside.display()
    ))))
}

#[cfg(unix)]
fn is_same_file(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let opened = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_same_file(path: &Path, _file: &File) -> io::Result<bool> {
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
        // A failure is ignored, since the mode of the file itself protects it.
        let _ = restrict_folder(&folder, path);
        Ok(())
    }
    #[cfg(not(unix))]
    builder.create(&folder)
}

/// Makes an existing folder private if it holds nothing but the store. `/tmp` and home folders stay
/// as they are.
#[cfg(unix)]
fn restrict_folder(folder: &Path, path: &Path) -> io::Result<()> {
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

/// A store holds few and small entries. redb's default is a gibibyte.
const CACHE_BYTES: usize = 1 << 20;
const MAGIC_BYTES: usize = 9;
const MAX_TRIES: usize = 4;
#[cfg(unix)]
const FILE_MODE: u32 = 0o600;
#[cfg(unix)]
const FOLDER_MODE: u32 = 0o700;
