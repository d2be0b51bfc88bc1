//! What a request or an answer carries into places where it does not belong.

use std::time::{Duration, Instant};

use code_assist_harness::samples::{GENERATE, HELLO, STREAM, WHOLE, ok};
use code_assist_harness::{ScriptedUpstream, TestProxy, get, post};
use serde_json::Value;

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Injection"
    both {
        paths_of_the_protocol: "`/v1internal` with dots, escaped slashes, `?`, `#`, `;`, `@evil.com`, CRLF, NUL, twice escaped, no UTF-8, with parameters inside `alt`",
            "404 or 403; upstream sees no path but a plain name, and no query but a word for `alt`";
        model_names: "models that are called with quotes, escapes, line ends, NUL, dots, slashes or 200 letters",
            "404, and nothing goes upstream";
        bodies_in_other_encodings: "a body in UTF-16, with an overlong or cut UTF-8 sequence, with NUL outside a string",
            "400 `MALFORMED_JSON` with line and column, and nothing goes upstream";
        bodies_of_great_depth: "a body with 100,000 levels of arrays or objects",
            "400 `MALFORMED_JSON`, and nothing goes upstream";
        members_of_the_envelope: "`project`, `model` and `request` as members of a body, plain, doubled and escaped; a key that contains a quote",
            "they stay inside `request`: upstream sees the operator's project and one request";
        dropped_without_end: "a body with 10,000 fields to drop", "200; the answer names 64 at most";
        edits_without_end: "10,000 and 100,000 turns that each need an edit",
            "200, and 400 `MALFORMED_JSON` that says that there are too many, without delay";
        answers_with_headers: "an answer of upstream with `Set-Cookie`, `Location`, CORS permissions, `Alt-Svc`, `Strict-Transport-Security`, `Server`",
            "none of them reaches the client";
    }
    native {
        control_characters_in_the_log: "control and escape characters in path, query, request id and user agent, with `LOG_FORMAT=pretty`",
            "none of them in the log", because "a Worker logs JSON only";
    }
    proved {
        bodies_that_close_the_envelope: "`{}, \"project\": \"x\"`, two objects, a brace too many, no object at all, also in forms that only Google's parser takes",
            "400 `MALFORMED_JSON` with line and column, and nothing goes upstream",
            by "crates/server/tests/conformance/bytes.rs::a_body_that_is_not_one_json_object_is_a_400_and_is_not_forwarded";
        request_ids: "an `x-request-id` with a blank, a quote, `<script>`, 129 letters, a letter beyond ASCII",
            "the proxy makes one of its own",
            by "crates/server/tests/conformance/routes.rs::a_valid_request_id_is_kept_and_an_invalid_one_is_replaced";
        any_bytes: "any bytes as a body", "no panic, and what goes upstream is JSON",
            by "crates/testkit/tests/properties.rs::no_bytes_make_a_reader_panic";
    }
}

fn paths_of_the_protocol() -> Vec<Attacked> {
    let (upstream, proxy) = scripted(&[("CODE_ASSIST_PROTOCOL", "all")]);
    for path in [
        "/v1internal/../secret",
        "/v1internal/..",
        "/v1internal/%2e%2e/secret",
        "/v1internal/%2E%2E%2Fsecret",
        "/v1internal/a%2f..%2f..%2fsecret",
        "/v1internal/%252f..%252fsecret",
        "/v1internal/a%3fkey=x",
        "/v1internal/a%23fragment",
        "/v1internal/a%0d%0aHost:%20evil.com",
        "/v1internal/a%00",
        "/v1internal/a;b=c",
        "/v1internal/a%20b",
        "/v1internal/%ff%fe",
        "/v1internal@evil.com",
        "/v1internal@evil.com/x",
        "/v1internal.evil.com/x",
        "/v1internal%2f..%2fsecret",
        "/v1internal:gen%2fx",
        "/v1internal:generateContent/..",
        "/v1internal:generateContent%3fkey=x",
        "/v1internal:generateContent%0d%0aX:%20y",
        "/v1internal::generateContent",
        "/v1internal:",
        "/v1internal//evil.com/x",
        "//evil.com/v1internal:generateContent",
        "/v1internal:generateContent?alt=sse%26x=y",
        "/v1internal:generateContent?alt=sse&alt=%0d%0aX:y",
        "/v1internal:generateContent?alt=../x",
        "/v1internal:generateContent?$alt=sse;x=y&access_token=x&fields=y",
    ] {
        for sent in [post(path, &[], HELLO), get(path, &[])] {
            let mut connection = proxy.connect();
            connection.write(sent);
            connection.try_head();
        }
    }
    let received = upstream.received();
    assert!(!received.is_empty(), "plain paths are passed on");
    for request in received {
        let line = request.head.lines().next().expect("a request line");
        let target = line.split(' ').nth(1).expect("a target");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let name = path.strip_prefix("/v1internal").expect("the protocol's path");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/-._~@".contains(&byte);
        assert!(name.bytes().all(plain) && !name.contains(".."), "{line}");
        let word = query.strip_prefix("alt=").unwrap_or(query);
        assert!(word.bytes().all(|byte| byte.is_ascii_lowercase()), "{line}");
        let host = upstream.url().replace("http://", "host: ");
        assert!(request.head.to_ascii_lowercase().contains(&host), "{}", request.head);
    }
    vec![proxy.into()]
}

