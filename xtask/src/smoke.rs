//! The README's first command, run as the README says.

use crate::http::{self, Answer};
use crate::process;
use crate::proxy::Proxy;
use crate::report::{Failure, Report, verdict};
use crate::workspace::cargo;

/// Builds the release binary, starts it on the emulator, and sends it a few requests.
pub(crate) fn run(report: &mut Report) {
    if build(report).is_some() {
        check(report);
    }
}

/// Builds what [`check`] starts.
pub(crate) fn build(report: &mut Report) -> Option<()> {
    report.step("release build", || {
        // The selection of `cargo run`: with `-p`, the features of some dependencies would differ.
        process::run(cargo("build").args(["--release", "--bin", "code-assist-proxy"]))
    })
}

/// Starts the release binary with `cargo run` and sends it a few requests.
pub(crate) fn check(report: &mut Report) {
    report.tests("smoke of `cargo run --release -- serve --emulator`", |counts| {
        let mut run = cargo("run");
        let mut proxy = Proxy::start(run.args(["--release", "--", "serve", "--emulator"]))?;
        let verdict = verdict(counts, checks(&proxy.url));
        if verdict.is_err() {
            println!("{}", proxy.last_output());
        }
        proxy.stop()?;
        verdict
    });
}

/// Sends the requests to a proxy on the emulator. What each found, with its title.
pub(crate) fn checks(url: &str) -> impl Iterator<Item = (String, Result<(), Failure>)> {
    CHECKS.iter().map(move |check| (check.says.to_owned(), check.run(url)))
}

/// One request and what its answer must contain.
struct Check {
    says: &'static str,
    ask: fn(&str) -> Result<Answer, Failure>,
    status: u16,
    /// All of these occur in the answer, in its head or its body.
    holds: &'static [&'static str],
}

impl Check {
    fn run(&self, base: &str) -> Result<(), Failure> {
        let answer = (self.ask)(base)?;
        let whole = format!("\n{}\r\n\r\n{}", answer.head, answer.body);
        if answer.status != self.status {
            let status = answer.status;
            return Err(Failure::new(format!("expected {}, got {status}:{whole}", self.status)));
        }
        match self.holds.iter().find(|part| !whole.contains(**part)) {
            Some(part) => Err(Failure::new(format!("`{part}` is not in:{whole}"))),
            None => Ok(()),
        }
    }
}

const PROMPT: &str = r#"{"contents":[{"parts":[{"text":"pomegranate"}]}]}"#;

const CHECKS: &[Check] = &[
    Check {
        says: "it is healthy",
        ask: |base| http::get(base, "/health"),
        status: 200,
        holds: &["application/json", "\"status\":\"healthy\"", "\"kv_status\":\"connected\""],
    },
    Check {
        says: "generateContent answers the prompt",
        ask: |base| http::post(base, "/v1beta/models/gemini-2.5-flash:generateContent", PROMPT),
        status: 200,
        holds: &["\"candidates\"", "pomegranate", "\"finishReason\"", "\nx-request-id: "],
    },
    Check {
        says: "streamGenerateContent is a stream of events",
        ask: |base| {
            let path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
            http::post(base, path, PROMPT)
        },
        status: 200,
        holds: &["text/event-stream", "\r\n\r\ndata: {\"", "\"finishReason\"", "}\r\n\r\n"],
    },
    Check {
        says: "countTokens counts",
        ask: |base| http::post(base, "/v1/models/gemini-2.5-flash:countTokens", PROMPT),
        status: 200,
        holds: &["\"totalTokens\""],
    },
    Check {
        says: "the models are listed",
        ask: |base| http::get(base, "/v1beta/models"),
        status: 200,
        holds: &["\"models/gemini-2.5-flash\"", "\"supportedGenerationMethods\""],
    },
    Check {
        says: "a body that would close the envelope is refused",
        ask: |base| {
            let path = "/v1beta/models/gemini-2.5-flash:generateContent";
            http::post(base, path, r#"{}, "project":"x""#)
        },
        status: 400,
        holds: &["\"INVALID_ARGUMENT\"", "\"MALFORMED_JSON\""],
    },
    Check {
        says: "an unknown path is Google's kind of 404",
        ask: |base| http::get(base, "/v1beta/nothing"),
        status: 404,
        holds: &["\"code\":404", "\"NOT_FOUND\""],
    },
];
