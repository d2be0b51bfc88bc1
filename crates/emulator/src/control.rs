//! The control endpoint under `/__emulator/`: script, state, log, counts.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::reply::Reply;
use crate::script::Rule;
use crate::state::StateChange;

/// Answers a control request; mistakes in it are 400 with a sentence.
pub(crate) fn answer(google: &Backend, method: &Method, path: &str, body: &[u8]) -> Reply {
    match (method.as_str(), path) {
        ("GET", "counts") => Reply::ok(&google.log.counts()),
        ("GET", "log") => Reply::json(StatusCode::OK, google.log.json()),
        ("DELETE", "log") => {
            google.log.clear();
            done()
        }
        ("GET", "script") => Reply::ok(&google.script().waiting()),
        ("POST", "script") => script(google, body),
        ("DELETE", "script") => {
            google.script().clear();
            done()
        }
        ("GET", "state") => Reply::ok(&*google.state()),
        ("POST", "state") => match serde_json::from_slice::<StateChange>(body) {
            Ok(change) => {
                let mut state = google.state();
                state.change(change);
                Reply::ok(&*state)
            }
            Err(error) => wrong(&error.to_string()),
        },
        (_, "counts" | "log" | "script" | "state") => {
            let mut reply =
                wrong("counts and log: GET; log and script: DELETE; script and state: POST");
            reply.status = StatusCode::METHOD_NOT_ALLOWED;
            reply
        }
        _ => {
            let mut reply = wrong("there is: counts, log, script, state");
            reply.status = StatusCode::NOT_FOUND;
            reply
        }
    }
}

fn script(google: &Backend, body: &[u8]) -> Reply {
    let rules = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Array(rules)) => rules,
        Ok(rule) => vec![rule],
        Err(error) => return wrong(&error.to_string()),
    };
    // All or none: half a script would be worse than a refused one.
    let rules: Result<Vec<Rule>, String> = rules.into_iter().map(Rule::read).collect();
    match rules {
        Ok(rules) => {
            let mut script = google.script();
            for rule in rules {
                script.push(rule);
            }
            done()
        }
        Err(why) => wrong(&why),
    }
}

fn done() -> Reply {
    Reply::ok(&json!({"ok": true}))
}

fn wrong(why: &str) -> Reply {
    let mut reply = Reply::ok(&json!({"error": why}));
    reply.status = StatusCode::BAD_REQUEST;
    reply
}
