//! The bytes of a client's request arrive at every provider as that provider's list of edits says.

use code_assist_harness::{Provider, ProxyBuilder, ScriptedUpstream, get, request};

use super::{WHOLE, path_at};
use crate::{ARRAY, COUNT, GENERATE, HELLO, STREAM};

/// Bodies in which a parser that writes JSON anew would change bytes. Each has a role, without which
/// some providers refuse it.
const BODIES: [&str; 4] = [
    r#"{"generationConfig":{"temperature":0.10,"seed":12345678901234567890,"topP":1e-3,"stopSequences":[]},"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#,
    r#"{"zz":{"b":1,"a":[null,false,0,"",1E+2,-0.0]},"contents":[{"parts":[{"text":"\u00e9\ud83d\ude00\/\"\\\n é😀 \u2028"}],"role":"user","x":{},"x":{}}],"a":0.0}"#,
    "{ \"contents\" : [ {\"role\":\"user\",\n\t\"parts\":[{\"text\":\"white  space\"}]} ]\r\n}",
    r#"{"contents":[{"role":"user","parts":[{"text":"x","thoughtSignature":"AAEC/+=="}]}],"generationConfig":{"temperature":0,"candidateCount":1.0,"maxOutputTokens":9007199254740993}}"#,
];

#[test]
fn numbers_escapes_duplicates_and_white_space_arrive_as_they_were_written() {
    for provider in Provider::ALL {
        let upstream = answering(provider);
        let proxy = ProxyBuilder::for_scripted(provider, &upstream).start();
        for (n, body) in BODIES.iter().enumerate() {
            for path in [GENERATE, STREAM, ARRAY] {
                proxy.post(path, body);
                let received = upstream.received().pop().unwrap();
                let sent = provider.gemini_request(&received);
                assert_eq!(sent, *body, "body {n} on {path} at {}", provider.name());
            }
        }
    }
}

#[test]
fn the_gemini_api_gets_whatever_the_client_wrote() {
    let upstream = answering(Provider::GeminiApi);
    let proxy = ProxyBuilder::for_scripted(Provider::GeminiApi, &upstream).start();
    // What other providers refuse, complete or drop, and what is no JSON.
    for body in [
        r#"{"model":"models/x","contents":{"parts":{"text":"a"}},"systemInstruction":"be brief","store":true,"serviceTier":"flex"}"#,
        r#"{"contents":[{"role":"function","parts":[{"partMetadata":{}}]}],"safetySettings":[{"category":7}]}"#,
        "{'contents':[{'parts':[{'text':'it\\'s',},],},],}",
        "\u{feff}{}",
        "[]",
        "no JSON",
        r#"{"contents":["#,
        "",
    ] {
        for path in [GENERATE, STREAM, ARRAY, COUNT] {
            let answer = proxy.post(path, body);
            let received = upstream.received().pop().unwrap();
            assert_eq!(received.text(), body, "{path}");
            for header in ["x-proxy-normalized", "x-proxy-dropped-fields"] {
                assert_eq!(answer.head.find(header), None, "{path}: {header}");
            }
        }
    }
}

#[test]
fn path_version_and_query_arrive_at_the_gemini_api_as_they_were_written() {
    let upstream = answering(Provider::GeminiApi);
    let proxy = ProxyBuilder::for_scripted(Provider::GeminiApi, &upstream).start();
    let model = "models/gemini-2.5-flash";
    for (asked, arrived) in [
        (format!("/v1/{model}:generateContent"), None),
        (format!("/v1beta/{model}:generateContent?x=%2f+%20&prettyPrint=false"), None),
        (format!("/v1alpha/{model}:streamGenerateContent?alt=sse&enum-encoding=int"), None),
        (format!("/v1beta/{model}:streamGenerateContent?%24alt=json%3Benum-encoding%3Dint"), None),
        (format!("/v1/{model}:countTokens"), None),
        (format!("/v1beta/{model}:embedContent"), None),
        (format!("/v1beta/{model}:batchEmbedContents"), None),
        (format!("/v1beta/{model}:predict"), None),
        // A path without a version, and doubled slashes.
        (format!("/{model}:generateContent"), Some(format!("/v1beta/{model}:generateContent"))),
        (format!("//v1//{model}:generateContent"), Some(format!("/v1/{model}:generateContent"))),
        // The client's key is for the proxy.
        (
            format!("/v1beta/{model}:generateContent?key=a-clients-key&alt=json"),
            Some(format!("/v1beta/{model}:generateContent?alt=json")),
        ),
    ] {
        proxy.post(&asked, HELLO);
        let arrived = arrived.unwrap_or_else(|| asked.clone());
        let received = upstream.received().pop().unwrap();
        let line = received.head.lines().next().unwrap();
        assert_eq!(line, format!("POST {arrived} HTTP/1.1"), "{asked}");
        assert_eq!(received.text(), HELLO, "{asked}");
    }
    for asked in ["/v1/models?pageSize=2", "/v1beta/files?pageToken=a%2Fb", "/v1alpha/operations/o"]
    {
        proxy.send(get(asked, &[]));
        let received = upstream.received().pop().unwrap();
        assert!(
            received.head.starts_with(&format!("GET {asked} HTTP/1.1\r\n")),
            "{}",
            received.head
        );
    }
}

