//! The Interactions API, the endpoint that is compatible with OpenAI, and the Live API.

use code_assist_emulator::{Emulator, GEMINI_API_KEY};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, CloseCode, MaybeTlsStream, Message, WebSocketStream};

use super::{call, change, get, post, prompt, started};
use crate::client::{send, settled_log};

#[tokio::test]
async fn an_interaction_answers_in_one_piece_or_in_named_events() {
    let google = started().await;
    let body = json!({"model": "gemini-2.5-flash", "input": "hello"});
    let whole = post(&google, "/v1beta/interactions", &body).await.json();
    assert_eq!((&whole["status"], &whole["object"]), (&json!("completed"), &json!("interaction")));
    assert_eq!(whole["steps"][0]["content"][0]["text"], "You said: hello");
    let body = json!({"model": "gemini-2.5-flash", "input": "hello", "stream": true,
                      "previous_interaction_id": whole["id"]});
    let stream = post(&google, "/v1beta/interactions", &body).await;
    let text = stream.text();
    assert!(text.starts_with("event: interaction.created\ndata: {"), "{text}");
    assert!(text.ends_with("\n\nevent: done\ndata: [DONE]\n\n"), "{text}");
    for event in ["step.start", "step.delta", "step.stop", "interaction.completed"] {
        assert!(text.contains(&format!("\n\nevent: {event}\ndata: ")), "{event}");
        assert!(text.contains(&format!("\"event_type\":\"{event}\"")), "{event}");
    }
}

#[tokio::test]
async fn an_interaction_is_kept_unless_the_client_forbids_it() {
    let google = started().await;
    let body = json!({"model": "gemini-2.5-flash", "input": "hello"});
    let kept = post(&google, "/v1/interactions", &body).await.json();
    let target = format!("/v1/interactions/{}", kept["id"].as_str().unwrap());
    assert_eq!(get(&google, &target).await.json()["id"], kept["id"]);
    let rest = get(&google, &format!("{target}?stream=true&last_event_id=evt_5")).await.text();
    assert!(rest.starts_with("event: step.stop\n"), "{rest}");
    assert_eq!(call(&google, "DELETE", &target, &Value::Null).await.status, 200);
    let gone = get(&google, &target).await;
    assert_eq!((gone.status, &gone.json()["error"]["code"]), (404, &json!("not_found")));
    let body = json!({"model": "gemini-2.5-flash", "input": "hello", "store": false});
    let dropped = post(&google, "/v1/interactions", &body).await.json();
    let target = format!("/v1/interactions/{}", dropped["id"].as_str().unwrap());
    assert_eq!(get(&google, &target).await.status, 404);
    let body =
        json!({"model": "gemini-2.5-flash", "input": "x", "previous_interaction_id": "none"});
    assert_eq!(post(&google, "/v1/interactions", &body).await.status, 404);
}

#[tokio::test]
async fn a_background_interaction_is_in_progress_and_can_be_cancelled() {
    let google = started().await;
    let body = json!({"model": "gemini-2.5-flash", "input": "hello", "background": true});
    let begun = post(&google, "/v1beta/interactions", &body).await.json();
    assert_eq!(begun["status"], "in_progress");
    let target = format!("/v1beta/interactions/{}", begun["id"].as_str().unwrap());
    assert_eq!(get(&google, &target).await.json()["status"], "completed");
    change(&google, json!({"job_polls": 3})).await;
    let begun = post(&google, "/v1beta/interactions", &body).await.json();
    let target = format!("/v1beta/interactions/{}/cancel", begun["id"].as_str().unwrap());
    assert_eq!(post(&google, &target, &Value::Null).await.json()["status"], "cancelled");
}

#[tokio::test]
async fn the_code_of_an_interactions_error_is_a_string() {
    let google = started().await;
    let body = json!({"model": "gemini-2.5-flash", "input": "hello", "generationConfig": {}});
    let answer = post(&google, "/v1beta/interactions", &body).await;
    assert_eq!(
        (answer.status, answer.json()),
        (
            400,
            json!({"error": {"code": "invalid_request",
                               "message": "Unknown parameter: generationConfig."}})
        )
    );
}

#[tokio::test]
async fn a_chat_answers_in_one_piece_or_in_chunks() {
    let google = started().await;
    let target = "/v1beta/openai/chat/completions";
    let mut body = json!({"model": "gemini-2.5-flash",
                          "messages": [{"role": "system", "content": "be brief"},
                                       {"role": "user", "content": "hello"}]});
    let whole = post(&google, target, &body).await.json();
    assert_eq!(whole["choices"][0]["message"]["content"], "You said: hello");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let text = post(&google, target, &body).await.text();
    assert!(text.starts_with("data: {") && text.ends_with("}\n\ndata: [DONE]\n\n"), "{text}");
    assert!(text.contains("\"total_tokens\""));
}

