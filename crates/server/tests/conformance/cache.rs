//! The response cache keeps good answers only.

use std::sync::Mutex;

use code_assist_harness::{ProxyBuilder, ScriptedUpstream};

use crate::{GENERATE, HELLO};

#[test]
fn of_answers_at_temperature_zero_only_good_ones_are_kept() {
    let certain = HELLO.replace("}]}]}", r#"}]}],"generationConfig":{"temperature":0}}"#);
    let with_tool = |tool: &str| {
        certain.replace(r#""generationConfig""#, &format!(r#""tools":[{tool}],"generationConfig""#))
    };
    let content = r#"{"role":"model","parts":[{"text":"Hi"}]}"#;
    let candidate = |content: &str, reason: &str| {
        format!(
            r#"{{"response":{{"candidates":[{{"content":{content},"finishReason":"{reason}"}}]}}}}"#
        )
    };
    let good = candidate(content, "STOP");
    let thought = r#"{"role":"model","parts":[{"text":"hm","thought":true}]}"#;
    let function = r#"{"functionDeclarations":[{"name":"f"}]}"#;
    let cases = [
        (certain.clone(), candidate(content, "MAX_TOKENS"), "MISS"),
        (certain.clone(), candidate(r#"{"role":"model"}"#, "STOP"), "MISS"),
        (certain.clone(), candidate(thought, "STOP"), "MISS"),
        (certain.clone(), r#"{"response":{}}"#.to_owned(), "MISS"),
        (with_tool(r#"{"googleSearch":{}}"#), good.clone(), "MISS"),
        (with_tool(r#"{"url_context":{}}"#), good.clone(), "MISS"),
        (with_tool(r#"{"codeExecution":{}}"#), good.clone(), "MISS"),
        (with_tool(function), good.clone(), "HIT"),
        (certain.clone(), good, "HIT"),
    ];
    let reply = std::sync::Arc::new(Mutex::new(String::new()));
    let current = std::sync::Arc::clone(&reply);
    let upstream = ScriptedUpstream::new(move |_, connection| {
        let body = current.lock().unwrap().clone();
        connection.write(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let mut sent = 0;
    for (number, (request, answer, second)) in cases.into_iter().enumerate() {
        answer.clone_into(&mut reply.lock().unwrap());
        // No two cases are equal requests.
        let request = request.replace("Hello", &format!("Hello {number}"));
        assert!(request.contains(&format!("Hello {number}")), "{request}");
        let x_caches =
            [(); 2].map(|()| proxy.post(GENERATE, &request).header("x-cache").to_owned());
        assert_eq!(x_caches, ["MISS", second], "{request} {answer}");
        sent += if second == "MISS" { 2 } else { 1 };
        assert_eq!(upstream.received().len(), sent, "{request} {answer}");
    }
}
