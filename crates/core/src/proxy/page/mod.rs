//! The status page for a browser: one file that loads nothing from other hosts and has no inline handlers.
//!
//! The page has no numbers of its own. Its script requests them from `/metrics` and `/health/detailed`,
//! with the key that the user types in.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

/// The script, in a scope of its own. Each file uses what those before it declare.
macro_rules! script {
    () => {
        concat!(
            "'use strict';\n(() => {\n",
            include_str!("script/base.js"),
            include_str!("script/plots.js"),
            include_str!("script/panels.js"),
            include_str!("script/main.js"),
            "})();\n"
        )
    };
}

/// The whole page.
pub(super) const HTML: &str = concat!(
    include_str!("head.html"),
    "<style>",
    include_str!("style.css"),
    "</style>\n",
    include_str!("body.html"),
    "<script>",
    script!(),
    "</script>\n</body>\n</html>\n",
);

/// The headers of the page.
pub(super) fn headers() -> HeaderMap {
    let fixed = |text: &'static str| HeaderValue::from_static(text);
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, fixed("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, fixed("no-store")),
        (header::VARY, fixed("Accept")),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::X_FRAME_OPTIONS, fixed("DENY")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), fixed("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), fixed("same-origin")),
    ])
}

/// Allows only the page's own style and script, which may connect to this server only. The hashes are
/// computed from the text between the tags, so they are always current.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(script!()),
        hash(include_str!("style.css")),
    );
    HeaderValue::from_str(&policy).expect("a policy of visible ASCII characters")
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_and_has_only_its_style_and_script_inline() {
        for absent in ["http://", "https://", "//cdn", "@import", "url(", " src=", "javascript:"] {
            let allowed = HTML.replace("http://www.w3.org/2000/svg", "");
            assert!(!allowed.contains(absent), "{absent}");
        }
        for absent in [" style=\"", " onclick", " onload", "innerHTML", "eval(", "document.write"] {
            assert!(!HTML.contains(absent), "{absent}");
        }
        assert_eq!((HTML.matches("<style>").count(), HTML.matches("<script>").count()), (1, 1));
        assert_eq!(HTML.matches("</script>").count(), 1);
    }

    #[test]
    fn the_policy_has_the_hashes_of_style_and_script() {
        let headers = headers();
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        for tag in ["script", "style"] {
            let (_, rest) = HTML.split_once(&format!("<{tag}>")).unwrap();
            let (text, _) = rest.split_once(&format!("</{tag}>")).unwrap();
            let hash = STANDARD.encode(Sha256::digest(text));
            assert!(policy.contains(&format!("{tag}-src 'sha256-{hash}'")), "{policy}");
        }
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"));
    }

    #[test]
    fn the_page_is_small() {
        assert!(HTML.len() < 48 * 1024, "{} bytes", HTML.len());
    }
}
