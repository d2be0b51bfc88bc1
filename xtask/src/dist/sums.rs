//! `SHA256SUMS`, in the form that `sha256sum --check` and `shasum -a 256 --check` read.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::tree::read;
use crate::report::Failure;
use crate::workspace::{read as read_text, write as write_text};

/// Writes the checksums of all files of a folder into it.
pub(crate) fn write(folder: &Path) -> Result<(), Failure> {
    let mut lines = String::new();
    for name in names(folder)? {
        lines += &format!("{}  {name}\n", sha256(&read(&folder.join(&name))?));
    }
    print!("{lines}");
    write_text(&folder.join(NAME), &lines)
}

/// Compares every file of a folder with the checksums in it.
pub(crate) fn check(folder: &Path) -> Result<(), Failure> {
    let sums = read_text(&folder.join(NAME))?;
    let listed: Vec<_> = sums.lines().filter_map(|line| line.split_once("  ")).collect();
    for name in names(folder)? {
        if !listed.iter().any(|(_, other)| *other == name) {
            return Err(Failure::new(format!("{NAME} has no line for {name}")));
        }
    }
    for (sum, name) in listed {
        let found = sha256(&read(&folder.join(name))?);
        if found != sum {
            return Err(Failure::new(format!("{name} has the checksum {found}, not {sum}")));
        }
    }
    Ok(())
}

/// The digest in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The names of all files but the list itself, sorted.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let failed = |why| Failure::new(format!("cannot read {}: {why}", folder.display()));
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut names = entries
        .map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>, Failure>>()?;
    names.retain(|name| name != NAME);
    names.sort();
    Ok(names)
}

const NAME: &str = "SHA256SUMS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_an_added_and_a_lost_file_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let [one, two] = ["one", "two"].map(|name| folder.join(name));
        write_text(&one, "1").unwrap();
        write(folder).unwrap();
        check(folder).unwrap();
        write_text(&one, "2").unwrap();
        let failure = check(folder).unwrap_err().to_string();
        assert!(failure.starts_with("one has the checksum d4735e3a"), "{failure}");
        write_text(&one, "1").unwrap();
        write_text(&two, "2").unwrap();
        assert!(check(folder).unwrap_err().to_string().contains("no line for two"));
        fs::remove_file(&two).unwrap();
        fs::remove_file(&one).unwrap();
        assert!(check(folder).unwrap_err().to_string().contains("cannot read"));
    }
}
