//! The client's `Cache-Control`.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// What the client's `Cache-Control` allows the response cache to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheDirective {
    /// The request may share answers and keep its own.
    Any,
    /// `no-cache`: ask upstream and keep the answer. `max-age=0` means the same (RFC 9111 5.2.1.1),
    /// and so does `Pragma: no-cache` without a `Cache-Control` (5.4).
    NoCache,
    /// `no-store`: ask upstream and keep nothing.
    NoStore,
}

impl CacheDirective {
    /// Reads the headers; the strictest directive counts.
    pub fn of(headers: &HeaderMap) -> Self {
        let name = if headers.contains_key(CACHE_CONTROL) { &CACHE_CONTROL } else { &PRAGMA };
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let mut strictest = Self::Any;
        for directive in values.flat_map(|value| value.split(',')) {
            let directive = directive.trim();
            if directive.eq_ignore_ascii_case("no-store") {
                return Self::NoStore;
            }
            if ["no-cache", "max-age=0"].iter().any(|it| directive.eq_ignore_ascii_case(it)) {
                strictest = Self::NoCache;
            }
        }
        strictest
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cache_control_is_read_leniently_and_its_strictest_directive_counts() {
        for (name, values, directive) in [
            ("cache-control", &[][..], CacheDirective::Any),
            ("cache-control", &["max-age=60, private", ""], CacheDirective::Any),
            ("cache-control", &["no-cache"], CacheDirective::NoCache),
            ("cache-control", &["private ,\tNo-Cache"], CacheDirective::NoCache),
            ("cache-control", &["max-age=0"], CacheDirective::NoCache),
            ("cache-control", &["no-cache, NO-STORE"], CacheDirective::NoStore),
            ("cache-control", &["no-store", "no-cache"], CacheDirective::NoStore),
            ("pragma", &["no-cache"], CacheDirective::NoCache),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name, HeaderValue::from_static(value));
            }
            assert_eq!(CacheDirective::of(&headers), directive, "{values:?}");
        }
        let mut both = HeaderMap::new();
        both.insert("pragma", HeaderValue::from_static("no-cache"));
        both.insert("cache-control", HeaderValue::from_static("max-age=60"));
        assert_eq!(CacheDirective::of(&both), CacheDirective::Any);
    }
}
