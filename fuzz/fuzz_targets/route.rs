//! Any path and query is either a route or refused, and a route has a model that is not empty. A path that
//! is copied is safe in a URL, and is copied as the same path.
#![no_main]

use code_assist_core::internals::dialect::gemini::route::{Beyond, Route, copied, read};
use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, target)) = data.split_first() else {
        return;
    };
    let method =
        [Method::GET, Method::POST, Method::OPTIONS, Method::DELETE][*first as usize % 4].clone();
    let Ok(target) = std::str::from_utf8(target) else {
        return;
    };
    let Ok(uri) = target.parse::<Uri>() else {
        return;
    };
    if let Some(Beyond::Copy(path)) = copied::read(&method, &uri) {
        let at_google: Uri = path.path.parse().expect("a path is a URI");
        assert_eq!(at_google.path(), path.path, "{uri}");
        let is_plain = |segment: &str| {
            let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
            !decoded.is_empty() && decoded != "." && decoded != ".."
        };
        assert!(path.path.split('/').skip(1).all(is_plain), "{uri}");
        assert_eq!(copied::read(&method, &at_google), Some(Beyond::Copy(path)), "{uri}");
    }
    let Ok(route) = read(&method, &uri) else {
        return;
    };
    if let Route::Generate { model, .. }
    | Route::Stream { model, .. }
    | Route::Count { model, .. } = &route
    {
        assert!(!model.is_empty(), "{uri}");
    }
    if let Route::VertexResource(resource) = &route {
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@:/".contains(&byte);
        assert!(resource.rest.bytes().all(harmless), "{uri}");
        assert!(resource.rest.split('/').all(|s| !s.is_empty() && !s.starts_with('.')), "{uri}");
    }
    assert_eq!(read(&method, &uri).as_ref(), Ok(&route), "the same path, another route");
});
