//! The licences of the libraries in the program. Most of them ask that their text goes along with a copy.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::sbom::{Crate, packages, text};
use crate::report::Failure;

/// Every licence and notice of the crates, each text once with the crates that it is of. A crate without
/// such a file is listed with the name of its licence.
pub(super) fn of<'a>(
    crates: impl Iterator<Item = &'a Crate>,
    metadata: &Value,
) -> Result<String, Failure> {
    let packages = packages(metadata);
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, version) in crates {
        let package = packages.get(&(&**name, &**version));
        let package = package
            .ok_or_else(|| Failure::new(format!("`cargo metadata` has no {name} {version}")))?;
        let title = format!("{name} {version} ({})", text(package, "license"));
        let found =
            Path::new(text(package, "manifest_path")).parent().map_or(Ok(Vec::new()), files)?;
        if found.is_empty() {
            texts.entry(String::new()).or_default().push(title.clone());
        }
        for text in found {
            texts.entry(text).or_default().push(title.clone());
        }
    }
    let mut notices = String::from("Licences of the libraries in this program.\n");
    for (text, titles) in texts {
        let note = if text.is_empty() { "No file with a licence comes with:\n" } else { "" };
        notices += &format!("\n{}\n{note}{}\n\n{text}\n", "=".repeat(80), titles.join("\n"));
    }
    Ok(notices)
}

/// The texts of the licences and notices in a crate's top folder.
fn files(folder: &Path) -> Result<Vec<String>, Failure> {
    let failed = |why| Failure::new(format!("cannot read {}: {why}", folder.display()));
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && BEGINNINGS.iter().any(|beginning| name.starts_with(beginning)) {
            names.push(path);
        }
    }
    names.sort();
    let texts = names.iter().map(|path| {
        let bytes = fs::read(path).map_err(failed)?;
        // Checkouts differ in their ends of lines.
        let lines = String::from_utf8_lossy(&bytes)
            .lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n");
        Ok(lines.trim_matches('\n').to_owned())
    });
    texts.collect()
}

/// How the names of such files begin, in capitals.
const BEGINNINGS: &[&str] = &["COPYING", "COPYRIGHT", "LICENCE", "LICENSE", "NOTICE"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_text_stands_once_with_all_its_crates() {
        let folder = tempfile::tempdir().unwrap();
        let metadata = ["one", "two", "three"].map(|name| {
            let manifest = folder.path().join(name).join("Cargo.toml");
            fs::create_dir(folder.path().join(name)).unwrap();
            json!({"name": name, "version": "1.0.0", "license": "MIT", "manifest_path": manifest})
        });
        fs::write(folder.path().join("one/LICENSE-MIT"), "may be\r\nused\n").unwrap();
        fs::write(folder.path().join("two/license.txt"), "may be\nused").unwrap();
        let crates = ["one", "two", "three"].map(|name| (name.to_owned(), "1.0.0".to_owned()));
        let notices = of(crates.iter(), &json!({"packages": metadata})).unwrap();
        assert!(
            notices.contains("\none 1.0.0 (MIT)\ntwo 1.0.0 (MIT)\n\nmay be\nused\n"),
            "{notices}"
        );
        assert!(
            notices.contains("No file with a licence comes with:\nthree 1.0.0 (MIT)"),
            "{notices}"
        );
        let missing = [("four".to_owned(), "1.0.0".to_owned())];
        assert!(of(missing.iter(), &json!({"packages": []})).is_err());
    }
}
