//! The names of tools, on both sides.
//!
//! Gemini takes `[A-Za-z_][A-Za-z0-9_.:-]*` of 64 characters (`docs/reference/dialects.md` 6.4). Such a
//! name stays as it is. Each other name gets one that it has alone within the request.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::draft::ClientToolName;

/// The tools of a request by their names upstream. It lives as long as the request.
#[derive(Debug, Clone, Default)]
pub struct ToolNames {
    /// In the order of their names upstream.
    tools: Arc<[NamedTool]>,
}

/// A tool of the client's and its name upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTool {
    /// The name upstream.
    pub upstream: String,
    /// The name that the client knows.
    pub client: ClientToolName<'static>,
    /// The function takes one text, as `custom` tools of OpenAI do.
    pub takes_text: bool,
}

impl ToolNames {
    /// The names of these tools. Of several with one name upstream the first is kept.
    pub fn new(mut tools: Vec<NamedTool>) -> Self {
        tools.sort_by(|one, other| one.upstream.cmp(&other.upstream));
        tools.dedup_by(|later, earlier| later.upstream == earlier.upstream);
        Self { tools: tools.into() }
    }

    /// The tool that a model calls by a name. Models put `default_api.` or `default_api:` before some
    /// names. `None` for a tool that the client has not named: the client's own error about it is what
    /// the model learns from.
    pub fn of(&self, upstream: &str) -> Option<&NamedTool> {
        self.exactly(upstream).or_else(|| {
            let rest = upstream.strip_prefix("default_api")?;
            self.exactly(rest.strip_prefix(['.', ':'])?)
        })
    }

    fn exactly(&self, upstream: &str) -> Option<&NamedTool> {
        let found = self.tools.binary_search_by(|tool| tool.upstream.as_str().cmp(upstream));
        self.tools.get(found.ok()?)
    }
}

/// The names upstream of the tools that one request names. Nearly all of them are the client's own, so
/// that only the others are held.
#[derive(Debug, Default)]
pub struct UpstreamNames<'d, 'a> {
    other: HashMap<&'d ClientToolName<'a>, String>,
}

impl<'d, 'a> UpstreamNames<'d, 'a> {
    /// The names upstream of all tools that a request names.
    pub fn of_all(all: impl Iterator<Item = &'d ClientToolName<'a>> + Clone) -> Self {
        let wanting: HashSet<_> = all.clone().filter(|name| !is_kept(name)).collect();
        if wanting.is_empty() {
            return Self::default();
        }
        let kept = all.filter(|name| is_kept(name)).map(|name| name.name.to_string());
        let mut taken: HashSet<String> = kept.collect();
        let mut wanting: Vec<_> = wanting.into_iter().map(|name| (name, repaired(name))).collect();
        // The names do not depend on the order of the tools.
        wanting.sort_unstable();
        let mut count: HashMap<&str, usize> = HashMap::new();
        for (_, wanted) in &wanting {
            *count.entry(wanted).or_default() += 1;
        }
        let collides: Vec<bool> = wanting
            .iter()
            .map(|(_, wanted)| taken.contains(wanted) || count.get(wanted.as_str()) != Some(&1))
            .collect();
        let free = wanting.iter().zip(&collides).filter(|(_, collides)| !**collides);
        taken.extend(free.map(|((_, wanted), _)| wanted.clone()));
        let mut other = HashMap::with_capacity(wanting.len());
        for ((name, wanted), collides) in wanting.into_iter().zip(collides) {
            let upstream = if collides { unlike(&taken, name, &wanted) } else { wanted };
            if collides {
                taken.insert(upstream.clone());
            }
            other.insert(name, upstream);
        }
        Self { other }
    }

    /// The name upstream of a tool.
    pub fn of<'n>(&'n self, name: &'n ClientToolName<'a>) -> &'n str {
        if is_kept(name) {
            return &name.name;
        }
        self.other.get(name).map_or(&*name.name, String::as_str)
    }

    /// The tools whose names upstream are not the client's.
    pub fn others(&self) -> impl Iterator<Item = (&'d ClientToolName<'a>, &str)> {
        self.other.iter().map(|(name, upstream)| (*name, upstream.as_str()))
    }
}

/// The most characters of a name. Older texts of Google's say 64, newer ones 128.
const LONGEST: usize = 64;
/// What is left of a name beside a hash.
const BESIDE_HASH: usize = LONGEST - 9;

/// True if a name stays as it is.
fn is_kept(name: &ClientToolName<'_>) -> bool {
    name.namespace.is_none() && is_legal(&name.name)
}

fn is_legal(name: &str) -> bool {
    name.len() <= LONGEST
        && name.bytes().next().is_some_and(may_begin)
        && name.bytes().all(may_follow)
}

