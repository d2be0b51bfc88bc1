//! The files of a package, and the archives of them. The same files make the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use crate::report::Failure;

/// Files by their paths, which are relative and have slashes. Their folders follow from the paths.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tree {
    files: BTreeMap<String, File>,
}

#[derive(Debug, Clone)]
struct File {
    mode: u32,
    bytes: Vec<u8>,
}

impl Tree {
    /// Adds a file that belongs to root, with its permissions.
    pub(crate) fn add(&mut self, path: impl Into<String>, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), File { mode, bytes: bytes.into() });
    }

    /// Adds a copy of a file of this machine.
    pub(crate) fn add_copy(
        &mut self,
        path: impl Into<String>,
        mode: u32,
        from: &Path,
    ) -> Result<(), Failure> {
        self.add(path, mode, read(from)?);
        Ok(())
    }

    /// Every file with its permissions and its content, in the order of the paths.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, u32, &[u8])> {
        self.files.iter().map(|(path, file)| (&**path, file.mode, &*file.bytes))
    }

    /// The tar archive of all files and their folders, each changed at `time` (seconds since 1970).
    pub(crate) fn tar(&self, time: u64) -> Result<Vec<u8>, Failure> {
        let failed = |why: std::io::Error| Failure::new(format!("cannot write an archive: {why}"));
        let mut archive = tar::Builder::new(Vec::new());
        let mut folders = BTreeSet::new();
        for (path, file) in &self.files {
            for (end, _) in path.match_indices('/') {
                let folder = &path[..=end];
                if folders.insert(folder) {
                    let mut header = header(EntryType::Directory, 0o755, 0, time);
                    archive.append_data(&mut header, folder, &[][..]).map_err(failed)?;
                }
            }
            let size = file.bytes.len() as u64;
            let mut header = header(EntryType::Regular, file.mode, size, time);
            archive.append_data(&mut header, path, &*file.bytes).map_err(failed)?;
        }
        archive.into_inner().map_err(failed)
    }
}

/// Compresses, without a name and a time in the header.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut writer = GzBuilder::new().write(Vec::new(), Compression::default());
    let written = writer.write_all(bytes).and_then(|()| writer.finish());
    written.map_err(|why| Failure::new(format!("cannot compress: {why}")))
}

/// The bytes of a file.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file)
        .map_err(|why| Failure::new(format!("cannot read {}: {why}", file.display())))
}

fn header(kind: EntryType, mode: u32, size: u64, time: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(size);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for path in paths {
            tree.add(*path, 0o644, path.as_bytes());
        }
        tree
    }

    #[test]
    fn the_order_of_adding_does_not_change_the_archive() {
        let one = tree(&["a/b/c", "a/b.c", "z"]).tar(7).unwrap();
        assert_eq!(one, tree(&["z", "a/b.c", "a/b/c"]).tar(7).unwrap());
        assert_ne!(one, tree(&["z", "a/b.c", "a/b/c"]).tar(8).unwrap());
        assert_eq!(gzip(&one).unwrap(), gzip(&one).unwrap());
    }

    #[test]
    fn every_folder_stands_once_and_before_its_files() {
        let archive = tree(&["a/b/c", "a/b/d", "e"]).tar(7).unwrap();
        let mut archive = tar::Archive::new(&*archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 7));
            (entry.path().unwrap().to_str().unwrap().to_owned(), header.mode().unwrap())
        });
        let expected =
            [("a/", 0o755), ("a/b/", 0o755), ("a/b/c", 0o644), ("a/b/d", 0o644), ("e", 0o644)];
        assert_eq!(
            entries.collect::<Vec<_>>(),
            expected.map(|(path, mode)| (path.to_owned(), mode))
        );
    }
}
