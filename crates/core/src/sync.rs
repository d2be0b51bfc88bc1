//! Locks over plain data.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also after a panic of another holder: the data is plain and stays valid.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What knows whether it is empty.
pub trait IsEmpty {
    /// True if nothing is in it.
    fn is_empty(&self) -> bool;
}

/// A memory under a lock that is usually empty, which is seen without the lock.
#[derive(Debug)]
pub(crate) struct OftenEmpty<T> {
    is_empty: AtomicBool,
    memory: Mutex<T>,
}

impl<T: IsEmpty + Default> Default for OftenEmpty<T> {
    fn default() -> Self {
        Self { is_empty: AtomicBool::new(true), memory: Mutex::default() }
    }
}

impl<T: IsEmpty> OftenEmpty<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty.load(Ordering::Acquire)
    }

    /// Looks at the memory, or changes it.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut memory = lock(&self.memory);
        let result = work(&mut memory);
        self.is_empty.store(memory.is_empty(), Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl IsEmpty for Vec<u8> {
        fn is_empty(&self) -> bool {
            self.is_empty()
        }
    }

    #[test]
    fn an_empty_memory_is_seen_without_its_lock() {
        let memory = OftenEmpty::<Vec<u8>>::default();
        memory.with(|memory| memory.push(1));
        assert!(!memory.is_empty());
        memory.with(Vec::clear);
        let _locked = memory.memory.lock().unwrap();
        assert!(memory.is_empty());
    }
}
