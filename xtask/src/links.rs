//! The links between the files of this repository: those in Markdown, and paths of documents in
//! comments and messages of code.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::report::Failure;
use crate::workspace::{read, root, tracked_files};

pub(crate) fn check() -> Result<(), Failure> {
    let mut links = 0;
    let mut broken = Vec::new();
    let mut repository = Repository::new(root(), tracked_files()?);
    for file in repository.files.clone() {
        let found = match extension(&file) {
            "md" => Document::parse(&read(&root().join(&file))?).links,
            extension if CODE.contains(&extension) => mentions(&read(&root().join(&file))?),
            _ => continue,
        };
        links += found.len();
        for link in found {
            if let Err(why) = repository.check(&file, &link) {
                broken.push(format!("{}:{}: {}: {why}", file.display(), link.line, link.target));
            }
        }
    }
    println!("    {links} links");
    if broken.is_empty() { Ok(()) } else { Err(Failure::new(broken.join("\n"))) }
}

/// The files that links can lead to.
struct Repository {
    root: PathBuf,
    files: BTreeSet<PathBuf>,
    /// The anchors of the documents that were read so far.
    anchors: HashMap<PathBuf, HashSet<String>>,
}

impl Repository {
    fn new(root: PathBuf, files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { root, files: files.into_iter().collect(), anchors: HashMap::new() }
    }

    /// Whether `link` in `file` leads to a file of the repository, and to a heading in it.
    fn check(&mut self, file: &Path, link: &Link) -> Result<(), Failure> {
        let (path, anchor) = match link.target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor)),
            None => (link.target.as_str(), None),
        };
        let path = percent_decode_str(path).decode_utf8_lossy();
        let folder = file.parent().filter(|_| !link.is_from_root);
        let found = match &*path {
            "" => Some(file.to_owned()),
            path => resolve(&folder.map_or_else(|| path.into(), |folder| folder.join(path))),
        };
        let Some(found) = found.filter(|found| self.has(found)) else {
            return Err(Failure::new("there is no such file in the repository"));
        };
        match anchor {
            None => Ok(()),
            Some(line) if extension(&found) != "md" && is_line_number(line) => Ok(()),
            Some(anchor) if self.anchors(&found)?.contains(anchor) => Ok(()),
            Some(_) => Err(Failure::new(format!("{} has no such heading", found.display()))),
        }
    }

    /// Whether `path` is a file, or a folder with files.
    fn has(&self, path: &Path) -> bool {
        self.files.contains(path) || self.files.iter().any(|file| file.starts_with(path))
    }

    fn anchors(&mut self, file: &Path) -> Result<&HashSet<String>, Failure> {
        if !self.anchors.contains_key(file) {
            let anchors = match extension(file) {
                "md" => Document::parse(&read(&self.root.join(file))?).anchors,
                _ => HashSet::new(),
            };
            self.anchors.insert(file.to_owned(), anchors);
        }
        Ok(&self.anchors[file])
    }
}

/// A link within the repository.
#[derive(Debug, PartialEq)]
struct Link {
    line: usize,
    /// A path, an anchor with its `#`, or both.
    target: String,
    /// The path starts at the top folder, and not at the folder of the file with the link.
    is_from_root: bool,
}

/// What a Markdown file links to, and what can be linked to in it.
#[derive(Debug, Default)]
struct Document {
    links: Vec<Link>,
    anchors: HashSet<String>,
}

impl Document {
    fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut slugs = HashMap::<String, usize>::new();
        let mut heading = None::<String>;
        for (event, range) in
            Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_GFM).into_offset_iter()
        {
            let line = line_at(text, range.start);
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.link(line, &dest_url);
                }
                Event::Html(html) | Event::InlineHtml(html) => {
                    for name in ["href", "src"] {
                        attributes(&html, name).for_each(|value| document.link(line, value));
                    }
                    for name in ["id", "name"] {
                        document.anchors.extend(attributes(&html, name).map(str::to_owned));
                    }
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap_or_default());
                    let count = slugs.entry(slug.clone()).or_default();
                    document.anchors.insert(match *count {
                        0 => slug,
                        repeated => format!("{slug}-{repeated}"),
                    });
                    *count += 1;
                }
                _ => {}
            }
        }
        document
    }

    fn link(&mut self, line: usize, target: &str) {
        let has_scheme = target.split(['/', '#']).next().is_some_and(|part| part.contains(':'));
        if !has_scheme && !target.starts_with("//") {
            let is_from_root = target.starts_with('/');
            self.links.push(Link { line, target: target.to_owned(), is_from_root });
        }
    }
}

/// The anchor that GitHub gives a heading: lower case, letters, digits, `-` and `_` kept, each space
/// a `-`.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The values of an attribute in HTML.
fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    let starts: Vec<usize> = html.match_indices(&start).map(|(at, _)| at + start.len()).collect();
    starts.into_iter().filter_map(|at| html[at..].split('"').next())
}

