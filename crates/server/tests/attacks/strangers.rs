//! Guesses and floods of refused requests.

use crate::table::attacks;

attacks! {
    "Strangers"
    both {}
    native {}
    proved {}
}
