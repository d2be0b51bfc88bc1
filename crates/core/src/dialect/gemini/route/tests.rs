use super::absent::ABSENT_COLLECTIONS;
use super::*;

fn ask(method: &Method, target: &str) -> Result<Route, RouteError> {
    read(method, &target.parse().unwrap())
}

fn get(target: &str) -> Result<Route, RouteError> {
    ask(&Method::GET, target)
}

fn post(target: &str) -> Result<Route, RouteError> {
    ask(&Method::POST, target)
}

fn gemini(version: ApiVersion) -> PathForm {
    PathForm { mode: ClientMode::Gemini, version: Some(version) }
}

fn generate(model: &str) -> Result<Route, RouteError> {
    Ok(Route::Generate { model: model.into(), form: gemini(ApiVersion::V1) })
}

/// What is left of a route without its form.
fn model_of(route: Result<Route, RouteError>) -> Option<String> {
    match route {
        Ok(Route::Generate { model, .. } | Route::Model { model, .. }) => Some(model.to_string()),
        _ => None,
    }
}

fn stream(framing: Framing) -> Result<Route, RouteError> {
    Ok(Route::Stream { model: "M".into(), framing, form: PathForm::USUAL })
}

fn not_offered(what: &str, model: Option<&str>) -> Result<Route, RouteError> {
    Err(RouteError::NotOffered { what: what.to_owned(), model: model.map(str::to_owned) })
}

fn pass_through(suffix: &str, alt: Option<&str>) -> Result<Route, RouteError> {
    Ok(Route::PassThrough { suffix: suffix.to_owned(), alt: alt.map(str::to_owned) })
}

#[test]
fn every_spelling_of_a_models_path_is_understood() {
    for path in [
        "/v1/models/M:generateContent",
        "/v1beta/models/M:generateContent",
        "/v1alpha/models/M:generateContent",
        "/models/M:generateContent",
        "//v1beta/models/M:generateContent",
        "/v1beta//models//M:generateContent",
        "/v1beta/v1beta/models/M:generateContent",
        "/v1/v1beta/models/M:generateContent",
        "/v1beta/models/M:generateContent/",
        "/v1beta/models/M:generateContent//",
        "/v1beta/models/M%3AgenerateContent",
        "/v1beta/models/M%3agenerateContent",
        "/v1beta/models/models/M:generateContent",
        "/v1beta/models/models%2FM:generateContent",
        "/v1beta/models%2fM:generateContent",
        "/v1beta/M:generateContent",
        "/M:generateContent",
        "/v1beta1/publishers/google/models/M:generateContent",
        "/v1/publishers/google/models/M:generateContent",
        "/publishers/google/models/M:generateContent",
        "/v1beta/models/M:generateContent?key=secret&alt=sse&fields=x&$.xgafv=2&=&&%zz",
        "http://127.0.0.1:8787/v1beta/models/M:generateContent",
    ] {
        assert_eq!(model_of(post(path)).as_deref(), Some("M"), "{path}");
    }
}

#[test]
fn a_models_name_is_passed_as_it_was_written() {
    for model in ["gemini-2.5-pro", "gemini-3.1-pro-preview", "Some_Model@001", "7b", "a..b"] {
        assert_eq!(post(&format!("/v1/models/{model}:generateContent")), generate(model));
    }
    let longest = "m".repeat(LONGEST_NAME);
    assert_eq!(post(&format!("/v1/models/{longest}:generateContent")), generate(&longest));
}

