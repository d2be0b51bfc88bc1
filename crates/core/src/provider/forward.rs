//! Which headers and query parameters pass between a client and upstream
//! (`docs/reference/upstreams.md` 1.4).

use http::header::{CONNECTION, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The client's headers that go on with a call whose answer the proxy reads. No header with a credential
/// is among them, and none that tells of the client's network or web page.
pub(crate) fn headers(client: &HeaderMap) -> HeaderMap {
    passed(client, |passes| passes == Passes::Always)
}

/// The client's headers that go on with a request whose answer is copied.
pub(crate) fn copied_headers(client: &HeaderMap) -> HeaderMap {
    passed(client, |passes| passes != Passes::Never)
}

fn passed(client: &HeaderMap, goes_on: impl Fn(Passes) -> bool) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for (name, value) in client {
        if goes_on(passes(REQUEST_HEADERS, name)) && !is_hop_by_hop(client, name) {
            passed.append(name, value.clone());
        }
    }
    passed
}

/// Upstream's headers of an answer whose body the proxy has read.
pub(crate) fn answer_headers(upstream: &HeaderMap) -> HeaderMap {
    passed_back(upstream, |passes| passes == Passes::Always)
}

/// Upstream's headers of an answer whose body is copied.
pub(crate) fn copied_answer_headers(upstream: &HeaderMap) -> HeaderMap {
    passed_back(upstream, |passes| passes != Passes::Never)
}

fn passed_back(upstream: &HeaderMap, comes_back: impl Fn(Passes) -> bool) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for (name, value) in upstream {
        if comes_back(passes(ANSWER_HEADERS, name)) && !is_hop_by_hop(upstream, name) {
            passed.append(name, without_key(name, value));
        }
    }
    passed
}

/// True for a header that `Connection` names, which is for the next hop only (RFC 9110 7.6.1).
fn is_hop_by_hop(headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|it| it.trim().eq_ignore_ascii_case(name.as_str())))
}

/// The value; one that holds a URL loses its `key=`, which Google repeats where a request had it.
fn without_key(name: &HeaderName, value: &HeaderValue) -> HeaderValue {
    if *name != LOCATION && !name.as_str().ends_with("-url") {
        return value.clone();
    }
    let Some((path, rest)) = value.to_str().ok().and_then(|url| url.split_once('?')) else {
        return value.clone();
    };
    let text = format!("{path}{}", query(rest));
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Whether a header passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    /// With every request or answer.
    Always,
    /// Only where the body is copied.
    Copied,
    Never,
}

/// What the first row that fits says. A header without a row does not pass.
fn passes(table: &[(&str, Passes)], name: &HeaderName) -> Passes {
    let name = name.as_str();
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    table.iter().find(|(pattern, _)| fits(pattern)).map_or(Passes::Never, |(_, passes)| *passes)
}

/// The client's headers; a name that ends with `*` stands for all that begin so.
const REQUEST_HEADERS: &[(&str, Passes)] = &[
    ("accept", Passes::Always),
    ("api-revision", Passes::Always),
    ("content-type", Passes::Always),
    ("x-server-timeout", Passes::Always),
    // Credentials, and the project that is billed.
    ("x-goog-api-key", Passes::Never),
    ("x-goog-authenticated-*", Passes::Never),
    ("x-goog-iam-*", Passes::Never),
    ("x-goog-iap-*", Passes::Never),
    ("x-goog-spatula", Passes::Never),
    ("x-goog-user-project", Passes::Never),
    ("x-goog-*", Passes::Always),
    ("x-vertex-ai-llm-*", Passes::Always),
    // The proxy reads the body of a call, unpacked, and its answer.
    ("accept-encoding", Passes::Copied),
    ("content-encoding", Passes::Copied),
    ("if-match", Passes::Copied),
    ("if-modified-since", Passes::Copied),
    ("if-none-match", Passes::Copied),
    ("if-range", Passes::Copied),
    ("range", Passes::Copied),
];

/// Upstream's headers.
const ANSWER_HEADERS: &[(&str, Passes)] = &[
    ("cache-control", Passes::Always),
    ("content-disposition", Passes::Always),
    ("content-type", Passes::Always),
    ("retry-after", Passes::Always),
    ("x-gemini-*", Passes::Always),
    ("accept-ranges", Passes::Copied),
    ("content-encoding", Passes::Copied),
    ("content-language", Passes::Copied),
    ("content-range", Passes::Copied),
    ("etag", Passes::Copied),
    ("last-modified", Passes::Copied),
    ("location", Passes::Copied),
    ("x-content-type-options", Passes::Copied),
    ("x-goog-*", Passes::Copied),
    ("x-guploader-*", Passes::Copied),
];

/// A client's query as it goes on, with its question mark; empty if nothing of it does. What goes on
/// keeps its bytes.
pub(crate) fn query(client: &str) -> String {
    query_without(client, is_dropped)
}

/// A query without the parameters whose decoded names are dropped, with its question mark. The rest keeps its
/// bytes.
pub(crate) fn query_without(client: &str, drops: impl Fn(&str) -> bool) -> String {
    let pairs = client.split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        !drops(&name)
    });
    let mut query = String::new();
    for (at, pair) in pairs.enumerate() {
        query.push(if at == 0 { '?' } else { '&' });
        query.push_str(pair);
    }
    if query == "?" { String::new() } else { query }
}