fn may_begin(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn may_follow(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-')
}

/// A legal name that resembles the client's.
fn repaired(name: &ClientToolName<'_>) -> String {
    let mut legal = String::with_capacity(LONGEST);
    let namespace = name.namespace.iter().flat_map(|namespace| [&**namespace, "__"]);
    for letter in namespace.chain([&*name.name]).flat_map(str::chars) {
        let letter =
            u8::try_from(letter).ok().filter(|byte| may_follow(*byte)).map_or('_', char::from);
        legal.push(letter);
    }
    if !legal.bytes().next().is_some_and(may_begin) {
        legal.insert(0, '_');
    }
    if legal.len() > LONGEST { with_hash(&legal, name, 0) } else { legal }
}

/// A name that no other tool has.
fn unlike(taken: &HashSet<String>, name: &ClientToolName<'_>, wanted: &str) -> String {
    let mut salt = 0;
    loop {
        let hashed = with_hash(wanted, name, salt);
        if !taken.contains(&hashed) {
            return hashed;
        }
        salt += 1;
    }
}

/// A legal name with eight digits of the client's name's hash.
fn with_hash(legal: &str, name: &ClientToolName<'_>, salt: u32) -> String {
    let mut hash = Sha256::new();
    if let Some(namespace) = &name.namespace {
        hash.update(namespace.as_bytes());
        // No UTF-8 text has this byte, so that no other pair has the same bytes.
        hash.update([0xff]);
    }
    hash.update(name.name.as_bytes());
    if salt > 0 {
        hash.update([0xff]);
        hash.update(salt.to_le_bytes());
    }
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
    let hash = u32::from_be_bytes([a, b, c, d]);
    let kept = legal.get(..BESIDE_HASH.min(legal.len())).unwrap_or_default();
    format!("{kept}_{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(name: &str) -> ClientToolName<'static> {
        ClientToolName { namespace: None, name: name.to_owned().into() }
    }

    fn within(namespace: &str, name: &str) -> ClientToolName<'static> {
        ClientToolName { namespace: Some(namespace.to_owned().into()), ..plain(name) }
    }

    fn upstream(names: &[ClientToolName<'static>]) -> Vec<String> {
        let map = UpstreamNames::of_all(names.iter());
        names.iter().map(|name| map.of(name).to_owned()).collect()
    }

    #[test]
    fn a_legal_name_stays_as_it_is() {
        let longest = "a".repeat(64);
        for name in ["f", "_f", "mcp__a.b:c-d", "default_api.f", &longest] {
            assert_eq!(upstream(&[plain(name)]), [name]);
        }
    }

    #[test]
    fn other_names_are_repaired() {
        for (name, legal) in [
            (plain("a b/c"), "a_b_c"),
            (plain("grüß"), "gr__"),
            (plain("1st"), "_1st"),
            (plain("-x"), "_-x"),
            (plain(""), "_"),
            (within("mcp__d", "search"), "mcp__d__search"),
            (within("", "x"), "__x"),
        ] {
            assert_eq!(upstream(&[name]), [legal]);
        }
    }

    #[test]
    fn a_long_name_keeps_its_beginning_and_gets_a_hash() {
        let long = "x".repeat(65);
        let other = "x".repeat(66);
        let names = upstream(&[plain(&long), plain(&other)]);
        assert!(names.iter().all(|name| name.len() == 64 && is_legal(name)), "{names:?}");
        assert!(names[0].starts_with(&format!("{}_", "x".repeat(55))));
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn a_repaired_name_that_another_tool_has_gets_a_hash() {
        let names = upstream(&[plain("a b"), plain("a_b"), plain("a-b")]);
        assert_eq!(names[1..], ["a_b", "a-b"]);
        assert!(names[0].starts_with("a_b_") && names[0].len() == 12, "{names:?}");
        let both = upstream(&[plain("a b"), plain("a/b"), plain("a b")]);
        assert!(both.iter().all(|name| name.len() == 12), "{both:?}");
        assert_ne!(both[0], both[1]);
        assert_eq!(both[0], both[2]);
        assert_eq!(upstream(&[plain("a/b"), plain("a b")])[1], both[0]);
        // The client has the name with the hash, too.
        let three = upstream(&[plain("a b"), plain("a_b"), plain(&names[0])]);
        assert_eq!(three[2], names[0]);
        assert_ne!(three[0], names[0]);
        let pairs = upstream(&[within("a__b", "c"), within("a", "b__c"), plain("a__b__c")]);
        assert_eq!(pairs[2], "a__b__c");
        assert_ne!(pairs[0], pairs[1]);
        assert!(pairs[..2].iter().all(|name| name.starts_with("a__b__c_")), "{pairs:?}");
    }

    #[test]
    fn a_call_finds_its_tool_also_behind_a_leaked_prefix() {
        let tool = |upstream: &str, client| NamedTool {
            upstream: upstream.to_owned(),
            client,
            takes_text: false,
        };
        let names = ToolNames::new(vec![
            tool("search", plain("search")),
            tool("mcp__d__search", within("mcp__d", "search")),
            tool("default_api.search", plain("default_api.search")),
            tool("f", plain("f")),
        ]);
        let client = |upstream: &str| names.of(upstream).map(|tool| tool.client.clone());
        for (upstream, expected) in [
            ("f", Some(plain("f"))),
            ("default_api.f", Some(plain("f"))),
            ("default_api:f", Some(plain("f"))),
            ("default_api.search", Some(plain("default_api.search"))),
            ("default_api:mcp__d__search", Some(within("mcp__d", "search"))),
            ("default_api", None),
            ("default_apif", None),
            ("default_api.g", None),
            ("g", None),
            ("", None),
        ] {
            assert_eq!(client(upstream), expected, "{upstream}");
        }
    }
}
