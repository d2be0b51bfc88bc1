//! Which upstream serves what is no call of a model.

use code_assist_core::settings::{AccountSettings, CodeAssistSettings, ModelPattern};
use code_assist_testkit::client::{get, post, with};
use code_assist_testkit::script::Reply;

use crate::fixture::{Fixture, host_of, upstream};

/// Two accounts of Code Assist, the second at a host of its own.
fn two_accounts() -> Fixture {
    Fixture::with(&["code-assist"], |settings| {
        let mut other = upstream("second");
        other.account = AccountSettings::CodeAssist(CodeAssistSettings {
            access_token: Some("ya29.second".to_owned().into()),
            project_id: Some("other".to_owned()),
            ..CodeAssistSettings::default()
        });
        settings.upstreams.push(other);
    })
}

#[test]
fn a_client_gets_the_models_and_the_protocol_of_the_account_that_it_names() {
    let fixture = two_accounts();
    fixture.script("second", |_| Some(Reply::ok("{}")));
    for request in [get("/v1beta/models"), post("/v1internal:loadCodeAssist", "{}")] {
        let line = request.uri().to_string();
        let answer = fixture.ask(with(request, "x-proxy-upstream", "second"));
        assert_eq!(answer.header("x-proxy-upstream"), "second", "{line}: {}", answer.text());
        let received = fixture.script.all_received();
        let asked = received.last().expect("a call");
        assert_eq!(host_of(asked), "second", "{line}");
    }
}

#[test]
fn an_upstream_with_a_list_of_models_also_serves_what_concerns_no_model() {
    let fixture = Fixture::with(&["gemini-api"], |settings| {
        settings.upstreams[0].models = vec![ModelPattern::new("gemini-*").expect("a pattern")];
    });
    for path in ["/v1beta/models", "/v1beta/files"] {
        let answer = fixture.ask(get(path));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}
