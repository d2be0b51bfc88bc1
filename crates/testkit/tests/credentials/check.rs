//! `--check`.

use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};

#[test]
fn a_check_refreshes_once_and_goes_on_with_the_new_token() {
    for seconds in [-3000, 3000] {
        let script = ScriptedPlatform::new(google());
        script.write_login(login("tok", "A", seconds));
        let proxy = proxy_with(&script, &[]);
        let steps = script.run(&proxy, proxy.check(&script));
        let results: Vec<_> = steps.iter().map(|step| (step.name, step.result.word())).collect();
        let names = ["credentials", "token", "project", "quota"];
        assert_eq!(results, names.map(|name| (name, "ok")));
        assert_eq!(script.received("/token").len(), 1);
        let asked = script.received(":retrieveUserQuota");
        assert_eq!(asked[0].headers["authorization"], "Bearer ya29.new-1");
    }
}

#[test]
fn a_check_says_why_the_refresh_failed() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is("/token").then(|| Reply::status(400, r#"{"error":"invalid_grant"}"#))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    let steps = script.run(&proxy, proxy.check(&script));
    let last = steps.last().unwrap();
    assert_eq!((last.name, last.result.word()), ("token", "fail"));
    assert!(last.detail.contains("invalid_grant"), "{}", last.detail);
}
