//! Which failures end the tries until the credentials change, and what their texts say.

use super::*;

/// The error of a kind of credential for an answer.
fn error(kind: &str, status: u16, body: &str) -> RefreshError {
    let status = StatusCode::from_u16(status).unwrap();
    let body = body.as_bytes();
    let read = match kind {
        "login" => AuthorizedUser::read_refresh(status, body, NOW),
        "workforce" => ExternalUser::read_refresh(status, body, NOW),
        "account" => match credential(&service_account()).source {
            TokenSource::ServiceAccount(account) => account.read_exchange(status, body, NOW),
            other => panic!("{other:?}"),
        },
        "sts" => match credential(&federation(json!({"file": "/t"}))).source {
            TokenSource::ExternalAccount(account) => account.read_exchange(status, body, NOW),
            other => panic!("{other:?}"),
        },
        "iam" => {
            let credential = credential(&impersonated(authorized_user()));
            credential.impersonations[0].read(status, body, NOW)
        }
        "metadata" => {
            let mut headers = HeaderMap::new();
            headers.insert("metadata-flavor", "Google".parse().unwrap());
            MetadataServer::new(None).read_token(status, &headers, body, NOW)
        }
        other => panic!("{other}"),
    };
    read.unwrap_err()
}

#[test]
fn a_final_refusal_says_what_to_do() {
    for (kind, status, body, says) in [
        (
            "login",
            400,
            r#"{"error":"invalid_grant","error_description":"Bad Request"}"#,
            "sign in again with `gcloud auth application-default login`",
        ),
        (
            "login",
            400,
            r#"{"error":"invalid_grant","error_subtype":"invalid_rapt"}"#,
            "the organisation wants a new sign-in",
        ),
        ("login", 401, r#"{"error":"invalid_client"}"#, "cannot be used"),
        ("workforce", 400, r#"{"error":"invalid_grant"}"#, "--login-config=FILE"),
        (
            "account",
            400,
            r#"{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."}"#,
            "set this machine's clock",
        ),
        (
            "account",
            400,
            r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#,
            "make a new key of robot@own-project",
        ),
        (
            "account",
            400,
            r#"{"error":"invalid_grant","error_description":"Invalid grant: account not found"}"#,
            "there is no service account robot@own-project",
        ),
        (
            "account",
            401,
            r#"{"error":"unauthorized_client","error_description":"x"}"#,
            "is enabled",
        ),
        (
            "sts",
            400,
            r#"{"error":"invalid_target","error_description":"The target service indicated by the \"audience\" parameters is invalid."}"#,
            "does not exist or is disabled: //iam.googleapis.com/projects/1",
        ),
        ("sts", 400, r#"{"error":"invalid_grant","error_description":"x"}"#, "attribute condition"),
        (
            "sts",
            401,
            r#"{"error":"unauthorized_client","error_description":"The given credential is rejected by the attribute condition."}"#,
            "does not admit",
        ),
        (
            "iam",
            403,
            r#"{"error":{"code":403,"message":"Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"IAM_PERMISSION_DENIED"}]}}"#,
            "Service Account Token Creator",
        ),
        (
            "iam",
            403,
            r#"{"error":{"code":403,"message":"off","status":"PERMISSION_DENIED","details":[{"reason":"SERVICE_DISABLED"}]}}"#,
            "enable the API iamcredentials.googleapis.com",
        ),
        (
            "iam",
            404,
            r#"{"error":{"code":404,"message":"x","status":"NOT_FOUND"}}"#,
            "no service account robot@p.iam.gserviceaccount.com",
        ),
        (
            "iam",
            400,
            r#"{"error":{"code":400,"message":"x","status":"INVALID_ARGUMENT"}}"#,
            "token_lifetime_seconds",
        ),
        (
            "iam",
            401,
            r#"{"error":{"code":401,"message":"x","status":"UNAUTHENTICATED"}}"#,
            "is not accepted",
        ),
        ("metadata", 404, "<html>", "attach one to this machine"),
    ] {
        let error = error(kind, status, body);
        let RefreshError::Rejected(text) = &error else { panic!("{kind} {body}: {error:?}") };
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    for (kind, status, body) in [
        ("login", 500, r#"{"error":"internal_failure"}"#),
        ("login", 400, r#"{"error":"temporarily_unavailable"}"#),
        ("login", 429, r#"{"error":"invalid_grant"}"#),
        ("login", 408, r#"{"error":"invalid_grant"}"#),
        ("login", 403, "<html>a proxy's own page</html>"),
        ("login", 200, "{}"),
        ("login", 200, r#"{"access_token":""}"#),
        ("account", 503, ""),
        ("sts", 400, r#"{"error":"server_error"}"#),
        ("sts", 503, r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#),
        ("iam", 429, r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}"#),
        ("iam", 500, r#"{"error":{"code":500,"status":"INTERNAL"}}"#),
        ("iam", 200, r#"{"accessToken":"ya29.x"}"#),
        ("iam", 200, r#"{"expireTime":"2025-06-15T16:06:40Z"}"#),
        ("metadata", 500, ""),
        ("metadata", 503, "starting"),
        ("metadata", 403, "identity not yet known"),
        ("metadata", 200, "{}"),
    ] {
        let error = error(kind, status, body);
        assert!(matches!(error, RefreshError::Transient(_)), "{kind} {status} {body}: {error:?}");
    }
}

#[test]
fn only_a_refusal_of_the_kind_of_token_asks_for_the_exchange() {
    let body = br#"{"error":{"code":401,"status":"UNAUTHENTICATED","details":[{"reason":"ACCESS_TOKEN_TYPE_UNSUPPORTED"}]}}"#;
    assert!(Impersonation::wants_exchange(StatusCode::UNAUTHORIZED, body));
    assert!(!Impersonation::wants_exchange(StatusCode::FORBIDDEN, body));
    assert!(!Impersonation::wants_exchange(StatusCode::UNAUTHORIZED, b"{}"));
}

#[test]
fn no_answer_makes_the_reader_panic() {
    for kind in ["login", "workforce", "account", "sts", "iam", "metadata"] {
        for body in [
            "",
            "null",
            "[]",
            "1",
            r#""x""#,
            r#"{"error":1}"#,
            r#"{"error":{"details":[1]}}"#,
            "\u{0}",
        ] {
            for status in [200, 302, 400, 500] {
                let _ = error(kind, status, body);
            }
        }
    }
}
