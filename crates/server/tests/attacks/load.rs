//! Too much of what is allowed.

use crate::table::attacks;

attacks! {
    "Too much"
    both {}
    native {}
    proved {}
}
