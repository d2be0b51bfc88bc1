//! Words that documentation and comments of this project avoid, since a plainer word says the same.

use crate::report::Failure;
use crate::workspace::{read, root, tracked_files};

/// Whether a word of the list fails the lint. While it does not, the lint only prints the counts.
const IS_AN_ERROR: bool = true;

/// In lower case. Letters, digits and `_` make a word; whatever is between two words of an entry, such
/// as the start of a line of comment, is ignored.
const AVOIDED: &[&[&str]] = &[
    &["nobody"],
    &["whoever"],
    &["somebody"],
    &["mend"],
    &["mended"],
    &["mends"],
    &["so", "long"],
];

pub(crate) fn check() -> Result<(), Failure> {
    let mut found = Vec::new();
    for file in tracked_files()? {
        let name = file.to_string_lossy();
        if !is_checked(&name) {
            continue;
        }
        let uses = uses(&read(&root().join(&file))?);
        if !uses.is_empty() {
            println!("    {:>4}  {name}", uses.len());
        }
        found.extend(uses.into_iter().map(|(line, word)| format!("{name}:{line}: {word}")));
    }
    println!("    {:>4}  in all", found.len());
    if found.is_empty() || !IS_AN_ERROR { Ok(()) } else { Err(Failure::new(found.join("\n"))) }
}

fn is_checked(file: &str) -> bool {
    let has_prose = file.rsplit_once('.').is_some_and(|(_, kind)| KINDS.contains(&kind));
    has_prose && !LEFT_OUT.iter().any(|left_out| file.starts_with(left_out))
}

/// The avoided words in `text`, each with its line.
fn uses(text: &str) -> Vec<(usize, String)> {
    let words: Vec<(usize, String)> = text
        .lines()
        .enumerate()
        .flat_map(|(line, text)| {
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            let words = words.filter(|word| !word.is_empty());
            words.map(move |word| (line + 1, word.to_lowercase()))
        })
        .collect();
    let mut uses = Vec::new();
    for start in 0..words.len() {
        for avoided in AVOIDED {
            let here = words[start..].iter().map(|(_, word)| word.as_str());
            if here.take(avoided.len()).eq(avoided.iter().copied()) {
                uses.push((words[start].0, avoided.join(" ")));
            }
        }
    }
    uses
}

const KINDS: &[&str] = &["js", "md", "mjs", "rs", "toml", "yml"];

/// The history, the notes on Google's protocol, and this file.
const LEFT_OUT: &[&str] = &["CHANGELOG.md", "docs/reference/", "xtask/src/plain_words.rs"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avoided_words_are_found_in_any_case() {
        let text = "// Nobody waits.\nlet mended = true; // as so\n// long as `x` is\n";
        let wanted = [(1, "nobody"), (2, "mended"), (2, "so long")];
        assert_eq!(uses(text), wanted.map(|(line, word)| (line, word.to_owned())));
    }

    #[test]
    fn parts_of_words_are_not_found() {
        assert!(uses("recommend mending nobody_else also long").is_empty());
    }

    #[test]
    fn code_and_prose_are_checked_and_history_is_not() {
        assert!(is_checked("README.md") && is_checked("crates/core/src/lib.rs"));
        assert!(!is_checked("CHANGELOG.md") && !is_checked("docs/reference/x.toml"));
        assert!(!is_checked("Cargo.lock") && !is_checked("LICENSE"));
    }
}