#[test]
fn the_framing_follows_alt() {
    let path = "/v1beta/models/M:streamGenerateContent";
    for (query, framing) in [
        ("", Framing::Array),
        ("?", Framing::Array),
        ("?alt=sse", Framing::Sse),
        ("?alt=SSE", Framing::Sse),
        ("?$alt=sse", Framing::Sse),
        ("?%24alt=sse", Framing::Sse),
        ("?key=K&alt=sse", Framing::Sse),
        ("?alt=sse&key=K", Framing::Sse),
        ("?alt=sse&alt=json", Framing::Sse),
        ("?%24alt=json%3Benum-encoding%3Dint", Framing::Array),
        ("?alt=json", Framing::Array),
        ("?alt=proto", Framing::Array),
        ("?alt=", Framing::Array),
        ("?alt", Framing::Array),
        ("?Alt=sse", Framing::Array),
        ("?malt=sse", Framing::Array),
    ] {
        assert_eq!(post(&format!("{path}{query}")), stream(framing), "{query}");
    }
}

#[test]
fn count_tokens_is_a_route_of_its_own() {
    let route = Route::Count { model: "M".into(), form: gemini(ApiVersion::V1) };
    assert_eq!(post("/v1/models/M:countTokens"), Ok(route));
}

#[test]
fn the_model_list_has_pages() {
    for (target, page_size, page_token) in [
        ("/v1beta/models", None, None),
        ("/v1/models/", None, None),
        ("/models", None, None),
        ("/v1beta/models?pageSize=10&pageToken=abc", Some(10), Some("abc")),
        ("/v1beta/models?page_size=10&page_token=a%2Bb", Some(10), Some("a+b")),
        ("/v1beta/models?pageSize=many&pageToken=", None, None),
        ("/v1beta/models?pageSize=-1", None, None),
        ("/v1beta/models?key=K", None, None),
        ("/v1/publishers/google/models", None, None),
    ] {
        let page_token = page_token.map(str::to_owned);
        let Ok(Route::Models { page_size: size, page_token: token, .. }) = get(target) else {
            panic!("{target}")
        };
        assert_eq!((size, token), (page_size, page_token), "{target}");
    }
}

#[test]
fn one_model_is_read() {
    for path in [
        "/v1beta/models/gemini-2.5-pro",
        "/models/gemini-2.5-pro/",
        "/v1/models/models/gemini-2.5-pro",
        "/v1/gemini-2.5-pro",
        "/v1beta1/publishers/google/models/gemini-2.5-pro",
    ] {
        for method in [Method::GET, Method::HEAD] {
            let model = model_of(ask(&method, path));
            assert_eq!(model.as_deref(), Some("gemini-2.5-pro"), "{path}");
        }
    }
}

#[test]
fn the_proxys_own_pages_are_read() {
    for (path, route) in [
        ("/", Route::Root),
        ("//", Route::Root),
        ("/?key=K", Route::Root),
        ("/health", Route::Health),
        ("/health/", Route::Health),
        ("/health/detailed", Route::HealthDetailed),
        ("/metrics", Route::Metrics { format: None }),
        ("/metrics?format=json", Route::Metrics { format: Some("json".to_owned()) }),
    ] {
        assert_eq!(get(path), Ok(route.clone()), "{path}");
        assert_eq!(ask(&Method::HEAD, path), Ok(route), "{path}");
        let refused = ask(&Method::PUT, path);
        assert_eq!(refused, Err(RouteError::WrongMethod { allow: "GET, HEAD" }), "{path}");
    }
}

#[test]
fn options_is_a_route_on_every_path() {
    for target in ["*", "/", "/v1beta/models/M:generateContent", "/v1beta/files", "/%ff"] {
        assert_eq!(ask(&Method::OPTIONS, target), Ok(Route::Options), "{target}");
    }
}

#[test]
fn an_error_for_a_wrong_method_names_the_right_ones() {
    for (method, path, allow) in [
        (Method::GET, "/v1beta/models/M:generateContent", "POST"),
        (Method::HEAD, "/v1beta/models/M:countTokens", "POST"),
        (Method::PUT, "/v1beta/models/M:streamGenerateContent", "POST"),
        (Method::POST, "/v1beta/models", "GET, HEAD"),
        (Method::DELETE, "/v1beta/models/M", "GET, HEAD"),
        (Method::POST, "/v1internal/operations/x", "GET, HEAD"),
        (Method::PUT, "/v1internal:loadCodeAssist", "POST"),
        (Method::PUT, "/v1internal:getCodeAssistGlobalUserSetting", "GET, HEAD, POST"),
    ] {
        assert_eq!(ask(&method, path), Err(RouteError::WrongMethod { allow }), "{path}");
    }
}

