//! How answers end: limits, filters, failures.

use serde_json::json;

use super::*;

fn failing(events: &[&str]) -> (Error, ResponsesWriter, BytesMut) {
    let (mut writer, _) = writer(plan());
    let mut out = BytesMut::new();
    let (last, events) = events.split_last().unwrap();
    for event in events {
        feed(&mut writer, event, &mut out).unwrap();
    }
    let before = out.clone();
    let error = match feed(&mut writer, last, &mut out) {
        Err(error) => {
            assert_eq!(out, before, "bytes of an event that is an error");
            error
        }
        Ok(()) => writer.end(&mut out).unwrap_err(),
    };
    (error, writer, out)
}

fn finish(reason: &str, text: &str) -> String {
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}},"finishReason":"{reason}"}}],{USAGE}}}"#
    )
}

#[test]
fn a_limit_leaves_the_text_incomplete() {
    for reason in ["MAX_TOKENS", "CONTINUATION"] {
        let stream = stream_of(plan(), &[&finish(reason, "Hel")]);
        let (event, data) = frames(&stream).pop().unwrap();
        assert_eq!(event, "response.incomplete");
        let response = &data["response"];
        assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
        assert_eq!(response["output"][0]["status"], "incomplete");
        assert_eq!(response["usage"]["total_tokens"], 17);
    }
}

#[test]
fn a_filter_and_a_refused_prompt_are_told_in_a_message() {
    let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#;
    let told = r#"{"promptFeedback":{"blockReason":"SAFETY","blockReasonMessage":"No \"x\"."}}"#;
    for (event, items, refusal) in [
        (blocked.to_owned(), 1, "The prompt was blocked (SAFETY)."),
        (told.to_owned(), 1, "No \"x\"."),
        (finish("RECITATION", ""), 1, "A filter has ended the answer (RECITATION)."),
        (finish("SAFETY", "Hel"), 2, "A filter has ended the answer (SAFETY)."),
    ] {
        let stream = stream_of(plan(), &[&event]);
        let response = frames(&stream).pop().unwrap().1["response"].clone();
        assert_eq!(response["status"], "incomplete");
        assert_eq!(response["incomplete_details"], json!({"reason": "content_filter"}));
        let output = response["output"].as_array().unwrap();
        assert_eq!(output.len(), items);
        let expected = json!([{"type": "refusal", "refusal": refusal}]);
        assert_eq!(output.last().unwrap()["content"], expected);
        assert!(stream.contains("event: response.refusal.delta\n"));
        assert!(stream.contains("event: response.refusal.done\n"));
        let whole: serde_json::Value = serde_json::from_str(&whole_of(plan(), &event)).unwrap();
        assert_eq!(whole, response);
    }
}

const THOUGHT: &str = r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true}]}}]}"#;

#[test]
fn a_failure_without_content_is_an_error_and_after_content_an_end() {
    let failed = finish("MALFORMED_FUNCTION_CALL", "");
    for events in [&[&*failed][..], &[THOUGHT, &failed]] {
        let (error, ..) = failing(events);
        assert!(
            matches!(&error, Error::NoAnswer { reason, .. } if reason == "MALFORMED_FUNCTION_CALL"),
            "{error:?}"
        );
    }
    let (writer, _) = writer(plan());
    let event = AnswerEvent::read(failed.as_bytes()).unwrap();
    assert!(matches!(writer.whole(&event), Err(Error::NoAnswer { .. })));
    for events in [&[&*finish("OTHER", "text")][..], &[CALL, &failed]] {
        assert!(stream_of(plan(), events).contains("event: response.completed\n"));
    }
}

