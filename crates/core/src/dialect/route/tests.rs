use Dialect::{Anthropic, OpenAi};
use DialectCall as Call;

use super::*;

fn ask(method: &str, target: &str, headers: &[&'static str]) -> Option<DialectRoute> {
    let headers = headers.iter().map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (HeaderName::from_static(name), value.parse().unwrap())
    });
    let method = method.parse().unwrap();
    read(&method, &target.parse().unwrap(), &headers.collect())
}

fn call(method: &str, target: &str, headers: &[&'static str]) -> Option<(Dialect, DialectCall)> {
    ask(method, target, headers).map(|route| (route.dialect, route.call))
}

fn not_offered(what: &'static str, gemini_has_it: bool) -> DialectCall {
    Call::NotOffered { what: what.into(), gemini_has_it }
}

const BEARER: &str = "authorization: Bearer k";
const VERSIONED: &str = "anthropic-version: 2023-06-01";

#[test]
fn every_call_is_found_under_every_prefix() {
    let prefixes =
        ["/v1", "", "/v1/v1", "/openai/v1", "/openai", "/v1beta/openai", "/openai/v1/v1", "//v1/"];
    for prefix in prefixes {
        for (path, call) in [
            ("chat/completions", Call::ChatCompletions),
            ("chat%2Fcompletions", Call::ChatCompletions),
            ("chat//completions/", Call::ChatCompletions),
            ("completions", Call::Completions),
            ("embeddings", Call::Embeddings),
            ("responses", Call::Responses),
            ("responses?stream=true", Call::Responses),
            ("responses/input_tokens", Call::InputTokens),
        ] {
            let target = format!("{prefix}/{path}");
            let is_google_path = prefix == "/v1beta/openai";
            let route = DialectRoute { dialect: OpenAi, call, is_google_path };
            assert_eq!(ask("POST", &target, &[]), Some(route), "{target}");
        }
    }
    for prefix in ["/v1", "", "/v1/v1", "/anthropic/v1", "/anthropic", "/anthropic/v1/v1", "//v1/"]
    {
        for (path, call) in [
            ("messages", Call::Messages),
            ("messages?beta=true", Call::Messages),
            ("messages/count_tokens?beta=true", Call::CountTokens),
        ] {
            let target = format!("{prefix}/{path}");
            let route = DialectRoute { dialect: Anthropic, call, is_google_path: false };
            assert_eq!(ask("POST", &target, &[]), Some(route), "{target}");
        }
    }
}

#[test]
fn the_models_are_those_of_the_dialect_that_the_headers_show() {
    let path = "/v1/models";
    let all = || Call::Models(ModelsPage::default());
    for (target, headers, dialect) in [
        (path, &[VERSIONED][..], Some(Anthropic)),
        (path, &[VERSIONED, BEARER], Some(Anthropic)),
        (path, &[VERSIONED, "x-api-key: k"], Some(Anthropic)),
        (path, &[VERSIONED, "x-goog-api-key: k"], Some(Anthropic)),
        (path, &[BEARER], Some(OpenAi)),
        ("/models", &[BEARER], Some(OpenAi)),
        ("/v1/v1/models/", &[BEARER], Some(OpenAi)),
        ("/v1/models?other=1", &[BEARER], Some(OpenAi)),
        (path, &[BEARER, "x-goog-api-client: genai"], None),
        (path, &[BEARER, "x-goog-api-key: k"], None),
        ("/v1/models?key=k", &[BEARER], None),
        (path, &[], None),
        (path, &["x-api-key: k"], None),
        (path, &["x-goog-api-key: k"], None),
        ("/v1beta/models", &[BEARER], None),
        ("/v1beta/models", &[VERSIONED], None),
        ("/openai/models", &[], Some(OpenAi)),
        ("/openai/v1/models", &["x-goog-api-key: k"], Some(OpenAi)),
        ("/v1beta/openai/models", &["x-goog-api-key: k"], Some(OpenAi)),
        ("/v1beta/openai/models", &[VERSIONED], Some(OpenAi)),
        ("/anthropic/v1/models", &[BEARER], Some(Anthropic)),
        ("/anthropic/models", &[], Some(Anthropic)),
    ] {
        for method in ["GET", "HEAD"] {
            let expected = dialect.map(|dialect| (dialect, all()));
            assert_eq!(call(method, target, headers), expected, "{target} {headers:?}");
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let one = format!("{}/gemini-2.5-pro?{query}", path.trim_end_matches('/'));
        let name = "gemini-2.5-pro".to_owned();
        let expected = dialect.map(|dialect| (dialect, Call::Model { name }));
        assert_eq!(call("GET", &one, headers), expected, "{one} {headers:?}");
    }
}

#[test]
fn a_models_name_may_have_slashes() {
    for (target, name) in [
        ("/v1/models/models/gemini-2.5-pro", "models/gemini-2.5-pro"),
        ("/v1/models/models%2Fgemini-2.5-pro", "models/gemini-2.5-pro"),
        ("/v1/models/google%2fgemini-2.5-pro/", "google/gemini-2.5-pro"),
        ("/v1/models/a%0Ab%20%00c", "abc"),
    ] {
        let expected = Some((OpenAi, Call::Model { name: name.to_owned() }));
        assert_eq!(call("GET", target, &[BEARER]), expected, "{target}");
    }
    let long = format!("/v1/models/{}", "m".repeat(1000));
    let expected = Some((OpenAi, Call::Model { name: "m".repeat(LONGEST_NAME) }));
    assert_eq!(call("GET", &long, &[BEARER]), expected);
}

#[test]
fn the_list_of_models_has_pages() {
    for (query, limit, after, before) in [
        ("?limit=1000", Some(1000), None, None),
        ("?limit=many&after_id=", None, None, None),
        ("?limit=2&after_id=a%2Fb", Some(2), Some("a/b"), None),
        ("?before_id=x", None, None, Some("x")),
    ] {
        let after = after.map(str::to_owned);
        let page = ModelsPage { limit, after, before: before.map(str::to_owned) };
        let expected = Some((Anthropic, Call::Models(page)));
        assert_eq!(call("GET", &format!("/v1/models{query}"), &[VERSIONED]), expected, "{query}");
    }
}

#[test]
fn a_client_may_ask_whether_the_server_is_there() {
    for target in
        ["/api/hello", "/v1/api/hello", "/anthropic/api/hello", "/anthropic", "/anthropic/"]
    {
        for method in ["GET", "HEAD"] {
            assert_eq!(call(method, target, &[]), Some((Anthropic, Call::Hello)), "{target}");
        }
        let wrong = Call::WrongMethod { allow: "GET, HEAD" };
        assert_eq!(call("POST", target, &[]), Some((Anthropic, wrong)), "{target}");
    }
    // The status page answers.
    assert_eq!(call("HEAD", "/", &[]), None);
    assert_eq!(call("HEAD", "/", &[VERSIONED]), None);
}

#[test]
fn no_answer_is_kept() {
    for (method, target) in [
        ("GET", "/v1/responses/resp_x"),
        ("GET", "/v1/responses/resp_x?include=a&stream=true"),
        ("DELETE", "/v1/responses/resp_x"),
        ("POST", "/v1/responses/resp_x/cancel"),
        ("GET", "/openai/v1/responses/resp_x/input_items"),
        ("GET", "/v1/chat/completions/resp_x"),
        ("POST", "/v1/chat/completions/resp_x"),
        ("DELETE", "/chat/completions/resp_x"),
        ("GET", "/v1/chat/completions/resp_x/messages"),
    ] {
        let route = ask(method, target, &[]).unwrap();
        assert_eq!(route.dialect, OpenAi);
        assert_eq!(route.call, Call::StoredResponse { id: "resp_x".to_owned() }, "{target}");
        let error = route.call.error().unwrap();
        assert_eq!(error.message(), "Response with id 'resp_x' not found.");
        assert_eq!(error.status(), 404);
    }
}

#[test]
fn what_the_dialects_have_and_this_proxy_has_not_is_not_offered() {
    for (target, headers, dialect, what, gemini_has_it) in [
        ("/v1/responses/compact", &[][..], OpenAi, "responses/compact", false),
        ("/v1/images/generations", &[], OpenAi, "images", false),
        ("/audio/speech", &[], OpenAi, "audio", false),
        ("/v1/moderations", &[BEARER], OpenAi, "moderations", false),
        ("/v1/assistants", &[], OpenAi, "assistants", false),
        ("/v1/realtime?model=m", &[], OpenAi, "realtime", false),
        ("/v1/chat", &[], OpenAi, "chat", false),
        ("/openai/v1/anything/new", &[], OpenAi, "anything/new", false),
        ("/openai/v1/messages", &[], OpenAi, "messages", false),
        ("/openai", &[], OpenAi, "This path", false),
        ("/v1beta/openai/images/generations", &[], OpenAi, "images", true),
        ("/v1beta/openai/new", &[], OpenAi, "new", true),
        ("/v1beta/openai/files", &[], OpenAi, "files", true),
        ("/openai/files/f", &[], OpenAi, "files", false),
        ("/v1/files", &[BEARER], OpenAi, "files", true),
        ("/v1/files/file-x/content", &[BEARER], OpenAi, "files", true),
        ("/v1/batches", &[BEARER], OpenAi, "batches", true),
        ("/v1/files", &[VERSIONED], Anthropic, "files", false),
        ("/v1/messages/batches", &[], Anthropic, "messages/batches", false),
        ("/v1/messages/batches/b/results", &[], Anthropic, "messages/batches", false),
        ("/v1/messages/other", &[], Anthropic, "This part of messages", false),
        ("/v1/complete", &[], Anthropic, "complete", false),
        ("/v1/skills", &[VERSIONED], Anthropic, "skills", false),
        ("/v1/skills", &[], OpenAi, "skills", false),
        ("/v1/anything", &[VERSIONED], Anthropic, "anything", false),
        ("/anthropic/v1/anything", &[], Anthropic, "anything", false),
        ("/anthropic/v1/chat/completions", &[], Anthropic, "chat/completions", false),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let expected = Some((dialect, not_offered(what, gemini_has_it)));
            assert_eq!(call(method, target, headers), expected, "{method} {target}");
        }
    }
    let error = not_offered("images", false).error().unwrap();
    assert_eq!(error.status(), 404);
    assert!(error.message().starts_with("images is not offered here. "), "{}", error.message());
}

#[test]
fn a_web_socket_is_not_offered_and_another_upgrade_is_ignored() {
    let expected = Some((OpenAi, not_offered("A WebSocket at responses", false)));
    for upgrade in ["upgrade: websocket", "upgrade: WebSocket"] {
        assert_eq!(call("GET", "/v1/responses", &[upgrade]), expected);
    }
    assert_eq!(call("POST", "/v1/responses", &["upgrade: h2c"]), Some((OpenAi, Call::Responses)));
}

#[test]
fn a_wrong_http_method_is_an_error_that_names_the_right_one() {
    for (target, headers, allow) in [
        ("/v1/chat/completions", &[][..], "POST"),
        ("/v1/completions", &[], "POST"),
        ("/v1/embeddings", &[], "POST"),
        ("/v1/responses", &[], "POST"),
        ("/v1/responses/input_tokens", &[], "POST"),
        ("/v1/messages", &[], "POST"),
        ("/v1/messages/count_tokens", &[], "POST"),
        ("/v1/models", &[BEARER], "GET, HEAD"),
        ("/v1/models/m", &[VERSIONED], "GET, HEAD"),
        ("/api/hello", &[], "GET, HEAD"),
    ] {
        let method = if allow == "POST" { "GET" } else { "POST" };
        for method in [method, "PUT", "DELETE"] {
            let (_, wrong) = call(method, target, headers).unwrap();
            assert_eq!(wrong, Call::WrongMethod { allow }, "{method} {target}");
            assert_eq!(wrong.error(), Some(Error::MethodNotAllowed { allow }));
        }
    }
    assert_eq!(Call::Messages.error(), None);
}

#[test]
fn paths_of_the_gemini_api_and_of_the_proxy_belong_to_neither_dialect() {
    for target in [
        "/",
        "/v1",
        "/v1beta",
        "/health",
        "/health/detailed",
        "/live",
        "/ready",
        "/metrics",
        "/v1internal:generateContent",
        "/v1beta/models/M:generateContent",
        "/v1beta/models/M%3AgenerateContent",
        "/v1/models/M:generateContent",
        "/v1/models/M%3AgenerateContent",
        "/v1/models/M%3AgenerateContent/",
        "/models/M:generateContent?key=k",
        "/M:generateContent",
        "/v1/gemini-2.5-pro",
        "/v1beta1/publishers/google/models/M",
        "/v1/projects/p/locations/l/endpoints/openapi/chat/completions",
        "/v1beta/files",
        "/upload/v1beta/files",
        "/v1beta/batches",
        "/v1/batches/b:cancel",
        "/v1beta/chat/completions",
        "/v1/cachedContents",
        "/v1/%ff",
    ] {
        for method in ["GET", "POST"] {
            assert_eq!(call(method, target, &[BEARER]), None, "{target}");
        }
    }
    for target in ["/v1/files", "/files", "/v1/batches/b", "/v1/models"] {
        for headers in [&[][..], &["x-goog-api-key: k"], &[BEARER, "x-goog-user-project: p"]] {
            assert_eq!(call("GET", target, headers), None, "{target} {headers:?}");
        }
    }
    for target in ["/v1/chat/completions", "/v1/messages", "/api/hello"] {
        assert_eq!(
            call("OPTIONS", target, &[]),
            None,
            "a preflight is answered for all paths alike"
        );
    }
    let long = format!("/v1/responses/{}", "x".repeat(LONGEST_PATH));
    assert_eq!(call("POST", &long, &[]), None);
}
