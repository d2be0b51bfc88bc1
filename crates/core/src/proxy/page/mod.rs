//! The status page for a browser: one file that loads nothing from other hosts and has no inline handlers.
//!
//! The page has no numbers of its own. Its script requests them from `/metrics` and `/health/detailed`,
//! with the key that the user types in.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

/// The page, with the files of a further panel where they are given.
macro_rules! page {
    ($has_try:literal $(, $markup:literal, $script:literal)?) => {
        Page {
            html: concat!(
                include_str!("head.html"),
                "<style>",
                include_str!("style.css"),
                "</style>\n",
                include_str!("body.html"),
                $(include_str!($markup),)?
                include_str!("end.html"),
                "<script>",
                page!(@script $($script)?),
                "</script>\n</body>\n</html>\n",
            ),
            has_try: $has_try,
            script: page!(@script $($script)?),
        }
    };
    // In a scope of its own. Each file uses what those before it declare.
    (@script $($further:literal)?) => {
        concat!(
            "'use strict';\n(() => {\n",
            include_str!("script/base.js"),
            include_str!("script/plots.js"),
            include_str!("script/panels.js"),
            include_str!("script/usage.js"),
            $(include_str!($further),)?
            include_str!("script/main.js"),
            "})();\n"
        )
    };
}

/// The whole page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) html: &'static str,
    has_try: bool,
    script: &'static str,
}

/// The page with the panel that sends a prompt, or without it.
pub(super) fn page(has_try: bool) -> &'static Page {
    if has_try { &WITH_TRY } else { &WITHOUT_TRY }
}

static WITH_TRY: Page = page!(true, "try.html", "script/try.js");
static WITHOUT_TRY: Page = page!(false);

impl Page {
    /// The headers of the page.
    pub(super) fn headers(&self) -> HeaderMap {
        let fixed = |text: &'static str| HeaderValue::from_static(text);
        HeaderMap::from_iter([
            (header::CONTENT_TYPE, fixed("text/html; charset=utf-8")),
            (header::CACHE_CONTROL, fixed("no-store")),
            (header::VARY, fixed("Accept")),
            (header::CONTENT_SECURITY_POLICY, POLICIES[usize::from(self.has_try)].clone()),
            (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
            (header::X_FRAME_OPTIONS, fixed("DENY")),
            (header::REFERRER_POLICY, fixed("no-referrer")),
            (HeaderName::from_static("cross-origin-opener-policy"), fixed("same-origin")),
            (HeaderName::from_static("cross-origin-resource-policy"), fixed("same-origin")),
        ])
    }
}

/// The policies of both pages, without the panel and with it. Each allows only the page's own style and script,
/// which may connect to this server only. The hashes are computed from the text between the tags, so they are
/// always current.
static POLICIES: LazyLock<[HeaderValue; 2]> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    [&WITHOUT_TRY, &WITH_TRY].map(|page| {
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(page.script),
            hash(include_str!("style.css")),
        );
        HeaderValue::from_str(&policy).expect("a policy of visible ASCII characters")
    })
});

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [&Page; 2] = [&WITH_TRY, &WITHOUT_TRY];

    #[test]
    fn the_page_loads_nothing_and_has_only_its_style_and_script_inline() {
        for Page { html, .. } in PAGES {
            for absent in
                ["http://", "https://", "//cdn", "@import", "url(", " src=", "javascript:"]
            {
                let allowed = html.replace("http://www.w3.org/2000/svg", "");
                assert!(!allowed.contains(absent), "{absent}");
            }
            for absent in
                [" style=\"", " onclick", " onload", "innerHTML", "eval(", "document.write"]
            {
                assert!(!html.contains(absent), "{absent}");
            }
            assert_eq!((html.matches("<style>").count(), html.matches("<script>").count()), (1, 1));
            assert_eq!(html.matches("</script>").count(), 1);
        }
    }

    #[test]
    fn the_policy_has_the_hashes_of_style_and_script() {
        for page in PAGES {
            let headers = page.headers();
            let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            for tag in ["script", "style"] {
                let (_, rest) = page.html.split_once(&format!("<{tag}>")).unwrap();
                let (text, _) = rest.split_once(&format!("</{tag}>")).unwrap();
                let hash = STANDARD.encode(Sha256::digest(text));
                assert!(policy.contains(&format!("{tag}-src 'sha256-{hash}'")), "{policy}");
            }
            assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"));
        }
    }

    #[test]
    fn without_the_panel_nothing_of_it_is_in_the_page() {
        assert!(page(true).html.contains("id=\"try\""));
        for absent in ["id=\"try", "streamGenerateContent", "YOUR_KEY", "v1beta"] {
            assert!(!page(false).html.contains(absent), "{absent}");
        }
    }

    #[test]
    fn nothing_in_the_page_is_read_from_its_address() {
        for absent in ["location.search", "location.hash", "URLSearchParams", "postMessage"] {
            assert!(!page(true).html.contains(absent), "{absent}");
        }
    }

    #[test]
    fn the_page_is_small() {
        let length = page(true).html.len();
        assert!(length < 64 * 1024, "{length} bytes");
    }
}
