//! Scripted faults, and the log.

use std::io::Read as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{
    GOOD_REFRESH, control, log, opened, prompt, refresh, rpc, script, send, settled_log, started,
    state, stream,
};

#[tokio::test]
async fn a_rule_is_used_as_often_as_it_says_and_rules_queue() {
    let google = started().await;
    let rules = json!([
        {"match": {"rpc": "generateContent"}, "times": 2, "status": 503},
        {"match": {"rpc": "generateContent"}, "status": 429, "headers": {"x-extra": "1"},
         "body": "{\"error\":\"limit\"}"},
    ]);
    script(&google, rules).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = rpc(&google, "generateContent", &prompt("hi")).await;
        if answer.status == 429 {
            assert_eq!(answer.text(), "{\"error\":\"limit\"}");
            assert_eq!(answer.headers["x-extra"], "1");
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [503, 503, 429, 200]);
}

#[tokio::test]
async fn rules_match_by_path_model_and_body_and_can_skip_requests() {
    let google = started().await;
    script(&google, json!({"match": {"path": "/token"}, "status": 500, "body": "no"})).await;
    assert_eq!(refresh(&google, &GOOD_REFRESH).await.text(), "no");
    script(&google, json!({"match": {"model": "gemini-2.5-pro"}, "status": 500})).await;
    assert_eq!(rpc(&google, "generateContent", &prompt("hi")).await.status, 200);
    let mut pro = prompt("hi");
    pro["model"] = json!("gemini-2.5-pro");
    assert_eq!(rpc(&google, "generateContent", &pro).await.status, 500);
    script(&google, json!({"match": {"body_contains": "needle"}, "skip": 1, "status": 500})).await;
    let found = [
        rpc(&google, "generateContent", &prompt("hay")).await.status,
        rpc(&google, "generateContent", &prompt("a needle")).await.status,
        rpc(&google, "generateContent", &prompt("a needle")).await.status,
    ];
    assert_eq!(found, [200, 200, 500]);
}

#[tokio::test]
async fn a_rule_with_times_0_stays_until_deleted() {
    let google = started().await;
    script(&google, json!({"match": {"rpc": "countTokens"}, "times": 0, "status": 500})).await;
    for _ in 0..3 {
        assert_eq!(rpc(&google, "countTokens", &json!({})).await.status, 500);
    }
    assert_eq!(control(&google, "GET", "script", &Value::Null).await.as_array().unwrap().len(), 1);
    control(&google, "DELETE", "script", &Value::Null).await;
    assert_eq!(rpc(&google, "countTokens", &json!({})).await.status, 400);
}

