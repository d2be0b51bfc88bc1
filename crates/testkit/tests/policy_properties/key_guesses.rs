//! The brake on guessing keys, whatever addresses do in whatever order.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use code_assist_core::internals::policy::key_guesses::{KeyGuesses, MOST_WRONG};
use code_assist_core::{Caller, KeyDigest, Monotonic};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn address(n: u32) -> Caller {
    Caller::new(None, Some(IpAddr::from(n.to_be_bytes())))
}

/// One request with a key: from which address, how long after the one before, with the right key or not.
fn attempt() -> impl Strategy<Value = (u32, u64, bool)> {
    (0_u32..4, prop_oneof![4 => 0_u64..3_000, 1 => 0_u64..90_000], prop::bool::weighted(0.2))
}

proptest! {
    #[test]
    fn no_address_gets_more_than_ten_guesses_in_any_minute_whatever_others_do(
        attempts in prop::collection::vec(attempt(), 1..300),
        strangers in prop_oneof![19 => Just(0_u32), 1 => Just(1)],
    ) {
        let mut guesses = KeyGuesses::default();
        let mut now = Monotonic(0);
        // More addresses than there are logs.
        for n in 0..strangers * 12_000 {
            let _ = guesses.wrong(&address(1000 + n), now);
        }
        let right = KeyDigest::of("right");
        let mut looked_at: BTreeMap<u32, Vec<Monotonic>> = BTreeMap::new();
        let mut refused_until: BTreeMap<u32, Monotonic> = BTreeMap::new();
        let mut accepted: BTreeMap<u32, Monotonic> = BTreeMap::new();
        for (from, millis, is_right) in attempts {
            now = now + Duration::from_millis(millis);
            let caller = address(from);
            let key = if is_right { right } else { KeyDigest::of("wrong") };
            let refusal = guesses.refusal(&caller, &key, now);
            let is_known = is_right
                && accepted.get(&from).is_some_and(|at| now.since(*at) < Duration::from_secs(3500));
            prop_assert!(!is_known || refusal.is_none(), "an accepted key passes");
            match refusal {
                Some(after) => {
                    prop_assert!(after <= MINUTE && !after.is_zero());
                    let until = refused_until.entry(from).or_insert(now + after);
                    prop_assert!(now < *until, "the stated wait suffices");
                    prop_assert!(strangers > 0 || *until == now + after, "it does not grow");
                }
                None if is_right => {
                    if !is_known {
                        refused_until.remove(&from);
                    }
                    guesses.accepted(&caller, &right, now);
                    accepted.insert(from, now);
                }
                None => {
                    refused_until.remove(&from);
                    if guesses.wrong(&caller, now).is_none() {
                        looked_at.entry(from).or_default().push(now);
                    }
                }
            }
        }
        for times in looked_at.values() {
            let most = MOST_WRONG as usize;
            let is_slow = |window: &[Monotonic]| window[most].since(window[0]) >= MINUTE;
            prop_assert!(times.windows(most + 1).all(is_slow), "{times:?}");
        }
    }
}
