//! Models.

use code_assist_testkit::client::{get, post};
use code_assist_testkit::google::google;
use code_assist_testkit::script::ScriptedPlatform;

use crate::{HELLO, run, signed_in};

#[test]
fn a_model_without_alias_is_sent_as_it_is() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    for model in ["gemini-3-pro-preview", "gemini-2.5-flash-lite", "gemini-9-unheard-of"] {
        let answer =
            run(&script, &proxy, post(&format!("/v1/models/{model}:generateContent"), HELLO));
        assert_eq!(answer.header("x-proxy-model"), "");
        let sent = script.received(":generateContent");
        assert!(sent.last().unwrap().body.starts_with(&format!(r#"{{"model":"{model}""#)));
    }
}

#[test]
fn the_model_list_has_the_built_in_models_and_the_accounts_own() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    let list = run(&script, &proxy, get("/v1beta/models?pageSize=1000")).text();
    assert!(
        list.contains(r#""name":"models/gemini-2.5-pro""#) && list.contains("models/gemini-9-test")
    );
    let one = run(&script, &proxy, get("/v1/models/gemini-2.5-pro"));
    assert!(one.text().starts_with(r#"{"name":"models/gemini-2.5-pro""#));
    let none = run(&script, &proxy, get("/v1/models/nope"));
    assert_eq!((none.status.as_u16(), none.reason().as_str()), (404, "NOT_FOUND"));
    assert_eq!(script.received(":retrieveUserQuota").len(), 1);
}