#[tokio::test]
async fn a_list_with_a_bad_rule_is_refused_whole() {
    let google = started().await;
    for body in [
        r#"{"statsu": 500}"#,
        r#"{"chunk_size": 0}"#,
        r#"{"status": 99}"#,
        r#"[{"status": 500}, {"cut": "slowly"}]"#,
        "nonsense",
    ] {
        let answer = send(&google, "POST", "/__emulator/script", &[], body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(!answer.json()["error"].as_str().unwrap().is_empty());
    }
    assert_eq!(control(&google, "GET", "script", &Value::Null).await, json!([]));
    let answer = send(&google, "POST", "/__emulator/state", &[], br#"{"acount": "x"}"#).await;
    assert_eq!(answer.status, 400);
    assert_eq!(send(&google, "PUT", "/__emulator/log", &[], b"").await.status, 405);
    assert_eq!(send(&google, "GET", "/__emulator/lgo", &[], b"").await.status, 404);
}

#[tokio::test]
async fn scripted_events_are_framed_and_raw_bytes_are_not() {
    let google = started().await;
    let rule = json!({"events": ["{\"a\":1}", {"raw": "{\n  \"error\": {}\n}\n"}]});
    script(&google, rule).await;
    let answer = stream(&google, &prompt("hi")).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    assert_eq!(answer.text(), "data: {\"a\":1}\r\n\r\n{\n  \"error\": {}\n}\n");
}

#[tokio::test]
async fn an_ordinary_stream_can_end_early_with_an_error() {
    let google = started().await;
    let rule = json!({"keep_events": 1, "append": ["{\"error\":{\"code\":503}}"]});
    script(&google, rule).await;
    let events = stream(&google, &prompt("hi")).await.events();
    assert_eq!(events.len(), 2);
    assert!(events[0]["response"].is_object());
    assert_eq!(events[1], json!({"error": {"code": 503}}));
}

#[tokio::test]
async fn a_rule_can_change_the_framing_of_events() {
    let google = started().await;
    let cases = [
        (json!({"events": ["{\"a\":1}"], "line_ending": "lf"}), "data: {\"a\":1}\n\n"),
        (json!({"events": ["{\"a\":1}"], "line_ending": "cr"}), "data: {\"a\":1}\r\r"),
        (json!({"events": ["{\"a\":1}"], "data_prefix": "data:"}), "data:{\"a\":1}\r\n\r\n"),
        (json!({"events": ["{\"a\":1}"], "no_final_blank_line": true}), "data: {\"a\":1}\r\n"),
        (
            json!({"events": ["{\"a\":1}"], "multi_line": true}),
            "data: {\r\ndata:   \"a\": 1\r\ndata: }\r\n\r\n",
        ),
    ];
    for (rule, wanted) in cases {
        script(&google, rule).await;
        assert_eq!(stream(&google, &prompt("hi")).await.text(), wanted);
    }
}

#[tokio::test]
async fn a_gzip_stream_delivers_each_event_when_it_is_sent() {
    let google = started().await;
    script(&google, json!({"events": ["1", "2"], "gzip": true, "event_interval_ms": 30})).await;
    let answer = stream(&google, &prompt("hi")).await;
    assert_eq!(answer.headers["content-encoding"], "gzip");
    assert!(answer.reads.len() >= 2, "{:?}", answer.reads);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "data: 1\r\n\r\ndata: 2\r\n\r\n");
}

#[tokio::test]
async fn a_chunk_size_splits_a_stream_into_network_writes() {
    let google = started().await;
    let rule = json!({"events": ["0123456789"], "chunk_size": 4, "chunk_interval_ms": 20});
    script(&google, rule).await;
    let answer = stream(&google, &prompt("hi")).await;
    assert_eq!(answer.text(), "data: 0123456789\r\n\r\n");
    assert!(answer.complete);
    let (first, last) = (answer.reads[0].0, answer.reads.last().unwrap().0);
    assert!(answer.reads.len() >= 4, "20 bytes by 4: {:?}", answer.reads);
    assert!(last - first >= Duration::from_millis(60), "{:?}", answer.reads);
}

#[tokio::test]
async fn a_chunk_size_splits_a_unary_body_and_keeps_its_length() {
    let google = started().await;
    script(&google, json!({"body": "0123456789", "chunk_size": 3})).await;
    let answer = rpc(&google, "generateContent", &prompt("hi")).await;
    assert_eq!(answer.headers["content-length"], "10");
    assert_eq!((answer.status, answer.text().as_str()), (200, "0123456789"));
    let base64 = json!({"body_base64": "AP8=", "headers": {"content-type": "x/y"}});
    script(&google, base64).await;
    let answer = rpc(&google, "generateContent", &prompt("hi")).await;
    assert_eq!((&answer.body[..], answer.headers["content-type"].as_str()), (&[0, 255][..], "x/y"));
}

#[tokio::test]
async fn a_stream_is_cut_at_exactly_that_byte() {
    let google = started().await;
    for most in [0, 1, 7, 17, 18, 19, 25, 29, 40] {
        let rule = json!({"events": ["01234567", "9"], "cut_after_bytes": most});
        script(&google, rule).await;
        let answer = stream(&google, &prompt("hi")).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.complete && !answer.reset, "closed without its end");
        let whole = "data: 01234567\r\n\r\ndata: 9\r\n\r\n";
        assert_eq!(answer.text(), whole[..most.min(whole.len())]);
    }
    script(&google, json!({"body": "0123456789", "cut_after_bytes": 5})).await;
    let answer = rpc(&google, "generateContent", &prompt("hi")).await;
    assert_eq!((answer.text().as_str(), answer.complete), ("01234", false));
}

#[tokio::test]
async fn a_cut_can_be_a_reset() {
    let google = started().await;
    let rule = json!({"events": ["0123456789"], "cut_after_bytes": 8, "cut": "reset"});
    script(&google, rule).await;
    let answer = stream(&google, &prompt("hi")).await;
    assert!(answer.reset);
    assert_eq!(answer.text(), "data: 01");
}

#[tokio::test]
async fn a_connection_can_close_before_the_head() {
    let google = started().await;
    script(&google, json!({"close_before_head": true})).await;
    let answer = stream(&google, &prompt("hi")).await;
    assert_eq!((answer.status, answer.body.len()), (0, 0));
    let log = settled_log(&google).await;
    assert_eq!((&log[0]["status"], &log[0]["cancelled"]), (&Value::Null, &json!(false)));
}

