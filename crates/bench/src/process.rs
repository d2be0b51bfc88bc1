//! Child processes: each on one core, bounded in time, stopped by its id.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::BenchError;

/// A running child. Killed when dropped.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    name: String,
    child: Child,
    lines: Option<Receiver<String>>,
}

impl ChildProcess {
    /// Starts a server. Its standard error goes to the file `error_log`, its standard output to
    /// `/dev/null`.
    pub(crate) fn server(command: &mut Command, error_log: &Path) -> Result<Self, BenchError> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(error_log)?);
        let name = name(command);
        let child =
            command.spawn().map_err(|why| BenchError(format!("cannot start {name}: {why}")))?;
        Ok(Self { name, child, lines: None })
    }

    /// Starts a program whose standard output is read in lines.
    pub(crate) fn with_output(command: &mut Command) -> Result<Self, BenchError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let name = name(command);
        let mut child =
            command.spawn().map_err(|why| BenchError(format!("cannot start {name}: {why}")))?;
        let (sender, lines) = channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { name, child, lines: Some(lines) })
    }

    /// The next line of its output.
    pub(crate) fn line(&mut self, limit: Duration) -> Result<String, BenchError> {
        let line = self.lines.as_ref().and_then(|lines| lines.recv_timeout(limit).ok());
        line.ok_or_else(|| BenchError(format!("{} printed nothing within {limit:?}", self.name)))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_exited(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGTERM, and kills it when it has not exited in time. True when it has exited.
    pub(crate) fn stop(mut self) -> bool {
        if let Some(id) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
            // Fails only when the child has exited already.
            let _ = kill_process(id, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if self.has_exited() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Both fail only when the child has exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `program` on this core and no other. `taskset` replaces itself by it, so the process id is its own.
pub(crate) fn on_core(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

/// The program after `taskset -c CORE`, without its folder: reports contain no paths.
fn name(command: &Command) -> String {
    let program = command.get_args().nth(2).unwrap_or_else(|| command.get_program());
    let file = Path::new(program).file_name().unwrap_or(program);
    format!("`{}`", file.to_string_lossy())
}

const STOP_LIMIT: Duration = Duration::from_secs(3);
