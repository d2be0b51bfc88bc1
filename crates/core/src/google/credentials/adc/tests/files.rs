//! Which files are read, and what those say that are not.

use super::*;

#[test]
fn every_kind_of_file_is_read() {
    let file = json!({"file": "/var/run/token"});
    for (file, kind, impersonations) in [
        (authorized_user(), "authorized_user", 0),
        (service_account(), "service_account", 0),
        (federation(file.clone()), "external_account", 0),
        (
            with(federation(file.clone()), "service_account_impersonation_url", IMPERSONATION),
            "external_account",
            1,
        ),
        (impersonated(authorized_user()), "authorized_user", 1),
        (
            impersonated(with(
                federation(file),
                "service_account_impersonation_url",
                IMPERSONATION,
            )),
            "external_account",
            2,
        ),
        (
            json!({
                "type": "external_account_authorized_user", "client_id": "c", "client_secret": "s",
                "refresh_token": "r", "token_url": "https://sts.googleapis.com/v1/oauthtoken",
            }),
            "external_account_authorized_user",
            0,
        ),
    ] {
        let credential = credential(&file);
        assert_eq!(
            (credential.kind(), credential.impersonations.len()),
            (kind, impersonations),
            "{file}"
        );
    }
}

#[test]
fn files_are_read_in_the_forms_in_which_people_paste_them() {
    use base64::Engine;
    let text = service_account().to_string();
    let base64 = base64::engine::general_purpose::STANDARD.encode(&text);
    for pasted in [format!("'{text}'"), format!("\u{feff}{text}\r\n"), base64] {
        let read = GoogleCredential::parse(pasted.as_bytes(), DEFAULT_UNIVERSE).unwrap();
        assert_eq!(read.project_id(), Some("own-project"));
    }
    // Some tools escape the line ends of the key once more.
    let key = service_account()["private_key"].as_str().unwrap().replace('\n', "\\n");
    assert!(parse(&with(service_account(), "private_key", key)).is_ok());
}

#[test]
fn the_projects_of_a_file_are_those_of_the_outer_credential() {
    let user = credential(&authorized_user());
    assert_eq!((user.project_id(), user.quota_project_id()), (None, Some("quota-project")));
    let outer = with(impersonated(authorized_user()), "quota_project_id", "outer");
    assert_eq!(credential(&outer).quota_project_id(), Some("outer"));
    let outer = credential(&impersonated(service_account()));
    assert_eq!(outer.project_id(), Some("own-project"));
}

