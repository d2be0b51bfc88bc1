//! The bytes of each request, and the tokens in the answers.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret;

use super::*;

fn decoded(part: &str) -> String {
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn account(file: &Value) -> ServiceAccount {
    match credential(file).source {
        TokenSource::ServiceAccount(account) => account,
        other => panic!("{other:?}"),
    }
}

fn external(file: &Value) -> ExternalAccount {
    match credential(file).source {
        TokenSource::ExternalAccount(account) => *account,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_login_is_refreshed_with_its_own_client() {
    let TokenSource::AuthorizedUser(user) = credential(&authorized_user()).source else { panic!() };
    assert_eq!(
        wire(user.refresh_request("https://oauth2.googleapis.com/token")),
        "POST https://oauth2.googleapis.com/token\n\
         content-type: application/x-www-form-urlencoded\naccept: application/json\n\n\
         grant_type=refresh_token&client_id=id.apps.googleusercontent.com\
         &client_secret=client-secret&refresh_token=1%2F%2Frefresh"
    );
    let body = br#"{"access_token":"ya29.a","expires_in":3599,"token_type":"Bearer"}"#;
    let read = AuthorizedUser::read_refresh(StatusCode::OK, body, NOW).unwrap();
    assert_eq!(read.token.access_token.expose_secret(), "ya29.a");
    assert_eq!(read.token.expires_at, Some(NOW + Duration::from_secs(3599)));
}

#[test]
fn a_service_account_signs_a_token_with_a_scope_and_no_audience() {
    let unsigned = account(&service_account()).self_signed(NOW);
    let text = String::from_utf8(unsigned.message().to_vec()).unwrap();
    let (header, claims) = text.split_once('.').unwrap();
    assert_eq!(decoded(header), r#"{"alg":"RS256","typ":"JWT","kid":"key-1"}"#);
    assert_eq!(
        decoded(claims),
        r#"{"iss":"robot@own-project.iam.gserviceaccount.com","sub":"robot@own-project.iam.gserviceaccount.com","scope":"https://www.googleapis.com/auth/cloud-platform","iat":1749999990,"exp":1750003590}"#
    );
    let token = unsigned.signed(&[0xfb, 0xff]);
    assert_eq!(token.access_token.expose_secret(), format!("{text}.-_8"));
    assert_eq!(token.expires_at, Some(NOW + Duration::from_secs(3590)));
    assert_eq!(token.lifetime, Some(Duration::from_secs(3590)));
    let nameless = account(&without(service_account(), "private_key_id")).self_signed(NOW);
    let text = String::from_utf8(nameless.message().to_vec()).unwrap();
    assert_eq!(decoded(text.split_once('.').unwrap().0), r#"{"alg":"RS256","typ":"JWT"}"#);
}

#[test]
fn an_assertion_is_for_the_token_endpoint_and_is_posted_there() {
    let account = account(&service_account());
    let unsigned = account.assertion(NOW);
    let text = String::from_utf8(unsigned.message().to_vec()).unwrap();
    assert_eq!(
        decoded(text.split_once('.').unwrap().1),
        r#"{"iss":"robot@own-project.iam.gserviceaccount.com","aud":"https://oauth2.googleapis.com/token","scope":"https://www.googleapis.com/auth/cloud-platform","iat":1749999990,"exp":1750003590}"#
    );
    assert_eq!(
        wire(account.exchange_request(None, &token("a.b.c"))),
        "POST https://oauth2.googleapis.com/token\n\
         content-type: application/x-www-form-urlencoded\naccept: application/json\n\n\
         grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c"
    );
    let other = wire(account.exchange_request(Some("http://127.0.0.1:2/token"), &token("a.b.c")));
    assert!(other.starts_with("POST http://127.0.0.1:2/token\n"), "{other}");
    let body = br#"{"access_token":"ya29.c","expires_in":3599}"#;
    let read = account.read_exchange(StatusCode::OK, body, NOW).unwrap();
    assert_eq!(read.token.access_token.expose_secret(), "ya29.c");
}

#[test]
fn a_subject_token_is_exchanged_with_every_field_that_sts_wants() {
    let account = external(&federation(json!({"file": "/t"})));
    assert_eq!(
        wire(account.exchange_request(&"ey.sub".into())),
        "POST https://sts.googleapis.com/v1/token\n\
         content-type: application/x-www-form-urlencoded\naccept: application/json\n\n\
         grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
         &audience=%2F%2Fiam.googleapis.com%2Fprojects%2F1%2Flocations%2Fglobal\
         %2FworkloadIdentityPools%2Fp%2Fproviders%2Fx\
         &scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform\
         &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
         &subject_token=ey.sub&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"
    );
    let body = br#"{"access_token":"ya29.d","issued_token_type":"x","token_type":"Bearer","expires_in":"1800"}"#;
    let read = account.read_exchange(StatusCode::OK, body, NOW).unwrap();
    assert_eq!(read.token.lifetime, Some(Duration::from_secs(1800)));
}

#[test]
fn a_token_that_only_impersonates_has_the_scope_of_iam() {
    let file = federation(json!({"file": "/t"}));
    let own = with(file.clone(), "service_account_impersonation_url", IMPERSONATION);
    for file in [own, impersonated(file)] {
        let text = wire(external(&file).exchange_request(&"s".into()));
        assert!(text.contains("&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fiam&"), "{text}");
    }
}

#[test]
fn a_workforce_pool_names_its_project_or_its_client() {
    let file = with(federation(json!({"file": "/t"})), "workforce_pool_user_project", "user-p");
    let text = wire(external(&file).exchange_request(&"s".into()));
    assert!(text.ends_with("&options=%7B%22userProject%22%3A%22user-p%22%7D"), "{text}");
    let file = with(with(file, "client_id", "a>?"), "client_secret", "b>?");
    let text = wire(external(&file).exchange_request(&"s".into()));
    // The standard alphabet, with padding.
    assert!(text.contains("authorization: Basic YT4/OmI+Pw==\n"), "{text}");
    assert!(!text.contains("options="), "{text}");
}

#[test]
fn a_workforce_login_is_refreshed_at_its_own_url_with_basic_authentication() {
    let file = json!({
        "type": "external_account_authorized_user", "client_id": "c", "client_secret": "s",
        "refresh_token": "r", "token_url": "https://sts.googleapis.com/v1/oauthtoken",
    });
    let TokenSource::ExternalUser(user) = credential(&file).source else { panic!() };
    assert_eq!(
        wire(user.refresh_request()),
        "POST https://sts.googleapis.com/v1/oauthtoken\n\
         content-type: application/x-www-form-urlencoded\naccept: application/json\n\
         authorization: Basic Yzpz\n\ngrant_type=refresh_token&refresh_token=r"
    );
    let body = br#"{"access_token":"ya29.e","expires_in":3600,"refresh_token":"r2"}"#;
    let read = ExternalUser::read_refresh(StatusCode::OK, body, NOW).unwrap();
    assert_eq!(read.refresh_token.unwrap().expose_secret(), "r2");
}

#[test]
fn a_service_account_is_impersonated_with_the_sources_token() {
    let outer = with(impersonated(authorized_user()), "delegates", json!(["projects/-/x"]));
    let credential = credential(&outer);
    let impersonation = &credential.impersonations[0];
    assert_eq!(
        wire(impersonation.request(&token("ya29.source"))),
        format!(
            "POST {IMPERSONATION}\nauthorization: Bearer ya29.source\n\
             content-type: application/json\naccept: application/json\n\n{}",
            r#"{"delegates":["projects/-/x"],"lifetime":"3600s","scope":["https://www.googleapis.com/auth/cloud-platform"]}"#
        )
    );
    let body = br#"{"accessToken":"ya29.f","expireTime":"2025-06-15T16:06:40Z"}"#;
    let read = impersonation.read(StatusCode::OK, body, NOW).unwrap();
    assert_eq!(read.token.access_token.expose_secret(), "ya29.f");
    assert_eq!(read.token.lifetime, Some(Duration::from_secs(3600)));
    let file =
        with(federation(json!({"file": "/t"})), "service_account_impersonation_url", IMPERSONATION);
    let lifetime = json!({"token_lifetime_seconds": 600});
    let file = with(file, "service_account_impersonation", lifetime);
    let text = wire(self::credential(&file).impersonations[0].request(&token("t")));
    assert!(text.contains(r#"{"lifetime":"600s","#), "{text}");
}

#[test]
fn the_metadata_server_is_asked_for_the_scope_and_must_say_that_it_is_one() {
    let server = MetadataServer::new(None);
    assert_eq!(
        wire(server.token_request()),
        "GET http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/\
         token?scopes=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform\n\
         metadata-flavor: Google\n\n"
    );
    let other = MetadataServer::new(Some("127.0.0.1:8080"));
    assert!(
        wire(other.project_request())
            .starts_with("GET http://127.0.0.1:8080/computeMetadata/v1/project/project-id\n")
    );
    let body = br#"{"access_token":"ya29.g","expires_in":3599,"token_type":"Bearer"}"#;
    let read = |headers: &HeaderMap| server.read_token(StatusCode::OK, headers, body, NOW);
    assert!(matches!(read(&HeaderMap::new()), Err(RefreshError::Transient(_))));
    assert_eq!(read(&flavor()).unwrap().token.access_token.expose_secret(), "ya29.g");
    let project =
        |text: &str, headers: &HeaderMap| read_project(StatusCode::OK, headers, text.as_bytes());
    assert_eq!(project("my-project\n", &flavor()).as_deref(), Some("my-project"));
    assert_eq!(project("example.com:old", &flavor()).as_deref(), Some("example.com:old"));
    assert_eq!(project("my-project", &HeaderMap::new()), None);
    assert_eq!(project("<html>", &flavor()), None);
    assert_eq!(project("", &flavor()), None);
}

#[test]
fn a_subject_token_is_read_as_text_or_out_of_json() {
    let source = json!({
        "url": "http://169.254.169.254/identity?x=1", "headers": {"Metadata": "True"},
        "format": {"type": "json", "subject_token_field_name": "access_token"},
    });
    let subject = external(&federation(source)).subject;
    assert_eq!(
        wire(subject.url_request()),
        "GET http://169.254.169.254/identity?x=1\nmetadata: True\n\n"
    );
    let read = |body: &str| subject.read_url(StatusCode::OK, body.as_bytes());
    assert_eq!(read(r#"{"access_token":"ey.1"}"#).unwrap().expose_secret(), "ey.1");
    assert!(read("ey.1").is_err() && read(r#"{"access_token":1}"#).is_err());
    assert!(subject.read_url(StatusCode::BAD_GATEWAY, b"x").is_err());
    let text = SubjectFormat::Text;
    assert_eq!(text.read(b"ey.2\n", "/t").unwrap().expose_secret(), "ey.2");
    // The file is about to be written.
    assert_eq!(
        text.read(b"", "/t").unwrap_err(),
        RefreshError::Transient("/t has no token".to_owned())
    );
}

fn aws() -> (AwsSource, AwsKeys) {
    let source = json!({
        "environment_id": "aws1",
        "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone",
        "url": "http://169.254.169.254/latest/meta-data/iam/security-credentials",
        "regional_cred_verification_url":
            "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
        "imdsv2_session_token_url": "http://169.254.169.254/latest/api/token",
    });
    let SubjectSource::Aws(aws) = external(&federation(source)).subject else { panic!() };
    let keys = AwsKeys {
        access_key_id: "AKID".to_owned(),
        secret_access_key: "SECRET/KEY".into(),
        session_token: Some("SESSION/+=".into()),
    };
    (aws, keys)
}

/// The signature was calculated with Python's `hmac` from the text of AWS' documentation.
#[test]
fn a_request_to_aws_is_signed_and_encoded() {
    let (aws, keys) = aws();
    let audience = AUDIENCE.replace("/x", "/aws");
    let subject = aws.subject_token("eu-west-1", &keys, &audience, NOW).unwrap();
    let text = percent_encoding::percent_decode_str(subject.expose_secret());
    let text = text.decode_utf8().unwrap();
    assert_eq!(
        text,
        format!(
            "{}{audience}{}",
            r#"{"url":"https://sts.eu-west-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15","method":"POST","headers":[{"key":"host","value":"sts.eu-west-1.amazonaws.com"},{"key":"x-amz-date","value":"20250615T150640Z"},{"key":"x-amz-security-token","value":"SESSION/+="},{"key":"x-goog-cloud-target-resource","value":""#,
            r#""},{"key":"Authorization","value":"AWS4-HMAC-SHA256 Credential=AKID/20250615/eu-west-1/sts/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token;x-goog-cloud-target-resource, Signature=ee3cfbf576b0ec0156ac7e926e5ebec34700aa92052a7ae7c40919b53fe67577"}],"body":""}"#
        )
    );
    assert!(!subject.expose_secret().contains(['{', '"', ' ', ':']));
    for region in ["", "evil.example/", "a b"] {
        assert!(aws.subject_token(region, &keys, &audience, NOW).is_err(), "{region}");
    }
}

#[test]
fn aws_metadata_server_is_asked_with_its_session_token() {
    let (aws, _) = aws();
    assert_eq!(
        wire(aws.session_request()),
        "PUT http://169.254.169.254/latest/api/token\n\
         x-aws-ec2-metadata-token-ttl-seconds: 300\n\n"
    );
    let session = "sess".into();
    assert_eq!(
        wire(aws.region_request(Some(&session))),
        "GET http://169.254.169.254/latest/meta-data/placement/availability-zone\n\
         x-aws-ec2-metadata-token: sess\n\n"
    );
    assert!(
        wire(aws.role_request(None)).starts_with(
            "GET http://169.254.169.254/latest/meta-data/iam/security-credentials\n\n"
        )
    );
    assert!(wire(aws.keys_request("my role", None)).starts_with(
        "GET http://169.254.169.254/latest/meta-data/iam/security-credentials/my%20role\n"
    ));
    for (zone, region) in [("us-east-1d", "us-east-1"), ("eu-west-1", "eu-west-1"), ("", "")] {
        assert_eq!(AwsSource::region_of_zone(zone), region);
    }
    let line = |status, body: &str| AwsSource::read_line(status, body.as_bytes(), "role").is_ok();
    assert!(line(StatusCode::OK, "role\n"));
    assert!(!line(StatusCode::OK, "") && !line(StatusCode::OK, "a\nb"));
    assert!(!line(StatusCode::NOT_FOUND, "role"));
    let keys = br#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"S","Token":"T"}"#;
    let keys = AwsSource::read_keys(StatusCode::OK, keys).unwrap();
    assert_eq!((keys.access_key_id.as_str(), keys.session_token.is_some()), ("A", true));
    assert!(AwsSource::read_keys(StatusCode::OK, b"{}").is_err());
}

fn flavor() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("metadata-flavor", "Google".parse().unwrap());
    headers
}
