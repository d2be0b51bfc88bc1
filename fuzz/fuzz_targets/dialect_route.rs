//! Any request line belongs to one dialect or to none. Slashes more or less make no difference, and a
//! method of Google's is never taken.
#![no_main]

use code_assist_core::internals::dialect::route::{DialectCall, read};
use http::{HeaderMap, HeaderValue, Method, Uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, target)) = data.split_first() else {
        return;
    };
    let method =
        [Method::GET, Method::POST, Method::HEAD, Method::DELETE][*first as usize % 4].clone();
    let mut headers = HeaderMap::new();
    for (bit, name) in
        [(4, "authorization"), (8, "anthropic-version"), (16, "x-goog-api-key"), (32, "upgrade")]
    {
        if first & bit != 0 {
            headers.insert(name, HeaderValue::from_static("websocket"));
        }
    }
    let Ok(target) = std::str::from_utf8(target) else {
        return;
    };
    let Ok(uri) = target.parse::<Uri>() else {
        return;
    };
    let found = read(&method, &uri, &headers);
    let path = uri.path();
    let last = path.rsplit('/').next().unwrap_or_default();
    assert!(!last.contains(':') || found.is_none(), "{uri}");
    let Some(found) = found else {
        return;
    };
    if let DialectCall::Model { name } | DialectCall::StoredResponse { id: name } = &found.call {
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
    }
    let _ = found.call.error();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if path.len() < 200
        && let Ok(slashed) = format!("{}/{query}", path.replace('/', "//")).parse::<Uri>()
    {
        assert_eq!(read(&method, &slashed, &headers), Some(found), "{uri}");
    }
});
