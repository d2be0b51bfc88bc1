//! The names of models in the dialects of OpenAI and Anthropic (`docs/reference/dialects.md` 1.3).

use std::borrow::Cow;

use crate::dialect::gemini::models::{Model, bare, title};
use crate::error::{Error, Refusal, RefusalCode};

/// One entry of a list of models, with what these dialects tell of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialectModel<'a> {
    /// The bare id.
    pub id: Cow<'a, str>,
    /// What pickers show.
    pub display_name: Cow<'a, str>,
    /// Tokens in.
    pub input_token_limit: Option<u64>,
    /// Tokens out.
    pub output_token_limit: Option<u64>,
    /// The model writes answers. Others embed, or speak the Live API.
    pub generates: bool,
}

impl<'a> DialectModel<'a> {
    /// A model of which the list says no more: its id, tokens in and out, and whether it writes answers.
    pub fn named(id: &'a str, limits: Option<(u32, u32)>, generates: bool) -> Self {
        Self {
            id: Cow::Borrowed(id),
            display_name: Cow::Owned(title(id)),
            input_token_limit: limits.map(|(input, _)| input.into()),
            output_token_limit: limits.map(|(_, output)| output.into()),
            generates,
        }
    }
}

impl<'a> From<&'a Model> for DialectModel<'a> {
    fn from(model: &'a Model) -> Self {
        Self {
            id: Cow::Borrowed(&model.id),
            display_name: Cow::Borrowed(&model.display_name),
            input_token_limit: Some(model.input_token_limit.into()),
            output_token_limit: Some(model.output_token_limit.into()),
            generates: model.supported_generation_methods.contains(&GENERATE),
        }
    }
}
use crate::dialect::gemini::models::bare;

/// A model's name without what clients and other gateways put before it.
pub fn normalized(name: &str) -> &str {
    let name = bare(name.strip_prefix("publishers/google/").unwrap_or(name));
    let own = VENDORS.iter().find_map(|vendor| name.strip_prefix(vendor));
    own.filter(|own| OWN_NAMES.iter().any(|start| own.starts_with(start))).unwrap_or(name)
}

/// True for a name of OpenAI's or Anthropic's models. No upstream has them, so that none need be asked.
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

/// The method of models that write answers.
const GENERATE: &str = "generateContent";

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
    fn a_foreign_name_is_a_model_that_is_not_found() {
        let error = not_found("gpt-4o\n\u{7}");
        assert_eq!(error.status(), 404);
        let openais = Fault::of(&error, Dialect::OpenAi);
        assert_eq!(openais.code.as_deref(), Some("model_not_found"));
        assert_eq!(openais.param.as_deref(), Some("model"));
        assert!(openais.message.starts_with("gpt-4o is no model of Google's."));
        let anthropics = Fault::of(&error, Dialect::Anthropic);
        assert_eq!(anthropics.kind, "not_found_error");
        assert!(anthropics.message.starts_with("model: gpt-4o is no model"));
    }

    #[test]
    fn the_gemini_apis_own_list_is_read() {
        let answer = br#"{"models":[
            {"name":"models/gemini-2.5-pro","displayName":"Gemini 2.5 \u0050ro","version":"2.5",
             "inputTokenLimit":1048576,"outputTokenLimit":65536,"new":{},
             "supportedGenerationMethods":["generateContent","countTokens"]},
            {"name":"models/gemini-embedding-001","supportedGenerationMethods":["embedContent"]},
            {"name":"tunedModels/t"}],"nextPageToken":"p2"}"#;
        let (models, next) = of_list(answer).unwrap();
        let model = |id: &'static str, name: &'static str, generates| DialectModel {
            id: id.into(),
            display_name: name.into(),
            input_token_limit: None,
            output_token_limit: None,
            generates,
        };
        let first = DialectModel {
            input_token_limit: Some(1_048_576),
            output_token_limit: Some(65_536),
            ..model("gemini-2.5-pro", "Gemini 2.5 Pro", true)
        };
        let second = model("gemini-embedding-001", "Gemini Embedding 001", false);
        assert_eq!(models, [first, second, model("tunedModels/t", "TunedModels/t", false)]);
        assert_eq!(next.as_deref(), Some("p2"));
        assert_eq!(of_list(b"{}"), Some((vec![], None)));
        for other in [&b"[]"[..], b"", b"{", br#"{"models":1}"#, br#"{"models":[{}]}"#] {
            assert_eq!(of_list(other), None);
        }
        assert_eq!(of_one(br#"{"name":"models/x"}"#), Some(model("x", "X", false)));
        assert_eq!(of_one(b"{}"), None);
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
