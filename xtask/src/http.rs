//! The requests that the README makes with curl.

use std::fmt::Write as _;
use std::time::Duration;

use ureq::{Agent, Body, http};

use crate::report::Failure;

/// An answer, its body decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// One `name: value` a line, names in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// `GET base/path`.
pub(crate) fn get(base: &str, path: &str) -> Result<Answer, Failure> {
    let url = format!("{base}{path}");
    answer(&url, agent().get(&url).call())
}

/// `POST base/path` with a JSON body.
pub(crate) fn post(base: &str, path: &str, body: &str) -> Result<Answer, Failure> {
    let url = format!("{base}{path}");
    let request = agent().post(&url).header("content-type", "application/json");
    answer(&url, request.send(body))
}

/// Each request has a connection of its own, and an error status is an answer like any other. The
/// proxy settings of this machine do not apply: every server is on loopback.
fn agent() -> Agent {
    let config = Agent::config_builder();
    config.timeout_global(Some(LIMIT)).http_status_as_error(false).proxy(None).build().into()
}

fn answer(
    url: &str,
    outcome: Result<http::Response<Body>, ureq::Error>,
) -> Result<Answer, Failure> {
    let failed = |why: ureq::Error| Failure::new(format!("{url}: {why}"));
    let mut response = outcome.map_err(failed)?;
    let mut head = String::new();
    for (name, value) in response.headers() {
        // Writing to a string cannot fail.
        let _ = writeln!(head, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    let status = response.status().as_u16();
    let body = response.body_mut().read_to_string().map_err(failed)?;
    Ok(Answer { status, head, body })
}

const LIMIT: Duration = Duration::from_secs(30);
