//! Web pages in a browser that reaches the proxy.

use crate::table::attacks;

attacks! {
    "Browsers"
    both {}
    native {}
    proved {}
}
