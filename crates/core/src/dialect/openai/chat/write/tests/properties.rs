//! What holds for every sequence of events. The events are drawn from a fixed sequence of numbers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

/// Numbers without a pattern that a test would meet (an xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const PARTS: [&str; 14] = [
    r#"{"text":"a"}"#,
    r#"{"text":"ä\n\u003c"}"#,
    r#"{"text":"\ud83d\ude00","thoughtSignature":"S"}"#,
    r#"{"text":""}"#,
    r#"{"text":"hm","thought":true}"#,
    r#"{"functionCall":{"name":"f","args":{"a":[1, 2.50]}},"thoughtSignature":"T"}"#,
    r#"{"functionCall":{"id":"x","name":"long_1"}}"#,
    r#"{"functionCall":{"name":"patch","args":{"input":"p\n"}}}"#,
    r#"{"inlineData":{"mimeType":"image/png","data":"AA=="}}"#,
    r#"{"executableCode":{"language":"PYTHON","code":"1+1"}}"#,
    r#"{"codeExecutionResult":{"output":"2\n"}}"#,
    r#"{"somethingNew":{"a":1}}"#,
    r#"{"thoughtSignature":"U"}"#,
    r#"{"text":null}"#,
];

const ENDS: [&str; 5] = ["STOP", "MAX_TOKENS", "SAFETY", "OTHER", "A_WORD_OF_TOMORROW"];

/// A candidate of an event: its index, its parts and why it ends.
type Drawn = (usize, Vec<&'static str>, Option<&'static str>);

/// Some parts for each of some candidates, and at the end its reason.
fn events(numbers: &mut Numbers) -> Vec<Vec<Drawn>> {
    let candidates = 1 + numbers.below(3);
    let length = 1 + numbers.below(5);
    (0..length)
        .map(|event| {
            let of = |index| {
                let parts = (0..numbers.below(4)).map(|_| numbers.one_of(&PARTS)).collect();
                let end = (event + 1 == length).then(|| numbers.one_of(&ENDS));
                (index, parts, end)
            };
            (0..candidates).map(of).collect()
        })
        .collect()
}

