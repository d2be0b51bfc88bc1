//! The proxy's own rate limit.

use std::net::IpAddr;

use code_assist_core::{Payload, Peer};
use code_assist_testkit::client::{Answer, all, get, post, with};
use http::Request;

use crate::fixture::{COUNT, Fixture, GENERATE, HELLO, STREAM, ms};

const THREE: [(&str, &str); 2] =
    [("RATE_LIMIT_MAX_REQUESTS", "3"), ("RATE_LIMIT_WINDOW_MS", "10000")];

fn from(address: &str, mut request: Request<Payload>) -> Request<Payload> {
    let address: IpAddr = address.parse().expect("a test names a valid address");
    request.extensions_mut().insert(Peer { address: Some(address), admission: None });
    request
}

fn standing(answer: &Answer) -> [&str; 4] {
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"]
        .map(|name| answer.header(name))
}

#[test]
fn the_limit_holds_in_any_window_and_every_answer_states_the_remaining_requests() {
    let fixture = Fixture::new(&THREE, |_| None);
    let first = fixture.ask(post(GENERATE, HELLO));
    assert_eq!(standing(&first), ["3", "2", "10", ""]);
    fixture.script.advance(ms(4000));
    assert_eq!(standing(&fixture.ask(post(STREAM, HELLO))), ["3", "1", "10", ""]);
    let bad = fixture.ask(post(GENERATE, "no JSON"));
    assert_eq!((bad.status.as_u16(), standing(&bad)), (400, ["3", "0", "10", ""]));
    for path in [GENERATE, COUNT, STREAM, "/v1internal:generateContent"] {
        let refused = fixture.ask(post(path, HELLO));
        assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (429, "RATE_LIMITED"));
        assert_eq!(standing(&refused), ["3", "0", "10", "6"], "{path}");
    }
    fixture.script.advance(ms(5999));
    let refused = fixture.ask(post(GENERATE, HELLO));
    assert_eq!(standing(&refused), ["3", "0", "5", "1"], "4.001 s and a millisecond, rounded up");
    fixture.script.advance(ms(1));
    assert_eq!(standing(&fixture.ask(post(GENERATE, HELLO))), ["3", "0", "10", ""]);
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 429);
    assert_eq!(fixture.metric("rate_limited_total"), 6.0);
    assert_eq!(fixture.calls().len(), 3);
}

#[test]
fn of_fifty_concurrent_requests_exactly_the_limit_is_let_through() {
    let fixture = Fixture::new(&THREE, |_| None);
    let answers =
        fixture.run(all((0..50).map(|_| fixture.asking(post(GENERATE, HELLO))).collect()));
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 3);
}

#[test]
fn each_key_has_its_own_allowance_whatever_its_address() {
    let keys = ("PROXY_API_KEYS", "ann:key-of-ann,bob:key-of-bob");
    let fixture = Fixture::new(&[THREE[0], THREE[1], keys], |_| None);
    for n in 0..3 {
        let address = format!("192.0.2.{n}");
        let request = with(post(GENERATE, HELLO), "x-goog-api-key", "key-of-ann");
        assert_eq!(fixture.ask(from(&address, request)).status, 200);
    }
    let ann = || from("192.0.2.9", with(post(GENERATE, HELLO), "x-goog-api-key", "key-of-ann"));
    let bob = || from("192.0.2.9", with(post(GENERATE, HELLO), "x-goog-api-key", "key-of-bob"));
    assert_eq!(fixture.ask(ann()).reason(), "RATE_LIMITED");
    assert_eq!(fixture.ask(bob()).status, 200);
}

#[test]
fn without_keys_each_address_has_its_own_allowance() {
    let fixture = Fixture::new(&THREE, |_| None);
    for _ in 0..3 {
        assert_eq!(fixture.ask(from("192.0.2.1", post(GENERATE, HELLO))).status, 200);
    }
    assert_eq!(fixture.ask(from("192.0.2.1", post(GENERATE, HELLO))).status, 429);
    assert_eq!(fixture.ask(from("::ffff:192.0.2.1", post(GENERATE, HELLO))).status, 429);
    assert_eq!(fixture.ask(from("192.0.2.2", post(GENERATE, HELLO))).status, 200);
}

#[test]
fn x_forwarded_for_counts_only_with_trust_forwarded_for() {
    let asked = |fixture: &Fixture, forwarded: &str| {
        let request = with(post(GENERATE, HELLO), "x-forwarded-for", forwarded);
        fixture.ask(from("192.0.2.1", request)).status.as_u16()
    };
    let fixture = Fixture::new(&THREE, |_| None);
    let statuses = [1, 2, 3, 4].map(|n| asked(&fixture, &format!("198.51.100.{n}")));
    assert_eq!(statuses, [200, 200, 200, 429], "a client can write any address");

    let fixture = Fixture::new(&[THREE[0], THREE[1], ("TRUST_FORWARDED_FOR", "true")], |_| None);
    let statuses = [1, 2, 3, 4].map(|n| asked(&fixture, &format!("198.51.100.{n}")));
    assert_eq!(statuses, [200; 4]);
    let statuses = [5, 6, 7, 8].map(|n| asked(&fixture, &format!("198.51.100.{n}, 198.51.100.1")));
    assert_eq!(statuses, [200, 200, 429, 429], "only the entry of the nearest proxy counts");
}

#[test]
fn health_and_metrics_are_not_limited() {
    let fixture = Fixture::new(&THREE, |_| None);
    for _ in 0..10 {
        for path in ["/health", "/health/detailed", "/metrics", "/"] {
            let answer = fixture.ask(get(path));
            assert_eq!((answer.status.as_u16(), standing(&answer)), (200, [""; 4]), "{path}");
        }
    }
    assert_eq!(standing(&fixture.ask(post(GENERATE, HELLO)))[1], "2");
}

#[test]
fn without_a_limit_no_request_is_counted() {
    let fixture = Fixture::new(&[], |_| None);
    for _ in 0..200 {
        let answer = fixture.ask(post(GENERATE, HELLO));
        assert_eq!((answer.status.as_u16(), standing(&answer)), (200, [""; 4]));
    }
}
