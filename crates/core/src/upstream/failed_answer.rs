//! Answers that are no success: what a client may see of them, and the error that they state.

use std::pin::pin;
use std::time::Duration;

use http::header::CONTENT_ENCODING;
use http::response::Parts;
use http::{HeaderMap, StatusCode};

use super::auth::AccountAuth;
use super::io::read_answer;
use super::want::{is_failure, is_web_page};
use crate::context::RequestContext;
use crate::error::Error;
use crate::google::error;
use crate::platform::Platform;
use crate::time::Monotonic;
use crate::wait::within;

/// Reads upstream's error with its body. Without the whole body the status alone decides, unless the
/// body of a 5xx broke off: a 4xx says that the request was refused, and a 5xx does not.
///
/// The operator's own key is taken out of the text. With `as_sent` the error keeps the text as it came.
pub(super) async fn read_error<P: Platform>(
    head: &Parts,
    body: P::Body,
    idle: Duration,
    (auth, as_sent): (&AccountAuth, bool),
    context: &mut RequestContext<P>,
    now: Monotonic,
) -> Error {
    if head.status.is_redirection() || head.status.is_informational() {
        let what = format!("it answered {}, which no API call should get", head.status);
        return Error::UpstreamPage { what };
    }
    let platform = context.platform().clone();
    let longest = context.time_left(now).map_or(ERROR_TIMEOUT, |left| left.min(ERROR_TIMEOUT));
    // Without memory for the text, the status alone decides.
    let text = pin!(read_answer(context, body, ERROR_LIMIT, idle, Duration::ZERO));
    let text = match within(&platform, longest, text).await {
        Some(Err(broken @ Error::UpstreamDisconnected { .. })) if head.status.is_server_error() => {
            return broken;
        }
        text => text.and_then(Result::ok).unwrap_or_default(),
    };
    let text = error::without_keys(&auth.redact(&text));
    let error = error::read(head.status, &head.headers, &text);
    Error::Upstream(Box::new(if as_sent { error.keeping(&text) } else { error }))
}

/// True for an error that a client of the provider's own protocol gets unchanged. A 401 concerns the
/// proxy's credentials, so the proxy handles it.
pub(super) fn may_pass_unchanged(status: StatusCode) -> bool {
    is_failure(status) && status != StatusCode::UNAUTHORIZED
}

/// Returns the error for a successful answer in a form that was not requested. A web page would
/// otherwise pass for an empty stream, since a stream's reader skips lines that are no events.
pub(super) fn unreadable(headers: &HeaderMap, is_stream: bool) -> Option<Error> {
    let encoding = headers.get(CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
    let encoding = encoding.trim_ascii();
    if !matches!(encoding, b"" | b"identity") {
        let encoding = String::from_utf8_lossy(encoding);
        let what = format!("the answer is compressed ({encoding}) although that was not requested");
        Some(Error::UpstreamMalformed { what })
    } else if is_stream && is_web_page(headers) {
        Some(Error::UpstreamPage { what: "a web page came in place of a stream".to_owned() })
    } else {
        None
    }
}

/// Bytes read of an error's body. It is text for people, so a megabyte is generous.
const ERROR_LIMIT: usize = 1 << 20;

/// How long an error's body may delay the error. The status alone says the most important thing.
const ERROR_TIMEOUT: Duration = Duration::from_secs(10);
