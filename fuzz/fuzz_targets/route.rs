//! Any path and query is either a route or refused, and a route has a model that is not empty.
#![no_main]

use code_assist_core::internals::dialect::gemini::route::{Route, read};
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
