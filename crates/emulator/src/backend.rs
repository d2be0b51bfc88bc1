//! What all connections share: the log, the state and the script.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::emulator::Played;
use crate::log::Log;
use crate::script::Script;
use crate::state::State;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) log: Arc<Log>,
    pub(crate) played: Played,
    /// The base URL of the emulator.
    pub(crate) url: String,
    state: Mutex<State>,
    script: Mutex<Script>,
}

impl Backend {
    pub(crate) fn new(state: State, played: Played, url: String) -> Self {
        Self {
            log: Arc::new(Log::new()),
            played,
            url,
            state: Mutex::new(state),
            script: Mutex::new(Script::default()),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
