//! A buffer between requests and standard output, and the thread that writes it.
//!
//! A request copies its line into the buffer. It wakes the thread only after a silence, so that a
//! single line is written at once. Under traffic the thread wakes up by itself a hundred times a
//! second. With one wake-up and one write per line, logging took a tenth of a request's time; on one
//! core the thread ran first, and the client waited.
//!
//! Its own, and not `tracing-appender`: that wakes its thread for each line.

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Appends lines to the buffer. Never blocks for longer than a copy: a line that does not fit is
/// dropped and counted.
#[derive(Debug, Clone)]
pub(super) struct LogWriter {
    buffer: Arc<LogBuffer>,
}

impl LogWriter {
    /// The number of lines that were dropped.
    pub(super) fn lost(&self) -> LostLines {
        LostLines(Arc::clone(&self.buffer))
    }

    /// Appends the line of a request.
    pub(super) fn write_request(&self, line: &[u8]) {
        thread_local! {
            static NUMBER: usize = THREADS.fetch_add(1, Relaxed);
        }
        let shards = &self.buffer.requests;
        let shard = &shards[NUMBER.with(|number| number % shards.len())];
        self.buffer.append(shard, line, MAX_REQUESTS / shards.len());
    }
}

/// How many threads have written lines of requests.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The number of lines that were dropped since the start.
#[derive(Debug, Clone)]
pub(crate) struct LostLines(Arc<LogBuffer>);

impl LostLines {
    pub(crate) fn count(&self) -> u64 {
        self.0.shards().map(|shard| shard.lines().lost).sum()
    }
}

/// Flushes the buffer when it is dropped, and waits up to a second for the reader.
#[derive(Debug)]
#[must_use]
pub(crate) struct LogGuard {
    buffer: Arc<LogBuffer>,
}

/// Starts the thread that writes lines to `out`.
pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(LogWriter, LogGuard)> {
    let buffer = Arc::new(LogBuffer::new());
    let written = Arc::clone(&buffer);
    thread::Builder::new().name("log".to_owned()).spawn(move || written.write_to(out))?;
    Ok((LogWriter { buffer: Arc::clone(&buffer) }, LogGuard { buffer }))
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { buffer: &self.buffer, limit: MAX_EVENTS }
    }

    /// Warnings and errors have space that a flood of other lines cannot take from them.
    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter<'a> {
        let reserve = if *metadata.level() <= Level::WARN { RESERVED } else { 0 };
        LineWriter { buffer: &self.buffer, limit: MAX_EVENTS + reserve }
    }
}

/// Writes one line that is not that of a request.
#[derive(Debug)]
pub(super) struct LineWriter<'a> {
    buffer: &'a LogBuffer,
    /// The line is dropped if these lines would grow beyond this.
    limit: usize,
}

impl Write for LineWriter<'_> {
    /// Appends a whole line or drops it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.buffer.append(&self.buffer.events, line, self.limit);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.buffer.state().closing = true;
        self.buffer.wake.notify_all();
        let state = self.buffer.state();
        let _ = self.buffer.closed.wait_timeout_while(state, FLUSH_TIMEOUT, |state| !state.closed);
    }
}

#[derive(Debug)]
struct LogBuffer {
    /// The lines of requests, in as many shards as there are cores: with one lock for all, each request would
    /// fetch its cache line from another core.
    requests: Box<[Shard]>,
    /// All other lines. They are few, and stay in order.
    events: Shard,
    /// The thread waits for a line. The writer that wakes it resets this.
    asleep: AtomicBool,
    state: Mutex<ThreadState>,
    /// Wakes the thread: for a line after a silence, or for the end.
    wake: Condvar,
    /// Wakes the guard when the last line is written.
    closed: Condvar,
}

/// Whole lines, on cache lines of their own. A processor may fetch two of them at once.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    /// Lines that did not fit.
    lost: u64,
}

#[derive(Debug, Default)]
struct ThreadState {
    woken: bool,
    closing: bool,
    closed: bool,
}

