//! Log lines on their way out: gathered in memory, written by a thread of their own.
//!
//! A request only copies its line into a buffer, and wakes the thread only after a silence: a line
//! that comes alone goes out at once; where there is traffic, the thread looks a hundred times a
//! second by itself. A thread woken for each line, and a write for each, were a tenth of what a
//! request cost; and where there is one core, the thread went first, and the client waited for it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Where lines are put. Never blocks for longer than a copy: what nobody reads is lost.
#[derive(Debug, Clone)]
pub(super) struct LogWriter {
    buffer: Arc<LogBuffer>,
}

/// Writes out what is left when it is dropped, if somebody reads it.
#[derive(Debug)]
pub(crate) struct LogGuard {
    buffer: Arc<LogBuffer>,
}

/// Starts the thread that writes lines to `out`.
pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(LogWriter, LogGuard)> {
    let buffer = Arc::new(LogBuffer::default());
    let worked = Arc::clone(&buffer);
    thread::Builder::new().name("log".to_owned()).spawn(move || worked.work(out))?;
    Ok((LogWriter { buffer: Arc::clone(&buffer) }, LogGuard { buffer }))
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &LogWriter {
    /// Takes a whole line, or loses it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.buffer.state();
        if state.text.len() + line.len() <= MOST_WAITING {
            state.text.extend_from_slice(line);
        }
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            self.buffer.news.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.buffer.state().ending = true;
        self.buffer.news.notify_all();
        let state = self.buffer.state();
        let _ = self.buffer.ended.wait_timeout_while(state, FLUSH_TIMEOUT, |state| !state.ended);
    }
}

#[derive(Debug, Default)]
struct LogBuffer {
    state: Mutex<BufferState>,
    /// For the thread: lines after a silence, or the end.
    news: Condvar,
    /// For whoever waits for the last lines.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct BufferState {
    /// Whole lines.
    text: Vec<u8>,
    /// The thread waits for a line. Whoever wakes it takes this back.
    asleep: bool,
    ending: bool,
    ended: bool,
}

impl LogBuffer {
    fn work(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        let mut quiet_looks = QUIET_LOOKS;
        loop {
            let mut state = self.state();
            if state.text.is_empty() && !state.ending && quiet_looks < QUIET_LOOKS {
                quiet_looks += 1;
                self.pause(state);
                continue;
            }
            while state.text.is_empty() && !state.ending {
                state.asleep = true;
                state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.asleep = false;
            quiet_looks = 0;
            std::mem::swap(&mut state.text, &mut batch);
            drop(state);
            // Nobody can be told of a failure: this is where one would tell.
            let _ = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            batch.shrink_to(KEPT);
            let mut state = self.state();
            if state.ending && state.text.is_empty() {
                state.ended = true;
                self.ended.notify_all();
                return;
            }
            if !state.ending {
                self.pause(state);
            }
        }
    }

    /// Only the end shortens this: `asleep` is false, lines wake nobody.
    fn pause(&self, state: MutexGuard<'_, BufferState>) {
        drop(self.news.wait_timeout_while(state, PAUSE, |state| !state.ending));
    }

    fn state(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What may wait for a reader: several thousand lines.
const MOST_WAITING: usize = 4 << 20;

/// LogWriter that come faster than this are written together. Nobody reads a log more closely.
const PAUSE: Duration = Duration::from_millis(10);

/// A second without lines is a silence.
const QUIET_LOOKS: u32 = 100;

/// Room that the buffers keep between batches.
const KEPT: usize = 128 << 10;

/// What a reader gets at the end. One that has stopped reading shall not hold up the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    #[test]
    fn lines_come_out_whole_and_in_order_and_the_last_ones_before_the_end() {
        let out = Sink::default();
        let (lines, last) = start(out.clone()).expect("a thread");
        let told: String = (0..10_000).map(|number| format!("line {number}\n")).collect();
        for line in told.split_inclusive('\n') {
            (&lines).write_all(line.as_bytes()).expect("it never fails");
        }
        drop(last);
        assert_eq!(*out.0.lock().expect("no panic"), told.as_bytes());
    }

    #[test]
    fn a_line_that_comes_alone_needs_no_other_to_push_it_out() {
        let (wrote, written) = sync_channel(1);
        let (lines, _last) = start(Gate { wrote, go_on: None }).expect("a thread");
        for line in ["one\n", "two\n"] {
            (&lines).write_all(line.as_bytes()).expect("it never fails");
            assert_eq!(written.recv().expect("the thread lives"), line.as_bytes());
        }
    }

    #[test]
    fn lines_that_nobody_reads_are_lost_and_delay_nobody() {
        let (wrote, written) = sync_channel(0);
        let (let_go, go_on) = sync_channel(0);
        let (lines, last) = start(Gate { wrote, go_on: Some(go_on) }).expect("a thread");
        (&lines).write_all(b"first\n").expect("it never fails");
        assert_eq!(written.recv().expect("the thread lives"), b"first\n");
        // The thread is in the middle of a write. More than there is room for:
        let line = [b'x'; 1 << 10];
        for _ in 0..2 * MOST_WAITING / line.len() {
            (&lines).write_all(&line).expect("it never fails");
        }
        assert_eq!(lines.buffer.state().text.len(), MOST_WAITING);
        drop(let_go);
        let rest = thread::spawn(move || written.recv().map(|rest| rest.len()));
        drop(last);
        assert_eq!(rest.join().expect("no panic"), Ok(MOST_WAITING));
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Tells of each write, and goes on when it is let.
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