#[tokio::test]
async fn errors_of_the_openai_endpoint_are_arrays_of_one() {
    let google = started().await;
    let target = "/v1beta/openai/chat/completions";
    let body = json!({"model": "nothing", "messages": [{"role": "user", "content": "x"}]});
    let unknown = post(&google, target, &body).await;
    assert_eq!((unknown.status, &unknown.json()[0]["error"]["code"]), (404, &json!(404)));
    let wrong = send(&google, "POST", target, &[("authorization", "Bearer wrong")], b"{}").await;
    assert_eq!(wrong.json()[0]["error"]["details"][0]["reason"], "API_KEY_INVALID");
    let both = [("authorization", "Bearer x"), ("x-goog-api-key", GEMINI_API_KEY)];
    let both = send(&google, "POST", target, &both, b"{}").await;
    assert_eq!(
        both.json(),
        json!([{"error": {"code": 400, "status": "INVALID_ARGUMENT",
                          "message": "Multiple authentication credentials received. Please pass \
                                      only one."}}])
    );
}

#[tokio::test]
async fn the_openai_endpoint_embeds_and_lists_models() {
    let google = started().await;
    let body = json!({"model": "gemini-embedding-001", "input": ["a", "b"]});
    let answer = post(&google, "/v1beta/openai/embeddings", &body).await.json();
    assert_eq!(answer["data"].as_array().unwrap().len(), 2);
    let models = get(&google, "/v1beta/openai/models").await.json();
    assert_eq!(models["data"][0]["id"], "models/gemini-2.5-flash");
    let one = get(&google, "/v1beta/openai/models/models/gemini-2.5-flash").await;
    assert_eq!(one.status, 200, "{}", one.text());
}

async fn connected(
    google: &Emulator,
    path_and_query: &str,
    key: Option<&str>,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, tokio_websockets::Error> {
    let url = format!("{}{path_and_query}", google.url().replace("http://", "ws://"));
    let mut builder = ClientBuilder::from_uri(url.parse().unwrap());
    if let Some(key) = key {
        let name = http::HeaderName::from_static("x-goog-api-key");
        builder = builder.add_header(name, key.parse().unwrap()).unwrap();
    }
    builder.connect().await.map(|(socket, _)| socket)
}

async fn said(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

async fn next(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Value {
    let message = socket.next().await.unwrap().unwrap();
    assert!(message.is_binary(), "Google's frames are binary: {message:?}");
    serde_json::from_slice(message.as_payload()).unwrap()
}

const LIVE: &str = "//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
const SETUP_MODEL: &str = "models/gemini-2.5-flash-native-audio-preview";

#[tokio::test]
async fn a_live_session_is_set_up_and_answers() {
    let google = started().await;
    let mut socket = connected(&google, LIVE, Some(GEMINI_API_KEY)).await.unwrap();
    said(&mut socket, json!({"setup": {"model": SETUP_MODEL}})).await;
    assert_eq!(next(&mut socket).await, json!({"setupComplete": {}}));
    let mut content = json!({"turnComplete": true});
    content["turns"] = prompt("hello")["contents"].clone();
    said(&mut socket, json!({"clientContent": content})).await;
    let first = next(&mut socket).await;
    assert_eq!(first["serverContent"]["modelTurn"]["parts"][0]["text"], "You said: hello");
    assert_eq!(next(&mut socket).await["serverContent"]["generationComplete"], true);
    assert_eq!(next(&mut socket).await["serverContent"]["turnComplete"], true);
    socket.close().await.unwrap();
    let log = settled_log(&google).await;
    let last = log.last().unwrap();
    assert_eq!(
        (&last["rpc"], &last["status"], &last["cancelled"]),
        (&json!("live"), &json!(101), &json!(false))
    );
    assert_eq!(last["path"], LIVE);
}

#[tokio::test]
async fn a_live_session_that_google_refuses_is_closed_with_a_code() {
    let google = started().await;
    for (message, code) in [
        (json!({"clientContent": {}}), CloseCode::INVALID_FRAME_PAYLOAD_DATA),
        (json!({"setup": {"model": "models/nothing"}}), CloseCode::POLICY_VIOLATION),
    ] {
        let mut socket = connected(&google, LIVE, Some(GEMINI_API_KEY)).await.unwrap();
        said(&mut socket, message).await;
        let close = socket.next().await.unwrap().unwrap();
        assert_eq!(close.as_close().unwrap().0, code);
    }
}

#[tokio::test]
async fn a_live_handshake_needs_a_valid_credential() {
    let google = started().await;
    assert!(connected(&google, LIVE, None).await.is_err());
    assert!(connected(&google, LIVE, Some("wrong")).await.is_err());
    let token = post(&google, "/v1alpha/auth_tokens", &json!({})).await.json();
    let token = token["name"].as_str().unwrap();
    let constrained = format!(
        "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained\
         ?access_token={token}"
    );
    assert!(connected(&google, &constrained, None).await.is_ok());
    assert!(connected(&google, &format!("{LIVE}?access_token={token}"), None).await.is_err());
    let plain = get(&google, LIVE).await;
    assert_eq!(plain.status, 400, "no handshake");
}