fn model_names() -> Vec<Attacked> {
    let (upstream, proxy) = scripted(&[]);
    for name in [
        "a%22b",
        "a%22%2C%22project%22%3A%22x",
        "a%5Cb",
        "a%0Ab",
        "a%0D%0AX:%20y",
        "a%00b",
        "a%09b",
        "a%20b",
        "%2e%2e",
        "...",
        "a%2Fb",
        "a%3Fb",
        "a%C2%85b",
        "%ff",
        "a%7Fb",
        &"a".repeat(200),
    ] {
        for method in ["generateContent", "streamGenerateContent?alt=sse", "countTokens"] {
            let answer = proxy.post(&format!("/v1beta/models/{name}:{method}"), HELLO);
            assert_eq!(answer.status(), 404, "{name}: {}", answer.text());
        }
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
    vec![proxy.into()]
}

fn bodies_in_other_encodings() -> Vec<Attacked> {
    let (upstream, proxy) = scripted(&[]);
    let utf16 = |bytes: fn(u16) -> [u8; 2]| HELLO.encode_utf16().flat_map(bytes).collect();
    let little: Vec<u8> = utf16(u16::to_le_bytes);
    let in_text =
        |bytes: &[u8]| [&br#"{"contents":[{"parts":[{"text":""#[..], bytes, b"\"}]}]}"].concat();
    for body in [
        [&[0xff, 0xfe], &little[..]].concat(),
        little,
        utf16(u16::to_be_bytes),
        // A quote and a NUL that are longer than they have to be, a lone surrogate, half a letter.
        in_text(&[0xc0, 0xa2]),
        in_text(&[0xc0, 0x80]),
        in_text(&[0xed, 0xa0, 0x80]),
        in_text(&[0xe2, 0x82]),
        in_text(&[0xff]),
        in_text(br"\u00"),
        b"{\"contents\":\0[]}".to_vec(),
        b"{\"a\":NaN}".to_vec(),
        b"{\"a\":-Infinity}".to_vec(),
    ] {
        let answer = proxy.post(GENERATE, &body);
        let shown = String::from_utf8_lossy(&body);
        assert_eq!(answer.status_and_reason(), (400, "MALFORMED_JSON".into()), "{shown}");
        assert!(answer.text().contains("line "), "{}", answer.text());
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
    vec![proxy.into()]
}

fn bodies_of_great_depth() -> Vec<Attacked> {
    let (upstream, proxy) = scripted(&[]);
    let levels = 100_000;
    for body in [
        format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels)),
        format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels)),
        format!("{}1{}", "{'a':".repeat(levels), "}".repeat(levels)),
    ] {
        let answer = proxy.post(GENERATE, &body);
        assert_eq!(answer.status_and_reason(), (400, "MALFORMED_JSON".into()));
    }
    assert!(upstream.received().is_empty());
    vec![proxy.into()]
}

fn members_of_the_envelope() -> Vec<Attacked> {
    let (upstream, proxy) = scripted(&[]);
    let contents = r#""contents":[{"role":"user","parts":[{"text":"Hello"}]}]"#;
    for members in [
        r#""project":"theirs""#,
        r#""project":"theirs","project":"theirs""#,
        r#""\u0070roject":"theirs""#,
        r#""model":"theirs","request":{"contents":[]}"#,
        r#""a\"},\"project\":\"theirs":1"#,
        r#""user_prompt_id":"theirs","request":"}""#,
    ] {
        proxy.post(GENERATE, format!("{{{members},{contents}}}"));
        proxy.post(STREAM, format!("{{{contents},{members}}}"));
    }
    let received = upstream.received();
    assert!(received.len() >= 12, "{}", received.len());
    for request in received {
        let text = request.text();
        let envelope: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(envelope["project"], "given-project", "{text}");
        assert_eq!(envelope["model"], "gemini-2.5-flash", "{text}");
        // Of two members of one name a reader may take either.
        let outside = envelope.as_object().expect("an object").keys();
        assert!(outside.into_iter().all(|name| KNOWN.contains(&name.as_str())), "{text}");
        let around = text.replace(request.inner_request(), "");
        assert!(!around.contains("theirs"), "{text}");
        assert_eq!(around.matches("\"project\"").count(), 1, "{text}");
        assert!(envelope["request"]["contents"].is_array(), "{text}");
    }
    vec![proxy.into()]
}

