//! Connections that say nothing, and HTTP/2.

use crate::table::attacks;

attacks! {
    "Connections"
    both {}
    native {}
    proved {}
}
