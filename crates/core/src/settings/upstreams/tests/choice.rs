//! Which upstreams are used.

use super::*;
use crate::settings::tests::HOME;

#[test]
fn without_any_credential_code_assist_is_the_only_upstream_and_the_settings_say_so() {
    let settings = good(&[HOME]);
    assert_eq!(names(&settings), ["code-assist"]);
    assert!(settings.no_upstream_configured);
    assert_eq!(settings.unused_upstreams, []);
    let upstream = &settings.upstreams[0];
    assert_eq!(upstream.endpoints, ["https://cloudcode-pa.googleapis.com"]);
    let AccountSettings::CodeAssist(account) = &upstream.account else { panic!("{upstream:?}") };
    assert_eq!(account.credentials_file.as_deref(), Some("/home/ada/.gemini/oauth_creds.json"));
    assert!(account.credentials_json.is_none() && account.access_token.is_none());
}

#[test]
fn auto_takes_the_first_provider_with_a_credential_and_names_the_others() {
    let key = ("GEMINI_API_KEY", "AIza-1");
    let project = ("VERTEX_PROJECT", "p");
    let file = ("GEMINI_OAUTH_CREDS_FILE", "/there/soon.json");
    let hint = |name: &str, hint: &str| UnusedUpstream { name: name.into(), hint: hint.into() };
    let both = [
        hint("gemini-api", "UPSTREAMS=code-assist,gemini-api"),
        hint("vertex", "UPSTREAMS=code-assist,vertex"),
    ];
    let last = [hint("vertex", "UPSTREAMS=gemini-api,vertex")];
    for (set, used, unused) in [
        (vec![("GOOGLE_CLOUD_ACCESS_TOKEN", "t"), key, project], "code-assist", &both[..]),
        (vec![("GCP_SERVICE_ACCOUNT", "{}"), key, project], "code-assist", &both),
        (vec![file, key, project], "code-assist", &both),
        (vec![key, project], "gemini-api", &last),
        (vec![("GOOGLE_API_KEY", "AIza-1"), project], "gemini-api", &last),
        (vec![key], "gemini-api", &[]),
        (vec![project], "vertex", &[]),
        (vec![("VERTEX_API_KEY", "AQ.1")], "vertex", &[]),
        (vec![("UPSTREAMS", "Auto "), key], "gemini-api", &[]),
    ] {
        let (settings, warnings) = read(&[&set[..], &[HOME]].concat(), &[]).unwrap();
        assert_eq!(names(&settings), [used], "{set:?}");
        assert_eq!(settings.unused_upstreams, unused, "{set:?}");
        assert!(!settings.no_upstream_configured);
        assert_eq!(warnings, []);
    }
    // The CLI's own file counts if it is there.
    let at = |path: &str| path == "/home/ada/.gemini/oauth_creds.json";
    let machine = Machine { has_path: Some(&at), ..Machine::default() };
    let (settings, _) = read_on(&[HOME, key], &machine).unwrap();
    assert_eq!(names(&settings), ["code-assist"]);
}

