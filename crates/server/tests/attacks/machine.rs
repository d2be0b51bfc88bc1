//! The store, the machine and the settings of an operator.

use crate::table::attacks;

attacks! {
    "Store and machine"
    both {}
    native {}
    proved {}
}
