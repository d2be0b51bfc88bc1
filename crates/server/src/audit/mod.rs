//! The audit log: a line for each request that asks a model, in a file of its own.
//!
//! A request puts what is known of it into a bounded queue, and never waits. A thread writes the lines, and
//! what it has written is on the disk a second later. Lines that cannot be written are counted, and a log
//! line says so once a minute: requests go on.

mod file;
mod line;
#[cfg(all(test, unix))]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use code_assist_core::RequestRecord;
use code_assist_core::settings::AuditSettings;

use file::AuditFile;

/// The end of the queue into which requests put their lines. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct AuditLog {
    shared: Arc<Shared>,
}

/// Writes what is in the queue to the disk when it is dropped, and waits for that, but not for ever.
#[derive(Debug)]
#[must_use]
pub(crate) struct AuditGuard {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<QueueState>,
    /// Wakes the thread.
    wake: Condvar,
    /// Wakes the guard when the last line is on the disk.
    closed: Condvar,
    /// Lines that are missing in the file.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct QueueState {
    entries: VecDeque<(SystemTime, RequestRecord)>,
    /// The file was renamed, and is to be opened again.
    reopen: bool,
    closing: bool,
    closed: bool,
}

impl AuditLog {
    /// Opens the file and starts the thread that writes it.
    pub(crate) fn open(settings: &AuditSettings) -> io::Result<(Self, AuditGuard)> {
        let file = AuditFile::open(Path::new(&settings.path), settings.max_bytes, settings.files)?;
        let shared = Arc::<Shared>::default();
        let writer = Writer { shared: Arc::clone(&shared), file, reported: 0, report_at: None };
        thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok((Self { shared: Arc::clone(&shared) }, AuditGuard { shared }))
    }

    /// Puts a line into the queue. One that does not fit is lost.
    pub(crate) fn write(&self, ended: SystemTime, record: RequestRecord) {
        let mut state = self.shared.state();
        if state.entries.len() >= LONGEST_QUEUE {
            self.shared.lost.fetch_add(1, Relaxed);
            return;
        }
        state.entries.push_back((ended, record));
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Opens the file again, under its name.
    pub(crate) fn reopen(&self) {
        self.shared.state().reopen = true;
        self.shared.wake.notify_one();
    }

    /// Lines that were lost since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Relaxed)
    }
}

impl Drop for AuditGuard {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.wake.notify_one();
        let state = self.shared.state();
        let waiting =
            self.shared.closed.wait_timeout_while(state, CLOSE_TIMEOUT, |state| !state.closed);
        drop(waiting);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's own state.
struct Writer {
    shared: Arc<Shared>,
    file: AuditFile,
    /// How many of the lost lines log lines have counted.
    reported: u64,
    /// No log line about lost lines is written before.
    report_at: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        let mut sync_at: Option<Instant> = None;
        let mut why = String::new();
        loop {
            let (entries, reopen, closing) = self.next(sync_at);
            for (ended, record) in entries {
                match self.file.append(&line::of(ended, &record)) {
                    Ok(()) => {
                        sync_at.get_or_insert_with(|| Instant::now() + SYNC_INTERVAL);
                    }
                    Err(error) => {
                        why = error.to_string();
                        self.shared.lost.fetch_add(1, Relaxed);
                    }
                }
            }
            if sync_at.is_some_and(|at| closing || reopen || at <= Instant::now()) {
                sync_at = None;
                if let Err((lines, error)) = self.file.sync() {
                    why = error.to_string();
                    self.shared.lost.fetch_add(lines, Relaxed);
                }
            }
            if reopen && let Err(error) = self.file.reopen() {
                tracing::error!("the audit log is not opened again, the old file stays: {error}");
            }
            self.report(&why, closing);
            let mut state = self.shared.state();
            if closing && state.entries.is_empty() {
                state.closed = true;
                self.shared.closed.notify_all();
                return;
            }
        }
    }

    /// Waits for work: lines, the time to sync or to report, or the end.
    fn next(
        &self,
        sync_at: Option<Instant>,
    ) -> (VecDeque<(SystemTime, RequestRecord)>, bool, bool) {
        let has_report = self.shared.lost.load(Relaxed) > self.reported;
        let wake_at = [sync_at, self.report_at.filter(|_| has_report)].into_iter().flatten().min();
        let idle =
            |state: &mut QueueState| state.entries.is_empty() && !state.reopen && !state.closing;
        let state = self.shared.state();
        let mut state = match wake_at {
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                let woken = self.shared.wake.wait_timeout_while(state, left, idle);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let woken = self.shared.wake.wait_while(state, idle);
                woken.unwrap_or_else(PoisonError::into_inner)
            }
        };
        (std::mem::take(&mut state.entries), std::mem::take(&mut state.reopen), state.closing)
    }

    /// Logs how many lines were lost, once a minute.
    fn report(&mut self, why: &str, closing: bool) {
        let lost = self.shared.lost.load(Relaxed);
        let now = Instant::now();
        if lost > self.reported && (closing || self.report_at.is_none_or(|at| at <= now)) {
            let why = if why.is_empty() { "the disk is too slow" } else { why };
            tracing::error!(
                lost = lost - self.reported,
                "lines are missing in the audit log: {why}"
            );
            self.reported = lost;
            self.report_at = Some(now + BETWEEN_REPORTS);
        }
    }
}

/// Some megabytes, for a disk that is slow for a while.
const LONGEST_QUEUE: usize = 8192;

/// How long a line may be in memory only.
const SYNC_INTERVAL: Duration = Duration::from_millis(900);

const BETWEEN_REPORTS: Duration = Duration::from_secs(60);

/// How long a slow disk may delay the end of the process.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
