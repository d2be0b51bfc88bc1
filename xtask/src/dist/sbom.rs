//! The list of what is linked into the program, as CycloneDX (<https://cyclonedx.org/docs/1.6/json/>).
//!
//! `cargo tree` lists exactly the crates that are compiled for the program's features and system, without
//! macros and build scripts; generators that read `cargo metadata` alone list those of the whole
//! workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::release::rfc3339;
use super::sums::sha256;
use super::{Release, notices};
use crate::process::{captured, run as shown};
use crate::report::Failure;
use crate::workspace::{cargo, read as read_text, root, write as write_text};

/// What is linked into the program for a system.
#[derive(Debug)]
pub(super) struct Linked {
    crates: Crates,
    /// The output of `cargo metadata`.
    metadata: Value,
}

impl Linked {
    /// Asks cargo.
    pub(super) fn into(target: &str) -> Result<Self, Failure> {
        let mut tree = cargo("tree");
        tree.args(["--locked", "--package", "code-assist-proxy"]);
        tree.args(["--edges", "normal,no-proc-macro", "--target", target]);
        let crates = captured(tree.args(["--prefix", "depth", "--format", " {p}"]))?;
        let metadata = captured(cargo("metadata").args(["--locked", "--format-version", "1"]))?;
        let metadata = serde_json::from_str(&metadata)
            .map_err(|why| Failure::new(format!("cannot read `cargo metadata`: {why}")))?;
        Ok(Self { crates: Crates::in_tree(&crates)?, metadata })
    }

    /// The licences of all crates but the program itself.
    pub(super) fn notices(&self) -> Result<String, Failure> {
        let crates = self.crates.edges.keys().filter(|name| **name != self.crates.root);
        notices::of(crates, &self.metadata)
    }
}

/// Writes the list beside the packages.
pub(super) fn write(release: &Release) -> Result<(), Failure> {
    let Linked { crates, metadata } = &release.linked;
    let lock = read_text(&root().join("Cargo.lock"))?;
    let rustc = captured(Command::new("rustc").arg("--version"))?;
    let program = sha256(&release.program_bytes()?);
    let list =
        crates.document(metadata, &checksums(&lock), &rustc, &program, &rfc3339(release.time)?)?;
    println!("    {} crates", crates.edges.len());
    write_text(&path(release), &format!("{list:#}\n"))
}

/// Checks the list against CycloneDX's own schema with `python`, and against the program: the names of
/// source files in it, for messages of panics, are of crates that the list has.
pub(super) fn check(release: &Release, python: &Path) -> Result<(), Failure> {
    let script = root().join("packaging/check/sbom.py");
    shown(Command::new(python).arg(script).arg(path(release)))?;
    let list = read_text(&path(release))?;
    let seen = crates_in(&release.program_bytes()?);
    if seen.is_empty() {
        return Err(Failure::new("the program names no source file of any crate"));
    }
    match seen.iter().find(|purl| !list.contains(&format!("\"{purl}\""))) {
        Some(purl) => Err(Failure::new(format!("the program holds {purl}, the SBOM does not"))),
        None => Ok(()),
    }
}

fn path(release: &Release) -> PathBuf {
    release.folder().join(format!("{}.cdx.json", release.name()))
}

/// Crates by name and version, each with those that it depends on.
#[derive(Debug, PartialEq, Eq)]
struct Crates {
    root: Crate,
    edges: BTreeMap<Crate, BTreeSet<Crate>>,
}

/// A name and a version.
pub(super) type Crate = (String, String);

