use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::dialect::gemini::models::{PageTokenError, list, one};

#[test]
fn retired_and_renamed_models_become_current_ones() {
    for (requested, sent) in [
        ("gemini-3.5-flash", "gemini-3-flash"),
        ("models/gemini-3.5-flash", "gemini-3-flash"),
        ("gemini-pro", "gemini-2.5-pro"),
        ("gemini-pro-vision", "gemini-2.5-pro"),
        ("gemini-1.0-pro-001", "gemini-2.5-pro"),
        ("gemini-1.0-pro-vision-latest", "gemini-2.5-pro"),
        ("gemini-1.5-pro", "gemini-2.5-pro"),
        ("gemini-1.5-pro-latest", "gemini-2.5-pro"),
        ("gemini-1.5-pro-002", "gemini-2.5-pro"),
        ("gemini-1.5-pro-exp-0801", "gemini-2.5-pro"),
        ("gemini-1.5-flash", "gemini-2.5-flash"),
        ("gemini-1.5-flash-001", "gemini-2.5-flash"),
        ("gemini-1.5-flash-8b-exp-0924", "gemini-2.5-flash-lite"),
        ("gemini-1.5-flash-8b", "gemini-2.5-flash-lite"),
        ("gemini-2.0-flash", "gemini-2.5-flash"),
        ("gemini-2.0-flash-001", "gemini-2.5-flash"),
        ("gemini-2.0-flash-exp", "gemini-2.5-flash"),
        ("gemini-2.0-flash-lite-preview-02-05", "gemini-2.5-flash-lite"),
        ("gemini-2.0-pro-exp-02-05", "gemini-2.5-pro"),
        ("gemini-2.0-flash-thinking-exp-01-21", "gemini-2.5-flash"),
        ("gemini-exp-1206", "gemini-2.5-pro"),
        ("gemini-pro-latest", "gemini-2.5-pro"),
        ("gemini-flash-latest", "gemini-2.5-flash"),
        ("gemini-flash-lite-latest", "gemini-2.5-flash-lite"),
        ("gemini-2.5-pro-latest", "gemini-2.5-pro"),
        ("gemini-2.5-pro-001", "gemini-2.5-pro"),
        ("gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"),
        ("gemini-2.5-pro-exp-03-25", "gemini-2.5-pro"),
        ("gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
        ("gemini-2.5-flash-lite-preview-06-17", "gemini-2.5-flash-lite"),
        ("gemini-3-pro-preview-11-2025", "gemini-3-pro-preview"),
    ] {
        assert_eq!(resolve(requested, &[]), sent, "{requested}");
    }
}

#[test]
fn current_and_unknown_models_stay_unchanged() {
    let built_in = BUILT_IN.iter().map(|model| &*model.id);
    for requested in built_in.chain(OTHER_CURRENT).chain([
        "",
        "-",
        "gemini-4-pro",
        "gemini-4-pro-latest",
        "gemini-4-pro-preview-01-15",
        "gemini-3.8-flash",
        "gemini-3.5-flash-lite",
        "gemini-3.5-pro",
        "gemini-2.5-flash-image",
        "gemini-2.5-flash-preview-tts",
        "gemini-2.5-flash-native-audio-preview-09-2025",
        "gemini-2.0-flash-preview-image-generation",
        "gemini-2.5-pro-13-40",
        "gemini-2.5-pro-0001",
        "gemini-2.5-pro-1399",
        "gemini-2.5-pro-12-1999",
        "gemini-2.5-pro-05",
        "gemini-2.5-pro-é",
        "text-embedding-004",
        "my-gemini-1.5-pro",
        "Gemini-Pro",
    ]) {
        assert_eq!(resolve(requested, &[]), requested);
    }
}

#[test]
fn every_successor_is_a_current_model() {
    for (from, to) in RENAMED {
        assert!(BUILT_IN.iter().any(|model| model.id == to), "{from} -> {to}");
        assert!(!BUILT_IN.iter().any(|model| model.id == from), "{from} is current");
    }
}

#[test]
fn an_alias_of_the_operators_is_final() {
    let aliases = [("gpt-4", "gemini-1.5-pro"), ("gemini-2.5-pro", "models/x"), ("a", "b")]
        .map(|(from, to)| ModelAlias { from: from.to_owned(), to: to.to_owned() });
    assert_eq!(resolve("gpt-4", &aliases), "gemini-1.5-pro");
    assert_eq!(resolve("gemini-2.5-pro", &aliases), "x");
    assert_eq!(resolve("a", &aliases), "b");
    assert_eq!(resolve("gpt-4o", &aliases), "gpt-4o");
}

#[test]
fn the_catalogue_has_the_built_in_models_and_then_the_accounts() {
    let buckets = [
        "gemini-2.5-pro",
        "gemini-4-ultra-preview_vertex",
        "gemini-4-ultra-preview",
        "gemini-4-flash",
        "chat_20706",
        "gemini-embedding-002",
        "x\"y-z",
        "",
        "é-a",
    ];
    let models = catalogue(buckets.into_iter());
    assert_eq!(models[..BUILT_IN.len()], BUILT_IN);
    let ids: Vec<&str> = models[BUILT_IN.len()..].iter().map(|model| &*model.id).collect();
    assert_eq!(ids, ["gemini-4-flash", "gemini-4-ultra-preview"]);
    assert_eq!(models.last().unwrap().display_name, "Gemini 4 Ultra Preview");
    assert_eq!(models.last().unwrap().version, "4");
    assert_eq!(version("gemma"), "1");
}

#[test]
fn a_model_is_written_as_google_writes_it() {
    assert_eq!(
        one(&catalogue([].into_iter()), "models/gemini-2.5-pro").unwrap(),
        concat!(
            r#"{"name":"models/gemini-2.5-pro","version":"2.5","displayName":"Gemini 2.5 Pro","#,
            r#""description":"Stable release of Gemini 2.5 Pro, through Code Assist.","#,
            r#""inputTokenLimit":1048576,"outputTokenLimit":65536,"#,
            r#""supportedGenerationMethods":["generateContent","countTokens"],"#,
            r#""temperature":1,"topP":0.95,"topK":64,"maxTemperature":2,"thinking":true}"#,
        )
    );
    assert_eq!(one(&BUILT_IN, "gemini-2.5"), None);
}

#[test]
fn pages_cover_the_list_once_in_order() {
    let read = |size, token: Option<&str>| -> (Vec<String>, Option<String>) {
        let page = list(&BUILT_IN, size, token).unwrap();
        let page: Value = serde_json::from_slice(&page).unwrap();
        let names = page["models"].as_array().unwrap().iter();
        let names = names.map(|model| model["name"].as_str().unwrap().to_owned()).collect();
        (names, page.get("nextPageToken").map(|token| token.as_str().unwrap().to_owned()))
    };
    let (all, none) = read(None, None);
    assert_eq!((all.len(), none), (BUILT_IN.len(), None));
    for size in 1..=BUILT_IN.len() + 1 {
        let (mut seen, mut token) = read(Some(size), None);
        while let Some(next) = token {
            let (names, after) = read(Some(size), Some(&next));
            assert!((1..=size).contains(&names.len()));
            seen.extend(names);
            token = after;
        }
        assert_eq!(seen, all, "page size {size}");
    }
    assert_eq!(read(Some(0), None).0.len(), BUILT_IN.len());
    assert_eq!(read(Some(usize::MAX), None).0.len(), BUILT_IN.len());
    let (past_the_end, _) = read(None, Some(&URL_SAFE_NO_PAD.encode(&*BUILT_IN[7].id)));
    assert!(past_the_end.is_empty());
}

#[test]
fn a_page_holds_fifty_models_by_default_and_a_thousand_at_most() {
    let ids: Vec<String> = (0..1500).map(|n| format!("gemini-9-{n:04}")).collect();
    let models = catalogue(ids.iter().map(String::as_str));
    let count = |size| {
        let page: Value = serde_json::from_slice(&list(&models, size, None).unwrap()).unwrap();
        page["models"].as_array().unwrap().len()
    };
    assert_eq!((count(None), count(Some(100)), count(Some(2000))), (50, 100, 1000));
}

#[test]
fn an_unknown_page_token_is_an_error() {
    for token in ["", "x", "!!", "2", &URL_SAFE_NO_PAD.encode("gemini-0")] {
        assert_eq!(list(&BUILT_IN, None, Some(token)), Err(PageTokenError), "{token}");
    }
}

#[test]
fn quota_answers_are_read_leniently() {
    let answer = br#"{"buckets":[{"resetTime":"2026-08-22T07:00:00Z","tokenType":"REQUESTS",
        "modelId":"gemini-2.5-pro","remainingFraction":0.985},{"modelId":7},{},null,
        {"modelId":"b"}],"other":1}"#;
    assert_eq!(bucket_ids(answer).unwrap(), ["gemini-2.5-pro", "b"]);
    assert_eq!(bucket_ids(b"{}").unwrap(), Vec::<String>::new());
    for odd in [&b""[..], b"[]", b"<html>", br#"{"buckets":{}}"#, b"\xff"] {
        assert_eq!(bucket_ids(odd), None);
    }
}
