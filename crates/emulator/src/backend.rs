//! Everything behind the port: what is remembered, what is scripted, what was received.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::Log;
use crate::script::Script;
use crate::state::State;

/// Everything behind the port, shared by all connections.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) log: Arc<Log>,
    state: Mutex<State>,
    script: Mutex<Script>,
}

impl Backend {
    pub(crate) fn new(state: State) -> Self {
        Self {
            log: Arc::new(Log::new()),
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
