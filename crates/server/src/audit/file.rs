//! The file of the audit log: appended, private, and renamed when it is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::private_file;

/// The file that is appended to, and its predecessors: `PATH.1` is the youngest.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    max_bytes: u64,
    /// How many predecessors are kept.
    kept: usize,
    file: File,
    /// The length of all whole lines.
    length: u64,
    /// The file may end with a part of a line, which could not be taken back.
    torn: bool,
    /// Lines since the last sync.
    unsynced: u64,
}

impl AuditFile {
    pub(super) fn open(path: &Path, max_bytes: u64, kept: usize) -> io::Result<Self> {
        let (file, length) = open(path)?;
        let torn = length > 0;
        Ok(Self { path: path.to_owned(), max_bytes, kept, file, length, torn, unsynced: 0 })
    }

    /// Appends a whole line, or nothing of it.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.length > 0 && self.length + line.len() as u64 > self.max_bytes {
            self.rotate()?;
        }
        if self.torn {
            // Of a process that was killed while it wrote.
            self.end_last_line()?;
        }
        match self.file.write_all(line) {
            Ok(()) => {
                self.length += line.len() as u64;
                self.unsynced += 1;
                Ok(())
            }
            Err(error) => {
                self.torn = self.file.set_len(self.length).is_err();
                Err(error)
            }
        }
    }

    /// Writes to the disk what is in memory. An error comes with the lines that may be lost.
    pub(super) fn sync(&mut self) -> Result<(), (u64, io::Error)> {
        let lines = std::mem::take(&mut self.unsynced);
        self.file.sync_data().map_err(|error| (lines, error))
    }

    /// Opens the file again, after another program has renamed it.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.length) = open(&self.path)?;
        self.torn = self.length > 0;
        Ok(())
    }

    /// Begins a new file. The oldest of the others is removed.
    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        self.file.sync_data()?;
        self.unsynced = 0;
        for number in (1..self.kept).rev() {
            match fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match self.kept {
            0 => fs::remove_file(&self.path)?,
            _ => fs::rename(&self.path, numbered(1))?,
        }
        private_file::sync_folder(&self.path);
        self.reopen()
    }

    /// Makes the next line begin in a line of its own.
    fn end_last_line(&mut self) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};

        let mut last = [b'\n'];
        let mut reader = File::open(&self.path)?;
        if reader.seek(SeekFrom::End(0))? > 0 {
            reader.seek(SeekFrom::End(-1))?;
            reader.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            self.file.write_all(b"\n")?;
        }
        self.length = self.file.metadata()?.len();
        self.torn = false;
        Ok(())
    }
}

/// Opens a file of this user's, which no other user may read, and returns its length.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = private_file::open(path, OpenOptions::new().append(true).create(true))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        file.set_permissions(fs::Permissions::from_mode(private_file::MODE))?;
    }
    let length = file.metadata()?.len();
    Ok((file, length))
}