#[test]
fn a_file_that_cannot_be_used_says_which_field_and_what_to_do() {
    let external = |source: Value| federation(source);
    for (file, says) in [
        (without(authorized_user(), "refresh_token"), "the field refresh_token is missing"),
        (without(service_account(), "client_email"), "the field client_email is missing"),
        (
            impersonated(without(authorized_user(), "client_id")),
            "the field source_credentials.client_id is missing",
        ),
        (impersonated(impersonated(authorized_user())), "in delegates"),
        (
            without(impersonated(authorized_user()), "service_account_impersonation_url"),
            "the field service_account_impersonation_url is missing",
        ),
        (with(service_account(), "type", "gdch_service_account"), "gdch_service_account"),
        (with(service_account(), "type", "robot"), "its type robot is not known"),
        (without(service_account(), "type"), "the field type is missing"),
        (
            json!({"access_token": "ya29.a", "refresh_token": "1//r", "expiry_date": 1}),
            "the Gemini CLI's oauth_creds.json",
        ),
        (json!({"installed": {"client_id": "x"}}), "the file of an OAuth client"),
        (
            with(service_account(), "universe_domain", "cloud.example"),
            "another one than googleapis.com",
        ),
        (external(json!({"executable": {"command": "x"}})), "starts no programs"),
        (external(json!({"certificate": {}})), "certificate (X.509)"),
        (external(json!({})), "neither file nor url nor environment_id"),
        (external(json!({"url": "ftp://x/"})), "credential_source.url is no http or https address"),
        (
            external(json!({"url": "http://x/", "headers": {"a": "b\nc"}})),
            "credential_source.headers",
        ),
        (
            external(json!({"file": "/t", "format": {"type": "json"}})),
            "credential_source.format.subject_token_field_name is missing",
        ),
        (external(json!({"file": "/t", "format": {"type": "xml"}})), "neither text nor json"),
        (external(json!({"environment_id": "aws2"})), "is not aws1"),
    ] {
        let refused = refusal(&file);
        assert!(refused.starts_with("cannot be used for Vertex AI: "), "{refused}");
        assert!(refused.contains(says), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
}

#[test]
fn a_key_that_is_not_pkcs8_says_what_it_is() {
    let pem = |label: &str, text: &str| {
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    for (key, says) in [
        (pem("RSA PRIVATE KEY", "c2VjcmV0"), "openssl pkcs8 -topk8"),
        (pem("ENCRYPTED PRIVATE KEY", "c2VjcmV0"), "is encrypted"),
        (pem("PRIVATE KEY", "!!!"), "is damaged"),
        ("-----BEGIN PRIVATE KEY-----\nc2Vj".to_owned(), "is damaged"),
        ("c2VjcmV0".to_owned(), "no key in PEM"),
    ] {
        let refused = refusal(&with(service_account(), "private_key", key));
        assert!(refused.contains(says), "{refused}");
        assert!(!refused.contains("c2Vj"), "{refused}");
    }
}

#[test]
fn secrets_are_posted_to_google_and_to_this_machine_only() {
    for (url, is_taken) in [
        ("https://sts.googleapis.com/v1/token", true),
        ("https://sts.us-east1.rep.googleapis.com/v1/token", true),
        ("http://127.0.0.1:8080/token", true),
        ("http://[::1]:8080/token", true),
        ("https://localhost/token", true),
        ("https://storage.googleapis.com/upload/storage/v1/b/x/o?uploadType=media&name=x", false),
        ("http://sts.googleapis.com/v1/token", false),
        ("https://googleapis.com/token", false),
        ("https://sts.googleapis.com.evil.example/token", false),
        ("https://evilgoogleapis.com/token", false),
        ("https://sts.googleapis.com@evil.example/token", false),
        ("https://evil@sts.googleapis.com/token", false),
        ("https://evil.example/sts.googleapis.com", false),
        ("ftp://sts.googleapis.com/", false),
        ("http://127.0.0.1.evil.example/", false),
        ("sts.googleapis.com", false),
        ("", false),
    ] {
        let file = json!({"file": "/t"});
        let external = with(federation(file), "token_url", url);
        assert_eq!(parse(&external).is_ok(), is_taken, "{url}");
        if !url.is_empty() {
            let account = with(service_account(), "token_uri", url);
            assert_eq!(parse(&account).is_ok(), is_taken, "{url}");
            let outer =
                with(impersonated(authorized_user()), "service_account_impersonation_url", url);
            assert_eq!(parse(&outer).is_ok(), is_taken, "{url}");
        }
        // A login's refresh token never goes where its file wants it.
        assert!(parse(&with(authorized_user(), "token_uri", url)).is_ok(), "{url}");
    }
}

#[test]
fn another_universe_is_taken_where_it_is_the_configured_one() {
    let file = with(service_account(), "universe_domain", "cloud.example");
    let file = with(file, "token_uri", "https://oauth2.cloud.example/token");
    let read = |universe: &str| GoogleCredential::parse(file.to_string().as_bytes(), universe);
    assert!(read("cloud.example").is_ok());
    assert!(read(DEFAULT_UNIVERSE).is_err());
}

#[test]
fn a_text_that_is_no_json_says_what_it_is() {
    for (text, says) in [
        ("", "it is empty"),
        ("AIzaSyA", "goes into VERTEX_API_KEY"),
        ("ya29.token", "an access token"),
        ("-----BEGIN PRIVATE KEY-----", "a key alone"),
        ("{\"type\":", "breaks off at line 1"),
        ("[1]", "neither JSON nor"),
    ] {
        let problem = google_credential_problem(text.as_bytes()).unwrap();
        assert!(problem.starts_with("cannot be read: "), "{problem}");
        assert!(problem.contains(says), "{problem}");
    }
    assert_eq!(google_credential_problem(service_account().to_string().as_bytes()), None);
}

#[test]
fn any_cut_and_any_flipped_byte_is_read_or_refused() {
    let aws = json!({
        "environment_id": "aws1", "regional_cred_verification_url": "https://sts.{region}.x/",
        "region_url": "http://169.254.169.254/r", "url": "http://169.254.169.254/k",
    });
    for file in [service_account(), impersonated(federation(aws)), authorized_user()] {
        let text = file.to_string().into_bytes();
        for at in 0..text.len() {
            let _ = GoogleCredential::parse(&text[..at], DEFAULT_UNIVERSE);
            for flip in [1, 0x20, 0x80] {
                let mut text = text.clone();
                text[at] ^= flip;
                let _ = GoogleCredential::parse(&text, DEFAULT_UNIVERSE);
            }
        }
    }
}

#[test]
fn accounts_are_told_apart_and_a_new_key_is_the_same_account() {
    let print = |file: &Value| credential(file).fingerprint();
    let account = print(&service_account());
    let pem = service_account()["private_key"].as_str().unwrap().replace("c2VjcmV0", "b3RoZXI=");
    assert_eq!(account, print(&with(service_account(), "private_key", pem)));
    let metadata = GoogleCredential::of_metadata_server(None).fingerprint();
    let others = [
        print(&with(service_account(), "client_email", "other@p.iam.gserviceaccount.com")),
        print(&impersonated(service_account())),
        print(&authorized_user()),
        print(&with(authorized_user(), "refresh_token", "1//other")),
        print(&federation(json!({"file": "/a"}))),
        print(&federation(json!({"file": "/b"}))),
        metadata,
    ];
    let all: std::collections::BTreeSet<&String> = others.iter().chain([&account]).collect();
    assert_eq!(all.len(), others.len() + 1);
    let rotated = credential(&authorized_user()).rotated("1//new".into());
    assert_eq!(rotated.fingerprint(), print(&authorized_user()));
}

#[test]
fn nothing_secret_is_in_the_debug_text() {
    for file in [service_account(), authorized_user()] {
        let text = format!("{:?}", credential(&file));
        assert!(!text.contains("1//refresh") && !text.contains("client-secret"), "{text}");
        assert!(!text.contains("115, 101"), "{text}");
    }
    let source = json!({"url": "http://x/", "headers": {"authorization": "hush"}});
    assert!(!format!("{:?}", credential(&federation(source))).contains("hush"));
}
