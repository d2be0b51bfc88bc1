//! What is sent, in the shapes that clients and Code Assist have (`docs/reference/clients.md`,
//! `docs/reference/protocol.md` 4.1).

use std::fmt::Write as _;

use bytes::Bytes;

/// A chat of so many turns, with what a client sends along.
pub(crate) fn chat(turns: usize) -> Bytes {
    let mut body = String::from(r#"{"contents":["#);
    for turn in 0..turns {
        let role = if turn % 2 == 0 { "user" } else { "model" };
        let comma = if turn == 0 { "" } else { "," };
        let _ = write!(body, r#"{comma}{{"role":"{role}","parts":[{{"text":"{SENTENCES}"}}]}}"#);
    }
    body.push_str(
        r#"],"systemInstruction":{"parts":[{"text":"Answer briefly."}]},"safetySettings":[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"BLOCK_ONLY_HIGH"}],"generationConfig":{"temperature":0.7,"topP":0.95,"maxOutputTokens":1024}}"#,
    );
    body.into()
}

/// The same at temperature zero: equal ones may share an answer.
pub(crate) fn repeatable_chat() -> Bytes {
    let chat = chat(1);
    let text = String::from_utf8_lossy(&chat).replace(r#""temperature":0.7"#, r#""temperature":0"#);
    text.into()
}

/// A question about an image of so many bytes of base64, without a role: one edit has to be made.
pub(crate) fn image(len: usize) -> Bytes {
    let data = "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAA".repeat(len / 48);
    let body = format!(
        r#"{{"contents":[{{"parts":[{{"text":"What is this?"}},{{"inlineData":{{"mimeType":"image/png","data":"{data}"}}}}]}}]}}"#
    );
    body.into()
}

/// One event's JSON as Code Assist writes it, with a `responseId` or without.
pub(crate) fn event(number: usize, with_id: bool, last: bool) -> Bytes {
    let finish = if last { r#","finishReason":"STOP""# } else { "" };
    let id = if with_id { r#","responseId":"Uk3AaLyMF5Wh1MkP""# } else { "" };
    let event = format!(
        r#"{{"response":{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"Word {number:04} and \"some\" more, as a model writes them.\n"}}]}}{finish}}}],"usageMetadata":{{"promptTokenCount":11,"candidatesTokenCount":12,"totalTokenCount":23,"trafficType":"PROVISIONED_THROUGHPUT"}},"modelVersion":"gemini-2.5-flash"{id}}},"traceId":"5565a1b2c3d4e5f6"}}"#
    );
    event.into()
}

/// A stream of so many events as the network brings it: one chunk each.
pub(crate) fn stream(events: usize, with_id: bool) -> Vec<Bytes> {
    let line = |number| {
        let event = event(number, with_id, number + 1 == events);
        let line = Bytes::from([b"data: ", &event[..], b"\r\n\r\n"].concat());
        // What comes from a socket is a share of its buffer, and no `Vec` in disguise.
        drop(line.clone());
        line
    };
    (0..events).map(line).collect()
}

/// About 850 bytes, with escapes as prose has them.
pub(crate) const SENTENCES: &str = concat!(
    r#"Write a function that takes \"a list of numbers\" and returns their sum.\n\n"#,
    "It should be short and easy to read, it should work for an empty list, and it should have a ",
    "test for each of the cases that a person who reads it for the first time might wonder about. ",
    r#"Do not use a library.\n\nThe next step is to explain to a beginner why it works, in no more "#,
    "than three paragraphs, each of them with one idea and an example that can be tried out by hand ",
    r#"with pencil and paper.\n\nThe last step is a table that has one row for each of the "#,
    "alternatives that were considered, with what speaks for it and what speaks against it, and with ",
    "a note on which of them is the quickest for a list of a million numbers, why that is so, and ",
    "whether it would matter to anybody in practice, grüße aus Zürich."
);
