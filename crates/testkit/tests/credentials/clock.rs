//! A wall clock that jumps.

use std::time::Duration;

use code_assist_core::Monotonic;
use code_assist_testkit::client::post;
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};

use crate::{GENERATE, HELLO, hello, play, run};

#[test]
fn a_jump_of_the_wall_clock_causes_no_burst_of_refreshes_and_invalidates_no_token() {
    let hours = 5 * 3600;
    for jump in [hours, -hours] {
        let script = ScriptedPlatform::new(google_but(|request| {
            request.is("/token").then(|| google()(request).after(Duration::from_millis(300)))
        }));
        script.write_login(login("tok", "A", 3000));
        let proxy = proxy_with(&script, &[]);
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
        for by in [jump, -jump] {
            script.shift_wall_clock(by);
            let answers = play(&script, &proxy, (0..100).map(|_| (0, hello())));
            assert!(answers.iter().all(|answer| answer.status == 200), "{by}");
        }
        let refreshes = script.received("/token").len();
        assert!(refreshes <= 2, "{refreshes} after two jumps");
        // After the jumps there is one refresh an hour.
        for _ in 0..3 * 3600 {
            script.advance(Duration::from_secs(1));
            script.run(&proxy, proxy.tick(&script));
        }
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
        let later = script.received("/token").len() - refreshes;
        assert!((3..=4).contains(&later), "{later} in three hours after {jump}");
    }
}

#[test]
fn a_token_that_expired_unnoticed_because_the_clock_was_set_back_is_replaced_at_once() {
    let script = ScriptedPlatform::new(google_but(|request| {
        let dead = request.headers.get("authorization").is_some_and(|it| it == "Bearer tok");
        (dead && request.at > Monotonic(3_000_000_000)).then(|| Reply::status(401, "{}"))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    script.shift_wall_clock(-5 * 3600);
    // The shell does not call `tick`, as when a laptop sleeps.
    script.advance(Duration::from_secs(3600));
    let answers = play(&script, &proxy, (0..100).map(|_| (0, hello())));
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(script.received("/token").len(), 1);
}
