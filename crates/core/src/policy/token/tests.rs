use super::*;

const BUFFER: Duration = Duration::from_secs(300);
const NOW: Timestamp = Timestamp(1_750_000_000_000);

/// A token that expires in `lives` seconds.
fn token(lives: u64, lifetime: Option<u64>) -> IssuedToken {
    IssuedToken {
        header: HeaderValue::from_static("Bearer ya29"),
        expires_at: Some(NOW + Duration::from_secs(lives)),
        lifetime: lifetime.map(Duration::from_secs),
        longest_ahead: None,
    }
}

fn state_with(token: IssuedToken) -> TokenState<&'static str> {
    let mut state = TokenState::<&str>::new(BUFFER);
    let TokenVerdict::Refresh(lease) = state.ask(NOW, Monotonic(0)) else {
        panic!("there is no token")
    };
    state.settle(lease, FetchOutcome::Got { token, renewable: true }, NOW, Monotonic(0));
    state
}

fn after(secs: u64) -> (Timestamp, Monotonic) {
    (NOW + Duration::from_secs(secs), Monotonic(0) + Duration::from_secs(secs))
}

#[test]
fn of_a_hundred_requests_without_a_token_one_refreshes_and_the_others_wait() {
    let mut state = TokenState::<&str>::new(BUFFER);
    assert!(matches!(state.ask(NOW, Monotonic(0)), TokenVerdict::Refresh(_)));
    for _ in 0..99 {
        assert!(matches!(state.ask(NOW, Monotonic(1)), TokenVerdict::Wait));
    }
}

#[test]
fn within_the_buffer_one_request_refreshes_the_token_and_none_waits() {
    let mut state = state_with(token(3599, Some(3599)));
    let (clock, now) = after(3298);
    assert!(matches!(state.ask(clock, now), TokenVerdict::Use(_)));
    let (clock, now) = after(3299);
    assert!(matches!(state.ask(clock, now), TokenVerdict::UseAndRefresh(..)));
    for _ in 0..99 {
        assert!(matches!(state.ask(clock, now), TokenVerdict::Use(_)));
    }
}

#[test]
fn a_short_lived_token_is_not_refreshed_at_once() {
    let mut state = state_with(token(8, Some(8)));
    let (clock, now) = after(5);
    assert!(matches!(state.ask(clock, now), TokenVerdict::Use(_)));
    let (clock, now) = after(6);
    assert!(matches!(state.ask(clock, now), TokenVerdict::UseAndRefresh(..)));
    let (clock, now) = after(8);
    assert!(
        matches!(state.ask(clock, now), TokenVerdict::Wait),
        "the token has expired and a refresh is in progress"
    );
}

#[test]
fn a_loaded_token_within_the_buffer_is_renewed_at_once() {
    let mut state = state_with(token(200, None));
    assert!(matches!(state.ask(NOW, Monotonic(0)), TokenVerdict::UseAndRefresh(..)));
}

#[test]
fn a_hundred_401s_invalidate_one_token_once() {
    let mut state = state_with(token(3599, Some(3599)));
    let TokenVerdict::Use(bearer) = state.ask(NOW, Monotonic(0)) else {
        panic!("there is a token")
    };
    assert!(state.invalidate(&bearer, Monotonic(1)));
    let TokenVerdict::Refresh(lease) = state.ask(NOW, Monotonic(1)) else {
        panic!("the token was invalidated")
    };
    let got = FetchOutcome::Got { token: token(7000, Some(7000)), renewable: true };
    state.settle(lease, got, NOW, Monotonic(2));
    for _ in 0..99 {
        assert!(state.invalidate(&bearer, Monotonic(1)));
    }
    assert!(matches!(state.ask(NOW, Monotonic(3)), TokenVerdict::Use(_)));
}

#[test]
fn an_upstream_that_rejects_every_token_causes_one_refresh_per_cooldown() {
    let mut state = state_with(token(3599, Some(3599)));
    let TokenVerdict::Use(bearer) = state.ask(NOW, Monotonic(0)) else {
        panic!("there is a token")
    };
    state.rejected_again(Monotonic(0));
    assert!(!state.invalidate(&bearer, Monotonic(1)));
    assert!(matches!(state.ask(NOW, Monotonic(1)), TokenVerdict::Use(_)));
    assert!(state.invalidate(&bearer, Monotonic(0) + REFRESH_COOLDOWN));
}

#[test]
fn during_the_cooldown_the_successor_of_an_old_token_is_still_used() {
    let mut state = state_with(token(3599, Some(3599)));
    let TokenVerdict::Use(old) = state.ask(NOW, Monotonic(0)) else { panic!("there is a token") };
    state.invalidate(&old, Monotonic(0));
    let TokenVerdict::Refresh(lease) = state.ask(NOW, Monotonic(0)) else {
        panic!("the token was invalidated")
    };
    let got = FetchOutcome::Got { token: token(7000, Some(7000)), renewable: true };
    state.settle(lease, got, NOW, Monotonic(0));
    state.rejected_again(Monotonic(0));
    assert!(state.invalidate(&old, Monotonic(1)));
    assert!(matches!(state.ask(NOW, Monotonic(1)), TokenVerdict::Use(_)));
}

