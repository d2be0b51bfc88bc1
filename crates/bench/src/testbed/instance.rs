//! A contender that runs.

use std::thread;
use std::time::{Duration, Instant};

use super::Contender;
use crate::BenchError;
use crate::load;
use crate::machine::ProcessTree;
use crate::process::ChildProcess;
use crate::request::{self, ResponsePlan};

/// A contender that runs, and where it listens.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) contender: Contender,
    pub(crate) address: String,
    child: Option<ChildProcess>,
    /// `None` for a direct client.
    pub(crate) processes: Option<ProcessTree>,
}

impl Instance {
    pub(super) fn new(contender: Contender, address: String, child: Option<ChildProcess>) -> Self {
        let mut instance = Self { contender, address, child, processes: None };
        instance.find_processes();
        instance
    }

    /// Finds the processes that the contender has now.
    pub(super) fn find_processes(&mut self) {
        self.processes = self.child.as_ref().map(|child| ProcessTree::of(child.id()));
    }

    /// Stops it with SIGTERM. True when it has exited by itself, false when it had to be killed.
    pub(crate) fn stop(self) -> bool {
        self.child.is_none_or(ChildProcess::stop)
    }

    /// Sends requests until one is answered.
    pub(crate) fn await_answer(&mut self) -> Result<(), BenchError> {
        if self.contender.is_direct() {
            return Ok(());
        }
        let started = Instant::now();
        let format = self.contender.request_format();
        let request = request::request(format, ResponsePlan::ONE, 1024, &self.address);
        loop {
            let Err(why) = load::send_once(&self.address, &request) else { return Ok(()) };
            let exited = self.child.as_mut().is_some_and(ChildProcess::has_exited);
            if exited || started.elapsed() > START_LIMIT {
                return Err(BenchError(format!("{} does not answer: {why}", self.contender.key())));
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Generous: the slowest needs some seconds.
const START_LIMIT: Duration = Duration::from_secs(30);