#[test]
fn an_answer_without_a_finish_reason_is_an_error() {
    let text = r#"{"candidates":[{"content":{"parts":[{"text":"Hel"}]}}]}"#;
    let (error, mut writer, mut out) = failing(&[text]);
    assert_eq!(error, Error::UpstreamIncomplete);
    writer.error(&error, &mut out);
    let stream = short_ids(&out);
    let frames = frames(&stream);
    let [.., (first, _), (last, data)] = &frames[..] else { panic!("too few frames") };
    assert_eq!((&**first, &**last), ("error", "response.failed"));
    assert_eq!(data["response"]["status"], "failed");
    // What is not done is not part of the answer.
    assert_eq!(data["response"]["output"], json!([]));
    assert_eq!(data["sequence_number"], frames.len() - 1);
    // Nothing comes after the end.
    let before = out.len();
    writer.error(&error, &mut out);
    writer.heartbeat(&mut out);
    writer.end(&mut out).unwrap();
    assert_eq!(out.len(), before);
}

#[test]
fn an_error_in_the_stream_has_both_forms_that_clients_read() {
    let (mut writer, _) = writer(plan());
    let mut out = BytesMut::new();
    feed(&mut writer, CALL, &mut out).unwrap();
    out.clear();
    let error = Error::NoAnswer { reason: "OTHER".into(), message: Some("Bad \"luck\".".into()) };
    writer.error(&error, &mut out);
    let message = r#"The model ended its answer without any content (OTHER): Bad \"luck\". The same request may succeed when it is sent again."#;
    let stream = String::from_utf8(out.to_vec()).unwrap();
    let (first, last) = stream.split_once("\n\n").unwrap();
    assert_eq!(
        first,
        format!(
            "event: error\ndata: {{\"type\":\"error\",\"sequence_number\":8,\"code\":\"other\",\
             \"message\":\"{message}\",\"param\":null,\"error\":{{\"message\":\"{message}\",\
             \"type\":\"server_error\",\"param\":null,\"code\":\"other\"}}}}"
        )
    );
    let (event, data) = frames(last).pop().unwrap();
    assert_eq!((&*event, &data["sequence_number"]), ("response.failed", &json!(9)));
    assert_eq!(data["response"]["error"]["code"], "server_error");
    assert!(data["response"]["error"]["message"].as_str().unwrap().contains("Bad \"luck\"."));
    let output = data["response"]["output"].as_array().unwrap();
    assert_eq!(output.len(), 2);
}

#[test]
fn an_error_before_the_first_event_begins_the_stream() {
    let (mut writer, _) = writer(plan());
    let mut out = BytesMut::new();
    writer.heartbeat(&mut out);
    writer.error(&Error::ShuttingDown, &mut out);
    let stream = short_ids(&out);
    assert_eq!(kinds(&stream), ["created", "in_progress", "error", "failed"]);
    let frames = frames(&stream);
    assert!(frames.iter().enumerate().all(|(at, (_, data))| data["sequence_number"] == at));
}

#[test]
fn a_beat_repeats_the_state_of_the_answer() {
    let (mut writer, _) = writer(plan());
    let mut out = BytesMut::new();
    feed(&mut writer, THOUGHT, &mut out).unwrap();
    writer.heartbeat(&mut out);
    writer.heartbeat(&mut out);
    feed(&mut writer, CALL, &mut out).unwrap();
    feed(&mut writer, STOP, &mut out).unwrap();
    writer.end(&mut out).unwrap();
    let stream = short_ids(&out);
    check(&stream);
    let frames = frames(&stream);
    let beats: Vec<&serde_json::Value> = frames
        .iter()
        .filter(|(event, _)| event == "response.in_progress")
        .map(|(_, data)| &data["response"])
        .collect();
    assert_eq!(beats.len(), 3);
    assert!(beats.iter().all(|beat| *beat == &frames[0].1["response"]));
}

#[test]
fn what_is_kept_for_the_end_is_counted() {
    let (mut writer, _) = writer(plan());
    let mut out = BytesMut::new();
    assert_eq!(writer.held(), 0);
    let text = "x".repeat(1000);
    let event = format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}}}]}}"#);
    for number in 1..=3 {
        feed(&mut writer, &event, &mut out).unwrap();
        assert_eq!(writer.held(), number * 1000);
    }
    feed(&mut writer, CALL, &mut out).unwrap();
    assert!(writer.held() > 3000);
}