#[test]
fn vertex_ai_gets_its_six_edits_and_no_other() {
    let upstream = answering(Provider::Vertex);
    let proxy = ProxyBuilder::for_scripted(Provider::Vertex, &upstream).start();
    let nested = r#"{"generateContentRequest":{"model":"models/gemini-2.5-flash","contents":[{"role":"user","parts":[{"text":"a"}]}],"systemInstruction":{"parts":[{"text":"b"}]},"tools":[],"generationConfig":{"topK":1.0},"safetySettings":[]}}"#;
    for (path, body, sent, dropped, tier) in [
        // 2: roles.
        (
            GENERATE,
            r#"{"contents":[{"parts":[{"text":"a"}]},{"role":"function","parts":[]},{"role":"tool","parts":[]},{"role":"model","parts":[]}],"a":1.0}"#,
            r#"{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"user","parts":[]},{"role":"user","parts":[]},{"role":"model","parts":[]}],"a":1.0}"#,
            "",
            "",
        ),
        // 3: the service tier.
        (
            STREAM,
            r#"{"contents":[],"serviceTier":"flex","a":1.0}"#,
            r#"{"contents":[],"a":1.0}"#,
            "",
            "flex",
        ),
        // 4: what only the Gemini API has.
        (
            GENERATE,
            r#"{"store":false,"contents":[{"role":"user","parts":[{"text":"a","partMetadata":{"k":1}}]}],"toolConfig":{"includeServerSideToolInvocations":true},"generationConfig":{"enableEnhancedCivicAnswers":true,"topK":1.0}}"#,
            r#"{"contents":[{"role":"user","parts":[{"text":"a"}]}],"toolConfig":{},"generationConfig":{"topK":1.0}}"#,
            "store, contents[0].parts[0].partMetadata, toolConfig.includeServerSideToolInvocations, generationConfig.enableEnhancedCivicAnswers",
            "",
        ),
        // 5: categories by number, and an old name.
        (
            GENERATE,
            r#"{"contents":[],"safetySettings":[{"category":7,"threshold":1}],"generationConfig":{"_responseJsonSchema":{"a":1.0}}}"#,
            r#"{"contents":[],"safetySettings":[{"category":"HARM_CATEGORY_HARASSMENT","threshold":1}],"generationConfig":{"responseJsonSchema":{"a":1.0}}}"#,
            "",
            "",
        ),
        // 6: the nested form of a count.
        (
            COUNT,
            nested,
            r#"{"contents":[{"role":"user","parts":[{"text":"a"}]}],"systemInstruction":{"parts":[{"text":"b"}]},"tools":[],"generationConfig":{"topK":1.0}}"#,
            "*",
            "",
        ),
        // What would change the question stays.
        (
            GENERATE,
            r#"{"model":"models/x","contents":[],"systemInstruction":"be brief","cachedContent":"cachedContents/x","tools":[{"fileSearch":{}}]}"#,
            r#"{"model":"models/x","contents":[],"systemInstruction":"be brief","cachedContent":"cachedContents/x","tools":[{"fileSearch":{}}]}"#,
            "",
            "",
        ),
    ] {
        let answer = proxy.post(path, body);
        let received = upstream.received().pop().unwrap();
        assert_eq!(received.text(), sent, "{body}");
        // 1: the path, whose query keeps `alt`.
        let call = path.strip_prefix("/v1beta/models/").unwrap();
        let arrived = format!("POST {} HTTP/1.1\r\n", path_at(Provider::Vertex, call));
        assert!(received.head.starts_with(&arrived), "{}", received.head);
        if dropped != "*" {
            assert_eq!(answer.header("x-proxy-dropped-fields"), dropped, "{body}");
        }
        let head = received.head.to_ascii_lowercase();
        let header = format!("\r\nx-vertex-ai-llm-shared-request-type: {tier}\r\n");
        assert_eq!(head.contains(&header), !tier.is_empty(), "{head}");
    }
}

#[test]
fn vertex_ai_is_asked_for_events_from_which_an_array_is_made() {
    let upstream = answering(Provider::Vertex);
    let proxy = ProxyBuilder::for_scripted(Provider::Vertex, &upstream).start();
    for (query, arrived) in [
        ("", "?alt=sse"),
        ("?alt=json", "?alt=sse"),
        ("?%24alt=json%3Benum-encoding%3Dint", "?alt=sse"),
        ("?alt=sse", "?alt=sse"),
        (
            "?prettyPrint=false&%24alt=sse%3Benum-encoding%3Dint",
            "?%24alt=sse%3Benum-encoding%3Dint",
        ),
    ] {
        proxy.post(&format!("{ARRAY}{query}"), HELLO);
        let call = format!("gemini-2.5-flash:streamGenerateContent{arrived}");
        let line = format!("POST {} HTTP/1.1\r\n", path_at(Provider::Vertex, &call));
        let received = upstream.received().pop().unwrap();
        assert!(received.head.starts_with(&line), "{query}: {}", received.head);
    }
}

#[test]
fn an_upload_arrives_byte_for_byte_beyond_the_limit_of_bodies_that_are_held() {
    let upstream = ScriptedUpstream::answering("200 OK", "", "{}");
    let proxy = ProxyBuilder::for_scripted(Provider::GeminiApi, &upstream)
        .env("MAX_REQUEST_BODY_BYTES", "1024")
        .start();
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 256) as u8).collect();
    let headers = ["X-Goog-Upload-Protocol: raw", "Content-Type: application/octet-stream"];
    let answer = proxy.send(request("POST", "/upload/v1beta/files", &headers, &bytes));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let received = upstream.received().pop().unwrap();
    assert!(
        received.head.starts_with("POST /upload/v1beta/files HTTP/1.1\r\n"),
        "{}",
        received.head
    );
    assert!(received.body == bytes, "{} bytes arrived", received.body.len());
    let head = received.head.to_ascii_lowercase();
    assert!(head.contains("\r\nx-goog-upload-protocol: raw\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/octet-stream\r\n"), "{head}");
}

/// An upstream that gives an ordinary answer in the provider's form.
fn answering(provider: Provider) -> ScriptedUpstream {
    ScriptedUpstream::answering("200 OK", "", &provider.answer(WHOLE))
}
