//! The names of models in the dialects of OpenAI and Anthropic (`docs/reference/dialects.md` 1.3).

use crate::dialect::gemini::models::bare;

/// A model's name without what clients and other gateways put before it.
pub fn normalized(name: &str) -> &str {
    let name = bare(name.strip_prefix("publishers/google/").unwrap_or(name));
    let own = VENDORS.iter().find_map(|vendor| name.strip_prefix(vendor));
    own.filter(|own| OWN_NAMES.iter().any(|start| own.starts_with(start))).unwrap_or(name)
}

/// True for a name of OpenAI's or Anthropic's models. No upstream has them, so none is asked.
/// All other names are upstream's to judge.
pub fn is_foreign(name: &str) -> bool {
    // Google's `text-embedding-004` and `-005` are named like OpenAI's, whose numbers have no zeros.
    FOREIGN.iter().any(|start| name.starts_with(start)) && !name.starts_with("text-embedding-0")
}

/// When a model was released, in seconds since 1970. Clients sort by it, so it is the same each time.
pub fn created(id: &str) -> i64 {
    let known = RELEASED.iter().find(|(known, _)| *known == id);
    known.map_or(UNKNOWN_RELEASE, |(_, seconds)| *seconds)
}

/// Prefixes by which other gateways choose a vendor or a protocol.
const VENDORS: [&str; 5] = ["google/", "gemini/", "vertex_ai/", "openai/", "anthropic/"];

/// How Google's models are named. Only before one of these a vendor's name is a prefix: elsewhere it may
/// be a part of the name.
const OWN_NAMES: [&str; 2] = ["gemini", "gemma"];

/// How the models of OpenAI and Anthropic are named.
const FOREIGN: [&str; 10] = [
    "chatgpt-",
    "claude-",
    "dall-e",
    "gpt-",
    "o1",
    "o3",
    "o4",
    "text-embedding-",
    "tts",
    "whisper",
];

/// Midnight (UTC) of the days on which models became available.
const RELEASED: [(&str, i64); 10] = [
    ("gemini-2.0-flash", 1_738_713_600),
    ("gemini-2.0-flash-lite", 1_740_441_600),
    ("gemini-2.5-flash", 1_750_118_400),
    ("gemini-2.5-flash-image", 1_759_363_200),
    ("gemini-2.5-flash-lite", 1_753_142_400),
    ("gemini-2.5-pro", 1_750_118_400),
    ("gemini-3-flash-preview", 1_765_929_600),
    ("gemini-3-pro-preview", 1_763_424_000),
    ("gemini-3.1-pro-preview", 1_771_459_200),
    ("gemini-embedding-001", 1_752_451_200),
];

/// 2025-01-01, for all other models: the upstreams do not say when they were released.
const UNKNOWN_RELEASE: i64 = 1_735_689_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_comes_off_a_name_of_googles() {
        for (name, bare) in [
            ("gemini-2.5-pro", "gemini-2.5-pro"),
            ("models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("google/gemini-2.5-pro", "gemini-2.5-pro"),
            ("gemini/gemini-2.5-pro", "gemini-2.5-pro"),
            ("vertex_ai/gemini-2.5-pro", "gemini-2.5-pro"),
            ("openai/gemini-2.5-pro", "gemini-2.5-pro"),
            ("anthropic/gemma-4-31b-it", "gemma-4-31b-it"),
            ("models/google/gemini-2.5-pro", "gemini-2.5-pro"),
            ("openai/google/gemini-2.5-pro", "openai/google/gemini-2.5-pro"),
            ("openai/gpt-5", "openai/gpt-5"),
            ("google/other", "google/other"),
            ("gemini", "gemini"),
            ("gemini/", "gemini/"),
            ("", ""),
        ] {
            assert_eq!(normalized(name), bare, "{name}");
        }
    }

    #[test]
    fn only_names_of_openais_and_anthropics_models_are_refused_here() {
        for name in [
            "gpt-4o",
            "gpt-5.5-codex",
            "chatgpt-4o-latest",
            "o1",
            "o1-mini",
            "o3",
            "o4-mini",
            "claude-opus-5-5",
            "text-embedding-3-small",
            "text-embedding-ada-002",
            "dall-e-3",
            "whisper-1",
            "tts-1-hd",
        ] {
            assert!(is_foreign(name), "{name}");
        }
        for name in [
            "gemini-2.5-pro",
            "gemma-4-31b-it",
            "text-embedding-004",
            "text-embedding-005",
            "gemini-embedding-001",
            "imagen-4",
            "my-alias",
            "openai/gpt-4o",
            "o2",
            "GPT-4",
            "",
        ] {
            assert!(!is_foreign(name), "{name}");
        }
    }

    #[test]
    fn a_release_is_at_midnight_and_the_same_each_time() {
        assert_eq!(created("gemini-2.5-pro"), 1_750_118_400);
        assert_eq!(created("anything"), created("else"));
        for (id, seconds) in RELEASED {
            assert_eq!(seconds % 86_400, 0, "{id}");
            assert!(seconds > UNKNOWN_RELEASE, "{id}");
        }
    }
}
