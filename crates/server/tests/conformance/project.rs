//! The account's project: configured, discovered, onboarded, refused.

use code_assist_emulator::{Options, PROJECT};
use code_assist_harness::{GoogleEmulator, ProxyBuilder, Response};
use serde_json::{Value, json};

use crate::{ARRAY, GENERATE, HELLO};

#[test]
fn a_new_account_is_onboarded_once() {
    let google = GoogleEmulator::start_with(Options { onboarded: false, ..Options::default() });
    google.set_state(json!({"onboarding_polls": 1}));
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(google.count("onboardUser"), 1);
    assert_eq!(google.count("loadCodeAssist"), 1);
    let record = &google.received("generateContent")[0];
    let sent: Value = serde_json::from_str(record["body"].as_str().unwrap()).unwrap();
    assert_eq!(sent["project"], PROJECT);
}

#[test]
fn a_configured_project_is_used_without_discovery() {
    let google = GoogleEmulator::start();
    let names = [
        "GEMINI_PROJECT_ID",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_CLOUD_PROJECT_ID",
        "CLOUDCODE_GCP_PROJECT_ID",
    ];
    for name in names {
        let proxy = ProxyBuilder::for_emulator(&google).env(name, PROJECT).start();
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    }
    assert_eq!(google.count("loadCodeAssist"), 0);
}

#[test]
fn each_problem_of_an_account_has_its_own_reason() {
    for (account, reason, output) in [
        ("ineligible", "ACCOUNT_INELIGIBLE", "INELIGIBLE_ACCOUNT"),
        ("unsupported_client", "ACCOUNT_INELIGIBLE", "UNSUPPORTED_CLIENT"),
        ("validation_required", "VALIDATION_REQUIRED", "https://accounts.google.com/"),
        ("no_project", "PROJECT_REQUIRED", "GEMINI_PROJECT_ID"),
    ] {
        let google = GoogleEmulator::start();
        google.set_state(json!({"account": account}));
        let proxy = ProxyBuilder::for_emulator(&google).start();
        for path in [GENERATE, ARRAY, GENERATE] {
            let answer = proxy.post(path, HELLO);
            assert_eq!(
                answer.status_and_reason(),
                (403, reason.into()),
                "{account}: {}",
                answer.text()
            );
            assert_eq!(answer.error()["status"], "PERMISSION_DENIED");
            assert!(answer.text().contains(output), "{account}: {}", answer.text());
        }
        assert_eq!(google.count("loadCodeAssist"), 1, "{account}: remembered for a while");
        assert_eq!(google.count("generateContent"), 0, "{account}");
    }
}

#[test]
fn the_error_for_a_required_validation_contains_its_link() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"account": "validation_required"}));
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let link = help_link(&proxy.post(GENERATE, HELLO));
    assert!(link.starts_with("https://accounts.google.com/"), "{link}");
}

#[test]
fn a_project_that_google_refuses_later_is_discovered_again() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    google.set_state(json!({"project": "another-project"}));
    let mut answer = proxy.post(GENERATE, HELLO);
    if answer.status() != 200 {
        assert_eq!(answer.status(), 403, "{}", answer.text());
        answer = proxy.post(GENERATE, HELLO);
    }
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(google.count("loadCodeAssist"), 2);
}

fn help_link(answer: &Response) -> String {
    let error = answer.error();
    let mut details = error["details"].as_array().into_iter().flatten();
    let help = details.find(|it| it["@type"] == "type.googleapis.com/google.rpc.Help");
    let url = help.and_then(|help| help["links"][0]["url"].as_str());
    url.expect("a link in a Help detail").to_owned()
}
