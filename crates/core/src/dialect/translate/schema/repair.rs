//! The walk through a schema that may need repairs.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::dialect::translate::text::JsonText;

/// The repaired schema. `None` for one that needs no repair.
pub(super) fn repaired(schema: &RawValue) -> Option<String> {
    let text = schema.get();
    let mut root: Members<'_> = serde_json::from_str(text).ok()?;
    let mut walk = Walk {
        definitions: HashSet::new(),
        keywords: HashSet::new(),
        has_ids: text.contains(r#""$id""#),
        has_anchors: text.contains(r#""$anchor""#) || text.contains(r#""$dynamicAnchor""#),
        bytes_left: Cell::new(text.len().saturating_mul(MOST_READINGS)),
    };
    let mut is_changed = walk.merge_all_of(&mut root, 0);
    is_changed |= keep_last_reference(&mut root);
    let names = |value: &RawValue| -> Vec<String> {
        let members = serde_json::from_str::<Members<'_>>(value.get()).unwrap_or_default();
        members.0.into_iter().map(|member| member.name.into_owned()).collect()
    };
    let definitions = root.0.iter().filter(|member| is_definitions(&member.name));
    walk.definitions = definitions.filter_map(Member::raw).flat_map(names).collect();
    let keywords = |of: &Members<'_>, keep: fn(&str) -> bool| -> HashSet<String> {
        let names = of.0.iter().map(|member| member.name.as_ref());
        names.filter(|name| keep(name)).map(str::to_owned).collect()
    };
    walk.keywords = keywords(&root, |_| true);
    if let Some((at, pointer)) = reference(&root) {
        // The reference takes the place of the keywords beside it, so that it cannot lead into one of them.
        walk.keywords = keywords(&root, |name| name.starts_with('$'));
        if walk.found(&pointer).is_none() {
            walk.keywords = keywords(&root, |_| true);
            root.0.remove(at);
            is_changed = true;
        }
    }
    is_changed |= walk.rename_definitions(&mut root);
    is_changed |= walk.keywords_of(&mut root, 0);
    is_changed.then(|| root.written())
}

/// A schema's reference: its place and its pointer.
fn reference<'a>(schema: &Members<'a>) -> Option<(usize, Cow<'a, str>)> {
    let mut members = schema.0.iter().enumerate();
    members.find_map(|(at, member)| Some((at, pointer(member)?.decoded())))
}

fn pointer<'a>(member: &Member<'a>) -> Option<JsonText<'a>> {
    JsonText::of(member.raw().filter(|_| member.name == "$ref")?)
}

/// Of repeated references the last one counts, as for JSON readers. True if one was dropped.
fn keep_last_reference(schema: &mut Members<'_>) -> bool {
    let before = schema.0.len();
    let mut later = schema.0.iter().filter(|member| pointer(member).is_some()).count();
    schema.0.retain(|member| {
        let is_reference = pointer(member).is_some();
        later -= usize::from(is_reference);
        !is_reference || later == 0
    });
    schema.0.len() != before
}

/// How deep schemas are nested that are repaired. Google refuses much less depth.
const DEEPEST: usize = 32;

/// How often each byte is read, on average. Each level of nesting reads what is within it anew, and this
/// bounds the work for a schema that is made to be slow.
const MOST_READINGS: usize = 32;

/// What the repairs need to know of the whole schema.
struct Walk {
    /// The names in the root's `definitions` and `$defs`.
    definitions: HashSet<String>,
    /// The root's keywords.
    keywords: HashSet<String>,
    has_ids: bool,
    has_anchors: bool,
    bytes_left: Cell<usize>,
}

/// How a keyword's value holds schemas. Values of other keywords, such as `default`, `enum` and
/// `examples`, are data.
#[derive(Clone, Copy)]
enum Holds {
    /// It is one, or a list of them.
    Schema,
    /// Each member's value is one.
    Members,
}

fn holds(keyword: &str) -> Option<Holds> {
    Some(match keyword {
        "additionalItems"
        | "additionalProperties"
        | "allOf"
        | "anyOf"
        | "contains"
        | "else"
        | "if"
        | "items"
        | "not"
        | "oneOf"
        | "prefixItems"
        | "propertyNames"
        | "then"
        | "unevaluatedItems"
        | "unevaluatedProperties" => Holds::Schema,
        "$defs" | "definitions" | "dependencies" | "dependentSchemas" | "patternProperties"
        | "properties" => Holds::Members,
        _ => return None,
    })
}

