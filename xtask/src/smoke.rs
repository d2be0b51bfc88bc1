//! The README's first command, done as the README says.

use crate::http::{self, Answer};
use crate::machine::cargo;
use crate::process;
use crate::proxy::Proxy;
use crate::report::{Failure, Report};
use crate::tally::Tally;

/// Builds the release binary, starts it on the emulator, and asks it a few things.
pub(crate) fn run(report: &mut Report) {
    let built = report.step("release build", || {
        // As `cargo run` selects it: with `-p`, other features would be on and all built twice.
        process::run(cargo("build").args(["--release", "--bin", "code-assist-proxy"]))
    });
    if built.is_none() {
        return;
    }
    report.suite("smoke of `cargo run --release -- serve --emulator`", || {
        let mut run = cargo("run");
        let mut proxy = Proxy::start(run.args(["--release", "--", "serve", "--emulator"]))?;
        let mut counted = Tally::default();
        for check in CHECKS {
            let outcome = check.run(&proxy.url);
            counted += Tally::one(outcome.is_ok());
            match outcome {
                Ok(()) => println!("    ok      {}", check.says),
                Err(why) => {
                    println!("    FAILED  {}\n{why}\n{}", check.says, proxy.last_words());
                }
            }
        }
        proxy.stop()?;
        Ok(counted)
    });
}

/// One request and what its answer must be like.
struct Check {
    says: &'static str,
    ask: fn(&str) -> Result<Answer, Failure>,
    status: u16,
    /// All of these occur in the answer, head (in lower case) or body.
    holds: &'static [&'static str],
}

impl Check {
    fn run(&self, base: &str) -> Result<(), Failure> {
        let answer = (self.ask)(base)?;
        let whole = format!("{}\r\n\r\n{}", answer.head, answer.body);
        if answer.status != self.status {
            return Err(Failure::new(format!(
                "expected {}, got:\n{whole}",
                self.status
            )));
        }
        match self.holds.iter().find(|part| !whole.contains(**part)) {
            Some(part) => Err(Failure::new(format!("`{part}` is not in:\n{whole}"))),
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
        holds: &[
            "application/json",
            "\"status\":\"healthy\"",
            "\"kv_status\":\"connected\"",
        ],
    },
    Check {
        says: "generateContent answers the prompt",
        ask: |base| {
            http::post(
                base,
                "/v1beta/models/gemini-2.5-flash:generateContent",
                PROMPT,
            )
        },
        status: 200,
        holds: &[
            "\"candidates\"",
            "pomegranate",
            "\"finishReason\"",
            "\nx-request-id: ",
        ],
    },
    Check {
        says: "streamGenerateContent is a stream of events",
        ask: |base| {
            let path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
            http::post(base, path, PROMPT)
        },
        status: 200,
        holds: &[
            "text/event-stream",
            "\r\n\r\ndata: {\"",
            "\"finishReason\"",
            "}\r\n\r\n",
        ],
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
        holds: &[
            "\"models/gemini-2.5-flash\"",
            "\"supportedGenerationMethods\"",
        ],
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
