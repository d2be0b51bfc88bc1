//! The models of Code Assist: their names and the built-in table (`docs/reference/protocol.md` 6).

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::dialect::gemini::models::{Model, bare, title, version};
use crate::settings::ModelAlias;

/// Returns the name that is sent upstream for the one that the client requested.
///
/// A match in `aliases` (`MODEL_ALIASES`) is final. Otherwise a retired model, or a public name that
/// Code Assist does not know, is replaced by its current successor. Current models and unknown names
/// stay unchanged.
pub fn resolve<'a>(requested: &'a str, aliases: &'a [ModelAlias]) -> &'a str {
    let requested = bare(requested);
    let alias = ModelAlias::find(aliases, requested);
    alias.map_or_else(|| resolve_built_in(requested), |alias| bare(&alias.to))
}

/// Lists the built-in models, then the account's other models (`bucket_ids`), sorted.
pub fn catalogue<'a>(bucket_ids: impl Iterator<Item = &'a str>) -> Vec<Model> {
    let mut models: Vec<Model> = BUILT_IN.to_vec();
    let own: BTreeSet<&str> = bucket_ids
        .map(|id| id.strip_suffix("_vertex").unwrap_or(id))
        .filter(|id| is_plausible(id) && !models.iter().any(|model| model.id == *id))
        .collect();
    models.extend(own.into_iter().map(from_quota));
    models
}

/// Reads the model ids from an answer of `retrieveUserQuota`. `None` if it is no such answer.
pub fn bucket_ids(answer: &[u8]) -> Option<Vec<String>> {
    let Value::Object(answer) = serde_json::from_slice(answer).ok()? else {
        return None;
    };
    let Some(buckets) = answer.get("buckets") else {
        return Some(Vec::new());
    };
    let id = |bucket: &Value| bucket.get("modelId")?.as_str().map(str::to_owned);
    Some(buckets.as_array()?.iter().filter_map(id).collect())
}

/// A model that only the account's quota names.
fn from_quota(id: &str) -> Model {
    Model {
        id: Cow::Owned(id.to_owned()),
        version: Cow::Owned(version(id)),
        display_name: Cow::Owned(title(id)),
        description: Cow::Borrowed("Known from this account's Code Assist quota."),
        ..Model::DEFAULTS
    }
}

fn resolve_built_in(requested: &str) -> &str {
    if let Some(same_or_successor) = known(requested) {
        return same_or_successor;
    }
    let Some(base) = without_edition(requested) else {
        return requested;
    };
    let stage = base.strip_suffix("-preview").or_else(|| base.strip_suffix("-exp"));
    known(base).or_else(|| known(stage?)).unwrap_or(requested)
}

/// Returns a current model unchanged, and the successor of a retired or renamed one.
fn known(name: &str) -> Option<&str> {
    let renamed = RENAMED.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
    let is_current =
        || OTHER_CURRENT.contains(&name) || BUILT_IN.iter().any(|model| model.id == name);
    renamed.or_else(|| is_current().then_some(name))
}

/// The name before `-latest`, `-001`, `-MM-DD`, `-MM-YYYY` or `-MMDD`.
fn without_edition(name: &str) -> Option<&str> {
    let (base, last) = name.rsplit_once('-')?;
    if last == "latest" {
        return Some(base);
    }
    if !last.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let month = |text: &str| text.len() == 2 && ("01"..="12").contains(&text);
    let day = |text: &str| text.len() == 2 && ("01"..="31").contains(&text);
    match last.len() {
        3 => last.starts_with("00").then_some(base),
        4 if month(&last[..2]) && day(&last[2..]) => Some(base),
        2 | 4 => {
            let (base, first) = base.rsplit_once('-')?;
            let is_date = month(first) && (day(last) || last.starts_with("20") && last.len() == 4);
            is_date.then_some(base)
        }
        _ => None,
    }
}

/// True for an id that looks like a chat model's. Quota buckets also have other ids.
fn is_plausible(id: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (3..=64).contains(&id.len())
        && id.bytes().all(is_plain)
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.contains('-')
        && !id.contains("embedding")
}