#[test]
fn a_method_that_code_assist_has_not_is_not_offered_with_any_http_method() {
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        for verb in ABSENT_METHODS {
            let path = format!("/v1beta/models/M:{verb}");
            assert_eq!(ask(&method, &path), not_offered(verb, Some("M")), "{path}");
        }
        for collection in ABSENT_COLLECTIONS {
            for path in [
                format!("/v1beta/{collection}"),
                format!("/{collection}"),
                format!("//v1//{collection}/x/y:z?key=K"),
                format!("/v1beta/{collection}:verb"),
            ] {
                assert_eq!(ask(&method, &path), not_offered(collection, None), "{path}");
            }
        }
    }
    for (path, what, model) in [
        ("/v1beta/openai/chat/completions", "openai", None),
        ("/upload/v1beta/files", "upload", None),
        (
            "//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
            "bidiGenerateContent",
            None,
        ),
        ("/v1beta/tunedModels/x:generateContent", "tunedModels", None),
        ("/v1beta/M:batchEmbedContents", "batchEmbedContents", Some("M")),
        ("/v1beta/models/a%20b:embedContent", "embedContent", None),
        ("/v1beta/models/M/operations/1", "operations", Some("M")),
    ] {
        assert_eq!(post(path), not_offered(what, model), "{path}");
    }
}

#[test]
fn code_assists_own_protocol_is_passed_on_with_alt_only() {
    for (target, suffix, alt) in [
        ("/v1internal:loadCodeAssist", ":loadCodeAssist", None),
        ("//v1internal:loadCodeAssist/", ":loadCodeAssist", None),
        ("/v1internal%3AloadCodeAssist", ":loadCodeAssist", None),
        ("/v1internal:streamGenerateContent?alt=sse", ":streamGenerateContent", Some("sse")),
        (
            "/v1internal:streamGenerateContent?$alt=sse&key=K&x=y",
            ":streamGenerateContent",
            Some("sse"),
        ),
        ("/v1internal:x?alt=json%3Benum-encoding%3Dint", ":x", Some("json")),
        ("/v1internal:x?alt=sse%26key%3D1", ":x", None),
        ("/v1internal:x?alt=%0d%0a", ":x", None),
        ("/v1internal:x?alt=", ":x", None),
    ] {
        assert_eq!(post(target), pass_through(suffix, alt), "{target}");
    }
    for (target, suffix) in [
        ("/v1internal:getCodeAssistGlobalUserSetting", ":getCodeAssistGlobalUserSetting"),
        ("/v1internal/operations/a-b_c~1", "/operations/a-b_c~1"),
        ("/v1internal/projects/p/operations/x.y", "/projects/p/operations/x.y"),
        ("/v1internal/operations//x/", "/operations/x"),
    ] {
        assert_eq!(get(target), pass_through(suffix, None), "{target}");
        assert_eq!(ask(&Method::HEAD, target), pass_through(suffix, None), "{target}");
    }
    let post_only = Err(RouteError::WrongMethod { allow: "POST" });
    for target in ["/v1internal:loadCodeAssist", "/v1internal:generateContent?alt=sse"] {
        assert_eq!(get(target), post_only, "{target}");
        assert_eq!(ask(&Method::HEAD, target), post_only, "{target}");
        assert_eq!(ask(&Method::PUT, target), post_only, "{target}");
    }
}

