//! Bytes that are held for clients, and work that takes long.

use crate::table::attacks;

attacks! {
    "Memory and heavy work"
    both {}
    native {}
    proved {}
}
