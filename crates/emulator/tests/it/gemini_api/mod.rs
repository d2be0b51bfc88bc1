//! The Gemini API: what it refuses, and each family of its calls.

mod access;
mod dialects;
mod generate;
mod resources;
mod uploads;

use code_assist_emulator::{Emulator, GEMINI_API_KEY, Options, Played};
use serde_json::{Value, json};

use crate::client::{Answer, control, send};

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";

async fn started() -> Emulator {
    let options = Options { played: Played::GeminiApi, ..Options::default() };
    code_assist_emulator::start(options).await.unwrap()
}

/// Calls with the default key.
async fn call(google: &Emulator, method: &str, target: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    send(google, method, target, &[("x-goog-api-key", GEMINI_API_KEY)], body.as_bytes()).await
}

async fn post(google: &Emulator, target: &str, body: &Value) -> Answer {
    call(google, "POST", target, body).await
}

async fn get(google: &Emulator, target: &str) -> Answer {
    call(google, "GET", target, &Value::Null).await
}

/// Changes the state of the Gemini API.
async fn change(google: &Emulator, change: Value) {
    control(google, "POST", "gemini-api", &change).await;
}

fn prompt(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

fn reason(answer: &Answer) -> String {
    let body = answer.json();
    let error = if body.is_array() { body[0]["error"].clone() } else { body["error"].clone() };
    error["details"][0]["reason"].as_str().unwrap_or_default().to_owned()
}
