//! Streams in the dialects: events as they come, heartbeats, ends and breaks.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use code_assist_core::EarlyHead;
use code_assist_testkit::client::{ask, post};
use code_assist_testkit::google::{event, last_event, sse};
use code_assist_testkit::script::{Piece, Received, Reply};
use http_body::Body as _;

use crate::fixture::{ALL, Api, Fixture};

fn is_stream(request: &Received) -> bool {
    request.line.contains(":streamGenerateContent")
}

fn data(payload: &str) -> Piece {
    Piece::Data(format!("data: {payload}\r\n\r\n").into())
}

#[test]
fn a_stream_has_the_dialects_events_and_ends_as_its_clients_expect() {
    let fixture = Fixture::new();
    for (api, end) in [
        (Api::Chat, "data: [DONE]\n\n"),
        (Api::Responses, "}\n\n"),
        (Api::Messages, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
    ] {
        let answer = fixture.ask(api.path(), &api.body("gemini-2.5-pro", r#","stream":true"#));
        let text = answer.text();
        assert_eq!(answer.header("content-type"), "text/event-stream", "{api:?}: {text}");
        assert!(text.contains("Hel") && text.contains("lo"), "{api:?}: {text}");
        assert!(text.ends_with(end), "{api:?}: {text}");
        assert!(api != Api::Responses || text.contains("event: response.completed"), "{text}");
    }
}

#[test]
fn a_client_gets_heartbeats_while_upstream_is_silent() {
    let silent = |request: &Received| {
        is_stream(request).then(|| {
            Reply::pieces([
                data(&event("Hel")),
                Piece::Silence(Duration::from_secs(40)),
                data(&last_event("lo")),
            ])
        })
    };
    for (api, heartbeat, times) in [
        (Api::Chat, ": \n\n", 2),
        (Api::Messages, "event: ping\ndata: {\"type\":\"ping\"}\n\n", 3),
        // The first one is the usual second event.
        (Api::Responses, "event: response.in_progress\n", 3),
    ] {
        let fixture = Fixture::with(&[], silent);
        let answer = fixture.ask(api.path(), &api.body("gemini-2.5-pro", r#","stream":true"#));
        let text = answer.text();
        assert_eq!(text.matches(heartbeat).count(), times, "{api:?}: {text}");
    }
}

#[test]
fn a_client_gets_heartbeats_while_upstream_sends_nothing_for_it() {
    let comments = |request: &Received| {
        is_stream(request).then(|| {
            let mut reply = Reply::pieces([data(&event("Hel"))]);
            for _ in 0..4 {
                let comment = Piece::Data(": still here\r\n\r\n".into());
                reply = reply.then([Piece::Silence(Duration::from_secs(10)), comment]);
            }
            reply.then([data(&last_event("lo"))])
        })
    };
    let fixture = Fixture::with(&[], comments);
    let body = Api::Chat.body("gemini-2.5-pro", r#","stream":true"#);
    let answer = fixture.ask(Api::Chat.path(), &body);
    assert_eq!(answer.text().matches(": \n\n").count(), 2, "{}", answer.text());
}

#[test]
fn an_event_that_is_not_complete_has_memory_besides_the_answer_so_far() {
    const MEBIBYTE: usize = 1 << 20;
    let half = |request: &Received| {
        is_stream(request).then(|| {
            let whole = data(&event(&"x".repeat(2 * MEBIBYTE)));
            let part = Piece::Data(format!("data: {}", "y".repeat(3 * MEBIBYTE)).into());
            let broken = Piece::Break("reset".into());
            Reply::pieces([whole, part, Piece::Silence(Duration::from_secs(1)), broken])
        })
    };
    let fixture = Fixture::with(&[("MEMORY_BUDGET_BYTES", "64MiB")], half);
    let body = Api::Responses.body("gemini-2.5-pro", r#","stream":true"#);
    let mut most = 0;
    fixture.script.run(&fixture.proxy, async {
        let request = post(Api::Responses.path(), &body);
        let mut body = fixture.proxy.handle(&fixture.script, request).await.into_body();
        // Responses repeats the whole text at the end, so that it is kept until then.
        let first = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(first.is_some());
        poll_fn(|cx| {
            let next = Pin::new(&mut body).poll_frame(cx);
            most = most.max(fixture.proxy.memory().used());
            next
        })
        .await
        .expect("an error event")
        .expect("the body itself does not break");
    });
    assert!(most >= 5 * MEBIBYTE, "{most} bytes");
}

#[test]
fn a_break_is_an_error_event_and_never_a_silent_end() {
    let broken = |request: &Received| {
        is_stream(request)
            .then(|| Reply::pieces([data(&event("Hel")), Piece::Break("reset".into())]))
    };
    for (api, error) in [
        (Api::Chat, "data: {\"error\":{"),
        (Api::Responses, "event: response.failed\n"),
        (Api::Messages, "event: error\n"),
    ] {
        let fixture = Fixture::with(&[], broken);
        let answer = fixture.ask(api.path(), &api.body("gemini-2.5-pro", r#","stream":true"#));
        let text = answer.text();
        assert_eq!(answer.status, 200);
        assert!(text.contains("Hel") && text.contains(error), "{api:?}: {text}");
        assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{api:?}: {text}");
    }
}

#[test]
fn an_error_before_the_first_event_keeps_its_status() {
    let failing = |request: &Received| is_stream(request).then(|| Reply::status(503, "overloaded"));
    for (api, status) in [(Api::Chat, 503), (Api::Responses, 503), (Api::Messages, 529)] {
        let fixture = Fixture::with(&[], failing);
        let answer = fixture.ask(api.path(), &api.body("gemini-2.5-pro", r#","stream":true"#));
        assert_eq!(answer.status.as_u16(), status, "{api:?}: {}", answer.text());
    }
}

#[test]
fn after_an_early_head_an_error_is_an_event() {
    let failing = |request: &Received| {
        is_stream(request).then(|| Reply::status(503, "overloaded").after(Duration::from_secs(30)))
    };
    for api in ALL {
        let fixture = Fixture::with(&[("EARLY_HEARTBEAT_MS", "1000")], failing);
        let early = EarlyHead::default();
        let body = api.body("models/gemini-2.5-pro", r#","stream":true,"no_such_field":1"#);
        let mut request = post(api.path(), &body);
        request.extensions_mut().insert(early.clone());
        assert_eq!(early.begin(), None);
        let asking = ask(&fixture.proxy, &fixture.script, request);
        let begin = async {
            use code_assist_core::Platform as _;
            fixture.script.timer(Duration::from_secs(10)).await;
            early.begin()
        };
        let (answer, headers) = fixture.script.run(&fixture.proxy, both(asking, begin));
        let headers = headers.expect("the stream is awaited");
        assert_eq!(headers["content-type"], "text/event-stream", "{api:?}");
        assert_eq!(headers["x-proxy-model"], "gemini-2.5-pro", "{api:?}");
        assert_eq!(headers["x-proxy-dropped-fields"], "no_such_field", "{api:?}");
        assert!(!early.heartbeat().is_empty());
        assert_eq!(answer.status, 200, "{api:?}");
        assert!(answer.text().contains("error"), "{api:?}: {}", answer.text());
    }
}

/// Both outputs of two futures that run at the same time.
async fn both<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    let (mut first, mut second) = (Box::pin(first), Box::pin(second));
    let (mut one, mut other) = (None, None);
    poll_fn(move |cx| {
        use std::task::Poll;
        if one.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(cx)
        {
            one = Some(output);
        }
        if other.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(cx)
        {
            other = Some(output);
        }
        match (one.take(), other.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            (left, right) => {
                (one, other) = (left, right);
                Poll::Pending
            }
        }
    })
    .await
}

#[test]
fn a_stream_is_asked_for_as_events_where_an_array_is_the_default() {
    let settings = [("UPSTREAMS", "gemini-api"), ("GEMINI_API_KEY", "AIza-key")];
    for api in ALL {
        let fixture = Fixture::with(&settings, |request| {
            let event = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]},"finishReason":"STOP"}]}"#;
            request.line.ends_with(":streamGenerateContent?alt=sse").then(|| sse(&[event]))
        });
        let answer = fixture.ask(api.path(), &api.body("gemini-2.5-pro", r#","stream":true"#));
        assert!(answer.text().contains("Hello"), "{api:?}: {}", answer.text());
    }
}
