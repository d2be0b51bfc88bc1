//! Who reads metrics and detailed health, and keys that expire.

use std::time::Duration;

use code_assist_testkit::client::{get, post};
use serde_json::json;

use crate::{Fixture, HELLO, status_and_reason, table};

#[test]
fn metrics_and_details_are_for_admins_and_for_keys_without_a_table() {
    let tables = vec![table("ada", json!({"admin": true})), table("bob", json!({}))];
    let fixture = Fixture::new("code-assist", &tables);
    for path in ["/metrics", "/health/detailed", "/metrics?format=json"] {
        for id in ["ada", "plain"] {
            let answer = fixture.ask(id, get(path));
            assert_eq!(answer.status.as_u16(), 200, "{path} {id}");
        }
        let answer = fixture.ask("bob", get(path));
        assert_eq!(status_and_reason(&answer), (403, "ADMIN_ONLY".to_owned()), "{path}");
        assert_eq!(fixture.ask("stranger", get(path)).status.as_u16(), 401);
    }
    assert_eq!(fixture.ask("bob", get("/health")).status.as_u16(), 200);
}

#[test]
fn a_key_that_has_expired_is_no_wrong_guess() {
    // The scripted clock begins at 2025-06-15T15:06:40Z.
    let tables = vec![
        table("ada", json!({"expires": "2025-06-15T15:06:50Z"})),
        table("bob", json!({"expires": "2025-06-15T17:07:00+02:00"})),
    ];
    let fixture = Fixture::new("code-assist", &tables);
    let ask =
        |id: &str| fixture.ask(id, post("/v1beta/models/gemini-2.5-pro:generateContent", HELLO));
    assert_eq!((ask("ada").status.as_u16(), ask("bob").status.as_u16()), (200, 200));
    fixture.script.advance(Duration::from_secs(10));
    for _ in 0..50 {
        let answer = ask("ada");
        assert_eq!(status_and_reason(&answer), (401, "API_KEY_EXPIRED".to_owned()));
    }
    assert_eq!(ask("bob").status.as_u16(), 200, "no address is shut out for an expired key");
    fixture.script.advance(Duration::from_secs(10));
    assert_eq!(ask("bob").reason(), "API_KEY_EXPIRED");
}
