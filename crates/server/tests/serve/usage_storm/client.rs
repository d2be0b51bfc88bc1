//! A client of the storm, in each of the three dialects.

use code_assist_harness::{Connection, Proxy, post};
use serde_json::{Value, json};

use super::plan::{Counted, Fate, Plan};
use super::upstream::Book;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Anthropic,
    Gemini,
    OpenAi,
}

/// Goes through one plan, and counts the request if it was answered. Returns the status, 0 for none.
pub(super) fn run(proxy: &Proxy, book: &Book, dialect: Dialect, plan: Plan) -> (u16, String) {
    let (request, body_bytes) = written(dialect, plan);
    let mut connection = proxy.connect();
    connection.write(request);
    if plan.fate == Fate::LeaveEarly {
        book.await_request(plan.id);
        drop(connection);
        // Nothing was counted upstream: the request is charged with an estimate of its prompt.
        book.add(plan.key, Counted { prompt: body_bytes / 4, ..Counted::default() });
        return (0, String::new());
    }
    let (status, text) = read(&mut connection, plan);
    if status == 200 && plan.fate != Fate::Count {
        book.add(plan.key, Counted { requests: 1, ..Counted::default() });
    }
    (status, text)
}

fn read(connection: &mut Connection, plan: Plan) -> (u16, String) {
    let head = connection.head();
    let text = match plan.fate {
        Fate::Leave => connection.chunks_until(&plan.text(plan.at())),
        _ => String::from_utf8(connection.until_closed()).expect("text"),
    };
    (head.status, text)
}

/// The request, and the length of its body.
fn written(dialect: Dialect, plan: Plan) -> (Vec<u8>, u64) {
    let (path, mut body) = match dialect {
        Dialect::Gemini => {
            let method = match (plan.fate, plan.stream) {
                (Fate::Count, _) => "countTokens",
                (_, true) => "streamGenerateContent?alt=sse",
                (_, false) => "generateContent",
            };
            let contents = json!([{"role": "user", "parts": [{"text": plan.to_string()}]}]);
            (format!("/v1beta/models/{MODEL}:{method}"), json!({"contents": contents}))
        }
        Dialect::OpenAi | Dialect::Anthropic => {
            let messages = json!([{"role": "user", "content": plan.to_string()}]);
            let mut body = json!({"model": MODEL, "messages": messages});
            let path = match (dialect, plan.fate) {
                (Dialect::OpenAi, _) => "/v1/chat/completions",
                (_, Fate::Count) => "/v1/messages/count_tokens",
                _ => {
                    body["max_tokens"] = 1000.into();
                    "/v1/messages"
                }
            };
            if plan.fate != Fate::Count {
                body["stream"] = plan.stream.into();
            }
            (path.to_owned(), body)
        }
    };
    if plan.fate == Fate::Shared {
        make_repeatable(dialect, &mut body);
    }
    let key = match dialect {
        Dialect::Gemini => format!("x-goog-api-key: {}", secret(plan.key)),
        Dialect::OpenAi => format!("authorization: Bearer {}", secret(plan.key)),
        Dialect::Anthropic => format!("x-api-key: {}", secret(plan.key)),
    };
    let body = body.to_string();
    (post(&path, &[&key, "connection: close"], &body), body.len() as u64)
}

fn make_repeatable(dialect: Dialect, body: &mut Value) {
    match dialect {
        Dialect::Gemini => body["generationConfig"] = json!({"temperature": 0}),
        Dialect::OpenAi | Dialect::Anthropic => body["temperature"] = 0.into(),
    }
}

/// What a holder presents.
pub(super) fn secret(key: &str) -> String {
    format!("cap_secret-of-the-key-of-{key}")
}

const MODEL: &str = "gemini-2.5-flash";