impl Shard {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogBuffer {
    fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            requests: (0..cores).map(|_| Shard::default()).collect(),
            events: Shard::default(),
            asleep: AtomicBool::new(false),
            state: Mutex::default(),
            wake: Condvar::new(),
            closed: Condvar::new(),
        }
    }

    fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.requests.iter().chain([&self.events])
    }

    fn append(&self, shard: &Shard, line: &[u8], limit: usize) {
        let mut lines = shard.lines();
        if lines.text.len() + line.len() <= limit {
            lines.text.extend_from_slice(line);
        } else {
            lines.lost += 1;
        }
        drop(lines);
        // The thread looks at the shards after it has set this.
        if self.asleep.load(Acquire) && self.asleep.swap(false, AcqRel) {
            self.state().woken = true;
            self.wake.notify_one();
        }
    }

    /// Moves all lines to the batch. Those of requests come first, so that a batch ends with what was logged last
    /// when the process stops.
    fn take(&self, batch: &mut Vec<u8>) {
        // Taken before them, so that no request's line misses the batch of an event that came later.
        let events = std::mem::take(&mut self.events.lines().text);
        for shard in &self.requests {
            let mut lines = shard.lines();
            if batch.is_empty() {
                std::mem::swap(&mut lines.text, batch);
            } else {
                batch.append(&mut lines.text);
            }
            lines.text.shrink_to(KEPT_CAPACITY);
        }
        batch.extend_from_slice(&events);
    }

    /// Writes lines until the buffer is closed.
    fn write_to(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        let mut quiet_pauses = QUIET_PAUSES;
        loop {
            let is_closing = self.state().closing;
            self.take(&mut batch);
            if !batch.is_empty() {
                quiet_pauses = 0;
                // A failure is ignored: the log itself is the place to report it.
                let _ = out.write_all(&batch).and_then(|()| out.flush());
                batch.clear();
                batch.shrink_to(KEPT_CAPACITY);
            } else if is_closing {
                self.state().closed = true;
                self.closed.notify_all();
                return;
            }
            if is_closing {
                continue;
            }
            if quiet_pauses < QUIET_PAUSES {
                quiet_pauses += 1;
                // A wait for the end too would read the clock four times. The end may come this much later.
                thread::sleep(PAUSE);
            } else {
                self.sleep();
            }
        }
    }

    /// Waits for a line, or for the end.
    fn sleep(&self) {
        let mut state = self.state();
        state.woken = false;
        self.asleep.store(true, Release);
        if self.shards().all(|shard| shard.lines().text.is_empty()) {
            let waited = self.wake.wait_while(state, |state| !state.woken && !state.closing);
            drop(waited);
        }
        self.asleep.store(false, Release);
    }

    fn state(&self) -> MutexGuard<'_, ThreadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enough for several thousand lines, while the reader is slow. The shards share it.
const MAX_REQUESTS: usize = 3 << 20;

/// The same for all other lines.
const MAX_EVENTS: usize = 1 << 20;

/// More space for warnings and errors.
const RESERVED: usize = 64 << 10;

/// Lines within this time are written together. A reader does not notice the delay.
const PAUSE: Duration = Duration::from_millis(10);

/// After a second of pauses without a line the thread sleeps.
const QUIET_PAUSES: u32 = 100;

/// What the buffers keep between batches.
const KEPT_CAPACITY: usize = 128 << 10;

