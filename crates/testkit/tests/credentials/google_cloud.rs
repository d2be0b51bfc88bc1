//! Google Cloud's credentials over time, for an upstream at Vertex AI.

use std::time::Duration;

use code_assist_core::settings::{
    AccountSettings, CredentialsJson, GoogleCredentials, UpstreamSettings, VertexAuth,
    VertexSettings,
};
use code_assist_core::{Monotonic, Platform as _, Proxy};
use code_assist_testkit::client::{all, ask, post};
use code_assist_testkit::rsa;
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject::settings;
use serde_json::{Value, json};

use crate::{GENERATE, HELLO, run};

/// A proxy whose only upstream is Vertex AI with this credential.
fn proxy(script: &ScriptedPlatform, place: GoogleCredentials) -> Proxy {
    proxy_with(script, place, &[])
}

fn proxy_with(script: &ScriptedPlatform, place: GoogleCredentials, more: &[(&str, &str)]) -> Proxy {
    let mut settings = settings(more);
    let account = VertexSettings {
        auth: VertexAuth::Google(place),
        project: Some("my-project".to_owned()),
        location: "global".to_owned(),
        api_version: "v1beta1".to_owned(),
        quota_project: None,
    };
    settings.upstreams = vec![UpstreamSettings {
        name: "vertex".into(),
        account: AccountSettings::Vertex(account),
        endpoints: vec!["http://127.0.0.1:3".to_owned()],
        models: Vec::new(),
        model_map: Vec::new(),
    }];
    Proxy::new(settings, script)
}

fn in_file(script: &ScriptedPlatform, file: &Value) -> GoogleCredentials {
    script.write_file(FILE, file.to_string());
    GoogleCredentials::File(FILE.to_owned())
}

/// Google: each token endpoint numbers its tokens.
fn google() -> impl FnMut(&Received) -> Reply + Send + 'static {
    google_but(|_| None)
}

fn google_but(
    mut special: impl FnMut(&Received) -> Option<Reply> + Send + 'static,
) -> impl FnMut(&Received) -> Reply + Send + 'static {
    let mut issued = 0;
    move |request| {
        if let Some(reply) = special(request) {
            return reply;
        }
        let is = |end: &str| request.line.ends_with(end);
        if is(":generateContent") {
            return Reply::ok(
                r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}]}"#,
            );
        }
        issued += 1;
        if is(":generateAccessToken") {
            let expiry = "2025-06-15T16:06:40Z";
            return Reply::ok(format!(
                r#"{{"accessToken":"ya29.{issued}","expireTime":"{expiry}"}}"#
            ));
        }
        let token = format!(r#"{{"access_token":"ya29.{issued}","expires_in":3599}}"#);
        if request.line.contains("/computeMetadata/v1/") {
            return Reply::ok(token).with_header("metadata-flavor", "Google");
        }
        if is("/token") {
            return Reply::ok(token);
        }
        Reply::status(404, "{}")
    }
}

