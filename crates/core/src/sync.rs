//! Locks over plain data.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. A panic elsewhere does not take the data with it: it is plain data, and still good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
