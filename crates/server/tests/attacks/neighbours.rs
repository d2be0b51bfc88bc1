//! One client with a key against the others.

use crate::table::attacks;

attacks! {
    "Neighbours"
    both {}
    native {}
    proved {}
}
