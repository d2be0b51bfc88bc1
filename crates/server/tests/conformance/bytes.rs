//! The client's bytes arrive upstream unchanged, and upstream's bytes arrive at the client.

use std::io::Write;

use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder, Response, ScriptedUpstream, post};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::{ARRAY, COUNT, GENERATE, HELLO, STREAM};

#[test]
fn numbers_escapes_unknown_fields_and_key_order_arrive_as_they_were_written() {
    let upstream = empty_answer();
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let bodies = [
        r#"{"generationConfig":{"temperature":0.10,"seed":12345678901234567890,"topP":1e-3,"stopSequences":[]},"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#,
        r#"{"zz":{"b":1,"a":[null,false,0,"",1E+2,-0.0]},"contents":[{"parts":[{"text":"\u00e9\ud83d\ude00\/\"\\\n é😀 \u2028"}],"role":"user","x":{}}],"a":0.0}"#,
        "{ \"contents\" : [ {\"role\":\"user\",\n\t\"parts\":[{\"text\":\"white  space\"}]} ]\r\n}",
        r#"{"contents":[{"role":"user","parts":[{"text":"x","thoughtSignature":"AAEC/+=="}]}],"generationConfig":{"temperature":0,"candidateCount":1.0,"maxOutputTokens":9007199254740993}}"#,
        "{}",
    ];
    for (n, body) in bodies.iter().enumerate() {
        for path in [GENERATE, STREAM, ARRAY] {
            proxy.post(path, body);
            let received = upstream.received().pop().unwrap();
            assert_eq!(received.inner_request(), *body, "body {n} on {path}");
        }
    }
}

