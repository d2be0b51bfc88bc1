//! STS, and the sources of subject tokens: files, OIDC, AWS.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use code_assist_emulator::{
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, Emulator, IdentityPool, SUBJECT_TOKEN, SubjectSource,
    TARGET_ACCOUNT, VERTEX_PROJECT, external_account_json, external_authorized_user_json,
    subject_token_json,
};
use ring::hmac;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::client::{Answer, send, state};
use crate::vertex_client::{form, now, post_as, set, status_of, vertex};

fn file(google: &Emulator, source: SubjectSource<'_>, pool: IdentityPool) -> Value {
    serde_json::from_str(&external_account_json(&google.url(), source, pool, false)).unwrap()
}

fn fields(file: &Value, subject: &str) -> Vec<(String, String)> {
    let mut fields = vec![
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("audience", file["audience"].as_str().unwrap()),
        ("scope", "https://www.googleapis.com/auth/cloud-platform"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token", subject),
        ("subject_token_type", file["subject_token_type"].as_str().unwrap()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect::<Vec<_>>();
    if file["workforce_pool_user_project"].is_string() {
        let options = json!({"userProject": file["workforce_pool_user_project"]});
        fields.push(("options".to_owned(), options.to_string()));
    }
    fields
}

async fn exchange(
    google: &Emulator,
    headers: &[(&str, &str)],
    fields: &[(String, String)],
) -> Answer {
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    form(google, "/v1/token", headers, &fields).await
}

#[tokio::test]
async fn a_subject_token_is_exchanged_for_a_token() {
    let google = vertex().await;
    let file = file(&google, SubjectSource::TextFile("/token"), IdentityPool::Workload);
    assert_eq!(file["token_url"], format!("{}/v1/token", google.url()));
    let answer = exchange(&google, &[], &fields(&file, SUBJECT_TOKEN)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let grant = answer.json();
    assert_eq!(grant["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!((&grant["expires_in"], &grant["token_type"]), (&json!(3599), &json!("Bearer")));
    assert_eq!(status_of(&google, grant["access_token"].as_str().unwrap()).await, 200);
    let json: Value = serde_json::from_str(&subject_token_json()).unwrap();
    assert_eq!(json["id_token"], SUBJECT_TOKEN);
}

#[tokio::test]
async fn each_field_of_the_exchange_is_checked() {
    let google = vertex().await;
    let file = file(&google, SubjectSource::TextUrl, IdentityPool::Workload);
    let good = fields(&file, SUBJECT_TOKEN);
    for at in 0..good.len() {
        let mut missing = good.clone();
        let (name, _) = missing.remove(at);
        let answer = exchange(&google, &[], &missing).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")));
        let said = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(said.contains(&name), "{said}");
        let mut wrong = good.clone();
        wrong[at].1 = "wrong".to_owned();
        assert_eq!(exchange(&google, &[], &wrong).await.status, 400, "{name}");
    }
    for (name, value) in [("options", "{}"), ("client_id", "x"), ("scope", "twice")] {
        let mut more = good.clone();
        more.push((name.to_owned(), value.to_owned()));
        assert_eq!(exchange(&google, &[], &more).await.status, 400, "{name}");
    }
    let mut other = good.clone();
    other[1].1 = "//iam.googleapis.com/other".to_owned();
    assert_eq!(exchange(&google, &[], &other).await.json()["error"], "invalid_target");
    let body = json!({"grant_type": good[0].1}).to_string();
    let headers = [("content-type", "application/json")];
    assert_eq!(send(&google, "POST", "/v1/token", &headers, body.as_bytes()).await.status, 400);
    for error in ["invalid_grant", "invalid_target"] {
        set(&google, "google-auth", json!({"sts_error": error})).await;
        assert_eq!(exchange(&google, &[], &good).await.json()["error"], error);
    }
}

#[tokio::test]
async fn a_rotated_subject_token_has_to_be_read_again() {
    let google = vertex().await;
    let file = file(&google, SubjectSource::TextFile("/token"), IdentityPool::Workload);
    set(&google, "google-auth", json!({"subject_token": "second"})).await;
    let answer = exchange(&google, &[], &fields(&file, SUBJECT_TOKEN)).await;
    assert_eq!(answer.json()["error"], "invalid_grant");
    assert_eq!(exchange(&google, &[], &fields(&file, "second")).await.status, 200);
}

#[tokio::test]
async fn a_workforce_pool_needs_the_project_of_its_user() {
    let google = vertex().await;
    let file = file(&google, SubjectSource::TextUrl, IdentityPool::Workforce);
    assert_eq!(file["workforce_pool_user_project"], VERTEX_PROJECT);
    let good = fields(&file, SUBJECT_TOKEN);
    assert_eq!(exchange(&google, &[], &good).await.status, 200);
    assert_eq!(exchange(&google, &[], &good[..6]).await.status, 400);
    let mut wrong = good.clone();
    wrong[6].1 = json!({"userProject": "other"}).to_string();
    assert_eq!(exchange(&google, &[], &wrong).await.status, 400);
}

#[tokio::test]
async fn a_client_authenticates_in_standard_base64_with_padding() {
    let google = vertex().await;
    let file = file(&google, SubjectSource::TextUrl, IdentityPool::WorkforceClient);
    let client = format!(
        "{}:{}",
        file["client_id"].as_str().unwrap(),
        file["client_secret"].as_str().unwrap()
    );
    let good = STANDARD.encode(&client);
    assert!(good.contains('+') && good.contains('/') && good.ends_with('='), "{good}");
    let fields = fields(&file, SUBJECT_TOKEN);
    for (given, status) in [
        (good.clone(), 200),
        (good.trim_end_matches('=').to_owned(), 401),
        (URL_SAFE_NO_PAD.encode(&client), 401),
        (STANDARD.encode("other:secret"), 401),
    ] {
        let basic = format!("Basic {given}");
        let answer = exchange(&google, &[("authorization", &basic)], &fields).await;
        assert_eq!(answer.status, status, "{given}");
    }
    assert_eq!(exchange(&google, &[], &fields).await.status, 400, "neither client nor options");
}

#[tokio::test]
async fn a_workforce_user_refreshes_with_a_client_and_the_refresh_token_may_rotate() {
    let google = vertex().await;
    let file: Value = serde_json::from_str(&external_authorized_user_json(&google.url())).unwrap();
    let text = |name: &str| file[name].as_str().unwrap().to_owned();
    let target = text("token_url").strip_prefix(&google.url()).unwrap().to_owned();
    let client = STANDARD.encode(format!("{}:{}", text("client_id"), text("client_secret")));
    let basic = format!("Basic {client}");
    let headers = [("authorization", basic.as_str())];
    let refresh = async |token: &str, headers: &[(&str, &str)]| {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        form(&google, &target, headers, &fields).await
    };
    let first = text("refresh_token");
    assert_eq!(refresh(&first, &[]).await.json()["error"], "invalid_client");
    let grant = refresh(&first, &headers).await.json();
    assert_eq!(grant["refresh_token"], first.as_str());
    assert_eq!(status_of(&google, grant["access_token"].as_str().unwrap()).await, 200);
    state(&google, json!({"rotate_refresh": true})).await;
    let second = refresh(&first, &headers).await.json()["refresh_token"].clone();
    assert_eq!(refresh(&first, &headers).await.json()["error"], "invalid_grant");
    assert_eq!(refresh(second.as_str().unwrap(), &headers).await.status, 200);
}

#[tokio::test]
async fn what_a_client_sent_to_the_proxy_is_refused_by_each_credential_service() {
    let google = vertex().await;
    let iam = format!("/v1/projects/-/serviceAccounts/{TARGET_ACCOUNT}:generateAccessToken");
    let targets = [
        ("POST", "/token", 400),
        ("POST", "/v1/token", 400),
        ("POST", "/v1/oauthtoken", 400),
        ("POST", iam.as_str(), 400),
        ("GET", "/computeMetadata/v1/project/project-id", 403),
        ("GET", "/oidc/token", 403),
        ("PUT", "/latest/api/token", 403),
    ];
    for (method, target, status) in targets {
        for name in ["cookie", "x-goog-api-key", "x-goog-user-project", "x-forwarded-for"] {
            let media = ("content-type", "application/x-www-form-urlencoded");
            let headers = [media, (name, "of the client")];
            // The grant type makes the request at `/token` one of Vertex AI.
            let body = b"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=x";
            let answer = send(&google, method, target, &headers, body).await;
            assert_eq!(answer.status, status, "{target} {name}");
            assert!(answer.text().contains(name), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_token_for_iam_is_only_good_for_impersonation() {
    let google = vertex().await;
    let text =
        external_account_json(&google.url(), SubjectSource::TextUrl, IdentityPool::Workload, true);
    let file: Value = serde_json::from_str(&text).unwrap();
    let mut fields = fields(&file, SUBJECT_TOKEN);
    fields[2].1 = "https://www.googleapis.com/auth/iam".to_owned();
    let grant = exchange(&google, &[], &fields).await.json();
    let token = grant["access_token"].as_str().unwrap();
    assert_eq!(status_of(&google, token).await, 403);
    let url = file["service_account_impersonation_url"].as_str().unwrap();
    let target = url.strip_prefix(&google.url()).unwrap();
    let body = json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"]});
    let answer = post_as(&google, token, target, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["accessToken"].as_str().unwrap().to_owned();
    assert_eq!(status_of(&google, &token).await, 200);
}

#[tokio::test]
async fn the_oidc_source_wants_its_headers_and_answers_as_text_or_json() {
    let google = vertex().await;
    for (source, is_json) in [(SubjectSource::TextUrl, false), (SubjectSource::JsonUrl, true)] {
        let file = file(&google, source, IdentityPool::Workload);
        let source = &file["credential_source"];
        let target = source["url"].as_str().unwrap().strip_prefix(&google.url()).unwrap();
        assert_eq!(send(&google, "GET", target, &[], b"").await.status, 401);
        let header = source["headers"]["Authorization"].as_str().unwrap();
        let answer = send(&google, "GET", target, &[("authorization", header)], b"").await;
        if is_json {
            let field = source["format"]["subject_token_field_name"].as_str().unwrap();
            assert_eq!(answer.json()[field], SUBJECT_TOKEN);
        } else {
            assert_eq!(answer.text(), SUBJECT_TOKEN);
        }
    }
}

#[tokio::test]
async fn the_aws_machine_wants_a_session() {
    let google = vertex().await;
    let file = file(&google, SubjectSource::Aws, IdentityPool::Workload);
    let source = &file["credential_source"];
    let at =
        |name: &str| source[name].as_str().unwrap().strip_prefix(&google.url()).unwrap().to_owned();
    let session = at("imdsv2_session_token_url");
    assert_eq!(send(&google, "PUT", &session, &[], b"").await.status, 400);
    let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", "300")];
    let session = send(&google, "PUT", &session, &ttl, b"").await.text();
    let session = [("x-aws-ec2-metadata-token", session.as_str())];
    assert_eq!(send(&google, "GET", &at("region_url"), &[], b"").await.status, 401);
    let zone = send(&google, "GET", &at("region_url"), &session, b"").await.text();
    assert_eq!(zone, format!("{}b", code_assist_emulator::AWS_REGION));
    let role = send(&google, "GET", &at("url"), &session, b"").await.text();
    let target = format!("{}/{role}", at("url"));
    assert_eq!(send(&google, "GET", &target, &[], b"").await.status, 401);
    let keys = send(&google, "GET", &target, &session, b"").await.json();
    let signed = Aws::of_role(&keys).subject_token(&file);
    assert_eq!(exchange(&google, &[], &fields(&file, &signed)).await.status, 200);

    set(&google, "google-auth", json!({"imdsv2_required": false})).await;
    assert_eq!(send(&google, "GET", &at("region_url"), &[], b"").await.status, 200);
}

#[tokio::test]
async fn each_mistake_in_a_signed_aws_request_is_refused() {
    let google = vertex().await;
    let file = file(&google, SubjectSource::Aws, IdentityPool::Workload);
    let status = async |aws: &Aws| {
        let token = aws.subject_token(&file);
        let answer = exchange(&google, &[], &fields(&file, &token)).await;
        (answer.status, answer.text())
    };
    let user = Aws::of_user();
    // google-auth for Python adds the resource after it has signed.
    for right in [user.clone(), Aws { is_resource_signed: false, ..user.clone() }] {
        let (code, text) = status(&right).await;
        assert_eq!(code, 200, "{text}");
    }
    for wrong in [
        Aws { secret: "another".to_owned(), ..user.clone() },
        Aws { id: "AKIAUNKNOWN".to_owned(), ..user.clone() },
        Aws { session: Some("not of this user".to_owned()), ..user.clone() },
        Aws { resource: "//iam.googleapis.com/other".to_owned(), ..user.clone() },
        Aws { method: "GET", ..user.clone() },
        Aws { host: "sts.us-east-1.amazonaws.com".to_owned(), ..user.clone() },
        Aws { date: "20200101T000000Z".to_owned(), ..user.clone() },
        Aws { date: "2020".to_owned(), ..user.clone() },
        Aws { query: "Action=GetCallerIdentity", ..user.clone() },
        Aws { leaves_out: "x-goog-cloud-target-resource", ..user.clone() },
    ] {
        let (code, text) = status(&wrong).await;
        assert_eq!(code, 400, "{wrong:?}");
        assert!(text.contains("invalid_grant"), "{text}");
    }
    let answer = exchange(&google, &[], &fields(&file, "%7Bnot json")).await;
    assert_eq!(answer.json()["error"], "invalid_grant");
}

/// A `GetCallerIdentity` request to be signed.
#[derive(Clone, Debug)]
struct Aws {
    id: String,
    secret: String,
    session: Option<String>,
    /// The value of `x-goog-cloud-target-resource`, unless it is the audience.
    resource: String,
    method: &'static str,
    host: String,
    date: String,
    query: &'static str,
    is_resource_signed: bool,
    /// A header that is signed but not sent.
    leaves_out: &'static str,
}

impl Aws {
    fn of_user() -> Self {
        let date =
            jiff::Timestamp::from_second(now()).unwrap().strftime("%Y%m%dT%H%M%SZ").to_string();
        Self {
            id: AWS_ACCESS_KEY_ID.to_owned(),
            secret: AWS_SECRET_ACCESS_KEY.to_owned(),
            session: None,
            resource: String::new(),
            method: "POST",
            host: "sts.eu-central-1.amazonaws.com".to_owned(),
            date,
            query: "Action=GetCallerIdentity&Version=2011-06-15",
            is_resource_signed: true,
            leaves_out: "",
        }
    }

    fn of_role(keys: &Value) -> Self {
        let text = |name: &str| keys[name].as_str().unwrap().to_owned();
        Self {
            id: text("AccessKeyId"),
            secret: text("SecretAccessKey"),
            session: Some(text("Token")),
            ..Self::of_user()
        }
    }

    fn subject_token(&self, file: &Value) -> String {
        let audience = file["audience"].as_str().unwrap();
        let resource = if self.resource.is_empty() { audience } else { &self.resource };
        let mut headers = vec![("host", self.host.as_str()), ("x-amz-date", &self.date)];
        if let Some(session) = &self.session {
            headers.push(("x-amz-security-token", session));
        }
        if self.is_resource_signed {
            headers.push(("x-goog-cloud-target-resource", resource));
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut canonical = format!("{}\n/\n{}\n", self.method, self.query);
        for (name, value) in &headers {
            writeln!(canonical, "{name}:{value}").unwrap();
        }
        write!(canonical, "\n{names}\n{}", hex(&Sha256::digest(b""))).unwrap();
        let day = self.date.get(..8).unwrap_or("20200101");
        let scope = format!("{day}/eu-central-1/sts/aws4_request");
        let digest = hex(&Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digest}", self.date);
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in [day, "eu-central-1", "sts", "aws4_request", &text] {
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes());
            key = mac.as_ref().to_vec();
        }
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.id,
            hex(&key)
        );
        headers.push(("Authorization", &authorization));
        if !self.is_resource_signed {
            headers.push(("x-goog-cloud-target-resource", resource));
        }
        headers.retain(|(name, _)| *name != self.leaves_out);
        let headers: Vec<Value> =
            headers.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        let request = json!({
            "url": format!("https://sts.eu-central-1.amazonaws.com?{}", self.query),
            "method": self.method,
            "headers": headers,
            "body": "",
        });
        form_urlencoded::byte_serialize(request.to_string().as_bytes())
            .collect::<String>()
            .replace('+', "%20")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