impl Walk {
    /// The repaired form of a value that holds schemas.
    fn value(&self, value: &RawValue, holds: Holds, depth: usize) -> Option<String> {
        let text = value.get();
        let left = self.bytes_left.get().checked_sub(text.len())?;
        self.bytes_left.set(left);
        if depth > DEEPEST {
            return None;
        }
        match (text.as_bytes().first()?, holds) {
            (b'{', Holds::Schema) => {
                let mut schema: Members<'_> = serde_json::from_str(text).ok()?;
                let mut is_changed = self.merge_all_of(&mut schema, depth);
                is_changed |= keep_last_reference(&mut schema);
                is_changed |= self.keywords_of(&mut schema, depth);
                is_changed.then(|| schema.written())
            }
            (b'{', Holds::Members) => {
                let mut members: Members<'_> = serde_json::from_str(text).ok()?;
                let is_changed = self.each(&mut members, |_| Some(Holds::Schema), depth);
                is_changed.then(|| members.written())
            }
            (b'[', Holds::Schema) => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let repaired: Vec<_> =
                    items.iter().map(|item| self.value(item, holds, depth + 1)).collect();
                repaired.iter().any(Option::is_some).then(|| {
                    let items = items.iter().zip(&repaired);
                    let items: Vec<&str> = items
                        .map(|(item, new)| new.as_deref().unwrap_or_else(|| item.get()))
                        .collect();
                    format!("[{}]", items.join(","))
                })
            }
            _ => None,
        }
    }

    /// Repairs the keywords of a schema. True if one has changed.
    fn keywords_of(&self, schema: &mut Members<'_>, depth: usize) -> bool {
        let mut is_changed = self.repair_reference(schema);
        is_changed |= replace_const(schema);
        is_changed |= self.each(schema, holds, depth);
        is_changed
    }

    /// Repairs the members' values. True if one has changed.
    fn each(
        &self,
        members: &mut Members<'_>,
        holds: impl Fn(&str) -> Option<Holds>,
        depth: usize,
    ) -> bool {
        let mut is_changed = false;
        for member in &mut members.0 {
            let (Some(holds), Some(value)) = (holds(&member.name), member.raw()) else { continue };
            if let Some(repaired) = self.value(value, holds, depth + 1) {
                member.value = Value::New(repaired);
                is_changed = true;
            }
        }
        is_changed
    }

    /// Puts the keywords of an `allOf` with one schema in its place. The outer keywords win.
    fn merge_all_of(&self, schema: &mut Members<'_>, depth: usize) -> bool {
        let mut is_changed = false;
        // A merged schema may have an `allOf` of its own.
        for _ in depth..=DEEPEST {
            let Some((at, only)) = schema.0.iter().enumerate().find_map(|(at, member)| {
                let value = member.raw().filter(|_| member.name == "allOf")?;
                let [only] = serde_json::from_str::<[&RawValue; 1]>(value.get()).ok()?;
                Some((at, only))
            }) else {
                break;
            };
            let Some(left) = self.bytes_left.get().checked_sub(only.get().len()) else { break };
            self.bytes_left.set(left);
            let Ok(inner) = serde_json::from_str::<Members<'_>>(only.get()) else { break };
            schema.0.remove(at);
            let outer: HashSet<&str> = schema.0.iter().map(|member| member.name.as_ref()).collect();
            let inner = inner.0.into_iter().filter(|member| !outer.contains(member.name.as_ref()));
            let inner: Vec<_> = inner.collect();
            schema.0.splice(at..at, inner);
            is_changed = true;
        }
        is_changed
    }

    /// Gemini refuses a reference beside other keywords, and a reference to nothing.
    fn repair_reference(&self, schema: &mut Members<'_>) -> bool {
        let Some((at, pointer)) = reference(schema) else { return false };
        let Some(found) = self.found(&pointer) else {
            schema.0.remove(at);
            return true;
        };
        let mut is_changed = false;
        if let (true, Some(member)) = (found != pointer, schema.0.get_mut(at)) {
            member.value = Value::New(serde_json::Value::String(found.into_owned()).to_string());
            is_changed = true;
        }
        let before = schema.0.len();
        schema.0.retain(|member| member.name.starts_with('$'));
        is_changed || schema.0.len() != before
    }

    /// The reference as Gemini has it; `None` if it leads to nothing.
    fn found<'p>(&self, pointer: &'p str) -> Option<Cow<'p, str>> {
        // LiteLLM drops the `#` when it makes an Anthropic tool of a response's schema.
        let bare = pointer.strip_prefix('/').map(|rest| format!("#/{rest}"));
        let bare = bare.filter(|pointer| self.exists(pointer));
        let whole = bare.map_or(Cow::Borrowed(pointer), Cow::Owned);
        let renamed = whole.strip_prefix(DEFINITIONS).map(|rest| format!("#/$defs/{rest}"));
        self.exists(&whole).then(|| renamed.map_or(whole, Cow::Owned))
    }

    /// True if something is where a reference points to. Of a pointer the first two steps count at most:
    /// that suffices for definitions, which nearly all pointers lead to.
    fn exists(&self, reference: &str) -> bool {
        let Some(fragment) = reference.strip_prefix('#') else { return self.has_ids };
        let Some(pointer) = fragment.strip_prefix('/') else {
            return fragment.is_empty() || self.has_anchors || self.has_ids;
        };
        let mut steps = pointer.split('/').map(|step| {
            let step = percent_decode_str(step).decode_utf8_lossy();
            step.replace("~1", "/").replace("~0", "~")
        });
        let keyword = steps.next().unwrap_or_default();
        match steps.next() {
            Some(name) if is_definitions(&keyword) => self.definitions.contains(&name),
            // All definitions together are no schema, and they may get another name.
            None if is_definitions(&keyword) => false,
            _ => self.keywords.contains(&keyword),
        }
    }

    /// Gemini knows definitions as `$defs`. Where the root has both, `$defs` wins.
    fn rename_definitions(&self, root: &mut Members<'_>) -> bool {
        let position = |keyword: &str| root.0.iter().position(|member| member.name == keyword);
        let Some(at) = position("definitions") else { return false };
        let read = |at: usize| -> Option<Members<'_>> {
            serde_json::from_str(root.0.get(at)?.raw()?.get()).ok()
        };
        // What is no object defines nothing.
        let Some(defs_at) = position("$defs").filter(|defs| read(*defs).is_some()) else {
            root.0.retain(|member| member.name != "$defs");
            for member in root.0.iter_mut().filter(|member| member.name == "definitions") {
                (member.name, member.key) = ("$defs".into(), r#""$defs""#.into());
            }
            return true;
        };
        let (Some(mut defs), Some(mut old)) = (read(defs_at), read(at)) else { return false };
        let names: HashSet<&str> = defs.0.iter().map(|member| member.name.as_ref()).collect();
        old.0.retain(|member| !names.contains(member.name.as_ref()));
        defs.0.append(&mut old.0);
        self.each(&mut defs, |_| Some(Holds::Schema), 0);
        if let Some(member) = root.0.get_mut(defs_at) {
            member.value = Value::New(defs.written());
        }
        root.0.remove(at);
        true
    }
}