impl Crates {
    /// Reads `cargo tree`: the depth, the name and the version in each line.
    fn in_tree(tree: &str) -> Result<Self, Failure> {
        let mut edges: BTreeMap<Crate, BTreeSet<Crate>> = BTreeMap::new();
        let mut above: Vec<Crate> = Vec::new();
        for line in tree.lines() {
            let mut words = line.split_whitespace();
            let depth = words.next().and_then(|depth| depth.parse::<usize>().ok());
            let version = |word: &str| word.strip_prefix('v').map(str::to_owned);
            let (Some(depth), Some(name), Some(version)) =
                (depth, words.next(), words.next().and_then(version))
            else {
                return Err(Failure::new(format!("`cargo tree` has printed {line:?}")));
            };
            let found = (name.to_owned(), version);
            above.truncate(depth);
            edges.entry(found.clone()).or_default();
            if let Some(parent) = above.last() {
                edges.entry(parent.clone()).or_default().insert(found.clone());
            }
            above.push(found);
        }
        let root = above.into_iter().next();
        let root = root.ok_or_else(|| Failure::new("`cargo tree` has printed nothing"))?;
        Ok(Self { root, edges })
    }

    fn document(
        &self,
        metadata: &Value,
        checksums: &BTreeMap<Crate, String>,
        rustc: &str,
        program: &str,
        time: &str,
    ) -> Result<Value, Failure> {
        let packages = packages(metadata);
        let standard = standard_library(rustc)?;
        let mut components = vec![standard.clone()];
        for (name, version) in self.edges.keys().filter(|name| **name != self.root) {
            let key = (name.clone(), version.clone());
            let package = packages.get(&(&**name, &**version));
            let package = package
                .ok_or_else(|| Failure::new(format!("`cargo metadata` has no {name} {version}")))?;
            let mut component = component("library", &key, package);
            // Crates of this repository have no checksum.
            if let Some(checksum) = checksums.get(&key) {
                component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
            }
            components.push(component);
        }
        let key = (&*self.root.0, &*self.root.1);
        let package =
            packages.get(&key).ok_or_else(|| Failure::new("the program is no package"))?;
        let mut subject = component("application", &self.root, package);
        subject["hashes"] = json!([{"alg": "SHA-256", "content": program}]);
        let mut dependencies: Vec<_> = self
            .edges
            .iter()
            .map(|(from, to)| {
                let mut to: Vec<_> = to.iter().map(purl).collect();
                if *from == self.root {
                    to.extend(standard["purl"].as_str().map(str::to_owned));
                }
                json!({"ref": purl(from), "dependsOn": to})
            })
            .collect();
        dependencies.push(json!({"ref": standard["purl"]}));
        Ok(json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"timestamp": time, "component": subject},
            "components": components,
            "dependencies": dependencies,
        }))
    }
}

/// The packages in the output of `cargo metadata`, by name and version.
pub(super) fn packages(metadata: &Value) -> BTreeMap<(&str, &str), &Value> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.map(|package| ((text(package, "name"), text(package, "version")), package)).collect()
}

fn component(kind: &str, key: &Crate, package: &Value) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(key),
        "name": key.0,
        "version": key.1,
        "purl": purl(key),
        // Some crates still write a slash, which SPDX does not know.
        "licenses": [{"expression": text(package, "license").replace('/', " OR ")}],
    });
    if let Some(url) = package["repository"].as_str() {
        component["externalReferences"] = json!([{"type": "vcs", "url": url}]);
    }
    component
}

/// The standard library is no crate of Cargo's, and linked all the same.
fn standard_library(rustc: &str) -> Result<Value, Failure> {
    let version = rustc.split_whitespace().nth(1);
    let version = version.ok_or_else(|| Failure::new(format!("{rustc:?} has no version")))?;
    let purl = format!("pkg:github/rust-lang/rust@{version}");
    Ok(json!({
        "type": "library",
        "bom-ref": purl,
        "name": "std",
        "version": version,
        "purl": purl,
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
    }))
}

