//! The libraries of the system that a Linux program needs, and in which versions.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::process::captured;
use crate::report::Failure;

/// The newest version of each library's symbols, such as `libc.so.6` and 2.34. A library without
/// versions has none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Libraries(BTreeMap<String, Option<Version>>);

/// Numbers that are compared one after the other.
pub(crate) type Version = Vec<u32>;

impl Libraries {
    /// Reads the dynamic section and the needed versions of an ELF file.
    pub(crate) fn of(program: &Path) -> Result<Self, Failure> {
        let mut readelf = Command::new("readelf");
        readelf.args(["--dynamic", "--version-info", "--wide"]).arg(program);
        Self::parse(&captured(readelf.env("LC_ALL", "C"))?)
    }

    fn parse(listing: &str) -> Result<Self, Failure> {
        let mut libraries = BTreeMap::new();
        let mut file = None;
        for line in listing.lines() {
            if line.contains("(NEEDED)") {
                let name = line.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
                let (name, _) = name.ok_or_else(|| unreadable(line))?;
                libraries.entry(name.to_owned()).or_insert(None);
            } else if let Some((_, rest)) = line.split_once("  File: ") {
                file = rest.split_whitespace().next();
            } else if let Some((_, rest)) = line.split_once("   Name: ") {
                let symbols = rest.split_whitespace().next().ok_or_else(|| unreadable(line))?;
                let file = file.ok_or_else(|| unreadable(line))?;
                // `GLIBC_PRIVATE` and the like have no number.
                let found = symbols.split_once('_').and_then(|(_, number)| version(number));
                let newest = libraries.entry(file.to_owned()).or_insert(None);
                *newest = found.max(newest.take());
            }
        }
        if libraries.is_empty() {
            return Err(Failure::new("`readelf` lists no library: is this a program for Linux?"));
        }
        Ok(Self(libraries))
    }

    /// The names of the files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }

    /// The oldest glibc that the program starts with.
    pub(crate) fn glibc(&self) -> Option<Version> {
        self.newest(|package| package == "libc6")
    }

    /// Debian's packages of the libraries, as a `Depends` field. A library of no known package is an
    /// error, since the package would not start where it is missing.
    pub(super) fn depends(&self) -> Result<String, Failure> {
        let mut packages = Vec::new();
        for name in self.names() {
            let package = debian_package(name).ok_or_else(|| {
                Failure::new(format!(
                    "the program needs {name}, for which no Debian package is known"
                ))
            })?;
            packages.push(package);
        }
        packages.sort_unstable();
        packages.dedup();
        let relations = packages.iter().map(|package| {
            let version = self.newest(|other| other == *package);
            version.map_or_else(
                || (*package).to_owned(),
                |it| format!("{package} (>= {})", dotted(&it)),
            )
        });
        Ok(relations.collect::<Vec<_>>().join(", "))
    }

    /// The newest version among the libraries of a package.
    fn newest(&self, is_package: impl Fn(&str) -> bool) -> Option<Version> {
        let of_package =
            self.0.iter().filter(|(name, _)| debian_package(name).is_some_and(&is_package));
        of_package.filter_map(|(_, version)| version.clone()).max()
    }
}

/// `2.34`
pub(crate) fn dotted(version: &[u32]) -> String {
    version.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

fn version(text: &str) -> Option<Version> {
    text.split('.').map(|number| number.parse().ok()).collect()
}

fn debian_package(library: &str) -> Option<&'static str> {
    match library {
        "libc.so.6" | "libm.so.6" => Some("libc6"),
        "libgcc_s.so.1" => Some("libgcc-s1"),
        // The loader: `ld-linux-x86-64.so.2`, `ld-linux-aarch64.so.1`.
        loader if loader.starts_with("ld-linux-") => Some("libc6"),
        _ => None,
    }
}

fn unreadable(line: &str) -> Failure {
    Failure::new(format!("`readelf` has printed a line that cannot be read: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
Dynamic section at offset 0xe5f088 contains 31 entries:
 0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
 0x0000000000000001 (NEEDED)             Shared library: [ld-linux-x86-64.so.2]

Version needs section '.gnu.version_r' contains 4 entries:
  000000: Version: 1  File: libgcc_s.so.1  Cnt: 1
  0x0060:   Name: GCC_4.2.0  Flags: none  Version: 22
  0x0010: Version: 1  File: libm.so.6  Cnt: 1
  0x0070:   Name: GLIBC_2.29  Flags: none  Version: 23
  0x0020: Version: 1  File: libc.so.6  Cnt: 4
  0x0080:   Name: GLIBC_2.2.5  Flags: none  Version: 3
  0x0090:   Name: GLIBC_2.34  Flags: WEAK  Version: 16
  0x00a0:   Name: GLIBC_2.9  Flags: none  Version: 8
  0x00b0:   Name: GLIBC_PRIVATE  Flags: none  Version: 9
";

    #[test]
    fn the_newest_version_of_each_library_is_what_the_program_needs() {
        let libraries = Libraries::parse(LISTING).unwrap();
        // 2.34 is newer than 2.9, and than 2.2.5, which has more numbers.
        assert_eq!(libraries.glibc(), Some(vec![2, 34]));
        assert_eq!(libraries.depends().unwrap(), "libc6 (>= 2.34), libgcc-s1 (>= 4.2.0)");
    }

    #[test]
    fn a_library_without_a_known_package_is_an_error() {
        let listing = LISTING.replace("[libgcc_s.so.1]", "[libssl.so.3]");
        let failure = Libraries::parse(&listing).unwrap().depends().unwrap_err();
        assert!(failure.to_string().contains("libssl.so.3"), "{failure}");
    }

    #[test]
    fn a_program_without_libraries_is_an_error() {
        assert!(Libraries::parse("There is no dynamic section in this file.\n").is_err());
    }
}
