//! The TOML file that a `[[key]]` table is added to. Its other bytes stay as they are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use toml::Table;

use crate::private_file;

/// Why the file cannot be read or written. The texts show nothing of its content.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFileError {
    #[error(
        "there is no home folder, so there is no default for the file: name one with --config PATH"
    )]
    NoPlace,
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{}: is a symbolic link, which is not followed: name the file that it leads to ({}) with \
         --config",
        path.display(), target.display()
    )]
    Link { path: PathBuf, target: PathBuf },
    #[error("{}: cannot be written, and is left as it was: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{}: was changed by another program while the key was made, and is left as it is: run the \
         command again", path.display()
    )]
    Changed { path: PathBuf },
}

/// The file before the table is added.
#[derive(Debug)]
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    /// `None` without a file.
    pub(super) text: Option<String>,
    /// Held until the file is written, so that two commands do not overwrite each other's tables.
    _lock: Option<File>,
}

impl KeyFile {
    /// Reads the file, if it is there.
    pub(super) fn read(path: &Path) -> Result<Self, KeyFileError> {
        let text = read(path, |path| File::open(path))?;
        Ok(Self { path: path.to_path_buf(), text, _lock: None })
    }

    /// Reads the file to write it. Makes its folder if that is missing.
    pub(super) fn open(path: &Path) -> Result<Self, KeyFileError> {
        let write_error = |source| KeyFileError::Write { path: path.to_path_buf(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        make_folder(folder).map_err(write_error)?;
        let lock = lock(folder).map_err(write_error)?;
        let text = read_private(path)?;
        Ok(Self { path: path.to_path_buf(), text, _lock: lock })
    }

    /// The content of the file with a table at its end.
    pub(super) fn with(&self, table: &str) -> String {
        let mut text = self.text.clone().unwrap_or_default();
        let line_end = if text.ends_with("\r\n") { "\r\n" } else { "\n" };
        if !text.is_empty() {
            if !text.ends_with('\n') {
                text.push_str(line_end);
            }
            text.push_str(line_end);
        }
        text.push_str(&table.replace('\n', line_end));
        text
    }

    /// The `[[key]]` tables with this `id`, in order. None if the file is not TOML.
    pub(super) fn tables_of(&self, id: &str) -> Vec<Table> {
        let table = self.text.as_deref().and_then(|text| text.parse::<Table>().ok());
        let keys = table.and_then(|mut table| table.remove("key"));
        let Some(toml::Value::Array(keys)) = keys else { return Vec::new() };
        let keys = keys.into_iter().filter_map(|key| key.try_into::<Table>().ok());
        keys.filter(|key| key.get("id").and_then(|id| id.as_str()) == Some(id)).collect()
    }

    /// Replaces the file in one step and makes it private. Returns its mode before and after, if it had
    /// one and that has changed.
    pub(super) fn replace(&self, text: &str) -> Result<Option<ModeChange>, KeyFileError> {
        let path = || self.path.clone();
        if read_private(&self.path)? != self.text {
            return Err(KeyFileError::Changed { path: path() });
        }
        let attributes = Attributes::of(&self.path);
        let written = private_file::replace_after(&self.path, text.as_bytes(), |new| {
            attributes.as_ref().map_or(Ok(()), |attributes| attributes.give_to(new))
        });
        written.map_err(|source| KeyFileError::Write { path: path(), source })?;
        Ok(attributes.and_then(|attributes| attributes.change()))
    }
}

/// The mode of the file was made stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ModeChange {
    pub(super) before: u32,
    pub(super) after: u32,
}

fn read(
    path: &Path,
    open: impl FnOnce(&Path) -> io::Result<File>,
) -> Result<Option<String>, KeyFileError> {
    let mut text = String::new();
    let read = open(path).and_then(|mut file| file.read_to_string(&mut text));
    match read {
        Ok(_) => Ok(Some(text)),
        // The home of a service account may be /dev/null.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(KeyFileError::Read { path: path.to_path_buf(), source }),
    }
}

/// Reads a file of this user's that is no symbolic link.
fn read_private(path: &Path) -> Result<Option<String>, KeyFileError> {
    if let Ok(target) = fs::read_link(path) {
        return Err(KeyFileError::Link { path: path.to_path_buf(), target });
    }
    read(path, |path| private_file::open(path, OpenOptions::new().read(true)))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Waits for the lock of a folder: the file itself is replaced, and a lock of it would be lost then. Where
/// the system cannot lock a folder, only [`KeyFile::replace`]'s look at the content protects.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    if cfg!(not(unix)) {
        return Ok(None);
    }
    let folder = File::open(folder)?;
    Ok(folder.lock().is_ok().then_some(folder))
}

