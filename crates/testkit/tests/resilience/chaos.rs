//! Whatever upstream and the clients do, and in whatever order: everybody who stays is answered,
//! upstream never has more to do than there are places, and nothing is left behind.

use code_assist_core::SendError;
use code_assist_testkit::client::{all, impatient, later, post};
use code_assist_testkit::google::{event, last_event, sse};
use code_assist_testkit::script::{Piece, Reply};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof, proptest};

use crate::fixture::{
    COUNT, Fixture, GENERATE, HELLO, STREAM, ZERO, error, in_turn, ms, reason, retry_info,
};

#[derive(Debug, Clone)]
struct Client {
    path: &'static str,
    body: &'static str,
    comes: u64,
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
        .prop_map(|(path, body, comes, patience)| Client { path, body, comes, patience })
}

fn reply() -> impl Strategy<Value = Reply> {
    let begun = || sse(&[&event("Hel")]);
    let reply = prop_oneof![
        Just(Reply::unreachable(SendError::Connect("refused".to_owned()))),
        Just(Reply::unreachable(SendError::Disconnected("reset".to_owned()))),
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn everybody_who_stays_is_answered_and_nothing_is_left_behind(
        clients in vec(client(), 1..16),
        replies in vec(reply(), 0..40),
        places in 1..4_usize,
    ) {
        let settings = [
            ("CODE_ASSIST_ENDPOINT", "http://one.test,http://two.test"),
            ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "2"),
            ("CIRCUIT_BREAKER_TIMEOUT_MS", "5000"),
            ("MAX_RETRY_ATTEMPTS", "2"),
            ("RESPONSE_CACHE_TTL_SECONDS", "2"),
        ];
        let fixture = Fixture::new(&settings, in_turn(replies));
        fixture.script.places(places);
        let lives = clients.iter().map(|client| {
            let asking = fixture.asking(post(client.path, client.body));
            let patience = ms(client.patience.unwrap_or(10_000_000));
            later(&fixture.script, ms(client.comes), impatient(&fixture.script, patience, asking))
        });
        let answers = fixture.run(all(lives.collect()));
        for (client, answer) in clients.iter().zip(&answers) {
            assert!(answer.is_some() || client.patience.is_some(), "{client:?}");
            if let Some(answer) = answer {
                assert!(!answer.header("x-request-id").is_empty());
                assert_ne!(answer.reason(), "INTERNAL");
            }
        }
        assert!(fixture.script.most_exchanges() <= places, "{}", fixture.script.most_exchanges());
        assert!(fixture.calls().len() <= clients.len() * 3, "a first try and two more");
        // Each of these uses up an answer at least; after that all is well again.
        for _ in 0..40 {
            fixture.script.pass(ms(86_400_000));
            fixture.ask(post(GENERATE, HELLO));
        }
        fixture.script.pass(ms(86_400_000));
        assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
    }
}