fn json(candidates: &[Drawn], usage: u64) -> String {
    let candidates = candidates.iter().map(|(index, parts, end)| {
        let end = end.map(|end| format!(r#","finishReason":"{end}""#)).unwrap_or_default();
        format!(r#"{{"index":{index},"content":{{"parts":[{}]}}{end}}}"#, parts.join(","))
    });
    let candidates = candidates.collect::<Vec<_>>().join(",");
    format!(
        r#"{{"candidates":[{candidates}],"usageMetadata":{{"promptTokenCount":{usage},"toolUsePromptTokenCount":1,"candidatesTokenCount":2,"thoughtsTokenCount":{usage}}}}}"#
    )
}

/// What the frames of a stream say, put together as a client does it.
#[derive(Default, Debug, PartialEq)]
struct Message {
    content: String,
    reasoning: String,
    calls: Vec<Value>,
    images: usize,
    signature: Value,
    finish: Value,
}

fn collect(stream: &str) -> (BTreeMap<u64, Message>, Value) {
    let mut messages = BTreeMap::new();
    let mut usage = Value::Null;
    for frame in stream.split_terminator("\n\n") {
        let frame = frame.strip_prefix("data: ").unwrap();
        if frame == "[DONE]" {
            continue;
        }
        assert!(!frame.contains('\n'));
        let frame: Value = serde_json::from_str(frame).unwrap();
        let Some(choice) = frame["choices"].get(0) else {
            assert!(usage.is_null(), "one frame has the counts");
            usage = frame["usage"].clone();
            continue;
        };
        assert!(usage.is_null(), "the counts come last");
        let index = choice["index"].as_u64().unwrap();
        let delta = &choice["delta"];
        let is_first = !messages.contains_key(&index);
        assert_eq!(delta.get("role").is_some(), is_first, "a choice begins with its role, once");
        let message: &mut Message = messages.entry(index).or_default();
        assert!(message.finish.is_null(), "nothing follows a finish");
        message.finish = choice["finish_reason"].clone();
        message.content += delta["content"].as_str().unwrap_or_default();
        message.reasoning += delta["reasoning_content"].as_str().unwrap_or_default();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let mut call = call.clone();
            let place = call.as_object_mut().unwrap().remove("index");
            assert_eq!(place, Some(message.calls.len().into()));
            message.calls.push(call);
        }
        for image in delta["images"].as_array().into_iter().flatten() {
            assert_eq!(image["index"], message.images);
            message.images += 1;
        }
        if let Some(extra) = delta.get("extra_content") {
            message.signature = extra.clone();
        }
    }
    (messages, usage)
}

#[test]
fn a_stream_put_together_is_the_whole_answer() {
    let mut numbers = Numbers(42);
    let (mut complete, mut failed) = (0, 0);
    for _ in 0..500 {
        let events = events(&mut numbers);
        let plan = ChatPlan {
            include_usage: true,
            thought_tag: (numbers.below(4) == 0).then(|| "think".to_owned()),
            ..plan()
        };
        let mut writer = ChatWriter::new(plan.clone(), birth());
        let mut out = BytesMut::new();
        let mut end = Ok(());
        for (place, candidates) in events.iter().enumerate() {
            let json = json(candidates, place as u64 + 1);
            end = end.and_then(|()| {
                writer.event(&AnswerEvent::read(json.as_bytes()).unwrap(), &mut out)
            });
        }
        end = end.and_then(|()| writer.end(&mut out));
        // The whole answer has all parts of each candidate.
        let mut merged: Vec<Drawn> = Vec::new();
        for (index, parts, end) in events.iter().flatten() {
            match merged.get_mut(*index) {
                Some((_, all, last)) => {
                    all.extend(parts);
                    *last = *end;
                }
                None => merged.push((*index, parts.clone(), *end)),
            }
        }
        let json = json(&merged, events.len() as u64);
        let whole =
            ChatWriter::new(plan, birth()).whole(&AnswerEvent::read(json.as_bytes()).unwrap());
        let (Ok(()), Ok(whole)) = (&end, &whole) else {
            assert_eq!(end.err(), whole.err());
            assert!(!out.ends_with(DONE));
            failed += 1;
            continue;
        };
        complete += 1;
        assert!(out.ends_with(DONE));
        let (messages, usage) = collect(std::str::from_utf8(&out).unwrap());
        let whole: Value = serde_json::from_slice(whole).unwrap();
        let mut expected = BTreeMap::new();
        for choice in whole["choices"].as_array().unwrap() {
            let message = &choice["message"];
            let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
            let list = |name: &str| message[name].as_array().cloned().unwrap_or_default();
            let message = Message {
                content: text("content"),
                reasoning: text("reasoning_content"),
                calls: list("tool_calls"),
                images: list("images").len(),
                signature: message["extra_content"].clone(),
                finish: choice["finish_reason"].clone(),
            };
            expected.insert(choice["index"].as_u64().unwrap(), message);
        }
        // Ids are drawn in the order of the calls, which differs with several candidates.
        let without_ids = |mut messages: BTreeMap<u64, Message>| {
            for call in messages.values_mut().flat_map(|message| &mut message.calls) {
                assert!(call["id"].as_str().is_some_and(|id| !id.is_empty()));
                call["id"] = Value::Null;
            }
            messages
        };
        assert_eq!(without_ids(messages), without_ids(expected), "{json}");
        assert_eq!(usage, whole["usage"]);
        let count = |name: &str| usage[name].as_u64().unwrap();
        assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));
        assert_eq!(count("total_tokens"), 3 + 2 * events.len() as u64);
    }
    assert!(complete > 250 && failed > 5, "{complete} complete, {failed} failed");
}