/// What the new file has of the old one.
#[derive(Debug)]
#[cfg_attr(not(unix), expect(dead_code, reason = "there are no modes"))]
struct Attributes {
    before: u32,
    after: u32,
    group: u32,
}

#[cfg(unix)]
impl Attributes {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;

        let found = fs::metadata(path).ok()?;
        let ours = rustix::process::getegid().as_raw();
        let before = found.mode() & 0o7777;
        Some(Self { before, after: stricter(before, found.gid() != ours), group: found.gid() })
    }

    fn give_to(&self, new: &File) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

        if new.metadata()?.gid() != self.group {
            fchown(new, None, Some(self.group))?;
        }
        new.set_permissions(fs::Permissions::from_mode(self.after))
    }

    fn change(&self) -> Option<ModeChange> {
        (self.before != self.after).then_some(ModeChange { before: self.before, after: self.after })
    }
}

#[cfg(not(unix))]
impl Attributes {
    fn of(_path: &Path) -> Option<Self> {
        None
    }

    fn give_to(&self, _new: &File) -> io::Result<()> {
        Ok(())
    }

    fn change(&self) -> Option<ModeChange> {
        None
    }
}

/// The mode of the new file: at most 0600. A group that is not this user's own was given the file on
/// purpose, as for a service that runs as another user, and may still read it.
#[cfg(unix)]
fn stricter(mode: u32, of_other_group: bool) -> u32 {
    match of_other_group {
        true => mode & 0o640,
        false => mode & 0o600,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_added_after_an_empty_line_and_every_other_byte_stays() {
        let with = |text: Option<&str>| {
            let file = KeyFile { path: PathBuf::new(), text: text.map(str::to_owned), _lock: None };
            file.with("[[key]]\nid = \"a\"\n")
        };
        let table = "[[key]]\nid = \"a\"\n";
        assert_eq!(with(None), table);
        assert_eq!(with(Some("")), table);
        for text in ["port = 1 # mine\n", "\u{feff}# only a comment\n\n\n"] {
            assert_eq!(with(Some(text)), format!("{text}\n{table}"));
        }
        assert_eq!(with(Some("port = 1")), format!("port = 1\n\n{table}"));
        let windows = "port = 1\r\n\r\n[[key]]\r\nid = \"a\"\r\n";
        assert_eq!(with(Some("port = 1\r\n")), windows);
    }

    #[test]
    fn a_file_that_was_changed_meanwhile_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        fs::write(&path, "port = 1\n").unwrap();
        let file = KeyFile::open(&path).unwrap();
        fs::write(&path, "port = 2\n").unwrap();
        assert!(matches!(file.replace("x"), Err(KeyFileError::Changed { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "port = 2\n");
        drop(file);
        let file = KeyFile::open(&folder.path().join("new.toml")).unwrap();
        fs::write(folder.path().join("new.toml"), "port = 3\n").unwrap();
        assert!(matches!(file.replace("x"), Err(KeyFileError::Changed { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_mode_is_made_stricter_and_never_looser() {
        for (before, after) in
            [(0o600, 0o600), (0o400, 0o400), (0o644, 0o600), (0o777, 0o600), (0o440, 0o400)]
        {
            assert_eq!(stricter(before, false), after, "{before:o}");
        }
        assert_eq!(stricter(0o640, true), 0o640);
        assert_eq!(stricter(0o664, true), 0o640);
        assert_eq!(stricter(0o600, true), 0o600);
    }
}
