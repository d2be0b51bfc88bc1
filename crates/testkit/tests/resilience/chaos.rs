//! Random failures of upstream and random clients: every client that stays gets an answer, upstream
//! never has more calls in flight than there are permits, and no permit or request is left at the end.

use code_assist_core::SendError;
use code_assist_testkit::client::{all, impatient, later, post};
use code_assist_testkit::google::{event, last_event, sse};
use code_assist_testkit::script::{Piece, Reply};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof, proptest};

use crate::fixture::{
    COUNT, Fixture, GENERATE, HELLO, STREAM, ZERO, error, in_turn, ms, reason, retry_info,
};

/// A client, with times in milliseconds.
#[derive(Debug, Clone)]
struct Client {
    path: &'static str,
    body: &'static str,
    arrives_at: u64,
    patience: Option<u64>,
}

fn client() -> impl Strategy<Value = Client> {
    let path = prop_oneof![
        Just(GENERATE),
        Just(STREAM),
        Just(COUNT),
        Just("/v1internal:streamGenerateContent?alt=sse"),
    ];
    let patience = proptest::option::weighted(0.4, 0..20_000_u64);
    (path, prop_oneof![Just(HELLO), Just(ZERO)], 0..10_000_u64, patience)
        .prop_map(|(path, body, arrives_at, patience)| Client { path, body, arrives_at, patience })
}

fn reply() -> impl Strategy<Value = Reply> {
    let begun = || sse(&[&event("Hel")]);
    let reply = prop_oneof![
        Just(Reply::unreachable(SendError::Connect("refused".to_owned()))),
        Just(Reply::unreachable(SendError::Disconnected("reset".to_owned()))),
        Just(Reply::unreachable(SendError::NotProcessed("refused stream".to_owned()))),
        Just(Reply::unreachable(SendError::Resources("Too many open files".to_owned()))),
        Just(error(400, "")),
        Just(error(429, &retry_info("3s"))),
        Just(error(429, &reason("QUOTA_EXHAUSTED"))),
        Just(error(500, "")),
        Just(error(503, "")),
        Just(Reply::status(302, "")),
        Just(Reply::status(500, "").then([Piece::Silence(ms(20_000))])),
        Just(Reply::ok("no JSON")),
        Just(Reply::ok(r#"{"response":{}}"#)),
        Just(Reply::pieces([Piece::Break("reset".to_owned())])),
        Just(begun().then([Piece::Break("reset".to_owned())])),
        Just(begun().then([Piece::Silence(ms(400_000))])),
        Just(begun().then([Piece::Data(format!("data: {}\r\n\r\n", last_event("lo")).into())])),
    ];
    (reply, prop_oneof![Just(0), 0..5000_u64, Just(400_000)])
        .prop_map(|(reply, delay)| reply.after(ms(delay)))
}

/// A reply, and whether upstream may have carried the request out although the client got nothing.
fn reply_before_any_event() -> impl Strategy<Value = (Reply, bool)> {
    let broken = |error| Just(Reply::unreachable(error));
    let cut = || [Piece::Break("reset".to_owned())];
    prop_oneof![
        broken(SendError::Connect("refused".to_owned())).prop_map(|reply| (reply, false)),
        broken(SendError::NotProcessed("refused stream".to_owned()))
            .prop_map(|reply| (reply, false)),
        broken(SendError::Resources("Too many open files".to_owned()))
            .prop_map(|reply| (reply, false)),
        Just((error(500, ""), false)),
        Just((error(503, ""), false)),
        broken(SendError::Disconnected("reset".to_owned())).prop_map(|reply| (reply, true)),
        Just((Reply::pieces(cut()), true)),
        Just((Reply::status(500, "").then(cut()), true)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_call_follows_one_that_may_have_been_carried_out(
        path in prop_oneof![Just(GENERATE), Just(STREAM), Just(COUNT)],
        replies in vec(reply_before_any_event(), 1..8),
        endpoints in prop_oneof![Just("https://one.test"), Just("https://one.test,https://two.test")],
    ) {
        let settings = [
            ("CODE_ASSIST_ENDPOINT", endpoints),
            ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "100"),
            ("MAX_RETRY_ATTEMPTS", "10"),
        ];
        let last = replies.iter().position(|(_, carried_out)| *carried_out);
        let script = replies.iter().map(|(reply, _)| reply.clone()).collect::<Vec<_>>();
        let fixture = Fixture::new(&settings, in_turn(script));
        let answer = fixture.ask(post(path, HELLO));
        assert_eq!(fixture.calls().len(), last.unwrap_or(replies.len()) + 1);
        assert_eq!(answer.status, if last.is_some() { 502 } else { 200 });
    }

    #[test]
    fn every_client_that_stays_is_answered_and_no_permit_is_left(
        clients in vec(client(), 1..16),
        replies in vec(reply(), 0..40),
        permits in 1..4_usize,
    ) {
        let settings = [
            ("CODE_ASSIST_ENDPOINT", "https://one.test,https://two.test"),
            ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "2"),
            ("CIRCUIT_BREAKER_TIMEOUT_MS", "5000"),
            ("MAX_RETRY_ATTEMPTS", "2"),
            ("RESPONSE_CACHE_TTL_SECONDS", "2"),
        ];
        let fixture = Fixture::new(&settings, in_turn(replies));
        fixture.script.set_permits(permits);
        let requests = clients.iter().map(|client| {
            let asking = fixture.asking(post(client.path, client.body));
            let patience = ms(client.patience.unwrap_or(10_000_000));
            later(&fixture.script, ms(client.arrives_at), impatient(&fixture.script, patience, asking))
        });
        let answers = fixture.run(all(requests.collect()));
        for (client, answer) in clients.iter().zip(&answers) {
            assert!(answer.is_some() || client.patience.is_some(), "{client:?}");
            if let Some(answer) = answer {
                assert!(!answer.header("x-request-id").is_empty());
                assert_ne!(answer.reason(), "INTERNAL");
            }
        }
        assert!(fixture.script.most_exchanges() <= permits, "{}", fixture.script.most_exchanges());
        assert!(fixture.calls().len() <= clients.len() * 3, "one try and two retries");
        // Each of these requests takes at least one of the scripted replies; then none is left.
        for _ in 0..40 {
            fixture.script.advance(ms(86_400_000));
            fixture.ask(post(GENERATE, HELLO));
        }
        fixture.script.advance(ms(86_400_000));
        assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
    }
}