#[test]
fn a_failed_refresh_is_tried_again_later_while_the_old_token_is_used() {
    let mut state = state_with(token(200, None));
    let TokenVerdict::UseAndRefresh(_, lease) = state.ask(NOW, Monotonic(0)) else {
        panic!("a refresh is due")
    };
    state.settle(lease, FetchOutcome::Failed("offline"), NOW, Monotonic(0));
    assert!(matches!(state.ask(NOW, Monotonic(0)), TokenVerdict::Use(_)));
    let (clock, now) = after(1);
    let TokenVerdict::UseAndRefresh(_, lease) = state.ask(clock, now) else {
        panic!("the first pause is over")
    };
    state.settle(lease, FetchOutcome::Failed("offline"), clock, now);
    let (clock, now) = after(2);
    assert!(
        matches!(state.ask(clock, now), TokenVerdict::Use(_)),
        "the second pause lasts two seconds"
    );
    let (clock, now) = after(3);
    assert!(matches!(state.ask(clock, now), TokenVerdict::UseAndRefresh(..)));
}

#[test]
fn failures_in_a_row_are_retried_after_pauses_that_double() {
    let mut state = TokenState::<&str>::new(BUFFER);
    let mut refreshes = 0;
    for second in 0..100 {
        let (_, now) = after(second);
        if let TokenVerdict::Refresh(lease) = state.ask(NOW, now) {
            refreshes += 1;
            state.settle(lease, FetchOutcome::Failed("offline"), NOW, now);
        }
        assert!(matches!(state.ask(NOW, now), TokenVerdict::Failed("offline", Some(_))));
    }
    assert_eq!(refreshes, 7, "after 0, 1, 3, 7, 15, 31 and 63 seconds");
}

#[test]
fn what_is_refused_in_a_pause_says_how_long_the_pause_lasts() {
    let pause = |least: Option<Duration>| {
        let mut state = TokenState::<&str>::new(BUFFER);
        let TokenVerdict::Refresh(lease) = state.ask(NOW, Monotonic(0)) else {
            panic!("there is no token")
        };
        let outcome = match least {
            None => FetchOutcome::Failed("offline"),
            Some(least) => FetchOutcome::Deferred("busy", least),
        };
        state.settle(lease, outcome, NOW, Monotonic(0));
        let TokenVerdict::Failed(_, left) = state.ask(NOW, Monotonic(250_000)) else {
            panic!("no refresh is due")
        };
        left.unwrap()
    };
    assert_eq!(pause(None), Duration::from_millis(750));
    assert_eq!(pause(Some(Duration::from_secs(20))), Duration::from_millis(19_750));
    assert_eq!(pause(Some(Duration::from_secs(3600))), Duration::from_millis(59_750), "the limit");
}

#[test]
fn a_clock_that_jumps_causes_one_refresh_at_most() {
    let hours = Duration::from_secs(5 * 3600);
    let mut state = state_with(token(3599, Some(3599)));
    let back = Timestamp(NOW.0 - 18_000_000);
    assert!(matches!(state.ask(back, Monotonic(1)), TokenVerdict::Use(_)));
    let (_, now) = after(3299);
    assert!(
        matches!(state.ask(back, now), TokenVerdict::UseAndRefresh(..)),
        "the token is due by the monotonic clock although its expiry is hours away"
    );
    let mut state = state_with(token(3599, Some(3599)));
    assert!(matches!(state.ask(NOW + hours, Monotonic(1)), TokenVerdict::Refresh(_)));
    for _ in 0..99 {
        assert!(matches!(state.ask(NOW + hours, Monotonic(1)), TokenVerdict::Wait));
    }
}

#[test]
fn a_rejection_lasts_until_the_credentials_change() {
    let mut state = TokenState::<&str>::new(BUFFER);
    let TokenVerdict::Refresh(lease) = state.ask(NOW, Monotonic(0)) else {
        panic!("there is no token")
    };
    state.settle(lease, FetchOutcome::Rejected("revoked"), NOW, Monotonic(0));
    let (clock, now) = after(100_000);
    assert!(matches!(state.ask(clock, now), TokenVerdict::Failed(_, None)));
    state.retry_now(clock, now);
    assert!(matches!(state.ask(clock, now), TokenVerdict::Refresh(_)));
}

#[test]
fn a_refresh_with_credentials_that_changed_meanwhile_does_not_count() {
    let mut state = TokenState::<&str>::new(BUFFER);
    let TokenVerdict::Refresh(lease) = state.ask(NOW, Monotonic(0)) else {
        panic!("there is no token")
    };
    state.settle(lease, FetchOutcome::Stale, NOW, Monotonic(1));
    assert!(matches!(state.ask(NOW, Monotonic(1)), TokenVerdict::Refresh(_)));
}

#[test]
fn another_account_never_gets_the_previous_accounts_token() {
    let mut state = state_with(token(3599, Some(3599)));
    state.clear();
    assert!(matches!(state.ask(NOW, Monotonic(1)), TokenVerdict::Refresh(_)));
}

#[test]
fn a_refresh_that_never_ends_is_started_again_after_its_lease() {
    let mut state = TokenState::<&str>::new(BUFFER);
    let TokenVerdict::Refresh(lost) = state.ask(NOW, Monotonic(0)) else {
        panic!("there is no token")
    };
    let (clock, now) = after(60);
    assert!(matches!(state.ask(clock, now), TokenVerdict::Refresh(_)));
    let late = FetchOutcome::Got { token: token(10, Some(10)), renewable: true };
    state.settle(lost, late, clock, now);
    assert!(matches!(state.ask(clock, now), TokenVerdict::Wait), "the late holder changes nothing");
}