/// The parameter of a query that names the form of the answer, in either of its spellings, with its
/// question mark; empty if there is none.
pub(crate) fn alt(client: &str) -> String {
    let pairs = client.split('&');
    let mut alt =
        pairs.filter(|pair| ["alt=", "$alt=", "%24alt="].iter().any(|it| pair.starts_with(it)));
    alt.next().map(|pair| format!("?{pair}")).unwrap_or_default()
}

/// True for a parameter that never goes on, whatever its case, and with a dollar sign before it or without
/// one: Google knows both forms of its system parameters.
pub(crate) fn is_dropped(name: &str) -> bool {
    let letters =
        || name.bytes().filter(u8::is_ascii_alphanumeric).map(|it| it.to_ascii_lowercase());
    DROPPED_PARAMETERS.iter().any(|dropped| letters().eq(dropped.bytes()))
}

/// The letters of the parameters that carry a credential, name the project that is billed, or replace the
/// method.
const DROPPED_PARAMETERS: [&str; 6] =
    ["key", "accesstoken", "oauthtoken", "bearertoken", "userproject", "httpmethod"];

#[cfg(test)]
mod tests {
    use super::*;

    fn with(names: &[&str]) -> HeaderMap {
        let name = |name: &&str| HeaderName::try_from(*name).unwrap();
        names.iter().map(|it| (name(it), HeaderValue::from_static("v"))).collect()
    }

    #[test]
    fn each_row_of_the_tables_decides_as_it_says() {
        type Filter = fn(&HeaderMap) -> HeaderMap;
        let requests: (_, Filter, Filter) = (REQUEST_HEADERS, headers, copied_headers);
        let answers: (_, Filter, Filter) = (ANSWER_HEADERS, answer_headers, copied_answer_headers);
        for (table, of_call, of_copy) in [requests, answers] {
            for (pattern, passes) in table {
                let name = pattern.replace('*', "something");
                let given = with(&[&name]);
                assert_eq!(!of_call(&given).is_empty(), *passes == Passes::Always, "{name}");
                assert_eq!(!of_copy(&given).is_empty(), *passes != Passes::Never, "{name}");
            }
        }
    }

    #[test]
    fn no_credential_and_nothing_of_the_clients_network_goes_on() {
        let never = [
            "authorization",
            "cookie",
            "x-api-key",
            "x-goog-api-key",
            "x-goog-user-project",
            "x-goog-iam-authorization-token",
            "x-goog-iap-jwt-assertion",
            "x-goog-spatula",
            "x-goog-authenticated-user-email",
            "proxy-authorization",
            "host",
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "content-length",
            "expect",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-real-ip",
            "origin",
            "referer",
            "user-agent",
            "sec-fetch-site",
            "x-proxy-upstream",
            "idempotency-key",
        ];
        assert!(copied_headers(&with(&never)).is_empty());
        assert!(headers(&with(&never)).is_empty());
    }

    #[test]
    fn nothing_that_speaks_of_googles_own_host_comes_back() {
        let never = [
            "access-control-allow-origin",
            "access-control-expose-headers",
            "alt-svc",
            "connection",
            "content-length",
            "server",
            "set-cookie",
            "strict-transport-security",
            "transfer-encoding",
            "vary",
            "www-authenticate",
        ];
        assert!(copied_answer_headers(&with(&never)).is_empty());
        assert!(answer_headers(&with(&never)).is_empty());
    }

    #[test]
    fn what_connection_names_goes_no_further() {
        let mut given = with(&["x-goog-a", "x-goog-b", "x-goog-c"]);
        given.append(CONNECTION, HeaderValue::from_static("keep-alive, X-Goog-A"));
        given.append(CONNECTION, HeaderValue::from_static("x-goog-c"));
        assert_eq!(copied_headers(&given).keys().collect::<Vec<_>>(), ["x-goog-b"]);
        assert_eq!(copied_answer_headers(&given).keys().collect::<Vec<_>>(), ["x-goog-b"]);
    }

    #[test]
    fn a_header_that_came_twice_goes_on_twice() {
        let mut given = HeaderMap::new();
        for value in ["a", "b"] {
            given.append("x-goog-upload-command", HeaderValue::from_static(value));
        }
        assert_eq!(headers(&given).get_all("x-goog-upload-command").iter().count(), 2);
    }

    #[test]
    fn a_query_loses_its_credentials_and_keeps_the_bytes_of_the_rest() {
        for (given, passed) in [
            ("", ""),
            ("key=K", ""),
            ("alt=sse&key=K", "?alt=sse"),
            (
                "key=K&%24alt=json;enum-encoding=int&&x=%2f+%20&",
                "?%24alt=json;enum-encoding=int&&x=%2f+%20&",
            ),
            ("%6bey=K&a", "?a"),
            ("access_token=T&oauth_token=T&monkey=1", "?monkey=1"),
            ("KEY=K&%24key=K&$access_token=T&bearer_token=T&a", "?a"),
            ("$userProject=p&userProject=p&user_project=p&%24httpMethod=POST&keys=1", "?keys=1"),
        ] {
            assert_eq!(query(given), passed, "{given}");
        }
    }

    #[test]
    fn a_url_in_an_answer_never_holds_a_key() {
        let url = "https://google.test/upload/v1beta/files?upload_id=a%2Bb&key=SECRET&x=1";
        for name in ["location", "x-goog-upload-url", "x-goog-upload-control-url"] {
            let mut given = HeaderMap::new();
            let name = HeaderName::from_static(name);
            given.insert(name.clone(), HeaderValue::from_static(url));
            let clean = "https://google.test/upload/v1beta/files?upload_id=a%2Bb&x=1";
            assert_eq!(copied_answer_headers(&given)[name], clean);
        }
    }
}