fn service_account() -> Value {
    json!({
        "type": "service_account", "project_id": "p", "private_key_id": "k",
        "private_key": rsa::pem(), "client_email": "robot@p.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    })
}

fn authorized_user() -> Value {
    json!({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"})
}

fn federation() -> Value {
    json!({
        "type": "external_account", "audience": "//iam.googleapis.com/projects/1/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "http://127.0.0.1:2/sts/token", "credential_source": {"file": SUBJECT},
    })
}

#[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
fn impersonated(source: Value) -> Value {
    json!({
        "type": "impersonated_service_account",
        "service_account_impersonation_url":
            "http://127.0.0.1:2/v1/projects/-/serviceAccounts/robot@p:generateAccessToken",
        "source_credentials": source,
    })
}

const FILE: &str = "/etc/credentials.json";
const SUBJECT: &str = "/var/run/subject";
const GCLOUDS: &str = "/home/test/.config/gcloud/application_default_credentials.json";

/// What upstream got as `Authorization`.
fn bearers(script: &ScriptedPlatform) -> Vec<String> {
    let calls = script.received(":generateContent");
    let text = |it: &Received| it.headers["authorization"].to_str().map(str::to_owned);
    calls.iter().map(|it| text(it).expect("a token is ASCII")).collect()
}

fn token_requests(script: &ScriptedPlatform) -> usize {
    let all = script.all_received();
    all.iter().filter(|it| !it.is(":generateContent")).count()
}

fn status(script: &ScriptedPlatform, proxy: &Proxy) -> u16 {
    run(script, proxy, post(GENERATE, HELLO)).status.as_u16()
}

#[test]
fn a_hundred_cold_callers_cause_one_token_request_with_each_kind_of_credential() {
    for (file, requests, signatures) in [
        (authorized_user(), 1, 0),
        (service_account(), 0, 1),
        (federation(), 1, 0),
        (impersonated(authorized_user()), 2, 0),
        (impersonated(service_account()), 1, 1),
        (impersonated(federation()), 2, 0),
        (Value::Null, 1, 0),
    ] {
        let script = ScriptedPlatform::new(google());
        script.set_permits(100);
        script.write_file(SUBJECT, "ey.subject");
        let place = match file {
            Value::Null => GoogleCredentials::Search,
            _ => in_file(&script, &file),
        };
        let proxy = proxy(&script, place);
        let callers = (0..100).map(|n| {
            let body = HELLO.replace("Hello", &format!("Hello {n}"));
            let (proxy, script) = (&proxy, &script);
            async move { ask(proxy, script, post(GENERATE, &body)).await.status.as_u16() }
        });
        let statuses = script.run(&proxy, all(callers.collect()));
        assert_eq!(statuses, [200; 100], "{file}");
        assert_eq!(
            (token_requests(&script), script.signatures()),
            (requests, signatures),
            "{file}"
        );
        let bearers = bearers(&script);
        assert_eq!(bearers.len(), 100);
        assert!(bearers.iter().all(|it| *it == bearers[0]), "{file}: {bearers:?}");
    }
}

#[test]
fn a_token_is_renewed_ahead_of_its_expiry_while_no_request_waits() {
    for (file, last) in [(authorized_user(), "Bearer ya29.2"), (service_account(), "Bearer ey")] {
        let script = ScriptedPlatform::new(google());
        let proxy = proxy(&script, in_file(&script, &file));
        assert_eq!(status(&script, &proxy), 200);
        // The buffer is five minutes by default.
        script.advance(Duration::from_secs(3599 - 290));
        let before = script.now();
        let callers = (0..20).map(|n| {
            let body = HELLO.replace("Hello", &format!("Hello {n}"));
            let (proxy, script) = (&proxy, &script);
            async move { ask(proxy, script, post(GENERATE, &body)).await.status.as_u16() }
        });
        assert_eq!(script.run(&proxy, all(callers.collect())), [200; 20], "{file}");
        assert_eq!(script.now(), before, "no request waits");
        assert_eq!(status(&script, &proxy), 200);
        let bearers = bearers(&script);
        assert_eq!(bearers[0], bearers[20], "the old token is used meanwhile");
        assert_ne!(bearers[0], bearers[21]);
        assert!(bearers[21].starts_with(last), "{bearers:?}");
        assert_eq!(token_requests(&script) + script.signatures(), 2, "{file}");
    }
}

#[test]
fn a_service_account_asks_no_server_and_stores_nothing() {
    let script = ScriptedPlatform::new(google());
    let json =
        CredentialsJson { name: "VERTEX_CREDENTIALS", text: service_account().to_string().into() };
    let first = proxy(&script, GoogleCredentials::Json(json.clone()));
    let other = script.another_process();
    let second = proxy(&other, GoogleCredentials::Json(json));
    let fleet = [(&script, &first), (&other, &second)];
    let asked = async {
        let first = ask(&first, &script, post(GENERATE, HELLO)).await;
        let second = ask(&second, &other, post(GENERATE, &HELLO.replace("Hello", "Hi"))).await;
        [first.status.as_u16(), second.status.as_u16()]
    };
    assert_eq!(script.run_fleet(&fleet, asked), [200, 200]);
    assert_eq!((token_requests(&script), script.signatures()), (0, 2));
    assert_eq!(script.stored_with_prefix("oauth"), []);
    assert!(script.locks_taken().iter().all(|key| !key.contains("oauth")));
}

#[test]
fn the_processes_of_a_fleet_share_the_token_of_a_login() {
    let script = ScriptedPlatform::new(google());
    let other = script.another_process();
    let place = in_file(&script, &authorized_user());
    let first = proxy(&script, place.clone());
    let second = proxy(&other, place);
    let fleet = [(&script, &first), (&other, &second)];
    let asked = async {
        let one = ask(&first, &script, post(GENERATE, HELLO));
        one.await;
        ask(&second, &other, post(GENERATE, &HELLO.replace("Hello", "Hi"))).await
    };
    assert_eq!(script.run_fleet(&fleet, asked).status, 200);
    assert_eq!(token_requests(&script), 1);
    assert_eq!(bearers(&script), ["Bearer ya29.1"; 2]);
}

#[test]
fn a_rejected_login_is_not_tried_again_until_its_file_changes() {
    let script = ScriptedPlatform::new(google_but(|request| {
        (request.is("/token")
            && request.body.contains("refresh_token=r")
            && !request.body.contains("refresh_token=renewed"))
        .then(|| Reply::status(400, r#"{"error":"invalid_grant"}"#))
    }));
    let proxy = proxy(&script, in_file(&script, &authorized_user()));
    for _ in 0..3 {
        let refused = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!((refused.status.as_u16(), &*refused.reason()), (503, "CREDENTIALS_REJECTED"));
        let text = refused.text();
        assert!(text.contains("gcloud auth application-default login"), "{text}");
        assert!(text.contains(FILE), "{text}");
        script.advance(Duration::from_secs(600));
        script.run(&proxy, proxy.tick(&script));
    }
    assert_eq!(token_requests(&script), 1);
    let mut renewed = authorized_user();
    renewed["refresh_token"] = json!("renewed");
    script.write_file(FILE, renewed.to_string());
    script.run(&proxy, proxy.tick(&script));
    assert_eq!(status(&script, &proxy), 200);
    assert_eq!(token_requests(&script), 2);
}

#[test]
fn a_key_that_cannot_sign_says_so() {
    let script = ScriptedPlatform::new(google());
    let mut file = service_account();
    let what = "PRIVATE KEY";
    file["private_key"] =
        json!(format!("-----BEGIN {what}-----\nYnJva2Vu\n-----END {what}-----\n"));
    let proxy = proxy(&script, in_file(&script, &file));
    let refused = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(&*refused.reason(), "CREDENTIALS_REJECTED");
    assert!(refused.text().contains("the private_key of robot@p"), "{}", refused.text());
}

#[test]
fn a_token_that_upstream_does_not_take_is_exchanged_and_so_is_each_one_after() {
    let script = ScriptedPlatform::new(google_but(|request| {
        let bearer = request.headers.get("authorization")?.to_str().ok()?;
        (request.is(":generateContent") && !bearer.starts_with("Bearer ya29.")).then(|| {
            Reply::status(401, r#"{"error":{"code":401,"message":"no","status":"UNAUTHENTICATED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_TYPE_UNSUPPORTED"}]}}"#)
        })
    }));
    let proxy = proxy(&script, in_file(&script, &service_account()));
    assert_eq!(status(&script, &proxy), 200);
    script.advance(Duration::from_secs(4000));
    assert_eq!(status(&script, &proxy), 200);
    let exchanges = script.received("/token");
    assert_eq!(exchanges.len(), 2);
    assert!(
        exchanges[0]
            .body
            .starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer")
    );
    // `OAUTH_TOKEN_URL` stands in for the file's `token_uri`.
    assert!(exchanges[0].line.contains("http://127.0.0.1:2/token"), "{}", exchanges[0].line);
    assert_eq!(bearers(&script).len(), 3, "one call got a 401");
}

#[test]
fn an_impersonation_that_does_not_take_the_sources_token_gets_an_exchanged_one() {
    let script = ScriptedPlatform::new(google_but(|request| {
        let bearer = request.headers.get("authorization")?.to_str().ok()?;
        (request.is(":generateAccessToken") && !bearer.starts_with("Bearer ya29.")).then(|| {
            Reply::status(401, r#"{"error":{"code":401,"status":"UNAUTHENTICATED","details":[{"reason":"ACCESS_TOKEN_TYPE_UNSUPPORTED"}]}}"#)
        })
    }));
    let proxy = proxy(&script, in_file(&script, &impersonated(service_account())));
    assert_eq!(status(&script, &proxy), 200);
    assert_eq!(script.received(":generateAccessToken").len(), 2);
    assert_eq!(script.received("/token").len(), 1);
}

#[test]
fn a_metadata_server_is_not_asked_while_it_would_give_the_same_token() {
    // The server keeps a token until five minutes before its expiry.
    let script = ScriptedPlatform::new(google_but(|request| {
        let at = request.at.since(Monotonic(0)).as_secs();
        request.line.contains("/computeMetadata/").then(|| {
            let (name, left) = if at < 3300 { ("old", 3600 - at) } else { ("new", 3600) };
            Reply::ok(format!(r#"{{"access_token":"ya29.{name}","expires_in":{left}}}"#))
                .with_header("metadata-flavor", "Google")
        })
    }));
    script.write_file("/no/matter", "");
    let proxy =
        proxy_with(&script, GoogleCredentials::Search, &[("TOKEN_REFRESH_BUFFER_MINUTES", "20")]);
    for _ in 0..60 {
        assert_eq!(status(&script, &proxy), 200);
        script.advance(Duration::from_secs(60));
        script.run(&proxy, proxy.tick(&script));
    }
    assert_eq!(token_requests(&script), 2);
    let bearers = bearers(&script);
    assert_eq!((&*bearers[50], &*bearers[59]), ("Bearer ya29.old", "Bearer ya29.new"));
}

#[test]
fn the_search_finds_gclouds_file_also_when_it_appears_later() {
    let script = ScriptedPlatform::new(google());
    script.write_file("/no/matter", "");
    let proxy = proxy_with(&script, GoogleCredentials::Search, &[("NO_GCE_CHECK", "true")]);
    let refused = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(&*refused.reason(), "CREDENTIALS_MISSING");
    assert!(refused.text().contains(GCLOUDS), "{}", refused.text());
    assert!(refused.text().contains("VERTEX_CREDENTIALS"), "{}", refused.text());
    script.write_file(GCLOUDS, authorized_user().to_string());
    script.run(&proxy, proxy.tick(&script));
    assert_eq!(status(&script, &proxy), 200);
    assert_eq!(script.received("/token").len(), 1);
}

#[test]
fn gclouds_own_variable_and_the_metadata_servers_are_honoured() {
    let script = ScriptedPlatform::new(google());
    script.write_file("/cfg/application_default_credentials.json", authorized_user().to_string());
    let found = proxy_with(&script, GoogleCredentials::Search, &[("CLOUDSDK_CONFIG", "/cfg")]);
    assert_eq!(status(&script, &found), 200);
    assert_eq!(script.received("/token").len(), 1);

    let script = ScriptedPlatform::new(google());
    script.write_file("/no/matter", "");
    let host = [("GCE_METADATA_HOST", "127.0.0.1:9")];
    let found = proxy_with(&script, GoogleCredentials::Search, &host);
    assert_eq!(status(&script, &found), 200);
    let asked = script.all_received();
    assert!(asked[0].line.starts_with("GET http://127.0.0.1:9/computeMetadata/v1/"), "{asked:?}");
}

#[test]
fn a_subject_token_is_read_anew_for_each_exchange() {
    let script = ScriptedPlatform::new(google());
    let place = in_file(&script, &federation());
    script.write_file(SUBJECT, "ey.one");
    let proxy = proxy(&script, place);
    assert_eq!(status(&script, &proxy), 200);
    script.write_file(SUBJECT, "ey.two");
    script.advance(Duration::from_secs(4000));
    assert_eq!(status(&script, &proxy), 200);
    let exchanges = script.received("/token");
    let subject =
        |n: usize| exchanges[n].body.contains(&format!("subject_token=ey.{}&", ["one", "two"][n]));
    assert!(subject(0) && subject(1), "{exchanges:?}");
}

#[test]
fn a_workload_at_aws_takes_region_and_keys_from_the_environment_or_the_machine() {
    let mut file = federation();
    file["credential_source"] = json!({
        "environment_id": "aws1", "region_url": "http://169.254.169.254/zone",
        "url": "http://169.254.169.254/keys",
        "regional_cred_verification_url":
            "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
        "imdsv2_session_token_url": "http://169.254.169.254/session",
    });
    let machine = |request: &Received| {
        let path = request.line.strip_prefix("GET http://169.254.169.254/");
        let session = request.headers.get("x-aws-ec2-metadata-token");
        match (path, session.map(|it| it.to_str().unwrap())) {
            (None, _) if request.is("/session") => Some(Reply::ok("sess")),
            (Some("zone"), Some("sess")) => Some(Reply::ok("eu-west-1b")),
            (Some("keys"), Some("sess")) => Some(Reply::ok("role")),
            (Some("keys/role"), Some("sess")) => {
                Some(Reply::ok(r#"{"AccessKeyId":"A","SecretAccessKey":"S","Token":"T"}"#))
            }
            _ => None,
        }
    };
    let script = ScriptedPlatform::new(google_but(machine));
    let on_machine = proxy(&script, in_file(&script, &file));
    assert_eq!(status(&script, &on_machine), 200);
    assert_eq!(token_requests(&script), 5);
    let body = &script.received("/sts/token")[0].body;
    assert!(body.contains("sts.eu-west-1.amazonaws.com"), "{body}");

    let script = ScriptedPlatform::new(google_but(machine));
    script.set_variable("AWS_REGION", "us-east-2");
    script.set_variable("AWS_ACCESS_KEY_ID", "A");
    script.set_variable("AWS_SECRET_ACCESS_KEY", "S");
    let by_variables = proxy(&script, in_file(&script, &file));
    assert_eq!(status(&script, &by_variables), 200);
    assert_eq!(token_requests(&script), 1);
}

#[test]
fn a_server_that_fails_for_a_moment_is_asked_again_and_costs_no_answer() {
    for (file, end) in [
        (authorized_user(), "/token"),
        (federation(), "/token"),
        (impersonated(authorized_user()), ":generateAccessToken"),
    ] {
        let mut failures = 2;
        let script = ScriptedPlatform::new(google_but(move |request| {
            let fails = request.is(end) && failures > 0;
            failures -= usize::from(fails);
            fails.then(|| Reply::status(503, ""))
        }));
        let place = in_file(&script, &file);
        script.write_file(SUBJECT, "ey.subject");
        let proxy = proxy(&script, place);
        assert_eq!(status(&script, &proxy), 200, "{file}");
    }
}