/// The models that Code Assist serves (`docs/reference/protocol.md` 6.1). Models without known limits
/// have those of 2.5.
const BUILT_IN: [Model; 8] = [
    Model {
        id: Cow::Borrowed("gemini-2.5-pro"),
        version: Cow::Borrowed("2.5"),
        display_name: Cow::Borrowed("Gemini 2.5 Pro"),
        description: Cow::Borrowed("Stable release of Gemini 2.5 Pro, through Code Assist."),
        ..Model::DEFAULTS
    },
    Model {
        id: Cow::Borrowed("gemini-2.5-flash"),
        version: Cow::Borrowed("2.5"),
        display_name: Cow::Borrowed("Gemini 2.5 Flash"),
        description: Cow::Borrowed("Stable release of Gemini 2.5 Flash, through Code Assist."),
        ..Model::DEFAULTS
    },
    Model {
        id: Cow::Borrowed("gemini-2.5-flash-lite"),
        version: Cow::Borrowed("2.5"),
        display_name: Cow::Borrowed("Gemini 2.5 Flash-Lite"),
        description: Cow::Borrowed("Stable release of Gemini 2.5 Flash-Lite, through Code Assist."),
        ..Model::DEFAULTS
    },
    Model {
        id: Cow::Borrowed("gemini-3-flash"),
        version: Cow::Borrowed("3.5"),
        display_name: Cow::Borrowed("Gemini 3.5 Flash"),
        description: Cow::Borrowed(
            "Gemini 3.5 Flash under the name that Code Assist has for it, where it is rolled out.",
        ),
        ..Model::DEFAULTS
    },
    Model {
        id: Cow::Borrowed("gemini-3-flash-preview"),
        version: Cow::Borrowed("3"),
        display_name: Cow::Borrowed("Gemini 3 Flash Preview"),
        description: Cow::Borrowed("Through Code Assist, for accounts with preview access."),
        ..Model::DEFAULTS
    },
    Model {
        id: Cow::Borrowed("gemini-3-pro-preview"),
        version: Cow::Borrowed("3"),
        display_name: Cow::Borrowed("Gemini 3 Pro Preview"),
        description: Cow::Borrowed("Through Code Assist, for accounts with preview access."),
        ..Model::DEFAULTS
    },
    Model {
        id: Cow::Borrowed("gemini-3.1-flash-lite"),
        version: Cow::Borrowed("3.1"),
        display_name: Cow::Borrowed("Gemini 3.1 Flash-Lite"),
        description: Cow::Borrowed("Stable release of Gemini 3.1 Flash-Lite, through Code Assist."),
        ..Model::DEFAULTS
    },
    Model {
        id: Cow::Borrowed("gemini-3.1-pro-preview"),
        version: Cow::Borrowed("3.1"),
        display_name: Cow::Borrowed("Gemini 3.1 Pro Preview"),
        description: Cow::Borrowed("Through Code Assist, for accounts with preview access."),
        ..Model::DEFAULTS
    },
];

/// Current models besides [`BUILT_IN`], some of which Code Assist may not serve
/// (`docs/reference/protocol.md` 6.1).
const OTHER_CURRENT: [&str; 5] = [
    "gemini-3.1-flash-lite-preview",
    "gemini-3.1-pro-preview-customtools",
    "gemini-embedding-001",
    "gemma-4-26b-a4b-it",
    "gemma-4-31b-it",
];

/// Renamed and retired models with their successors: those of `docs/reference/protocol.md` 6.2, and the
/// names of 1.0, 1.5 and 2.0 with their experiments.
const RENAMED: [(&str, &str); 30] = [
    ("gemini-3.5-flash", "gemini-3-flash"),
    ("gemini-pro-latest", "gemini-2.5-pro"),
    ("gemini-flash-latest", "gemini-2.5-flash"),
    ("gemini-flash-lite-latest", "gemini-2.5-flash-lite"),
    ("gemini-pro", "gemini-2.5-pro"),
    ("gemini-pro-vision", "gemini-2.5-pro"),
    ("gemini-ultra", "gemini-2.5-pro"),
    ("gemini-1.0-pro", "gemini-2.5-pro"),
    ("gemini-1.0-pro-vision", "gemini-2.5-pro"),
    ("gemini-1.0-ultra", "gemini-2.5-pro"),
    ("gemini-1.5-pro", "gemini-2.5-pro"),
    ("gemini-1.5-pro-exp", "gemini-2.5-pro"),
    ("gemini-1.5-flash", "gemini-2.5-flash"),
    ("gemini-1.5-flash-exp", "gemini-2.5-flash"),
    ("gemini-1.5-flash-8b", "gemini-2.5-flash-lite"),
    ("gemini-1.5-flash-8b-exp", "gemini-2.5-flash-lite"),
    ("gemini-2.0-pro", "gemini-2.5-pro"),
    ("gemini-2.0-pro-exp", "gemini-2.5-pro"),
    ("gemini-2.0-flash", "gemini-2.5-flash"),
    ("gemini-2.0-flash-exp", "gemini-2.5-flash"),
    ("gemini-2.0-flash-thinking", "gemini-2.5-flash"),
    ("gemini-2.0-flash-thinking-exp", "gemini-2.5-flash"),
    ("gemini-2.0-flash-lite", "gemini-2.5-flash-lite"),
    ("gemini-2.0-flash-lite-preview", "gemini-2.5-flash-lite"),
    ("gemini-exp", "gemini-2.5-pro"),
    ("gemini-exp-1114", "gemini-2.5-pro"),
    ("gemini-exp-1121", "gemini-2.5-pro"),
    ("gemini-exp-1206", "gemini-2.5-pro"),
    ("gemini-2.5-pro-exp", "gemini-2.5-pro"),
    ("gemini-2.5-pro-preview", "gemini-2.5-pro"),
];

#[cfg(test)]
mod tests;
