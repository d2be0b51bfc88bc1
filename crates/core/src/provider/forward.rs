//! Which headers and query parameters of a client's request go on to upstream
//! (`docs/reference/upstreams.md` 1.4).

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};

/// The client's headers that go on. No header with a credential is among them, and none that tells of
/// the client's network or web page.
pub(crate) fn headers(client: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for (name, value) in client {
        if goes_on(name) {
            passed.append(name, value.clone());
        }
    }
    passed
}

fn goes_on(name: &HeaderName) -> bool {
    let text = name.as_str();
    match text {
        // Credentials, and the project that is billed.
        "x-goog-api-key" | "x-goog-user-project" | "x-goog-iam-authorization-token" => false,
        _ => {
            *name == CONTENT_TYPE
                || *name == ACCEPT
                || PASSED.contains(&text)
                || PASSED_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
        }
    }
}

/// A client's query as it goes on, with its question mark; empty if nothing of it does. What goes on
/// keeps its bytes.
pub(crate) fn query(client: &str) -> String {
    let pairs = client.split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        !pair.is_empty() && !CREDENTIALS.contains(&&*name)
    });
    let mut query = String::new();
    for pair in pairs {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(pair);
    }
    query
}

/// The parameter of a query that names the form of the answer, in either of its spellings, with its
/// question mark; empty if there is none.
pub(crate) fn alt(client: &str) -> String {
    let pairs = client.split('&');
    let mut alt =
        pairs.filter(|pair| ["alt=", "$alt=", "%24alt="].iter().any(|it| pair.starts_with(it)));
    alt.next().map(|pair| format!("?{pair}")).unwrap_or_default()
}

/// The parameters that carry a credential.
const CREDENTIALS: [&str; 3] = ["key", "access_token", "oauth_token"];

const PASSED: [&str; 2] = ["api-revision", "x-server-timeout"];

const PASSED_PREFIXES: [&str; 2] = ["x-goog-", "x-vertex-ai-llm-"];
