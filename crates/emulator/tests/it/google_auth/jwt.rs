//! A service account's JWT as the Bearer token, and its exchange.

use code_assist_emulator::SERVICE_ACCOUNT;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::vertex_client::{
    body, claims, form, now, path, post_as, set, signed, signed_with, status_of, vertex,
};

const GRANT: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");

/// The claims with some members replaced; `null` removes one.
fn changed(mut claims: Value, change: &Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[tokio::test]
async fn a_self_signed_jwt_is_a_token() {
    let google = vertex().await;
    assert_eq!(status_of(&google, &signed(&claims())).await, 200);
    let audience = json!({"scope": null, "aud": "https://aiplatform.googleapis.com/"});
    assert_eq!(status_of(&google, &signed(&changed(claims(), &audience))).await, 200);
}

#[tokio::test]
async fn each_mistake_in_a_self_signed_jwt_is_refused() {
    let google = vertex().await;
    for change in [
        json!({"iss": "other@x.iam.gserviceaccount.com"}),
        json!({"sub": null}),
        json!({"sub": "other@x.example"}),
        json!({"scope": null}),
        json!({"aud": "https://aiplatform.googleapis.com/"}),
        json!({"scope": "https://www.googleapis.com/auth/iam"}),
        json!({"scope": null, "aud": "https://generativelanguage.googleapis.com/"}),
        json!({"iat": null}),
        json!({"exp": (now() + 3000).to_string()}),
        json!({"iat": now() - 10, "exp": now() + 3600}),
        json!({"iat": now() + 60}),
        json!({"target_audience": "x"}),
    ] {
        let jwt = signed(&changed(claims(), &change));
        assert_eq!(status_of(&google, &jwt).await, 401, "{change}");
    }
    let file: Value =
        serde_json::from_str(&code_assist_emulator::service_account_json("http://x")).unwrap();
    for header in [
        json!({"alg": "none", "typ": "JWT", "kid": file["private_key_id"]}),
        json!({"alg": "RS256", "kid": file["private_key_id"]}),
        json!({"alg": "RS256", "typ": "JWT"}),
        json!({"alg": "RS256", "typ": "JWT", "kid": "another"}),
    ] {
        assert_eq!(status_of(&google, &signed_with(&header, &claims())).await, 401, "{header}");
    }
    let good = signed(&claims());
    let other = signed(&changed(claims(), &json!({"exp": now() + 2000})));
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    for jwt in [format!("{unsigned}.{signature}"), format!("{good}="), format!("{unsigned}.")] {
        assert_eq!(status_of(&google, &jwt).await, 401, "{jwt}");
    }
}

#[tokio::test]
async fn an_expired_jwt_is_an_expired_token() {
    let google = vertex().await;
    let old = signed(&changed(claims(), &json!({"iat": now() - 3600, "exp": now() - 5})));
    let answer = post_as(&google, &old, &path("generateContent"), &body("hi", &json!({}))).await;
    let reason = answer.json()["error"]["details"][0]["reason"].clone();
    assert_eq!((answer.status, reason), (401, json!("ACCESS_TOKEN_EXPIRED")));
}

#[tokio::test]
async fn a_service_that_refuses_self_signed_jwts_takes_the_exchanged_token() {
    let google = vertex().await;
    set(&google, "google-auth", json!({"refuse_self_signed": true})).await;
    let jwt = signed(&claims());
    let answer = post_as(&google, &jwt, &path("generateContent"), &body("hi", &json!({}))).await;
    let reason = answer.json()["error"]["details"][0]["reason"].clone();
    assert_eq!((answer.status, reason), (401, json!("ACCESS_TOKEN_TYPE_UNSUPPORTED")));

    let token_uri = google.token_url();
    let answer = exchange(&google, &json!({"sub": null, "aud": token_uri})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let grant = answer.json();
    assert_eq!((&grant["expires_in"], &grant["token_type"]), (&json!(3599), &json!("Bearer")));
    assert_eq!(status_of(&google, grant["access_token"].as_str().unwrap()).await, 200);
}

async fn exchange(google: &code_assist_emulator::Emulator, change: &Value) -> Answer {
    let jwt = signed(&changed(claims(), change));
    form(google, "/token", &[], &[GRANT, ("assertion", &jwt)]).await
}

#[tokio::test]
async fn each_mistake_in_an_exchange_is_refused() {
    let google = vertex().await;
    let uri = google.token_url();
    for (change, error, why) in [
        (json!({"sub": null}), "invalid_grant", "aud"),
        (json!({"sub": null, "aud": "https://elsewhere.example/token"}), "invalid_grant", "aud"),
        (json!({"aud": uri, "sub": SERVICE_ACCOUNT}), "invalid_grant", "claim"),
        (json!({"sub": null, "aud": uri, "iss": "x@y.example"}), "invalid_grant", "iss"),
        (json!({"sub": null, "aud": uri, "scope": "email"}), "invalid_scope", "scope"),
        (
            json!({"sub": null, "aud": uri, "exp": now() + 9000}),
            "invalid_grant",
            "Token must be a short-lived token",
        ),
        (
            json!({"sub": null, "aud": uri, "iat": now() - 4000, "exp": now() - 500}),
            "invalid_grant",
            "reasonable timeframe",
        ),
    ] {
        let answer = exchange(&google, &change).await;
        let said = answer.json();
        assert_eq!((answer.status, &said["error"]), (400, &json!(error)), "{change}");
        assert!(said["error_description"].as_str().unwrap().contains(why), "{said}");
    }
    let google_uri = json!({"sub": null, "aud": "https://oauth2.googleapis.com/token"});
    assert_eq!(exchange(&google, &google_uri).await.status, 200);

    let jwt = signed(&changed(claims(), &google_uri));
    let extra = [GRANT, ("assertion", jwt.as_str()), ("scope", "x")];
    assert_eq!(form(&google, "/token", &[], &extra).await.status, 400);
    let twice = [GRANT, ("assertion", jwt.as_str()), GRANT];
    assert_eq!(form(&google, "/token", &[], &twice).await.status, 400);
    let bearer = [("authorization", "Bearer x")];
    let fields = [GRANT, ("assertion", jwt.as_str())];
    assert_eq!(form(&google, "/token", &bearer, &fields).await.status, 400);
    set(&google, "google-auth", json!({"token_error": "invalid_grant"})).await;
    assert_eq!(exchange(&google, &google_uri).await.json()["error"], "invalid_grant");
}
