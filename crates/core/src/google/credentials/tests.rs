use http::StatusCode;
use secrecy::ExposeSecret;

use super::*;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp(1_750_000_000_000);

fn login(text: &str) -> Login {
    Login::parse(text.as_bytes()).unwrap()
}

#[test]
fn the_gemini_clis_file_has_its_expiry_in_milliseconds() {
    let login = login(
        r#"{"access_token":"ya29.a","refresh_token":"1//r","scope":"s","token_type":"Bearer",
            "id_token":"e","expiry_date":1750927763467}"#,
    );
    assert_eq!(login.expires_at(), Some(Timestamp(1_750_927_763_467)));
    assert!(login.can_refresh());
    assert_eq!(login.token().unwrap().access_token.expose_secret(), "ya29.a");
}

#[test]
fn every_spelling_of_an_expiry_means_the_same() {
    for text in [
        r#"{"refresh_token":"r","expiry_date":1750927763000}"#,
        r#"{"refresh_token":"r","expiry_date":"1750927763000"}"#,
        r#"{"refresh_token":"r","expiry_date":1750927763}"#,
        r#"{"refresh_token":"r","expiry_date":1750927763.0}"#,
        r#"{"refresh_token":"r","expiry":"2025-06-26T08:49:23Z"}"#,
        r#"{"refresh_token":"r","expiry":"2025-06-26T08:49:23.000000"}"#,
        r#"{"refresh_token":"r","expires_at":1750927763}"#,
        r#"{"token":{"refreshToken":"r","expiresAt":1750927763000}}"#,
    ] {
        assert_eq!(login(text).expires_at(), Some(Timestamp(1_750_927_763_000)), "{text}");
    }
    for text in ["null", "-5", "\"soon\"", "{}", "1e300"] {
        let text = format!(r#"{{"refresh_token":"r","expiry_date":{text}}}"#);
        assert_eq!(login(&text).expires_at(), None, "{text}");
    }
}

#[test]
fn credentials_of_other_kinds_are_refused_by_name() {
    let parse = |text: &str| Login::parse(text.as_bytes()).unwrap_err();
    assert_eq!(
        parse(r#"{"type":"service_account","private_key":"k"}"#),
        CredentialError::WrongKind("service_account".to_owned())
    );
    assert_eq!(
        parse(r#"{"type":"external_account"}"#),
        CredentialError::WrongKind("external_account".to_owned())
    );
    assert_eq!(parse("{}"), CredentialError::NoToken(""));
    assert_eq!(parse(r#"{"access_token":""}"#), CredentialError::NoToken(""));
    let client = parse(r#"{"installed":{"client_id":"x","client_secret":"y"}}"#);
    assert!(client.to_string().contains("the file of an OAuth client"), "{client}");
    assert!(matches!(parse(r#"{"access_token":"secret-"#), CredentialError::NotJson(_)));
    assert!(!parse(r#"{"access_token":"secret-"#).to_string().contains("secret-"));
}

const PASTED: &str =
    r#"{"access_token":"ya29.a","refresh_token":"1//r-é","expiry_date":1750927763000}"#;

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

fn base64(text: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text)
}

#[test]
fn a_credential_is_read_in_every_form_in_which_it_is_pasted() {
    let pretty = PASTED.replace(',', ",\n  ").replace('{', "{\n  ");
    let escaped = PASTED.replace('"', "\\\"");
    let coded = base64(pretty.as_bytes());
    let lines: Vec<&str> =
        coded.as_bytes().chunks(20).map(|line| str::from_utf8(line).unwrap()).collect();
    let mut forms: Vec<Vec<u8>> = [
        PASTED.to_owned(),
        pretty.clone(),
        format!(" \r\n{pretty}\n\n"),
        format!("\u{feff}{PASTED}"),
        format!("\u{feff}\n'{PASTED}'\n"),
        format!("'{PASTED}'"),
        format!("\"{PASTED}\""),
        format!("'{escaped}'"),
        format!("\"{escaped}\""),
        format!("\"{}\"", pretty.replace('"', "\\\"").replace('\n', "\\n")),
        escaped,
        pretty.replace('\n', "\\n"),
        format!("'\"{PASTED}\"'"),
        coded.clone(),
        coded.trim_end_matches('=').to_owned(),
        coded.replace('+', "-").replace('/', "_"),
        format!("\"{coded}\""),
        lines.join("\n"),
        format!("{}\r\n", lines.join("\r\n")),
        base64(coded.as_bytes()),
    ]
    .map(String::into_bytes)
    .into();
    for text in [PASTED, &pretty, &format!("'{PASTED}'"), &coded] {
        forms.push(utf16(&format!("\u{feff}{text}\r\n"), u16::to_le_bytes));
        forms.push(utf16(&format!("\u{feff}{text}"), u16::to_be_bytes));
        forms.push(utf16(text, u16::to_le_bytes));
        forms.push(utf16(text, u16::to_be_bytes));
        forms.push(base64(&utf16(text, u16::to_le_bytes)).into_bytes());
    }
    for form in forms {
        let shown = String::from_utf8_lossy(&form);
        let login = Login::parse(&form).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(login.fingerprint(), self::login(PASTED).fingerprint(), "{shown}");
        assert_eq!(login.expires_at(), Some(Timestamp(1_750_927_763_000)), "{shown}");
    }
}

#[test]
fn what_cannot_be_read_is_called_what_it_is_and_is_not_quoted() {
    let cut = &PASTED[..40];
    let coded = base64(PASTED.as_bytes());
    for (text, said) in [
        ("", "it is empty"),
        (" \n\0", "it is empty"),
        ("''", "it is empty"),
        (
            "/home/ada/.gemini/oauth_creds.json",
            "set GEMINI_OAUTH_CREDS_FILE=/home/ada/.gemini/oauth_creds.json",
        ),
        ("'C:\\Users\\Ada\\oauth_creds.json'", "GEMINI_OAUTH_CREDS_FILE"),
        ("~/secret", "holds the path of a file"),
        ("oauth_creds.json", "holds the path oauth_creds.json, not the JSON of the file"),
        (cut, "its JSON breaks off at line 1 column 40"),
        (&format!("'{cut}"), "it is neither JSON nor JSON in base64"),
        (&coded[..61], "its JSON breaks off"),
        ("{'refresh_token':'secret'}", "its JSON goes wrong at line 1 column 2"),
        ("{\"refresh_token\":\"secret\"} x", "its JSON goes wrong"),
        ("AIzaSySecretSecretSecretSecretSecretSecr", "it is an API key"),
        ("ya29.secret", "it is an access token"),
        ("1//secret", "it is a refresh token alone"),
        ("-----BEGIN PRIVATE KEY-----\nsecret", "it is a key or encrypted data"),
        ("U2FsdGVkX1secret", "it is a key or encrypted data"),
        ("sec\u{1}ret", "it is binary or encrypted data"),
        ("[{\"refresh_token\":\"secret\"}]", "it is JSON, but no object"),
        ("42", "it is JSON, but no object"),
        ("secret", "it is neither JSON nor JSON in base64"),
    ] {
        let error = Login::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("cannot be read: ") && error.contains(said), "{text}: {error}");
        assert!(!error.to_lowercase().contains("secret") || text.starts_with('/'), "{error}");
        assert!(!error.contains("does not accept") && !error.contains("ign in again"), "{error}");
    }
    for binary in [&b"\x80\x81\x82"[..], b"\xff\xfe\x00\xd8", &[0, 1, 2, 3]] {
        let error = Login::parse(binary).unwrap_err().to_string();
        assert!(error.contains("binary or encrypted data"), "{binary:?}: {error}");
    }
}

#[test]
fn an_access_token_is_taken_out_of_its_quotes() {
    for text in ["ya29.a", "'ya29.a'", "\"ya29.a\"", "\u{feff}ya29.a\r\n"] {
        let login = Login::from_access_token(&text.to_owned().into());
        assert_eq!(login.token().unwrap().access_token.expose_secret(), "ya29.a", "{text}");
    }
}

#[test]
fn a_credentials_own_client_wins() {
    let own = login(r#"{"refresh_token":"1//r","client_id":"mine","client_secret":"hush"}"#);
    let request = own.refresh_request("http://t/token", &OAuthClient::gemini_cli()).unwrap();
    let form = String::from_utf8(request.body().to_bytes().to_vec()).unwrap();
    assert_eq!(
        form,
        "refresh_token=1%2F%2Fr&client_id=mine&client_secret=hush&grant_type=refresh_token"
    );
    let plain = login(r#"{"refresh_token":"1//r"}"#);
    let request = plain.refresh_request("http://t/token", &OAuthClient::gemini_cli()).unwrap();
    let form = String::from_utf8(request.body().to_bytes().to_vec()).unwrap();
    assert!(form.contains("client_id=681255809395-"), "{form}");
}

#[test]
fn refresh_errors_are_final_or_temporary() {
    let read = |status: u16, body: &str| {
        read_refresh(StatusCode::from_u16(status).unwrap(), body.as_bytes(), NOW).unwrap_err()
    };
    for (status, body) in [
        (400, r#"{"error":"invalid_grant","error_description":"AccessToken has been revoked."}"#),
        (401, r#"{"error":"invalid_client"}"#),
        (403, r#"{"error":"access_denied"}"#),
    ] {
        assert!(matches!(read(status, body), RefreshError::Rejected(_)), "{body}");
    }
    for (status, body) in [
        (429, r#"{"error":"rate_limit_exceeded"}"#),
        (429, r#"{"error":"invalid_request"}"#),
        (403, r#"{"error":"temporarily_unavailable"}"#),
        (400, r#"{"error":"internal_failure","error_description":"Try again"}"#),
        (500, "<html>"),
        (503, r#"{"error":"internal_failure"}"#),
        (400, "<html>"),
        (200, "{}"),
    ] {
        assert!(matches!(read(status, body), RefreshError::Transient(_)), "{status} {body}");
    }
}

#[test]
fn a_new_token_expires_when_its_lifetime_is_over() {
    let body = br#"{"access_token":"ya29.b","expires_in":3599,"refresh_token":"1//new"}"#;
    let refreshed = read_refresh(StatusCode::OK, body, NOW).unwrap();
    assert_eq!(refreshed.token.expires_at, Some(Timestamp(NOW.0 + 3_599_000)));
    assert_eq!(refreshed.refresh_token.unwrap().expose_secret(), "1//new");
}

#[test]
fn entries_of_other_tools_are_read_and_an_absurd_expiry_is_not_believed() {
    let entry = |expiry: u64| {
        let text = format!(
            r#"{{"access_token":"ya29.s","expiry_date":{expiry},"refresh_count":3,
                "last_used":1,"created_at":1,"token_type":"Bearer","scope":"s"}}"#
        );
        StoredToken::from_stored(text.as_bytes(), NOW)
    };
    let good = entry(NOW.0 + 3_000_000).unwrap();
    assert_eq!((good.refresh_count, good.credential), (3, None));
    assert!(entry((NOW.0 + 3_000_000) * 1000).is_none());
    assert!(!entry(NOW.0 - 1).unwrap().token.alive(NOW));
}

#[test]
fn stored_tokens_come_back_as_they_went() {
    let token = AccessToken {
        access_token: "ya29.x".to_owned().into(),
        expires_at: Some(Timestamp(NOW.0 + 1000)),
        lifetime: None,
        scope: Some("a b".to_owned()),
    };
    let stored = StoredToken { token, refresh_count: 7, credential: Some("c".to_owned()) };
    let read = StoredToken::from_stored(&stored.to_stored(NOW), NOW).unwrap();
    assert_eq!(read.token.access_token.expose_secret(), "ya29.x");
    assert_eq!((read.refresh_count, read.credential.as_deref()), (7, Some("c")));
}

#[test]
fn neither_a_login_nor_a_token_prints_its_secret() {
    let login = login(r#"{"access_token":"ya29.HUSH","refresh_token":"1//HUSH"}"#);
    let token = login.token().unwrap();
    let printed = format!("{login:?} {token:?} {:?} {}", token.header(), login.fingerprint());
    assert!(!printed.contains("HUSH"), "{printed}");
}