#[tokio::test]
async fn a_head_can_be_delayed_and_events_spaced() {
    let google = started().await;
    let rule = json!({"delay_ms": 40, "events": ["1", "2", "3"], "event_interval_ms": 30});
    script(&google, rule).await;
    let before = Instant::now();
    let answer = stream(&google, &prompt("hi")).await;
    assert!(answer.reads[0].0 - before >= Duration::from_millis(40));
    assert!(answer.reads.last().unwrap().0 - answer.reads[0].0 >= Duration::from_millis(60));
    assert_eq!(answer.events(), [json!(1), json!(2), json!(3)]);
}

#[tokio::test]
async fn one_event_may_be_twelve_million_bytes() {
    let google = started().await;
    script(&google, json!({"event_bytes": 12_000_000})).await;
    let events = stream(&google, &prompt("hi")).await.events();
    let part = &events[0]["response"]["candidates"][0]["content"]["parts"][0];
    assert_eq!(part["inlineData"]["data"].as_str().unwrap().len(), 12_000_000);
}

#[tokio::test]
async fn the_log_has_each_request_as_it_was_received() {
    let google = started().await;
    let body = "{\"project\" : \"x\", \"temperature\":0.10}";
    let headers = [("authorization", "Bearer no"), ("X-Mixed", "Case")];
    let target = "/v1internal:streamGenerateContent?alt=sse";
    send(&google, "POST", target, &headers, body.as_bytes()).await;
    send(&google, "POST", "/token", &[], &[0xff, 0x00]).await;
    send(&google, "POST", "/other", &[], &vec![b'x'; (1 << 20) + 1]).await;
    let log = settled_log(&google).await;
    assert_eq!(log.len(), 3);
    let first = &log[0];
    assert_eq!(first["seq"], 1);
    assert_eq!(first["rpc"], "streamGenerateContent");
    assert_eq!(first["method"], "POST");
    assert_eq!(first["path"], "/v1internal:streamGenerateContent");
    assert_eq!(first["query"], "alt=sse");
    assert_eq!(first["headers"]["x-mixed"], "Case");
    assert_eq!(first["body"], body);
    assert_eq!(first["status"], 401);
    assert_eq!(first["cancelled"], false);
    assert_eq!(log[1]["body_base64"], "/wA=");
    assert!(log[1].get("body").is_none());
    assert_eq!(log[2]["body_len"], (1 << 20) + 1);
    assert_eq!(log[2]["body_sha256"].as_str().unwrap().len(), 64);
    let counts = control(&google, "GET", "counts", &Value::Null).await;
    assert_eq!(counts, json!({"streamGenerateContent": 1, "token": 1, "unknown": 1}));
    control(&google, "DELETE", "log", &Value::Null).await;
    assert_eq!(self::log(&google).await, Vec::<Value>::new());
    rpc(&google, "countTokens", &json!({})).await;
    assert_eq!(settled_log(&google).await[0]["seq"], 4, "numbers go on");
}

#[tokio::test]
async fn a_client_that_leaves_is_cancelled_in_the_log() {
    let google = started().await;
    let bearer = [("authorization", "Bearer ya29.emulator-access")];
    let target = "/v1internal:streamGenerateContent?alt=sse";
    let body = prompt("hi").to_string();

    script(&google, json!({"keep_events": 1, "hang": true})).await;
    let mut stream = opened(&google, "POST", target, &bearer, body.as_bytes()).await;
    let mut byte = [0];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut byte).await.unwrap();
    assert_eq!(log(&google).await[0]["ended"], false);
    drop(stream);
    assert_eq!(settled_log(&google).await[0]["cancelled"], true, "in the middle of a stream");

    script(&google, json!({"delay_ms": 60_000})).await;
    let stream = opened(&google, "POST", target, &bearer, body.as_bytes()).await;
    while log(&google).await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    let log = settled_log(&google).await;
    assert_eq!((&log[1]["cancelled"], &log[1]["status"]), (&json!(true), &Value::Null));
}

#[tokio::test]
async fn the_state_can_be_read_back() {
    let google = started().await;
    state(&google, json!({"account": "no_project", "stream_events": 7})).await;
    let shown = control(&google, "GET", "state", &Value::Null).await;
    assert_eq!(shown["account"], "no_project");
    assert_eq!(shown["stream_events"], 7);
    assert_eq!(shown["token_lifetime_ms"], 3_599_000);
    assert!(shown["models"].as_array().unwrap().contains(&json!("gemini-3-flash")));
}

#[tokio::test]
async fn a_body_can_be_delayed_after_its_head() {
    let google = started().await;
    script(&google, json!({"body_delay_ms": 50, "events": ["1"]})).await;
    let answer = stream(&google, &prompt("hi")).await;
    assert_eq!(answer.events(), [json!(1)]);
    let (first, last) = (answer.reads[0].0, answer.reads.last().unwrap().0);
    assert!(last - first >= Duration::from_millis(45), "{:?}", answer.reads);
}
