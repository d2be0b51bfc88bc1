//! The control endpoint under `/__emulator/`: script, state, log and counts.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::gemini_api::GeminiStateChange;
use crate::google_auth::AuthSettings;
use crate::logins::LoginsChange;
use crate::patch::Patch;
use crate::reply::Reply;
use crate::script::Rule;
use crate::state::StateChange;
use crate::vertex::VertexSettings;

/// Answers a control request. A mistake in it is 400 with `{"error": "…"}`.
pub(crate) fn answer(backend: &Backend, method: &Method, path: &str, body: &[u8]) -> Reply {
    match (method.as_str(), path) {
        ("GET", "counts") => Reply::ok(&backend.log.counts()),
        ("GET", "log") => Reply::json(StatusCode::OK, backend.log.json()),
        ("DELETE", "log") => {
            backend.log.clear();
            done()
        }
        ("GET", "script") => Reply::ok(&backend.script().rules()),
        ("POST", "script") => script(backend, body),
        ("DELETE", "script") => {
            backend.script().clear();
            done()
        }
        ("GET", "state") => Reply::ok(&*backend.state()),
        ("POST", "state") => match serde_json::from_slice::<StateChange>(body) {
            Ok(change) => {
                let mut state = backend.state();
                state.change(change);
                Reply::ok(&*state)
            }
            Err(error) => bad_request(&error.to_string()),
        },
        ("GET", "gemini-api") => Reply::ok(&backend.state().gemini),
        ("POST", "gemini-api") => match serde_json::from_slice::<GeminiStateChange>(body) {
            Ok(change) => {
                let mut state = backend.state();
                state.gemini.change(change);
                Reply::ok(&state.gemini)
            }
            Err(error) => bad_request(&error.to_string()),
        },
        ("GET", "logins") => Reply::ok(&backend.state().logins.shown()),
        ("POST", "logins") => match serde_json::from_slice::<LoginsChange>(body) {
            Ok(change) => {
                let mut state = backend.state();
                match state.logins.change(change) {
                    Ok(()) => Reply::ok(&state.logins.shown()),
                    Err(why) => bad_request(&why),
                }
            }
            Err(error) => bad_request(&error.to_string()),
        },
        ("GET", "google-auth") => Reply::ok(&backend.state().google_auth),
        ("POST", "google-auth") => match serde_json::from_slice::<Patch<AuthSettings>>(body) {
            Ok(patch) => {
                let mut state = backend.state();
                patch.apply(&mut state.google_auth);
                Reply::ok(&state.google_auth)
            }
            Err(error) => bad_request(&error.to_string()),
        },
        ("GET", "vertex") => Reply::ok(&backend.state().vertex),
        ("POST", "vertex") => match serde_json::from_slice::<Patch<VertexSettings>>(body) {
            Ok(patch) => {
                let mut state = backend.state();
                patch.apply(&mut state.vertex);
                Reply::ok(&state.vertex)
            }
            Err(error) => bad_request(&error.to_string()),
        },
        (
            _,
            "counts" | "gemini-api" | "google-auth" | "log" | "logins" | "script" | "state"
            | "vertex",
        ) => {
            let mut reply =
                bad_request("counts and log: GET; log and script: DELETE; the others: POST");
            reply.status = StatusCode::METHOD_NOT_ALLOWED;
            reply
        }
        _ => {
            let mut reply = bad_request(
                "there is: counts, gemini-api, google-auth, log, logins, script, state, vertex",
            );
            reply.status = StatusCode::NOT_FOUND;
            reply
        }
    }
}

fn script(backend: &Backend, body: &[u8]) -> Reply {
    let rules = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Array(rules)) => rules,
        Ok(rule) => vec![rule],
        Err(error) => return bad_request(&error.to_string()),
    };
    // All rules or none: a test must not run with half a script.
    let rules: Result<Vec<Rule>, String> = rules.into_iter().map(Rule::read).collect();
    match rules {
        Ok(rules) => {
            let mut script = backend.script();
            for rule in rules {
                script.push(rule);
            }
            done()
        }
        Err(why) => bad_request(&why),
    }
}

fn done() -> Reply {
    Reply::ok(&json!({"ok": true}))
}

fn bad_request(why: &str) -> Reply {
    let mut reply = Reply::ok(&json!({"error": why}));
    reply.status = StatusCode::BAD_REQUEST;
    reply
}
