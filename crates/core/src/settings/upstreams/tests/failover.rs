//! Failover, and the settings that belong to no single upstream.

use super::*;
use crate::settings::tests::HOME;

#[test]
fn failover_is_a_set_of_reasons() {
    let two = [HOME, ("GEMINI_API_KEY", "k"), ("UPSTREAMS", "code-assist,gemini-api")];
    let failover = |text: &'static str| good(&[&two[..], &[("FAILOVER", text)]].concat()).failover;
    let words = |failover: Failover| {
        let all = FailoverReason::ALL.into_iter().filter(|reason| failover.includes(*reason));
        all.map(FailoverReason::word).collect::<Vec<_>>().join(",")
    };
    assert!(failover("").is_off() && failover("off").is_off() && failover("OFF").is_off());
    assert_eq!(words(failover("on")), "account,quota,capacity,unreachable,not-found");
    assert_eq!(
        words(failover("on,billing")),
        "account,quota,capacity,unreachable,not-found,billing"
    );
    assert_eq!(words(failover("not-found, Quota")), "quota,not-found");
    for bad in ["off,on", "true", "on;billing", "not_found"] {
        problem(&[&two[..], &[("FAILOVER", bad)]].concat(), "FAILOVER");
    }
    let (_, warnings) = read(&[HOME, ("FAILOVER", "on")], &[]).unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].text.contains("only code-assist is in use"), "{warnings:?}");
}

#[test]
fn failover_models_name_upstreams_in_use() {
    let two = [HOME, ("GEMINI_API_KEY", "k"), ("UPSTREAMS", "code-assist,gemini-api")];
    let with = |text: &'static str| [&two[..], &[("FAILOVER_MODELS", text)]].concat();
    let settings = good(&with("a@gemini-api=b, models/x@001@code-assist=models/y@2,"));
    let model = |model: &str, upstream: &str, name: &str| FailoverModel {
        model: model.into(),
        upstream: upstream.into(),
        name: name.into(),
    };
    let expected = [model("a", "gemini-api", "b"), model("x@001", "code-assist", "y@2")];
    assert_eq!(settings.failover_models, expected);
    for bad in ["a=b", "a@gemini-api", "@gemini-api=b", "a@gemini-api=", "a@=b", "a@G=b"] {
        problem(&with(bad), "FAILOVER_MODELS");
    }
    problem(&with("a@gemini-api=b,a@gemini-api=c"), "FAILOVER_MODELS");
    let text = problem(&with("a@vertex=b"), "FAILOVER_MODELS");
    assert_eq!(
        text,
        "names vertex, and the upstreams in use are code-assist, gemini-api (UPSTREAMS)"
    );
}

#[test]
fn the_other_settings_of_upstreams_have_their_values() {
    let settings = good(&[HOME]);
    assert_eq!(settings.failover_signatures, FailoverSignatures::Keep);
    assert_eq!((settings.public_url, settings.allow_auth_tokens), (None, false));
    let settings = good(&[
        HOME,
        ("FAILOVER_SIGNATURES", "Placeholder"),
        ("PUBLIC_URL", "https://ai.example/gemini/"),
        ("ALLOW_AUTH_TOKENS", "true"),
    ]);
    assert_eq!(settings.failover_signatures, FailoverSignatures::Placeholder);
    assert_eq!(settings.public_url.as_deref(), Some("https://ai.example/gemini"));
    assert!(settings.allow_auth_tokens);
    for bad in ["ai.example", "https://a,https://b", "https://a/?x=1", "https://u@a"] {
        problem(&[HOME, ("PUBLIC_URL", bad)], "PUBLIC_URL");
    }
}

#[test]
fn patterns_have_a_star_for_any_text() {
    let matches = |pattern: &str, model: &str| ModelPattern::new(pattern).unwrap().matches(model);
    for (pattern, yes, no) in [
        (
            "gemini-2.5-*",
            vec!["gemini-2.5-pro", "gemini-2.5-"],
            vec!["gemini-2.5", "x-gemini-2.5-x"],
        ),
        ("*", vec!["", "a"], vec![]),
        ("a*a", vec!["aa", "aba"], vec!["a", "ab"]),
        ("*pro*", vec!["gemini-pro-latest", "pro"], vec!["gemini-flash"]),
        ("a*b*c", vec!["abc", "axbyc"], vec!["acb", "abcx", "ac"]),
        ("a*bc*bc", vec!["abcbc"], vec!["abc"]),
        ("models/x", vec!["x"], vec!["xy", "models/x"]),
    ] {
        yes.iter().for_each(|model| assert!(matches(pattern, model), "{pattern} {model}"));
        no.iter().for_each(|model| assert!(!matches(pattern, model), "{pattern} {model}"));
    }
    assert_eq!(ModelPattern::new("a/b"), None);
    assert_eq!(ModelPattern::new(""), None);
}
