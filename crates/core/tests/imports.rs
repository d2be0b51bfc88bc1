//! The import graph of the core: no circle of more than one file, and one direction between modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the core from the bottom up. A module may import those before it and those that
/// share its row.
const LAYERS: &[&[&str]] = &[
    &["time", "failure", "shards", "sync", "trace", "request_ids", "request_texts"],
    &["caller", "collected", "payload", "json", "signing", "sse"],
    &["google"],
    &["policy"],
    &["job", "record", "request_line"],
    &["platform"],
    &["error"],
    &["settings"],
    &["keys"],
    &["access", "ids"],
    &["dialect"],
    &["provider"],
    &["metrics"],
    &["context"],
    &["wait", "body"],
    &["memory"],
    &["intake"],
    &["upstream"],
    &["proxy"],
    &["internals", "lib"],
];

#[test]
fn no_files_import_each_other_in_a_circle() {
    let graph = Graph::read();
    let circles = graph.circles();
    assert!(circles.is_empty(), "files that import each other in a circle: {circles:#?}");
}

#[test]
fn every_module_imports_only_from_below() {
    let graph = Graph::read();
    let layer = |module: &str| LAYERS.iter().position(|row| row.contains(&module));
    let mut wrong = Vec::new();
    for (file, imports) in &graph.imports {
        let from = top_module(file);
        let from_layer = layer(from).unwrap_or_else(|| panic!("`{from}` is in no row of LAYERS"));
        for import in imports {
            let to = top_module(import);
            if to != from && layer(to).is_none_or(|to_layer| to_layer > from_layer) {
                wrong.push(format!("{} imports {}", file.display(), import.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the direction of LAYERS: {wrong:#?}");
}

#[test]
fn a_circle_and_a_wrong_direction_are_found() {
    let files = |names: &[&str]| names.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
    let all = files(&["a.rs", "b/mod.rs", "b/c.rs", "d.rs"]);
    let imports = |file: &str, text: &str| imports_of(Path::new(file), text, &all);
    assert_eq!(imports("a.rs", "use crate::b::c::Thing;"), files(&["b/c.rs"]));
    assert_eq!(imports("a.rs", "use crate::b::{self, Other};"), files(&["b/mod.rs"]));
    assert_eq!(imports("a.rs", "use crate::{b::c, d};"), files(&["b/c.rs", "d.rs"]));
    assert_eq!(imports("b/c.rs", "use super::Other;\nuse std::fmt;"), files(&["b/mod.rs"]));
    assert_eq!(imports("b/mod.rs", "use c::Thing;\npub use c::Other;"), files(&[]));
    let graph = Graph {
        imports: BTreeMap::from([
            (PathBuf::from("a.rs"), files(&["b/c.rs"])),
            (PathBuf::from("b/c.rs"), files(&["d.rs"])),
            (PathBuf::from("d.rs"), files(&["a.rs"])),
        ]),
    };
    assert_eq!(
        graph.circles(),
        [files(&["a.rs", "b/c.rs", "d.rs"]).into_iter().collect::<Vec<_>>()]
    );
}

/// Which file imports which, from the `use` lines outside of tests. A module's `mod.rs` is its front
/// page: what it takes from its own files is no import.
struct Graph {
    imports: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

impl Graph {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = BTreeSet::new();
        collect(&root, &root, &mut files);
        let imports = files.iter().map(|file| {
            let text = fs::read_to_string(root.join(file)).expect("our sources can be read");
            let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            (file.clone(), imports_of(file, production, &files))
        });
        Self { imports: imports.collect() }
    }

    /// Groups of files from each of which every other one can be reached.
    fn circles(&self) -> Vec<Vec<PathBuf>> {
        let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> =
            self.imports.keys().map(|file| (file, self.reachable(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, from_here) in &reached {
            let circle: Vec<PathBuf> = from_here
                .iter()
                .filter(|other| reached.get(*other).is_some_and(|back| back.contains(file)))
                .map(|other| (*other).clone())
                .collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reachable<'a>(&'a self, file: &PathBuf) -> BTreeSet<&'a PathBuf> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&PathBuf> = self.imports.get(file).into_iter().flatten().collect();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(self.imports.get(next).into_iter().flatten());
            }
        }
        reached
    }
}

/// The files below `folder` but tests, relative to `root`.
fn collect(root: &Path, folder: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).expect("our sources can be read") {
        let path = entry.expect("our sources can be read").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            files.insert(path.strip_prefix(root).expect("it is below `root`").to_owned());
        }
    }
}

/// The files of this crate that the `use` lines of `file` name.
fn imports_of(file: &Path, text: &str, files: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let own = module_path(file);
    let mut imports = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let begins_line = rest[..at].rsplit('\n').next().is_some_and(|before| {
            before.trim().is_empty() || before.trim_start().starts_with("pub")
        });
        let statement = &rest[at + 4..];
        let end = statement.find(';').unwrap_or(statement.len());
        rest = &statement[end..];
        if !begins_line {
            continue;
        }
        for path in expanded(&statement[..end]) {
            let segments: Vec<&str> = path.split("::").map(str::trim).collect();
            let absolute: Vec<&str> = match segments.split_first() {
                Some((&"crate", path)) => path.to_vec(),
                Some((&"super", path)) => {
                    let parent = &own[..own.len().saturating_sub(1)];
                    parent.iter().map(String::as_str).chain(path.iter().copied()).collect()
                }
                Some((&"self", path)) => {
                    own.iter().map(String::as_str).chain(path.iter().copied()).collect()
                }
                _ => continue,
            };
            let Some(import) = deepest_file(&absolute, files) else { continue };
            let is_own_part = file.ends_with("mod.rs")
                && file.parent().is_some_and(|folder| import.starts_with(folder));
            if import != file && !is_own_part {
                imports.insert(import);
            }
        }
    }
    imports
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expanded(tree: &str) -> Vec<String> {
    let Some(open) = tree.find('{') else { return vec![tree.trim().to_owned()] };
    let (head, inner) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())]);
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(expanded).map(|part| format!("{}{part}", head.trim())).collect()
}

/// The file that holds what a path names: the longest prefix that is a module's file.
fn deepest_file(path: &[&str], files: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    (1..=path.len()).rev().find_map(|length| {
        let module: PathBuf = path[..length].iter().collect();
        let candidates = [module.with_extension("rs"), module.join("mod.rs")];
        candidates.into_iter().find(|candidate| files.contains(candidate))
    })
}

/// The path of a file's module: `a/b.rs` and `a/b/mod.rs` are `a::b`.
fn module_path(file: &Path) -> Vec<String> {
    let file = file.with_extension("");
    let mut path: Vec<String> =
        file.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    path
}

fn top_module(file: &Path) -> &str {
    let first = file.iter().next().and_then(|part| part.to_str()).unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first)
}
