//! Signatures of calls over many turns, for clients that bring them back and for others.

use code_assist_harness::{GoogleEmulator, Provider, Proxy, ProxyBuilder};
use serde_json::{Value, json};

use super::{Api, GEMINI_3};

const PLACEHOLDER: &str = "skip_thought_signature_validator";
const TURNS: usize = 10;

/// What a client does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// It sends everything back.
    Faithful,
    /// It also asks for thoughts.
    Thinking,
    /// It keeps only the fields that it knows.
    Forgetful,
    /// It refers to reasoning by its id, as the AI SDK does.
    Referring,
}

/// The model's answer at a turn: two calls, of which the first one is signed.
fn two_calls(turn: usize) -> Value {
    json!({"response": {"candidates": [{"content": {"role": "model", "parts": [
        {"functionCall": {"name": "left", "args": {"n": turn}}, "thoughtSignature": signature(turn)},
        {"functionCall": {"name": "right", "args": {"n": turn}}},
    ]}, "finishReason": "STOP"}], "responseId": format!("r{turn}")}})
}

fn signature(turn: usize) -> String {
    format!("c2lnbmF0dXJlIG9mIHR1cm4+{turn}/==")
}

/// Lets the model answer with calls at each turn, whole and streamed by turns.
fn script(google: &GoogleEmulator) {
    for turn in 0..TURNS {
        let calls = two_calls(turn).to_string();
        google.add_rules(match is_streamed(turn) {
            true => json!({"match": {"rpc": "streamGenerateContent"}, "events": [calls]}),
            false => json!({"match": {"rpc": "generateContent"}, "body": calls}),
        });
    }
}

fn is_streamed(turn: usize) -> bool {
    turn % 2 == 1
}

/// Plays ten turns, and an eleventh whose history is complete.
fn play(api: Api, client: Client, proxy: &Proxy) {
    let mut items = vec![api.user("Hello")];
    for turn in 0..=TURNS {
        let mut body = api.request(GEMINI_3, &items);
        body["tools"] = json!([api.tool("left"), api.tool("right")]);
        body["stream"] = (turn < TURNS && is_streamed(turn)).into();
        if client == Client::Thinking {
            let (name, value) = match api {
                Api::Messages => ("thinking", json!({"type": "enabled", "budget_tokens": 2000})),
                Api::Responses => ("reasoning", json!({"effort": "low", "summary": "auto"})),
                _ => ("reasoning_effort", json!("low")),
            };
            body[name] = value;
        }
        let answer = api.answer(&proxy.post(&api.path(GEMINI_3), body.to_string()));
        if turn == TURNS {
            return;
        }
        let ids = api.call_ids(&answer);
        let [left, right] = &ids[..] else { panic!("{api:?}: two calls: {answer}") };
        let mut said = api.history(&answer);
        if client == Client::Forgetful {
            said = api.without_unknown_fields(said);
            assert!(!json!(said).to_string().contains("c2ln"), "{api:?}: {said:?}");
        }
        if client == Client::Referring {
            for item in said.iter_mut().filter(|item| item["type"] == "reasoning") {
                *item = json!({"type": "item_reference", "id": item["id"]});
            }
        }
        items.extend(said);
        // The second call is the first to be done.
        items.extend(
            api.results(&[(right, format!("right {turn}")), (left, format!("left {turn}"))]),
        );
    }
}

