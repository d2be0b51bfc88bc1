//! A conversation goes on with the provider whose signature came last.

use code_assist_core::settings::Failover;
use code_assist_testkit::client::post;
use code_assist_testkit::script::{Received, Reply};

use crate::fixture::{Fixture, at, google_error, quota, stream};

fn continued(signature: &str) -> http::Request<code_assist_core::Payload> {
    let body = format!(
        r#"{{"contents":[{{"role":"user","parts":[{{"text":"hi"}}]}},{{"role":"model","parts":[{{"text":"x","thoughtSignature":"{signature}"}}]}},{{"role":"user","parts":[{{"text":"go on"}}]}}]}}"#
    );
    post("/v1beta/models/gemini-2.5-flash:generateContent", &body)
}

/// Answers every call with a signature, in the form of a stream or of a whole answer.
fn signing(signature: &'static str) -> impl FnMut(&Received) -> Option<Reply> {
    move |request| {
        let text = format!(
            r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"x","thoughtSignature":"{signature}"}}]}},"finishReason":"STOP"}}]}}"#
        );
        let wrapped = format!(r#"{{"response":{text}}}"#);
        let is_wrapped = request.line.contains("v1internal");
        let text = if is_wrapped { wrapped } else { text };
        Some(if request.line.contains(":streamGenerateContent") {
            Reply::ok(format!("data: {text}\r\n\r\n"))
                .with_header("content-type", "text/event-stream")
        } else {
            Reply::ok(text)
        })
    }
}

#[test]
fn a_signature_that_an_upstream_has_given_leads_back_to_its_provider() {
    for failover in [Failover::OFF, crate::fixture::on()] {
        let fixture =
            Fixture::with(&["code-assist", "vertex"], |settings| settings.failover = failover);
        fixture.script("vertex", signing("+/8=c2ln"));
        // The client chooses once.
        fixture.ask(at(continued("bm90aGluZw=="), "vertex"));
        let answer = fixture.ask(continued("+/8=c2ln"));
        assert_eq!(answer.header("x-proxy-upstream"), "vertex");
        assert_eq!(answer.header("x-proxy-failover"), "");
        // A signature that is not known changes nothing.
        let answer = fixture.ask(continued("b3RoZXI="));
        assert_eq!(answer.header("x-proxy-upstream"), "code-assist");
    }
}

#[test]
fn signatures_in_streams_count_in_either_alphabet() {
    for (first, second) in [("gemini-api", "code-assist"), ("vertex", "gemini-api")] {
        let fixture = Fixture::new(&[first, second]);
        fixture.script(second, signing("-_-_c2ln"));
        fixture.ask(at(stream(), second));
        let answer = fixture.ask(continued("+/+/c2ln"));
        assert_eq!(answer.header("x-proxy-upstream"), second);
    }
}

#[test]
fn a_conversation_that_has_moved_stays_moved_and_does_not_hop_back_with_foreign_signatures() {
    let fixture = Fixture::new(&["code-assist", "vertex"]);
    fixture.answers("code-assist", google_error(503, "UNAVAILABLE", "Busy.", ""));
    fixture.script("vertex", signing("bW92ZWQh"));
    assert_eq!(fixture.generate().header("x-proxy-upstream"), "vertex");
    fixture.recovers("code-assist");
    let answer = fixture.ask(continued("bW92ZWQh"));
    assert_eq!(answer.header("x-proxy-upstream"), "vertex");
    assert_eq!(answer.header("x-proxy-failover"), "");
    fixture.answers("vertex", quota());
    let answer = fixture.ask(continued("bW92ZWQh"));
    assert_eq!((answer.status.as_u16(), answer.header("x-proxy-upstream")), (429, "vertex"));
}