const DEFINITIONS: &str = "#/definitions/";

fn is_definitions(keyword: &str) -> bool {
    matches!(keyword, "$defs" | "definitions")
}

/// `const` is without effect. An enumeration of one value is not; of strings and numbers only.
fn replace_const(schema: &mut Members<'_>) -> bool {
    if schema.0.iter().any(|member| member.name == "enum") {
        return false;
    }
    let Some(member) = schema.0.iter_mut().find(|member| member.name == "const") else {
        return false;
    };
    let Some(value) = member.raw() else { return false };
    if !value
        .get()
        .starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
    {
        return false;
    }
    member.value = Value::New(format!("[{}]", value.get()));
    (member.name, member.key) = ("enum".into(), r#""enum""#.into());
    true
}

/// The members of an object, in their order.
#[derive(Default)]
struct Members<'a>(Vec<Member<'a>>);

struct Member<'a> {
    /// The key, decoded.
    name: Cow<'a, str>,
    /// The key as it is written.
    key: Cow<'a, str>,
    value: Value<'a>,
}

enum Value<'a> {
    Raw(&'a RawValue),
    /// Repaired already.
    New(String),
}

impl<'a> Member<'a> {
    /// The value, if it is as the client has written it.
    fn raw(&self) -> Option<&'a RawValue> {
        match self.value {
            Value::Raw(value) => Some(value),
            Value::New(_) => None,
        }
    }
}

impl Members<'_> {
    fn written(&self) -> String {
        let mut out = String::from("{");
        for (index, member) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(&member.key);
            out.push(':');
            out.push_str(match &member.value {
                Value::Raw(value) => value.get(),
                Value::New(text) => text,
            });
        }
        out.push('}');
        out
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<JsonText<'de>, &RawValue>()? {
                    let (name, key) = (key.decoded(), key.quoted().into());
                    members.push(Member { name, key, value: Value::Raw(value) });
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
