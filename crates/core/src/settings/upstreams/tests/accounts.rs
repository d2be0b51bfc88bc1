//! Keys, projects, locations, credentials and endpoints.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;

use super::*;
use crate::settings::tests::HOME;

#[test]
fn a_key_must_fit_into_a_header_and_is_never_shown() {
    let key = |text: &str| {
        let settings = good(&[("GEMINI_API_KEY", text)]);
        let AccountSettings::GeminiApi(account) = &settings.upstreams[0].account else {
            panic!("{settings:?}")
        };
        assert_eq!(settings.upstreams[0].endpoints, ["https://generativelanguage.googleapis.com"]);
        account.api_key.expose_secret().to_owned()
    };
    for text in ["AIza-1", " AIza-1\n", "\"AIza-1\"", "'AIza-1'", "\u{feff}AIza-1"] {
        assert_eq!(key(text), "AIza-1");
    }
    for bad in ["hush hush", "hush\nhush", "hushé", "{\"hush\":1}", "\"\""] {
        for name in ["GEMINI_API_KEY", "GOOGLE_API_KEY", "VERTEX_API_KEY"] {
            let text = problem(&[HOME, (name, bad)], name);
            assert!(!text.contains("hush"), "{text}");
        }
    }
}

#[test]
fn the_host_of_vertex_follows_from_its_location() {
    for (location, host) in [
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
    ] {
        let settings = good(&[("VERTEX_PROJECT", "p"), ("GOOGLE_CLOUD_LOCATION", location)]);
        assert_eq!(settings.upstreams[0].endpoints, [host]);
        assert_eq!(vertex(&settings).location, location);
        assert_eq!(vertex(&settings).api_version, "v1beta1");
    }
    let long = "a".repeat(60);
    for bad in ["evil.example/", "evil.example#", "-eu", "EU", "1eu", "eu/x", "e u", "eu@x", &long]
    {
        problem(&[("VERTEX_PROJECT", "p"), ("VERTEX_LOCATION", bad)], "VERTEX_LOCATION");
    }
    let set = [("VERTEX_PROJECT", "p"), ("VERTEX_ENDPOINT", "https://v.example/"), HOME];
    assert_eq!(good(&set).upstreams[0].endpoints, ["https://v.example"]);
    for bad in ["p/q", "p q", "..", "p?"] {
        problem(&[("VERTEX_PROJECT", bad)], "VERTEX_PROJECT");
    }
    problem(&[("VERTEX_PROJECT", "p"), ("VERTEX_API_VERSION", "v1/x")], "VERTEX_API_VERSION");
}