#[test]
fn variables_that_other_programs_need_make_no_upstream() {
    let ambient = [
        HOME,
        ("GOOGLE_CLOUD_LOCATION", "not a location!"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/key.json"),
        ("GOOGLE_CLOUD_PROJECT", "mine"),
    ];
    let (settings, warnings) = read(&ambient, &[]).unwrap();
    assert_eq!(names(&settings), ["code-assist"]);
    assert_eq!((settings.unused_upstreams.len(), warnings.len()), (0, 0));
    assert!(settings.no_upstream_configured);
    // Two keys that disagree are no concern of a proxy that uses neither.
    let keys =
        [HOME, ("GEMINI_API_KEY", "a"), ("GOOGLE_API_KEY", "b"), ("GCP_SERVICE_ACCOUNT", "{}")];
    assert_eq!(read(&keys, &[]).unwrap().1, []);
    let keys = [HOME, ("GEMINI_API_KEY", "a"), ("GOOGLE_API_KEY", "b")];
    assert_eq!(read(&keys, &[]).unwrap().1.len(), 1);
    // A name of our own is checked even where it is not used.
    problem(&[HOME, ("VERTEX_LOCATION", "EU"), ("GCP_SERVICE_ACCOUNT", "{}")], "VERTEX_LOCATION");
}

#[test]
fn the_project_of_googles_libraries_counts_when_they_are_set_to_vertex() {
    let number = ("GOOGLE_CLOUD_PROJECT", "123456789");
    let switch = ("GOOGLE_GENAI_USE_VERTEXAI", "true");
    let settings = good(&[HOME, number, switch]);
    assert_eq!(vertex(&settings).project.as_deref(), Some("123456789"));
    let text = problem(&[HOME, number, ("UPSTREAMS", "vertex")], "VERTEX_PROJECT");
    assert!(
        text.contains("GOOGLE_CLOUD_PROJECT counts with GOOGLE_GENAI_USE_VERTEXAI=true"),
        "{text}"
    );
    problem(&[HOME, number], "GOOGLE_CLOUD_PROJECT");
    let own = good(&[HOME, number, switch, ("VERTEX_PROJECT", "own")]);
    assert_eq!(vertex(&own).project.as_deref(), Some("own"));
}

#[test]
fn upstreams_orders_the_names_and_each_must_be_known_and_there_once() {
    let set = [HOME, ("GEMINI_API_KEY", "k"), ("VERTEX_PROJECT", "p")];
    let with = |list: &'static str| [&set[..], &[("UPSTREAMS", list)]].concat();
    let settings = good(&with("vertex, code-assist ,gemini-api"));
    assert_eq!(names(&settings), ["vertex", "code-assist", "gemini-api"]);
    assert_eq!(names(&good(&with("gemini-api"))), ["gemini-api"]);
    assert_eq!(good(&with("gemini-api")).unused_upstreams, []);
    assert_eq!(names(&good(&with(" , "))), ["gemini-api"], "empty is auto");
    for (bad, words) in [
        ("vertex2,gemini", "names vertex2, gemini; there are code-assist, gemini-api, vertex"),
        ("vertex,vertex", "has vertex twice"),
        ("auto,vertex", "has `auto` and something else"),
        ("Vertex", "names Vertex"),
    ] {
        let text = problem(&with(bad), "UPSTREAMS");
        assert!(text.contains(words), "{text}");
    }
    // Code Assist may be signed in to later, and Vertex AI has a search for credentials.
    assert_eq!(names(&good(&[HOME, ("UPSTREAMS", "code-assist")])), ["code-assist"]);
}

#[test]
fn an_upstream_that_is_used_needs_a_key_or_a_project() {
    let text = problem(&[HOME, ("UPSTREAMS", "gemini-api")], "GEMINI_API_KEY");
    assert!(text.contains("is not set") && text.contains("aistudio.google.com"), "{text}");
    for set in [("UPSTREAMS", "vertex"), ("VERTEX_LOCATION", "eu"), ("VERTEX_CREDENTIALS", "/k")] {
        let text = problem(&[HOME, set], "VERTEX_PROJECT");
        assert!(text.contains("neither is VERTEX_API_KEY"), "{text}");
    }
    let problems = read(&[HOME, ("UPSTREAMS", "vertex,gemini-api")], &[]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn an_emulator_needs_no_credentials_and_keeps_the_order() {
    let all: &[&'static str] = &["code-assist", "gemini-api", "vertex"];
    for (upstreams, played, expected) in [
        ("auto", all, all),
        ("gemini-api", &["gemini-api"][..], &["gemini-api"][..]),
        ("vertex,gemini-api", all, &["vertex", "gemini-api", "code-assist"]),
        ("gemini-api", &["vertex"], &["vertex"]),
    ] {
        let machine = Machine { emulated: Some(played), ..Machine::default() };
        let set = [("UPSTREAMS", upstreams), ("VERTEX_LOCATION", "global"), HOME];
        let (settings, warnings) = read_on(&set, &machine).unwrap();
        assert_eq!(names(&settings), expected, "{upstreams}");
        assert_eq!((warnings.len(), settings.no_upstream_configured), (0, false));
    }
}