/// Holds every history that has gone upstream to this signature at each turn.
#[track_caller]
fn check(api: Api, client: Client, google: &GoogleEmulator, expected: impl Fn(usize) -> String) {
    let log = google.log();
    let calls =
        log.iter().filter(|it| it["rpc"].as_str().expect("a string").ends_with("enerateContent"));
    let bodies: Vec<Value> = calls
        .map(|call| serde_json::from_str(call["body"].as_str().expect("a string")).expect("JSON"))
        .collect();
    assert_eq!(bodies.len(), TURNS + 1, "{api:?} {client:?}: each request goes upstream once");
    for (turns, body) in bodies.iter().enumerate() {
        let contents = body["request"]["contents"].as_array().expect("a list");
        assert_eq!(contents.len(), 1 + 2 * turns, "{api:?} {client:?}: {body}");
        for turn in 0..turns {
            let [model, user] = [&contents[1 + 2 * turn], &contents[2 + 2 * turn]];
            let calls = model["parts"].as_array().expect("a list");
            let results = user["parts"].as_array().expect("a list");
            assert_eq!((&model["role"], calls.len()), (&json!("model"), 2), "{api:?}: {model}");
            assert_eq!((&user["role"], results.len()), (&json!("user"), 2), "{api:?}: {user}");
            let told = calls[0]["thoughtSignature"].as_str().unwrap_or_default();
            assert_eq!(told, expected(turn), "{api:?} {client:?}, turn {turn} of {turns}");
            assert_eq!(calls[1]["thoughtSignature"], Value::Null, "{api:?} {client:?}: {model}");
            for (place, name) in ["left", "right"].into_iter().enumerate() {
                let (call, result) =
                    (&calls[place]["functionCall"], &results[place]["functionResponse"]);
                assert_eq!((&call["name"], &call["args"]), (&json!(name), &json!({"n": turn})));
                assert_eq!((&result["name"], &result["id"]), (&json!(name), &call["id"]));
                assert_eq!(result["response"], json!({"output": format!("{name} {turn}")}));
            }
        }
    }
}

#[test]
fn ten_turns_of_parallel_calls_keep_their_signatures() {
    for api in Api::ALL {
        for client in [Client::Faithful, Client::Thinking] {
            let google = GoogleEmulator::start();
            script(&google);
            // Nothing is remembered: all that goes upstream has come from the client.
            let setup = ProxyBuilder::for_emulator(&google).env("SIGNATURE_CACHE_BYTES", "0");
            play(api, client, &setup.start());
            check(api, client, &google, signature);
        }
    }
}

#[test]
fn signatures_that_a_client_drops_come_from_memory() {
    let forgetful = Api::ALL.map(|api| (api, Client::Forgetful));
    for (api, client) in forgetful.into_iter().chain([(Api::Responses, Client::Referring)]) {
        let google = GoogleEmulator::start();
        script(&google);
        play(api, client, &ProxyBuilder::for_emulator(&google).start());
        check(api, client, &google, signature);
    }
}

#[test]
fn without_a_memory_a_dropped_signature_becomes_the_placeholder() {
    for api in Api::ALL {
        let google = GoogleEmulator::start();
        script(&google);
        let setup = ProxyBuilder::for_emulator(&google).env("SIGNATURE_CACHE_BYTES", "0");
        play(api, Client::Forgetful, &setup.start());
        check(api, Client::Forgetful, &google, |_| PLACEHOLDER.to_owned());
    }
}

#[test]
fn every_provider_takes_the_history_that_it_caused() {
    for provider in Provider::ALL {
        for api in Api::ALL {
            let google = provider.emulator();
            let proxy = ProxyBuilder::for_provider(provider, &google).start();
            let mut items = vec![api.user("use a tool")];
            let ask = |items: &[Value], is_streamed: bool| {
                let mut body = api.request(GEMINI_3, items);
                body["tools"] = json!([api.tool("look_up")]);
                body["stream"] = is_streamed.into();
                api.answer(&proxy.post(&api.path(GEMINI_3), body.to_string()))
            };
            for is_streamed in [false, true] {
                let answer = ask(&items, is_streamed);
                let ids = api.call_ids(&answer);
                let [id] = &ids[..] else { panic!("{api:?}: one call: {answer}") };
                items.extend(api.history(&answer));
                items.extend(api.results(&[(id, "42".to_owned())]));
                let last = ask(&items, !is_streamed);
                let text = api.text(&last);
                assert!(text.starts_with("The function look_up answered"), "{api:?}: {last}");
                items.extend(api.history(&last));
                items.push(api.user("use a tool"));
            }
            let name = provider.name();
            let log = google.log();
            assert!(log.iter().all(|call| call["violation"].is_null()), "{name}: {log:?}");
        }
    }
}