#[test]
fn a_body_that_is_not_one_json_object_is_a_400_and_is_not_forwarded() {
    let upstream = empty_answer();
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let hostile = [
        r#"{}, "project":"x""#,
        r#"{}, "project": "x"}"#,
        r#"{"contents":[]}}"#,
        r#"{"contents":[]} {}"#,
        r#"{"contents":[]"#,
        r#"{"contents":["#,
        r#"{"a":"b}"#,
        "[]",
        "",
        "null",
        "{\"a\":01}",
        "\u{feff}{",
        // Forms that Google's parser takes, around what it refuses.
        "{'a':1}, 'project':'x'",
        "{'a':1},",
        "{a:1}}",
        "{\"a\":1,,}",
        "{\"a\":\"\n\"",
        "{\"a\":\"\n}",
        "['a']",
        "{'a':1} // x",
        "{'a':b}",
        "{'a':1 'b':2}",
        "\u{feff}[]",
    ];
    for body in hostile {
        for path in [GENERATE, STREAM, ARRAY, COUNT] {
            let answer = proxy.post(path, body);
            assert_eq!(
                answer.status_and_reason(),
                (400, "MALFORMED_JSON".into()),
                "{body} on {path}"
            );
            assert_eq!(answer.error()["status"], "INVALID_ARGUMENT");
            let message = answer.error()["message"].as_str().unwrap().to_owned();
            assert!(message.contains("line ") && message.contains("column "), "{message}");
        }
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
}

#[test]
fn an_answer_arrives_once_and_byte_for_byte() {
    let response = r#"{"candidates" : [{"content":{"parts":[{"text":"\u00e9 é","thoughtSignature":"s=="}]},"new":[0.10,1e2]}],"responseId":"r","zz":null}"#;
    let wrapped = format!(r#"{{"traceId":"trace-1","response":{response},"remainingCredits":[]}}"#);
    let upstream =
        ScriptedUpstream::answering("200 OK", "Set-Cookie: a=b\r\nX-Own: 1\r\n", &wrapped);
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.text(), response);
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    assert_eq!(answer.header("x-cloudaicompanion-trace-id"), "trace-1");
    assert_eq!((answer.head.find("set-cookie"), answer.head.find("x-own")), (None, None));
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn line_separators_are_escaped_and_a_missing_id_is_filled_in() {
    let body = "{\"response\":{\"text\":\"a\u{2028}b\u{2029}c\u{85}d\"},\"traceId\":\"t1\"}";
    let upstream = ScriptedUpstream::answering("200 OK", "", body);
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let wanted = r#"{"text":"a\u2028b\u2029c\u0085d","responseId":"t1"}"#;
    assert_eq!(proxy.post(GENERATE, HELLO).text(), wanted);
}

#[test]
fn the_documented_edits_are_made_and_reported() {
    let upstream = empty_answer();
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let body = r#"{"model":"models/x","contents":{"parts":{"text":"a"}},"systemInstruction":"be brief","store":true}"#;
    let answer = proxy.post(GENERATE, body);
    let received = upstream.received().pop().unwrap();
    assert!(received.inner_request().contains(r#""contents":[{"#), "{}", received.inner_request());
    assert!(received.inner_request().contains(r#""role":"user""#), "{}", received.inner_request());
    assert!(!received.inner_request().contains("store"), "{}", received.inner_request());
    let dropped: Vec<&str> = answer.header("x-proxy-dropped-fields").split(", ").collect();
    assert_eq!(dropped, ["model", "store"]);
    let envelope: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(envelope["model"], "gemini-2.5-flash");
    assert_eq!(envelope["project"], "given-project");
    assert_eq!(envelope["request"]["systemInstruction"]["parts"][0]["text"], "be brief");
    // The proxy's own name, and no header that identifies the client.
    let head = received.head.to_ascii_lowercase();
    assert!(head.contains("\r\nuser-agent: code-assist-proxy/"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer ya29.given\r\n"), "{head}");
}

#[test]
fn googles_own_samples_with_commas_and_line_ends_too_many_are_taken() {
    // The cookbook's controlled_generation.sh, code_execution.sh and count_tokens.sh, shortened.
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let schema = r#"{
      "contents": [{"parts":[{"text": "List 5 popular cookie recipes"}]}],
      "generationConfig": {
        "response_mime_type": "application/json",
        "response_schema": {"type": "ARRAY", "items": {"type": "OBJECT", "properties": {
          "recipe_name": {"type":"STRING"},
        }}}
      }
    }"#;
    let code = r#"{"tools": [{"code_execution": {}}],
      "contents": {"parts": {"text": "What is the sum of the first 50 prime numbers?
        Generate and run code for the calculation."}},
    }"#;
    let count = r#"{
      "contents": [{
        "parts":[{
          "text": "The quick brown fox jumps over the lazy dog."
          }],
        }],
      }"#;
    for (path, body, normalized) in [
        (GENERATE, schema, "trailing-commas"),
        (STREAM, schema, "trailing-commas"),
        (GENERATE, code, "trailing-commas, control-characters"),
        (ARRAY, code, "trailing-commas, control-characters"),
        (COUNT, count, "trailing-commas"),
        (GENERATE, count, "trailing-commas"),
    ] {
        let answer = proxy.post(path, body);
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("x-proxy-normalized"), normalized);
    }
}

#[test]
fn what_googles_json_parser_takes_goes_upstream_as_strict_json() {
    let upstream = empty_answer();
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let cases = [
        (format!("\u{feff}{HELLO}"), HELLO.to_owned(), "byte-order-mark"),
        (
            "{contents:[{'role':'user',\"parts\":[{'text':'say \"it\\'s\"\n\\d\u{0}',},],},],}"
                .to_owned(),
            r#"{"contents":[{"role":"user","parts":[{"text":"say \"it's\"\nd\u0000"}]}]}"#
                .to_owned(),
            "trailing-commas, single-quotes, bare-keys, control-characters, escapes",
        ),
        (
            "{ \"n\":[0.10,12345678901234567890,1E+2,\"\\u00e9\\/\"] ,\"n\":1 ,\n}".to_owned(),
            "{ \"n\":[0.10,12345678901234567890,1E+2,\"\\u00e9\\/\"] ,\"n\":1 \n}".to_owned(),
            "trailing-commas",
        ),
    ];
    for (body, sent, normalized) in &cases {
        for path in [GENERATE, STREAM, ARRAY] {
            let answer = proxy.post(path, body);
            assert_eq!(upstream.received().pop().unwrap().inner_request(), *sent, "{path}");
            assert_eq!(answer.header("x-proxy-normalized"), *normalized, "{path}");
        }
    }
    // A body that is strict already is not said to be rewritten.
    assert_eq!(proxy.post(GENERATE, HELLO).head.find("x-proxy-normalized"), None);
}

#[test]
fn no_leniency_closes_the_envelope() {
    let upstream = empty_answer();
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let text = r#"\"}]}]}},"project":"x"#;
    for body in [
        format!("{{'contents':[{{'parts':[{{'text':'{text}'}}]}}]}}"),
        "{'contents':[],'\"}},\"project\":\"x':1,}".to_owned(),
        "{contents:[],x:\"\n\\\"}},\\\"project\\\":\\\"x\"}".to_owned(),
    ] {
        let answer = proxy.post(GENERATE, &body);
        assert_eq!(answer.status(), 200, "{body}: {}", answer.text());
        let envelope: serde_json::Value =
            serde_json::from_slice(&upstream.received().pop().unwrap().body).unwrap();
        let keys: Vec<_> = envelope.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["model", "project", "request", "user_prompt_id"], "{body}");
        assert_eq!(envelope["project"], "given-project");
    }
}

#[test]
fn a_body_that_is_beyond_the_limit_as_strict_json_is_a_413() {
    let upstream = empty_answer();
    let proxy = ProxyBuilder::for_upstream(&upstream).env("MAX_REQUEST_BODY_BYTES", "1000").start();
    let body = HELLO.replace("Hello", &"\u{1}".repeat(200));
    let answer = proxy.post(GENERATE, &body);
    assert_eq!(answer.status_and_reason(), (413, "BODY_TOO_LARGE".into()));
    assert!(upstream.received().is_empty());
    let fits = HELLO.replace("Hello", &"\u{1}".repeat(150));
    assert_eq!(proxy.post(GENERATE, fits).status(), 200);
}

#[test]
fn an_empty_role_is_a_missing_role() {
    // The emulator refuses it in Google's words: "Please use a valid role: user, model."
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let body = r#"{"contents":[{"role":"","parts":[{"text":"Hello"}]}]}"#;
    for path in [GENERATE, STREAM, ARRAY, COUNT] {
        let answer = proxy.post(path, body);
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    }
}

#[test]
fn the_image_config_is_passed_on() {
    // The emulator refuses fields that it does not know.
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for config in [
        r#""imageConfig":{"aspectRatio":"16:9","imageSize":"4K"}"#,
        r#""image_config":{"aspect_ratio":"16:9","image_size":"4K"}"#,
    ] {
        let body = format!(r#"{},"generationConfig":{{{config}}}}}"#, &HELLO[..HELLO.len() - 1]);
        for path in [GENERATE, STREAM] {
            let answer = proxy.post(path, &body);
            assert_eq!(answer.status(), 200, "{}", answer.text());
            assert_eq!(answer.head.find("x-proxy-dropped-fields"), None);
        }
    }
    let upstream = empty_answer();
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let body = r#"{"generationConfig":{"imageConfig":{"aspectRatio":"16:9","new":1}}}"#;
    assert_eq!(proxy.post(GENERATE, body).status(), 200);
    assert_eq!(upstream.received().pop().unwrap().inner_request(), body);
}

#[test]
fn a_compressed_body_is_decompressed_and_an_unknown_encoding_is_a_400() {
    let upstream = empty_answer();
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(HELLO.as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    for name in ["gzip", "GZIP", "x-gzip"] {
        let coding = format!("Content-Encoding: {name}");
        let answer = proxy.send(post(GENERATE, &[&coding], &packed));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(upstream.received().pop().unwrap().inner_request(), HELLO);
        let head = upstream.received().pop().unwrap().head.to_ascii_lowercase();
        assert!(!head.contains("content-encoding"), "{head}");
    }
    let sent = upstream.received().len();
    for (coding, body) in [
        ("Content-Encoding: br", packed.as_slice()),
        ("Content-Encoding: gzip, gzip", &packed),
        ("Content-Encoding: gzip", HELLO.as_bytes()),
        ("Content-Encoding: gzip", &packed[..packed.len() - 4]),
    ] {
        let answer = proxy.send(post(GENERATE, &[coding], body));
        assert_eq!(answer.status_and_reason(), (400, "UNSUPPORTED_ENCODING".into()), "{coding}");
    }
    assert_eq!(upstream.received().len(), sent);
}

#[test]
fn a_body_beyond_the_limit_is_a_413_with_any_framing() {
    let upstream = empty_answer();
    let proxy = ProxyBuilder::for_upstream(&upstream).env("MAX_REQUEST_BODY_BYTES", "1000").start();
    let large = HELLO.replace("Hello", &"x".repeat(2000));
    let refused = |answer: &Response| {
        assert_eq!(answer.status_and_reason(), (413, "BODY_TOO_LARGE".into()));
        assert!(answer.error()["message"].as_str().unwrap().contains("MAX_REQUEST_BODY_BYTES"));
    };
    refused(&proxy.post(GENERATE, &large));
    let chunked = format!(
        "POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    refused(&proxy.send(chunked));
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(large.as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    assert!(packed.len() < 1000);
    refused(&proxy.send(post(GENERATE, &["Content-Encoding: gzip"], packed)));
    assert!(upstream.received().is_empty());
    let fits = HELLO.replace("Hello", &"x".repeat(900));
    assert_eq!(proxy.post(GENERATE, fits).status(), 200);
}

#[test]
fn a_chunked_request_body_is_read_whole() {
    let upstream = empty_answer();
    let proxy: Proxy = ProxyBuilder::for_upstream(&upstream).start();
    let (first, second) = HELLO.split_at(20);
    let request = format!(
        "POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    assert_eq!(proxy.send(request).status(), 200);
    assert_eq!(upstream.received()[0].inner_request(), HELLO);
}

fn empty_answer() -> ScriptedUpstream {
    ScriptedUpstream::answering("200 OK", "", r#"{"response":{"candidates":[]}}"#)
}