/// How long a slow reader may delay the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    #[test]
    fn lines_are_written_whole_in_order_and_before_the_end() {
        let out = WrittenBytes::default();
        let (writer, guard) = start(out.clone()).expect("a thread");
        let text: String = (0..10_000).map(|number| format!("line {number}\n")).collect();
        for line in text.split_inclusive('\n') {
            writer.make_writer().write_all(line.as_bytes()).expect("it never fails");
        }
        drop(guard);
        assert_eq!(*out.0.lock().expect("no panic"), text.as_bytes());
    }

    #[test]
    fn a_single_line_is_written_at_once() {
        let (wrote, written) = sync_channel(1);
        let (writer, _guard) = start(Gate { wrote, go_on: None }).expect("a thread");
        for line in ["one\n", "two\n"] {
            writer.make_writer().write_all(line.as_bytes()).expect("it never fails");
            assert_eq!(written.recv().expect("the thread lives"), line.as_bytes());
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_without_delay() {
        let (wrote, written) = sync_channel(0);
        let (permit, go_on) = sync_channel(0);
        let (writer, guard) = start(Gate { wrote, go_on: Some(go_on) }).expect("a thread");
        writer.make_writer().write_all(b"first\n").expect("it never fails");
        assert_eq!(written.recv().expect("the thread lives"), b"first\n");
        // The thread is blocked in a write. Writes more than the buffer holds:
        let line = [b'x'; 1 << 10];
        for _ in 0..2 * MAX_EVENTS / line.len() {
            writer.make_writer().write_all(&line).expect("it never fails");
        }
        assert_eq!(writer.buffer.events.lines().text.len(), MAX_EVENTS);
        assert_eq!(writer.lost().count(), (MAX_EVENTS / line.len()) as u64);
        drop(permit);
        let rest = thread::spawn(move || written.recv().map(|rest| rest.len()));
        drop(guard);
        assert_eq!(rest.join().expect("no panic"), Ok(MAX_EVENTS));
    }

    #[test]
    fn a_warning_has_space_that_other_lines_cannot_take() {
        let writer = LogWriter { buffer: Arc::new(LogBuffer::new()) };
        let with = |reserve| LineWriter { buffer: &writer.buffer, limit: MAX_EVENTS + reserve };
        with(0).write_all(&vec![b'x'; MAX_EVENTS]).expect("it never fails");
        with(0).write_all(b"lost\n").expect("it never fails");
        with(RESERVED).write_all(b"warning\n").expect("it never fails");
        assert!(writer.buffer.events.lines().text.ends_with(b"xwarning\n"));
        assert_eq!(writer.lost().count(), 1);
    }

    #[test]
    fn requests_of_many_threads_are_written_whole_in_the_order_of_each_and_before_later_events() {
        const THREADS: usize = 8;
        const LINES: usize = 2_000;
        let out = WrittenBytes::default();
        let (writer, guard) = start(out.clone()).expect("a thread");
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let writer = &writer;
                scope.spawn(move || {
                    for line in 0..LINES {
                        writer.write_request(format!("{thread} {line}\n").as_bytes());
                    }
                });
            }
        });
        writer.make_writer().write_all(b"stopped\n").expect("it never fails");
        drop(guard);
        let text = String::from_utf8(out.0.lock().expect("no panic").clone()).expect("text");
        assert!(text.ends_with("\nstopped\n"));
        assert_eq!(text.lines().count(), THREADS * LINES + 1);
        for thread in 0..THREADS {
            let own = text.lines().filter_map(|line| line.strip_prefix(&format!("{thread} ")));
            assert!(own.eq((0..LINES).map(|line| line.to_string())), "thread {thread}");
        }
        assert_eq!(writer.lost().count(), 0);
    }

    #[test]
    fn no_event_is_taken_before_the_line_of_a_request_that_was_logged_before_it() {
        const LINES: usize = 20_000;
        let writer = LogWriter { buffer: Arc::new(LogBuffer::new()) };
        let mut text = Vec::new();
        thread::scope(|scope| {
            let logging = scope.spawn(|| {
                for _ in 0..LINES {
                    writer.write_request(b"r");
                    writer.make_writer().write_all(b"e").expect("it never fails");
                }
            });
            while text.len() < 2 * LINES && !logging.is_finished() {
                writer.buffer.take(&mut text);
            }
        });
        writer.buffer.take(&mut text);
        assert_eq!(text.len(), 2 * LINES);
        let mut requests_ahead = 0;
        for (at, line) in text.iter().enumerate() {
            requests_ahead += if *line == b'r' { 1 } else { -1 };
            assert!(requests_ahead >= 0, "at {at}");
        }
    }

    #[test]
    fn the_line_of_a_request_wakes_a_thread_that_sleeps() {
        let (wrote, written) = sync_channel(1);
        let (writer, _guard) = start(Gate { wrote, go_on: None }).expect("a thread");
        while !writer.buffer.asleep.load(Acquire) {
            thread::yield_now();
        }
        writer.write_request(b"one\n");
        assert_eq!(written.recv().expect("the thread lives"), b"one\n");
    }

    #[test]
    fn the_thread_does_not_sleep_while_there_is_a_line_that_woke_no_thread() {
        let writer = LogWriter { buffer: Arc::new(LogBuffer::new()) };
        writer.write_request(b"one\n");
        let (woke, woken) = sync_channel(1);
        thread::spawn(move || {
            writer.buffer.sleep();
            woke.send(())
        });
        assert_eq!(woken.recv_timeout(Duration::from_secs(10)), Ok(()));
    }

    #[derive(Clone, Default)]
    struct WrittenBytes(Arc<Mutex<Vec<u8>>>);

    impl Write for WrittenBytes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Reports each write, and waits for permission to go on.
    struct Gate {
        wrote: SyncSender<Vec<u8>>,
        go_on: Option<Receiver<()>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.wrote.send(bytes.to_vec());
            if let Some(go_on) = &self.go_on {
                let _ = go_on.recv();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