/// The checksums of the archives on crates.io.
fn checksums(lock: &str) -> BTreeMap<Crate, String> {
    let packages = lock.split("[[package]]").skip(1);
    let entries = packages.filter_map(|package| {
        let value = |name: &str| {
            let line =
                package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    });
    entries.collect()
}

/// The crates whose source files a program names: `registry/src/INDEX/NAME-VERSION/src/lib.rs`.
fn crates_in(program: &[u8]) -> BTreeSet<String> {
    let program = String::from_utf8_lossy(program);
    let paths = program.split("/registry/src/").skip(1);
    let names = paths.filter_map(|path| path.split('/').nth(1));
    // A version begins with numbers and dots; a name may have numbers, but no dot.
    let split = names.filter_map(|name| {
        let parts = name.match_indices('-').map(|(at, _)| (&name[..at], &name[at + 1..]));
        parts.into_iter().find(|(_, version)| {
            let numbers = version.split('-').next().unwrap_or_default();
            numbers.contains('.') && version.starts_with(|c: char| c.is_ascii_digit())
        })
    });
    split.map(|(name, version)| purl(&(name.to_owned(), version.to_owned()))).collect()
}

/// <https://github.com/package-url/purl-spec>; a plus sign is written as a number.
fn purl((name, version): &Crate) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// A value that is text, else nothing.
pub(super) fn text<'a>(package: &'a Value, name: &str) -> &'a str {
    package[name].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0 top v1.0.0 (/x/top)\n1 left v0.1.0\n2 leaf v2.0.0+7\n1 right v0.2.0 (/x/right)\n2 leaf v2.0.0+7 (*)\n";

    fn of(name: &str, version: &str) -> Crate {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn the_list_has_each_crate_once_and_what_depends_on_what() {
        let crates = Crates::in_tree(TREE).unwrap();
        let metadata = json!({"packages": [
            {"name": "top", "version": "1.0.0", "license": "MIT"},
            {"name": "left", "version": "0.1.0", "license": "MIT/Apache-2.0", "repository": "https://x"},
            {"name": "right", "version": "0.2.0", "license": "MIT"},
            {"name": "leaf", "version": "2.0.0+7", "license": "ISC"},
            {"name": "other", "version": "1.0.0", "license": "ISC"},
        ]});
        let lock = "[[package]]\nname = \"leaf\"\nversion = \"2.0.0+7\"\nchecksum = \"00ff\"\n";
        let list = crates
            .document(&metadata, &checksums(lock), "rustc 1.95.0 (x)", "ab", "2026-11-26T00:00:00Z")
            .unwrap();
        let names: Vec<_> =
            list["components"].as_array().unwrap().iter().map(|it| text(it, "name")).collect();
        assert_eq!(names, ["std", "leaf", "left", "right"]);
        let leaf = &list["components"][1];
        assert_eq!(leaf["purl"], "pkg:cargo/leaf@2.0.0%2B7");
        assert_eq!(leaf["hashes"][0]["content"], "00ff");
        assert_eq!(list["components"][2]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(list["metadata"]["component"]["name"], "top");
        let right =
            json!({"ref": "pkg:cargo/right@0.2.0", "dependsOn": ["pkg:cargo/leaf@2.0.0%2B7"]});
        assert!(list["dependencies"].as_array().unwrap().contains(&right), "{list:#}");
    }

    #[test]
    fn a_tree_that_cannot_be_read_is_an_error() {
        assert!(Crates::in_tree("").is_err());
        assert!(Crates::in_tree("top v1.0.0\n").is_err());
        assert_eq!(Crates::in_tree(TREE).unwrap().root, of("top", "1.0.0"));
    }

    #[test]
    fn the_crates_in_a_program_are_found_by_their_source_files() {
        let program = b"\0\xff/x/registry/src/index-1/webpki-roots-1.0.2/src/lib.rs/y/registry/src/i/a-1-b-0.1.0-rc.1/x";
        let found: Vec<_> = crates_in(program).into_iter().collect();
        assert_eq!(found, ["pkg:cargo/a-1-b@0.1.0-rc.1", "pkg:cargo/webpki-roots@1.0.2"]);
    }
}
