//! Where the token goes, and upstreams that lie.

use crate::table::attacks;

attacks! {
    "Where the token goes, and upstreams that lie"
    both {}
    native {}
    proved {
        redirected: "307 to another host, from upstream", "502 `UPSTREAM_MALFORMED`; no request, so no token, goes there",
            by "crates/server/tests/faults/answers.rs::redirect";
    }
}