#[test]
fn the_suffix_of_code_assists_protocol_cannot_change_the_url() {
    for path in [
        "/v1internal",
        "/v1internal:",
        "/v1internal:a:b",
        "/v1internal:a/b",
        "/v1internal:../x",
        "/v1internal:a%2Fb",
        "/v1internal:a%3Fb",
        "/v1internal:a%23b",
        "/v1internal:a.b",
        "/v1internal:1a",
        "/v1internal:a%0d%0ab",
        "/v1internal/../x",
        "/v1internal/./x",
        "/v1internal/%2e%2e/x",
        "/v1internal/%2e%2e%2fx",
        "/v1internal/...",
        "/v1internal/a:b",
        "/v1internal/a%3Ab",
        "/v1internal/a%20b",
        "/v1internal/a%5Cb",
        "/v1internal/a;b",
        "/v1internal/a%25b",
        "/v1internal/%C3%A9",
        "/v1internal2:loadCodeAssist",
        "/v1internalx",
        "/v1beta/v1internal:loadCodeAssist",
        "/v1beta/v1internal:generateContent",
        &format!("/v1internal:{}", "a".repeat(LONGEST_NAME + 1)),
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = ask(&method, path);
            assert!(matches!(answer, Err(RouteError::NotFound { .. })), "{path}: {answer:?}");
        }
    }
}

#[test]
fn an_unknown_path_is_not_found() {
    for path in [
        "/favicon.ico",
        "/v1",
        "/v1beta/",
        "/v1/chat/completions",
        "/v1/messages",
        "/v2/models/M:generateContent",
        "/v1beta/models/M:unheardOf",
        "/v1beta/models/M:generateContent:x",
        "/v1beta/models/M:GenerateContent",
        "/v1beta/models/:generateContent",
        "/v1beta/models/M:",
        "/v1beta/models/M/x",
        "/v1beta/models/a%20b:generateContent",
        "/v1beta/models/a%22b:generateContent",
        "/v1beta/models/M%253AgenerateContent",
        "/v1beta/models/M%zzgenerateContent",
        "/v1beta/models/-m:generateContent",
        "/v1beta/models/..:generateContent",
        "/v1beta/models/%C3%A9:generateContent",
        "/v1beta/models/%ff:generateContent",
        "/v1beta/models/../models/M:generateContent",
        "/v1beta/publishers/anthropic/models/M:generateContent",
        "/v1beta/locations/models/M:generateContent",
        "/health/other",
        "/healthz",
        "/metrics/x",
        "/gemini-2.5-pro",
        "/v1beta/openaix",
        &format!("/v1beta/models/{}:generateContent", "m".repeat(LONGEST_NAME + 1)),
        &format!("/v1beta/models/{}", "m/".repeat(LONGEST_PATH)),
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = ask(&method, path);
            assert!(matches!(answer, Err(RouteError::NotFound { .. })), "{path}: {answer:?}");
        }
    }
}

#[test]
fn an_unknown_path_is_shown_short_and_without_its_query() {
    let Err(RouteError::NotFound { path }) = get("/a%0ab?key=secret") else { panic!("found") };
    assert_eq!(path, "/a%0ab");
    let Err(RouteError::NotFound { path }) = get(&format!("/{}", "a".repeat(3000))) else {
        panic!("found")
    };
    assert_eq!(path, format!("/{}...", "a".repeat(119)));
}

#[test]
fn no_uri_causes_a_panic() {
    // Every string of up to four pieces that the parser distinguishes.
    let pieces =
        ["/", "v1", "v1internal", ":", "%3A", "%2F", "%", "models", "M", "..", "?", "alt=sse", "é"];
    let mut round = vec![String::from("/")];
    for _ in 0..4 {
        round = round.iter().flat_map(|s| pieces.iter().map(move |p| format!("{s}{p}"))).collect();
        for target in &round {
            let Ok(uri) = target.parse() else { continue };
            for method in [Method::GET, Method::POST, Method::OPTIONS] {
                if let Ok(Route::PassThrough { suffix, .. }) = read(&method, &uri) {
                    assert!(suffix.split('/').all(|segment| segment != ".."), "{suffix}");
                    assert!(suffix.matches(':').count() <= 1, "{suffix}");
                }
            }
        }
    }
}