#[test]
fn credentials_of_vertex_are_json_or_a_path_or_searched_for() {
    let read = |text: &str| {
        let settings = good(&[HOME, ("VERTEX_PROJECT", "p"), ("VERTEX_CREDENTIALS", text)]);
        match vertex(&settings).auth.clone() {
            VertexAuth::Google(credentials) => credentials,
            VertexAuth::ApiKey(key) => panic!("{key:?}"),
        }
    };
    let json = "{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key\":\"hush\"}";
    let base64 = STANDARD.encode(json);
    for text in [json, "\u{feff}{}", "'{}'", &base64] {
        let GoogleCredentials::Json(found) = read(text) else { panic!("{text}") };
        assert_eq!((found.name, found.text.expose_secret()), ("VERTEX_CREDENTIALS", text));
    }
    for (text, path) in [("/k.json", "/k.json"), ("~/k.json", "/home/ada/k.json"), ("k", "k")] {
        let GoogleCredentials::File(found) = read(text) else { panic!("{text}") };
        assert_eq!(found, path);
    }
    assert!(matches!(read(""), GoogleCredentials::Search));
    for bad in ["AIza-hush", "ya29.hush", "-----BEGIN hush", "hush\nhush"] {
        let set = [HOME, ("VERTEX_PROJECT", "p"), ("GOOGLE_APPLICATION_CREDENTIALS", bad)];
        let text = problem(&set, "GOOGLE_APPLICATION_CREDENTIALS");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn a_key_of_vertex_is_used_only_without_a_project() {
    let key = ("VERTEX_API_KEY", "AQ.1");
    let (settings, warnings) = read(&[HOME, key], &[]).unwrap();
    assert!(
        matches!(&vertex(&settings).auth, VertexAuth::ApiKey(key) if key.expose_secret() == "AQ.1")
    );
    assert_eq!(settings.upstreams[0].endpoints, ["https://aiplatform.googleapis.com"]);
    assert_eq!(warnings, []);
    let (settings, warnings) = read(&[HOME, key, ("VERTEX_PROJECT", "p")], &[]).unwrap();
    assert!(matches!(&vertex(&settings).auth, VertexAuth::Google(GoogleCredentials::Search)));
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].to_string().starts_with("VERTEX_API_KEY: has no effect"), "{warnings:?}");
    // A key has no location, so that of the setting must not become the host.
    let useless = [HOME, key, ("VERTEX_LOCATION", "eu"), ("VERTEX_CREDENTIALS", "/k")];
    let (settings, warnings) = read(&useless, &[]).unwrap();
    assert_eq!(settings.upstreams[0].endpoints, ["https://aiplatform.googleapis.com"]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let ambient = [HOME, key, ("GOOGLE_CLOUD_LOCATION", "eu")];
    assert_eq!(read(&ambient, &[]).unwrap().1, []);
}

#[test]
fn what_googles_libraries_read_of_the_machine_is_read_too() {
    let settings = good(&[HOME, ("VERTEX_PROJECT", "p"), ("GOOGLE_CLOUD_QUOTA_PROJECT", "q")]);
    assert_eq!(vertex(&settings).quota_project.as_deref(), Some("q"));
    assert_eq!(settings.metadata_host.as_deref(), Some("metadata.google.internal"));
    let gcloud = "/home/ada/.config/gcloud/application_default_credentials.json";
    assert_eq!(settings.adc_file.as_deref(), Some(gcloud).filter(|_| !cfg!(windows)));
    let settings = good(&[HOME, ("GCE_METADATA_HOST", "127.0.0.1:80"), ("CLOUDSDK_CONFIG", "/c")]);
    assert_eq!(settings.metadata_host.as_deref(), Some("127.0.0.1:80"));
    assert!(settings.adc_file.unwrap().starts_with("/c"));
    assert_eq!(good(&[HOME, ("NO_GCE_CHECK", "true")]).metadata_host, None);
    for bad in ["http://x", "x/y", "u@x", "x:y", "x?y"] {
        problem(&[HOME, ("GCE_METADATA_HOST", bad)], "GCE_METADATA_HOST");
    }
}

#[test]
fn a_key_goes_over_plain_http_to_this_machine_only() {
    for (name, more) in [
        ("GEMINI_API_ENDPOINT", ("GEMINI_API_KEY", "k")),
        ("VERTEX_ENDPOINT", ("VERTEX_PROJECT", "p")),
        ("CODE_ASSIST_ENDPOINT", ("GCP_SERVICE_ACCOUNT", "{}")),
    ] {
        assert_eq!(read(&[HOME, more, (name, "http://127.0.0.1:9")], &[]).unwrap().1, []);
        let plain = [HOME, more, (name, "http://g.example")];
        let text = problem(&plain, name);
        assert!(text.contains("in the clear"), "{text}");
        let allowed = [&plain[..], &[("ALLOW_INSECURE_UPSTREAM", "true")]].concat();
        let (_, warnings) = read(&allowed, &[]).unwrap();
        assert_eq!((warnings.len(), &*warnings[0].name), (1, name));
        problem(&[HOME, more, (name, "https://u:hush@g.example")], name);
        let two = read(&[HOME, more, (name, "https://a.example,https://b.example")], &[]);
        assert_eq!(two.is_ok(), name == "CODE_ASSIST_ENDPOINT");
    }
}

#[test]
fn a_worker_has_neither_files_nor_a_metadata_server() {
    let worker = Machine { is_on_network: true, has_path: None, ..Machine::default() };
    let read = |set: &[(&str, &str)]| read_on(set, &worker);
    let refused = |set: &[(&str, &str)]| {
        let problems = read(set).unwrap_err();
        assert_eq!((problems.len(), &*problems[0].name), (1, "VERTEX_CREDENTIALS"), "{problems:?}");
        problems[0].text.clone()
    };
    let project = ("VERTEX_PROJECT", "p");
    assert!(refused(&[project, ("VERTEX_CREDENTIALS", "/k")]).contains("a Worker has no files"));
    assert!(refused(&[project]).contains("is not set, and a Worker has neither"));
    let (settings, _) = read(&[project, ("VERTEX_CREDENTIALS", "{}")]).unwrap();
    assert!(matches!(&vertex(&settings).auth, VertexAuth::Google(GoogleCredentials::Json(_))));
    assert_eq!((settings.adc_file, settings.metadata_host), (None, None));
    let (settings, _) = read(&[("VERTEX_API_KEY", "k")]).unwrap();
    assert!(matches!(&vertex(&settings).auth, VertexAuth::ApiKey(_)));
    assert_eq!(names(&read(&[("GEMINI_API_KEY", "k")]).unwrap().0), ["gemini-api"]);
    // A file that a Worker cannot read is no credential.
    let set = [("GEMINI_OAUTH_CREDS_FILE", "/c.json"), ("GEMINI_API_KEY", "k")];
    assert_eq!(names(&read(&set).unwrap().0), ["gemini-api"]);
}
