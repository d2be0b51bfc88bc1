//! No token is ever sent for the wrong key, whatever is going on.

use std::time::Duration;

use code_assist_testkit::client::{all, ask, impatient, later};
use code_assist_testkit::script::Reply;
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof, proptest};

use crate::fixture::{COUNT, Fixture, GENERATE, OPERATOR, STREAM, key, login, of};

/// Something that happens, at a time in milliseconds.
#[derive(Debug, Clone)]
enum Event {
    /// A request of a key, whose client waits for this many milliseconds.
    Request(&'static str, &'static str, u64),
    /// The access tokens of an account are revoked.
    Revoke(&'static str),
    /// Keys are taken away and given back: those whose bits are set stay. All may get other logins.
    Reload(u8, bool),
    /// The regular work.
    Tick,
    /// The token endpoint is slow for an account.
    Slow(&'static str, u64),
}

const KEYS: [&str; 4] = ["ada", "ben", "cy", "eve"];

fn event() -> impl Strategy<Value = (u64, Event)> {
    let id = || prop_oneof![Just("ada"), Just("ben"), Just("cy"), Just("eve")];
    let account = || prop_oneof![Just("ada"), Just("ben"), Just("cy"), Just(OPERATOR)];
    let path = prop_oneof![Just(GENERATE), Just(STREAM), Just(COUNT)];
    let request = (id(), path, prop_oneof![Just(600_000), 0..3_000_u64]);
    let event = prop_oneof![
        8 => request.prop_map(|(id, path, patience)| Event::Request(id, path, patience)),
        2 => account().prop_map(Event::Revoke),
        2 => (0..16_u8, proptest::bool::ANY).prop_map(|(bits, is_new)| Event::Reload(bits, is_new)),
        2 => Just(Event::Tick),
        1 => (account(), 0..5_000_u64).prop_map(|(account, delay)| Event::Slow(account, delay)),
    ];
    // Long enough that tokens expire.
    (prop_oneof![0..10_000_u64, 0..10_000_000_u64], event)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn no_token_is_ever_sent_for_the_wrong_key(events in vec(event(), 1..60)) {
        let with_login = |id: &str, account: &str| key(id, (id != "eve").then(|| login(account)));
        let table = |id: &str| with_login(id, id);
        let fixture = Fixture::with(&[], |settings| {
            settings.keys = KEYS.map(table).into();
        });
        let happening = events.iter().map(|(at, event)| {
            let fixture = &fixture;
            let going_on = async move {
                match event {
                    Event::Request(id, path, patience) => {
                        let asking = ask(&fixture.proxy, &fixture.script, of(id, path));
                        let patience = Duration::from_millis(*patience);
                        if let Some(answer) = impatient(&fixture.script, patience, asking).await {
                            assert_ne!(answer.reason(), "INTERNAL");
                            assert!([200, 401, 429, 503].contains(&answer.status.as_u16()), "{}", answer.text());
                        }
                    }
                    Event::Revoke(account) => fixture.google().revoke(account),
                    Event::Reload(bits, is_new) => {
                        let mut settings = fixture.settings.clone();
                        let stays = |at: &usize| bits & (1 << at) != 0;
                        settings.keys = (0..4).filter(stays).map(|at| {
                            let account = format!("{}{}", KEYS[at], if *is_new { "-new" } else { "" });
                            with_login(KEYS[at], &account)
                        }).collect();
                        // The last key is never taken away.
                        if settings.keys.is_empty() {
                            settings.keys = vec![table("eve")];
                        }
                        fixture.proxy.reload(&settings);
                    }
                    Event::Tick => fixture.proxy.tick(&fixture.script).await,
                    Event::Slow(account, delay) => {
                        let delay = Duration::from_millis(*delay);
                        let mut is_first = true;
                        fixture.script(account, move |request| {
                            let is_slow = request.is("/token") && std::mem::take(&mut is_first);
                            is_slow.then(|| Reply::status(503, "").after(delay))
                        });
                    }
                }
            };
            later(&fixture.script, Duration::from_millis(*at), going_on)
        });
        fixture.script.run(&fixture.proxy, all(happening.collect()));
        fixture.nothing_was_mixed();
    }
}