fn dropped_without_end() -> Vec<Attacked> {
    let (upstream, proxy) = scripted(&[]);
    let parts = r#"{"text":"x","store":true},"#.repeat(10_000);
    let many = format!(
        r#"{{"store":true,"contents":[{{"role":"user","parts":[{parts}{{"text":"x"}}]}}]}}"#
    );
    let twice = format!("{{{}{}", r#""store":true,"#.repeat(10_000), &HELLO[1..]);
    for body in [many, twice] {
        let answer = proxy.post(GENERATE, body);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let named = answer.header("x-proxy-dropped-fields");
        // After the last one dots say that there were more.
        assert!(named.split(", ").count() <= 65 && named.len() < 4096, "{named}");
    }
    assert_eq!(upstream.received().len(), 2);
    vec![proxy.into()]
}

fn edits_without_end() -> Vec<Attacked> {
    let (upstream, proxy) = scripted(&[]);
    for (count, status) in [(10_000, 200), (100_000, 400)] {
        let turns = r#"{"parts":{"text":"x"}},"#.repeat(count);
        let started = Instant::now();
        let answer = proxy.post(GENERATE, format!(r#"{{"contents":[{turns}{{"parts":[]}}]}}"#));
        assert_eq!(answer.status(), status, "{}", answer.text());
        assert_eq!(answer.text().contains("too many fields to correct"), status == 400);
        // Generous for a build without optimisations.
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
    let received = upstream.received();
    let envelope: Value = serde_json::from_str(received[0].text()).expect("JSON");
    let turns = envelope["request"]["contents"].as_array().expect("a list");
    assert!(turns.len() >= 10_000 && turns[0]["role"] == "user");
    vec![proxy.into()]
}

fn answers_with_headers() -> Vec<Attacked> {
    let headers = [
        ("set-cookie", "a=b"),
        ("location", "http://evil.com/"),
        ("refresh", "0;url=http://evil.com/"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("alt-svc", "h3=\":443\""),
        ("strict-transport-security", "max-age=1"),
        ("server", "evil"),
        ("www-authenticate", "Basic realm=\"evil\""),
        ("x-proxy-dropped-fields", "evil"),
        ("link", "<http://evil.com/>; rel=preload"),
    ];
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let error = r#"{"error":{"code":404,"message":"x","status":"NOT_FOUND"}}"#;
    let answers = [
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n{WHOLE}", WHOLE.len()),
        format!("HTTP/1.1 404 Not Found\r\n{lines}Content-Length: {}\r\n\r\n{error}", error.len()),
        format!(
            "HTTP/1.1 200 OK\r\n{lines}Transfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{WHOLE}\r\n0\r\nSet-Cookie: a=b\r\nX-Evil: y\r\n\r\n",
            WHOLE.len()
        ),
    ];
    let mut attacked = Vec::new();
    for answer in answers {
        let upstream = ScriptedUpstream::new(move |_, connection| connection.write(&answer));
        let proxy = TestProxy::for_upstream(&upstream, &[]);
        let answer = proxy.post(GENERATE, HELLO);
        for (name, _) in headers {
            assert_eq!(answer.head.find(name), None, "{name}");
        }
        assert!(!answer.text().contains("evil") && !answer.text().contains("Evil"));
        attacked.push(Attacked::without_upstream(proxy));
    }
    attacked
}

fn control_characters_in_the_log() -> Vec<Attacked> {
    let (_upstream, proxy) = scripted(&[("LOG_FORMAT", "pretty"), ("LOG_LEVEL", "debug")]);
    for (path, headers) in [
        ("/%1b%5b2J%07", vec![]),
        ("/v1beta/models/a%1b%5b31m%0aINFO%20all%20is%20well:generateContent", vec![]),
        ("/v1beta/models?pageToken=%1b%0d%0a", vec![]),
        ("/nowhere", vec!["x-request-id: a\u{1}b"]),
        ("/nowhere", vec!["Host: \u{9b}evil"]),
        ("/nowhere", vec!["Origin: \u{9b}31m"]),
        ("/nowhere", vec!["user-agent: \u{9b}31m\u{202e}"]),
    ] {
        let mut connection = proxy.connect();
        let headers: Vec<&str> = headers.into_iter().chain(["Connection: close"]).collect();
        connection.write(post(path, &headers, HELLO));
        connection.until_closed();
    }
    proxy.post(GENERATE, HELLO);
    proxy.await_output("generate");
    let log = format!("{}{}", proxy.stdout(), proxy.stderr());
    let odd = |letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}';
    assert!(!log.contains(odd), "{log:?}");
    assert!(!log.lines().any(|line| line.starts_with("INFO all is well")), "{log}");
    vec![proxy.into()]
}

/// An upstream that answers each request, and a proxy in front of it.
fn scripted(settings: &[(&str, &str)]) -> (ScriptedUpstream, TestProxy) {
    let upstream = ScriptedUpstream::new(|_, connection| connection.write(ok(WHOLE)));
    let proxy = TestProxy::for_upstream(&upstream, settings);
    (upstream, proxy)
}

/// The members of the envelope that the proxy writes.
const KNOWN: &[&str] = &["model", "project", "user_prompt_id", "request"];
