//! Where the file is: its folder, its owner, its permissions, and the copies of damaged files.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use code_assist_core::Timestamp;

use crate::private_file;

/// Renames the damaged `file`, unless `path` is another file by now, and returns its new name. The file
/// is locked meanwhile, so that only one of several processes renames it. Older damaged files are
/// removed, but for the last ones, since each may hold tokens.
pub(super) fn set_aside(path: &Path, file: &File, now: Timestamp) -> io::Result<Option<PathBuf>> {
    if file.try_lock().is_err() || !is_same_file(path, file)? {
        return Ok(None);
    }
    let prefix = damaged_prefix(path);
    let aside = path.with_file_name(format!("{prefix}{}", now.0));
    fs::rename(path, &aside)?;
    private_file::sync_folder(path);
    if let Err(error) = remove_older(path, &prefix) {
        tracing::warn!("older copies of damaged stores cannot be removed: {error}");
    }
    Ok(Some(aside))
}

fn damaged_prefix(path: &Path) -> String {
    format!("{}.damaged-", path.file_name().unwrap_or_default().to_string_lossy())
}

/// Removes all damaged files but the last [`DAMAGED_KEPT`].
fn remove_older(path: &Path, prefix: &str) -> io::Result<()> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(at) = name.strip_prefix(prefix).and_then(|at| at.parse().ok()) {
            found.push((at, entry.path()));
        }
    }
    found.sort_unstable();
    found.iter().rev().skip(DAMAGED_KEPT).try_for_each(|(_, path)| fs::remove_file(path))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(unix)]
fn is_same_file(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let opened = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_same_file(path: &Path, _file: &File) -> io::Result<bool> {
    path.try_exists()
}

/// Opens or creates the file, and makes it private to this user.
///
/// # Errors
///
/// It is a symbolic link, no regular file, or another user's. Nothing about it is changed then.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = private_file::open(path, &mut options)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(private_file::MODE))?;
        }
    }
    Ok(file)
}

pub(super) fn prepare_folder(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
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

/// Makes an existing folder private if it is this user's and holds nothing but the store. `/tmp` and
/// home folders stay as they are, and so does a folder behind a symbolic link.
#[cfg(unix)]
fn restrict_folder(folder: &Path, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let found = fs::symlink_metadata(folder)?;
    let mode = found.permissions().mode();
    let is_shared = mode & 0o1000 != 0;
    let is_ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
    if mode & 0o077 == 0 || is_shared || !is_ours {
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

/// How many damaged files stay, to find out what has damaged them.
const DAMAGED_KEPT: usize = 2;
#[cfg(unix)]
const FOLDER_MODE: u32 = 0o700;