/// The documents that code names by their path from the top folder, such as in a comment.
fn mentions(code: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (at, _) in code.match_indices("docs/") {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_-./#".contains(c);
        if code[..at].chars().next_back().is_some_and(is_part) {
            continue;
        }
        let target = code[at..].split(|c| !is_part(c)).next().unwrap_or_default();
        let target = target.trim_end_matches('.');
        let path = target.split('#').next().unwrap_or_default();
        if ["md", "png", "svg"].contains(&extension(Path::new(path))) {
            let (line, target) = (line_at(code, at), target.to_owned());
            links.push(Link { line, target, is_from_root: true });
        }
    }
    links
}

/// `path` without `.`, `..` and a `/` in front. `None` if it leaves the repository.
fn resolve(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir if !resolved.pop() => return None,
            _ => {}
        }
    }
    Some(resolved)
}

/// `L12` or `L12-L20`.
fn is_line_number(anchor: &str) -> bool {
    anchor
        .split('-')
        .all(|part| part.strip_prefix('L').is_some_and(|number| number.parse::<u32>().is_ok()))
}

fn line_at(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

fn extension(file: &Path) -> &str {
    file.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// The kinds of files that are searched for paths of documents.
const CODE: &[&str] = &["html", "js", "mjs", "py", "rs", "sh", "toml", "yaml", "yml"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::write;

    /// The broken links of the file `guide/a.md` with this text.
    fn broken(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("guide/a.md", text),
            ("guide/b.md", "# Set up\n\n## `x-id` & more, twice\n\n## Set up\n"),
            ("code/main.rs", "fn main() {}\n"),
        ];
        for (name, content) in files {
            write(&folder.path().join(name), content).unwrap();
        }
        let names = files.map(|(name, _)| PathBuf::from(name));
        let mut repository = Repository::new(folder.path().to_owned(), names);
        let links = Document::parse(text).links;
        let mut is_broken = |link: &Link| repository.check(Path::new("guide/a.md"), link).is_err();
        links.into_iter().filter(|link| is_broken(link)).map(|link| link.target).collect()
    }

    #[test]
    fn good_links_are_good() {
        let links = "# Here\n[a](b.md) [b](../code/main.rs#L1-L2) [c](/guide/b.md#set-up) [d](#here)\n\
                     [e](b.md#x-id--more-twice) [f](b.md#set-up-1) ![g](../code) [h][ref]\n\
                     <https://a.b> [i](https://a.b/c) [j](mailto:a@b.c) <a href=\"b.md\">k</a>\n\n\
                     [ref]: b.md\n";
        assert_eq!(broken(links), Vec::<String>::new());
        assert_eq!(Document::parse(links).links.len(), 9);
    }

    #[test]
    fn a_link_to_a_missing_file_is_broken() {
        assert_eq!(broken("[a](c.md) ![b](c.png)"), ["c.md", "c.png"]);
        assert_eq!(broken("[a](../../b.md) <img src=\"c.svg\">"), ["../../b.md", "c.svg"]);
        assert_eq!(broken("[a][ref]\n\n[ref]: c.md\n"), ["c.md"]);
        assert_eq!(broken("| a |\n|---|\n| [b](c.md) |\n"), ["c.md"]);
    }

    #[test]
    fn a_link_to_a_missing_heading_is_broken() {
        assert_eq!(broken("[a](b.md#set-down) [b](#here)"), ["b.md#set-down", "#here"]);
        assert_eq!(broken("[a](b.md#set-up-2)"), ["b.md#set-up-2"]);
        assert_eq!(broken("[a](../code/main.rs#main)"), ["../code/main.rs#main"]);
    }

    #[test]
    fn links_in_code_are_ignored() {
        assert_eq!(
            broken("`[a](c.md)`\n\n```\n[b](c.md)\n# Here\n```\n\n    [c](c.md)\n"),
            [""; 0]
        );
        assert_eq!(broken("```\n# Here\n```\n[a](#here)\n"), ["#here"]);
    }

    #[test]
    fn an_anchor_in_html_can_be_linked_to() {
        assert_eq!(broken("<a id=\"there\"></a>\n\n[a](#there)"), [""; 0]);
    }

    #[test]
    fn code_names_documents() {
        let folder = "docs";
        let code = format!(
            "// x\n// see {folder}/A.md#b, {folder}/B.svg.\nhttps://a.b/{folder}/C.md {folder}/ {folder}/x.rs"
        );
        let found: Vec<_> = mentions(&code).into_iter().map(|it| (it.line, it.target)).collect();
        assert_eq!(found, [(2, format!("{folder}/A.md#b")), (2, format!("{folder}/B.svg"))]);
    }
}
