//! The step of an access token, which Code Assist and Vertex AI have in common.

use super::Step;
use crate::platform::Platform;
use crate::time::Timestamp;
use crate::upstream::Refresh;

/// The step of a token, `None` if none was asked for.
pub(super) fn token_step<P: Platform>(
    platform: &P,
    refreshed: Option<Refresh>,
    remedy: Option<String>,
) -> Option<Step> {
    Some(match refreshed? {
        Refresh::Done { expires_at } => {
            let left = expires_at.map(|expiry| describe_expiry(platform.wall_clock(), expiry));
            Step::ok("token", format!("refreshed: {}", left.unwrap_or_default()))
        }
        Refresh::Stale => Step::warn(
            "token",
            "the credentials changed while they were being checked",
            "run `code-assist-proxy check` again",
        ),
        Refresh::Failed(error) => Step::fail("token", &error, remedy),
    })
}

/// Describes a token's expiry, such as `an access token that expires in 43 min`.
pub(super) fn describe_expiry(clock: Timestamp, expiry: Timestamp) -> String {
    if expiry <= clock {
        return "an access token that has expired".to_owned();
    }
    format!("an access token that expires in {} min", clock.until(expiry).as_secs().div_ceil(60))
}
