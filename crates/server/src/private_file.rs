//! Small files that only this user may read, and the check that a file is this user's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Opens a file without following a symbolic link, and refuses a file of another user. Nothing about
/// the file is changed.
///
/// # Errors
///
/// The file is a symbolic link, no regular file, another user's, or cannot be opened.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        // O_NONBLOCK, so that a named pipe is refused below and does not block.
        options.mode(MODE).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    let file = options.open(path).map_err(|error| explain(path, error))?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    #[cfg(unix)]
    check_owner(&found)?;
    Ok(file)
}

/// Names a symbolic link as the reason, since the system says "too many levels".
fn explain(path: &Path, error: io::Error) -> io::Error {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => io::Error::other(
            "it is a symbolic link, which is not followed: name the file that it leads to",
        ),
        _ => error,
    }
}

#[cfg(unix)]
fn check_owner(found: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;

    let (owner, ours) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == ours {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "it belongs to the user with the number {owner}, and this process runs as {ours}: run it as \
         that user, or name another file"
    )))
}

/// Replaces a file in one step, with mode 0600. A reader sees the old content or the new, also after a
/// crash.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_after(path, content, |_| Ok(()))
}

/// Like [`replace()`]. `prepare` gets the new file, which has mode 0600, before it takes the place of the
/// old one.
pub(crate) fn replace_after(
    path: &Path,
    content: &[u8],
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::other("is not the name of a file"));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.tmp", std::process::id()));
    let draft = path.with_file_name(hidden);
    // In a container every process has the same number: a draft may be left over from a crash.
    let _ = fs::remove_file(&draft);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, MODE);
    let written = options.open(&draft).and_then(|mut file| {
        file.write_all(content)?;
        prepare(&file)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&draft, path));
    match &replaced {
        Ok(()) => sync_folder(path),
        Err(_) => drop(fs::remove_file(&draft)),
    }
    replaced
}

/// Makes a rename durable, where the system can.
pub(crate) fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent()
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all();
    }
}

/// Readable and writable by the owner only.
#[cfg(unix)]
pub(crate) const MODE: u32 = 0o600;
