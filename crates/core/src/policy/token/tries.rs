//! The tries of one refresh, so that a token endpoint that fails for a moment costs no request its answer.

use std::time::Duration;

/// Decides after a failed try whether another one follows, and returns the pause before it.
///
/// `tries` have been made in `elapsed`. `stated` is the delay that the token endpoint asks for. `random`
/// are 64 random bits: the pause is drawn evenly from the upper half of one that doubles.
pub fn pause_before_next_try(
    tries: u32,
    elapsed: Duration,
    stated: Option<Duration>,
    random: u64,
) -> Option<Duration> {
    if tries >= MOST_TRIES {
        return None;
    }
    let longest = FIRST_PAUSE.saturating_mul(1 << tries.saturating_sub(1));
    let half = longest.as_micros() / 2;
    let micros = half + ((u128::from(random) * (half + 1)) >> 64);
    let jittered = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
    let pause = stated.unwrap_or_default().max(jittered);
    (elapsed.saturating_add(pause) <= WINDOW).then_some(pause)
}

/// Of one refresh.
const MOST_TRIES: u32 = 3;

/// No try begins later than this after the refresh has begun, since requests wait for it.
const WINDOW: Duration = Duration::from_secs(3);

/// The longest pause before the second try.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: Duration = Duration::ZERO;
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_quick_tries_are_made_within_three_seconds() {
        for random in [0, u64::MAX / 2, u64::MAX] {
            let first = pause_before_next_try(1, ZERO, None, random).unwrap();
            let second = pause_before_next_try(2, first, None, random).unwrap();
            assert!(first >= SECOND / 4 && first <= SECOND / 2, "{first:?}");
            assert!(second >= SECOND / 2 && second <= SECOND, "{second:?}");
            assert_eq!(pause_before_next_try(3, first + second, None, random), None);
        }
    }

    #[test]
    fn a_stated_delay_is_kept_or_ends_the_tries() {
        assert_eq!(pause_before_next_try(1, ZERO, Some(2 * SECOND), 0), Some(2 * SECOND));
        assert_eq!(pause_before_next_try(2, 2 * SECOND, Some(2 * SECOND), 0), None);
        assert_eq!(pause_before_next_try(1, ZERO, Some(4 * SECOND), 0), None);
        assert!(pause_before_next_try(1, ZERO, Some(ZERO), 0) >= Some(SECOND / 4));
    }

    #[test]
    fn no_try_follows_a_slow_one() {
        assert_eq!(pause_before_next_try(1, 10 * SECOND, None, 0), None);
        assert_eq!(pause_before_next_try(1, 3 * SECOND, None, 0), None);
    }
}
