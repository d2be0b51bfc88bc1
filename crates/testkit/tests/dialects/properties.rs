//! What holds of every request and every answer in the dialects, through the whole proxy.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use code_assist_testkit::script::{Piece, Reply};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use crate::assembled::{assemble, call_ids, whole, without_surrogates};
use crate::fixture::{ALL, Api, Fixture};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_in_any_chunking_is_the_whole_answer(answer in answer(), api in select(ALL.to_vec()), size in 1usize..400) {
        let subject = Subject::new();
        let request = streaming(api);
        let upstream = answer.stream();
        let at_once = subject.ask(api, &request, [upstream.clone()]);
        let chunks = upstream.chunks(size).map(Bytes::copy_from_slice);
        let in_pieces = subject.ask(api, &request, chunks);
        prop_assert_eq!(&in_pieces, &at_once);
        let (status, stream) = at_once;
        let whole_body = Bytes::from(enveloped(&answer.whole()));
        let (whole_status, whole_body) = subject.ask(api, &unstreamed(api), [whole_body]);
        if status != 200 {
            prop_assert_eq!(whole_status, status, "{} {}", stream, whole_body);
            return Ok(());
        }
        match assemble(api, &stream) {
            Ok(assembled) => {
                prop_assert_eq!(whole_status, 200, "{}", whole_body);
                prop_assert_eq!(assembled, whole(api, &whole_body));
            }
            Err(error) => prop_assert_ne!(whole_status, 200, "{} {}", error, whole_body),
        }
    }

    #[test]
    fn the_arguments_of_calls_reach_the_client_byte_for_byte(calls in prop::collection::vec(args(), 1..4), api in select(ALL.to_vec())) {
        let subject = Subject::new();
        let part = |args: &String| Part::Call { args: args.clone(), id: None, signature: None };
        let parts: Vec<Part> = calls.iter().map(part).collect();
        let answer = Answered { events: vec![parts], finish: "STOP", usage: [1, 0, 1, 0, 0] };
        let (_, stream) = subject.ask(api, &streaming(api), [answer.stream()]);
        let whole_body = Bytes::from(enveloped(&answer.whole()));
        let (_, body) = subject.ask(api, &unstreamed(api), [whole_body]);
        for args in &calls {
            // A separator of lines has two forms in JSON, and only one of them in a line of a stream.
            let escaped = args.replace('\u{2028}', r"\u2028");
            let embedded = [args, &escaped].map(|args| {
                serde_json::to_string(args).unwrap().replace('\u{2028}', r"\u2028")
            });
            let given = |text: &str, key: &str| {
                embedded.iter().any(|args| text.contains(&format!(r#""{key}":{args}"#)))
            };
            match api {
                Api::Messages => {
                    let input = format!(r#""input":{escaped}"#);
                    prop_assert!(given(&stream, "partial_json"), "{} in {}", args, stream);
                    prop_assert!(body.contains(&input), "{} in {}", input, body);
                }
                Api::Chat | Api::Responses => {
                    prop_assert!(given(&stream, "arguments"), "{} in {}", args, stream);
                    prop_assert!(given(&body, "arguments"), "{} in {}", args, body);
                }
            }
        }
    }

    #[test]
    fn the_arguments_in_a_history_reach_google_byte_for_byte_and_each_call_has_a_result(
        steps in prop::collection::vec(prop::collection::vec((args(), any::<bool>()), 0..4), 1..4),
        api in select(ALL.to_vec()),
        model in select(vec!["gemini-2.5-pro", "gemini-3-pro-preview"]),
    ) {
        let subject = Subject::new();
        let request = history(api, model, &steps);
        let reply = Bytes::from(enveloped(r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}"#));
        let (status, body) = subject.ask(api, &request, [reply]);
        prop_assert_eq!(status, 200, "{} for {}", body, request);
        let sent = subject.fixture.script.all_received().pop().unwrap().body;
        let mut rest = &sent[..];
        for (args, _) in steps.iter().flatten() {
            let expected = format!(r#""args":{args}"#);
            let at = rest.find(&expected);
            prop_assert!(at.is_some(), "{} in {}", expected, sent);
            rest = &rest[at.unwrap() + expected.len()..];
        }
        check_contents(&serde_json::from_str(&without_surrogates(&sent)).unwrap())?;
    }

    #[test]
    fn ids_of_calls_are_legal_and_differ(answer in answer(), api in select(ALL.to_vec())) {
        let subject = Subject::new();
        let (status, stream) = subject.ask(api, &streaming(api), [answer.stream()]);
        prop_assume!(status == 200);
        let ids = call_ids(&stream);
        for id in &ids {
            let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            prop_assert!((1..=64).contains(&id.len()) && id.bytes().all(is_legal), "{}", id);
        }
        let calls = answer.events.iter().flatten().filter(|part| matches!(part, Part::Call { .. }));
        let is_failed = assemble(api, &stream).is_err();
        prop_assert!(ids.len() >= calls.count() || is_failed, "{:?} in {}", ids, stream);
    }

    #[test]
    fn the_parts_of_the_usage_are_its_total(answer in answer(), api in select(ALL.to_vec())) {
        let subject = Subject::new();
        let body = Bytes::from(enveloped(&answer.whole()));
        let (status, body) = subject.ask(api, &unstreamed(api), [body]);
        prop_assume!(status == 200);
        let usage = &serde_json::from_str::<Value>(&without_surrogates(&body)).unwrap()["usage"];
        let number = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or_default();
        let [prompt, tool, candidates, thoughts, cached] = answer.usage;
        let (input, output) = (prompt + tool, candidates + thoughts);
        let given = match api {
            Api::Chat => [
                number("/prompt_tokens"), number("/completion_tokens"), number("/total_tokens"),
                number("/prompt_tokens_details/cached_tokens"),
                number("/completion_tokens_details/reasoning_tokens"),
            ],
            Api::Responses => [
                number("/input_tokens"), number("/output_tokens"), number("/total_tokens"),
                number("/input_tokens_details/cached_tokens"),
                number("/output_tokens_details/reasoning_tokens"),
            ],
            Api::Messages => {
                let read = number("/cache_read_input_tokens");
                let input = number("/input_tokens") + read + number("/cache_creation_input_tokens");
                let output = number("/output_tokens");
                let thoughts = number("/output_tokens_details/thinking_tokens");
                [input, output, input + output, read, thoughts]
            }
        };
        prop_assert_eq!(given, [input, output, input + output, cached, thoughts], "{}", usage);
    }
}

/// Checks that each call of a model's content has a result in the content that follows.
fn check_contents(sent: &Value) -> Result<(), TestCaseError> {
    let contents = sent["request"]["contents"].as_array().expect("the test's own data is good");
    let count = |content: &Value, key: &str| {
        let parts = content["parts"].as_array().expect("the test's own data is good");
        parts.iter().filter(|part| part.get(key).is_some()).count()
    };
    for (at, content) in contents.iter().enumerate() {
        let calls = count(content, "functionCall");
        if calls > 0 {
            let next = contents.get(at + 1);
            let results = next.map_or(0, |next| count(next, "functionResponse"));
            prop_assert_eq!(results, calls, "{}", sent);
        }
        let role = content["role"].as_str().expect("the test's own data is good");
        prop_assert_ne!(contents.get(at + 1).and_then(|next| next["role"].as_str()), Some(role));
    }
    Ok(())
}

/// A proxy whose upstream answers every call to a model with these chunks.
struct Subject {
    fixture: Fixture,
    chunks: Arc<Mutex<Vec<Bytes>>>,
}

impl Subject {
    fn new() -> Self {
        let chunks = Arc::new(Mutex::new(Vec::<Bytes>::new()));
        let given = Arc::clone(&chunks);
        let fixture = Fixture::with(&[], move |request| {
            let is_call = request.line.contains("enerateContent");
            is_call.then(|| {
                Reply::pieces(
                    given
                        .lock()
                        .expect("the test's own data is good")
                        .iter()
                        .cloned()
                        .map(Piece::Data),
                )
            })
        });
        fixture.script.fix_random(7);
        Self { fixture, chunks }
    }

    /// The status and the body of the answer.
    fn ask(
        &self,
        api: Api,
        request: &str,
        chunks: impl IntoIterator<Item = Bytes>,
    ) -> (u16, String) {
        *self.chunks.lock().expect("the test's own data is good") = chunks.into_iter().collect();
        let answer = self.fixture.ask(api.path(), request);
        (answer.status.as_u16(), answer.text())
    }
}

fn streaming(api: Api) -> String {
    let usage = if api == Api::Chat { r#","stream_options":{"include_usage":true}"# } else { "" };
    api.body("gemini-3-pro-preview", &format!(r#"{usage},"stream":true{}"#, more(api)))
}

fn unstreamed(api: Api) -> String {
    api.body("gemini-3-pro-preview", more(api))
}

/// The client wants to see thoughts, and has a tool.
fn more(api: Api) -> &'static str {
    match api {
        Api::Chat => {
            r#","reasoning_effort":"low","tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#
        }
        Api::Responses => {
            r#","reasoning":{"effort":"low","summary":"auto"},"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]"#
        }
        Api::Messages => {
            r#","thinking":{"type":"adaptive"},"tools":[{"name":"f","input_schema":{"type":"object"}}]"#
        }
    }
}

/// A conversation in which the model has called tools. Some calls have no result, and results come in
/// another order than the calls.
fn history(api: Api, model: &str, steps: &[Vec<(String, bool)>]) -> String {
    let mut items = Vec::new();
    for (step, calls) in steps.iter().enumerate() {
        let id = |call: usize| format!("c_{step}_{call}");
        let text =
            |args: &String| serde_json::to_string(args).expect("the test's own data is good");
        let given = calls.iter().enumerate().map(|(call, (args, _))| match api {
            Api::Chat => format!(
                r#"{{"id":"{}","type":"function","function":{{"name":"f","arguments":{}}}}}"#,
                id(call),
                text(args)
            ),
            Api::Responses => format!(
                r#"{{"type":"function_call","call_id":"{}","name":"f","arguments":{}}}"#,
                id(call),
                text(args)
            ),
            Api::Messages => {
                format!(r#"{{"type":"tool_use","id":"{}","name":"f","input":{args}}}"#, id(call))
            }
        });
        let given: Vec<String> = given.collect();
        let answered = calls.iter().enumerate().rev().filter(|(_, (_, is_answered))| *is_answered);
        let results = answered.map(|(call, _)| match api {
            Api::Chat => {
                format!(r#"{{"role":"tool","tool_call_id":"{}","content":"r"}}"#, id(call))
            }
            Api::Responses => {
                format!(
                    r#"{{"type":"function_call_output","call_id":"{}","output":"r"}}"#,
                    id(call)
                )
            }
            Api::Messages => {
                format!(r#"{{"type":"tool_result","tool_use_id":"{}","content":"r"}}"#, id(call))
            }
        });
        let results: Vec<String> = results.collect();
        match api {
            Api::Chat => {
                items.push(format!(
                    r#"{{"role":"assistant","content":"s","tool_calls":[{}]}}"#,
                    given.join(",")
                ));
                items.extend(results);
                items.push(r#"{"role":"user","content":"go on"}"#.to_owned());
            }
            Api::Responses => {
                items.extend(given);
                items.extend(results);
                items.push(r#"{"role":"user","content":"go on"}"#.to_owned());
            }
            Api::Messages => {
                let mut content = vec![r#"{"type":"text","text":"s"}"#.to_owned()];
                content.extend(given);
                items.push(format!(r#"{{"role":"assistant","content":[{}]}}"#, content.join(",")));
                let mut content = results;
                content.push(r#"{"type":"text","text":"go on"}"#.to_owned());
                items.push(format!(r#"{{"role":"user","content":[{}]}}"#, content.join(",")));
            }
        }
    }
    let items = items.join(",");
    match api {
        Api::Chat => format!(r#"{{"model":"{model}","messages":[{items}]}}"#),
        Api::Responses => format!(r#"{{"model":"{model}","input":[{items}]}}"#),
        Api::Messages => format!(r#"{{"model":"{model}","max_tokens":9,"messages":[{items}]}}"#),
    }
}

/// An answer of Gemini's, in events.
#[derive(Debug, Clone)]
struct Answered {
    events: Vec<Vec<Part>>,
    finish: &'static str,
    /// The prompt, what tools have added to it, the candidates, their thoughts, and what of the prompt was
    /// cached.
    usage: [u64; 5],
}

#[derive(Debug, Clone)]
enum Part {
    Written(&'static str),
    Call { args: String, id: Option<&'static str>, signature: Option<&'static str> },
}

impl Part {
    fn json(&self) -> String {
        match self {
            Self::Written(json) => (*json).to_owned(),
            Self::Call { args, id, signature } => {
                let id = id.map(|id| format!(r#""id":"{id}","#)).unwrap_or_default();
                let signature = signature.map(|text| format!(r#","thoughtSignature":"{text}""#));
                let signature = signature.unwrap_or_default();
                format!(r#"{{"functionCall":{{{id}"name":"f","args":{args}}}{signature}}}"#)
            }
        }
    }
}

impl Answered {
    fn usage(&self) -> String {
        let [prompt, tool, candidates, thoughts, cached] = self.usage;
        let total = prompt + tool + candidates + thoughts;
        format!(
            r#""usageMetadata":{{"promptTokenCount":{prompt},"toolUsePromptTokenCount":{tool},"candidatesTokenCount":{candidates},"thoughtsTokenCount":{thoughts},"cachedContentTokenCount":{cached},"totalTokenCount":{total}}}"#
        )
    }

    fn event(&self, parts: &[Part], is_last: bool) -> String {
        let parts: Vec<String> = parts.iter().map(Part::json).collect();
        let finish = match is_last {
            true => format!(r#","finishReason":"{}""#, self.finish),
            false => String::new(),
        };
        format!(
            r#"{{"candidates":[{{"content":{{"role":"model","parts":[{}]}}{finish}}}],{},"responseId":"r1"}}"#,
            parts.join(","),
            self.usage()
        )
    }

    fn stream(&self) -> Bytes {
        let mut stream = String::new();
        for (at, parts) in self.events.iter().enumerate() {
            let event = self.event(parts, at + 1 == self.events.len());
            let _ = write!(stream, "data: {}\r\n\r\n", enveloped(&event));
        }
        stream.into()
    }

    fn whole(&self) -> String {
        self.event(&self.events.concat(), true)
    }
}

fn enveloped(event: &str) -> String {
    format!(r#"{{"response":{event},"traceId":"t1"}}"#)
}

fn answer() -> impl Strategy<Value = Answered> {
    let finish =
        select(vec!["STOP", "STOP", "MAX_TOKENS", "SAFETY", "MALFORMED_FUNCTION_CALL", "NEW"]);
    let events = prop::collection::vec(prop::collection::vec(part(), 0..4), 1..5);
    let usage = (0u64..1000, 0u64..10, 0u64..1000, 0u64..1000, 0u64..1000);
    (events, finish, usage).prop_map(
        |(events, finish, (prompt, tool, candidates, thoughts, cached))| Answered {
            events,
            finish,
            usage: [prompt, tool, candidates, thoughts, cached.min(prompt)],
        },
    )
}

fn part() -> impl Strategy<Value = Part> {
    let ids = select(vec![None, None, Some("gem_1"), Some("not legal!"), Some("gem-2")]);
    let signatures = select(vec![None, Some("SIG+/=="), Some("T")]);
    prop_oneof![
        4 => select(PARTS).prop_map(Part::Written),
        2 => (args(), ids, signatures).prop_map(|(args, id, signature)| Part::Call { args, id, signature }),
    ]
}

/// A JSON object without white space between its tokens.
fn args() -> impl Strategy<Value = String> {
    prop::collection::vec((select(KEYS), select(VALUES)), 0..5).prop_map(|fields| {
        let mut known = HashSet::new();
        let fields = fields.into_iter().filter(|(key, _)| known.insert(*key));
        let fields: Vec<String> = fields.map(|(key, value)| format!("{key}:{value}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

const KEYS: &[&str] =
    &[r#""b""#, r#""a""#, r#""\u00e4""#, r#""x y""#, r#""$ref""#, r#""10""#, r#""2""#];

const VALUES: &[&str] = &[
    "12345678901234567890",
    "1.0",
    "-0.10e+05",
    r#""\ud83d""#,
    r#""\ud83d\ude00""#,
    r#""a\"b\\c\/\n""#,
    "\"x\u{2028}y ä\"",
    r#"{"z":1,"a":[null,true,[]]}"#,
    r#""""#,
];

const PARTS: &[&str] = &[
    r#"{"text":"a"}"#,
    r#"{"text":"ä\n\u003c \ud83d\ude00"}"#,
    r#"{"text":"cut \ud83d"}"#,
    "{\"text\":\"line\u{2028}end\"}",
    r#"{"text":""}"#,
    r#"{"text":"b","thoughtSignature":"U"}"#,
    r#"{"text":"hm","thought":true}"#,
    r#"{"text":"hm hm","thought":true,"thoughtSignature":"V"}"#,
    r#"{"inlineData":{"mimeType":"image/png","data":"AA=="}}"#,
    r#"{"inlineData":{"mimeType":"audio/wav","data":"AA=="}}"#,
    r#"{"executableCode":{"language":"PYTHON","code":"1+1"}}"#,
    r#"{"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"2\n"}}"#,
    r#"{"somethingNew":{"a":1}}"#,
    r#"{"thoughtSignature":"W"}"#,
    r#"{"text":null}"#,
];
