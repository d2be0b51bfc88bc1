//! Child processes: shown, bounded in time, and never left running. Their exit codes are the verdict.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::counts::Counts;
use crate::failed_tests;
use crate::report::Failure;

/// Runs `command` with its output shown; any exit code but 0 is a failure.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    show(command);
    let status =
        command.stdin(Stdio::null()).status().map_err(|why| cannot_start(command, &why))?;
    judge(command, status)
}

/// Runs `command` as [`run`] does, and ends it after `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    test(command, limit, &mut Counts::default())
}

/// Runs the test runner `command` with its output shown. Its exit code is the verdict; its summary
/// is read into `counts` and its failed tests into the failure, for people.
pub(crate) fn test(
    command: &mut Command,
    limit: Duration,
    counts: &mut Counts,
) -> Result<(), Failure> {
    show(command);
    let (output, status) = collect(command, limit, |line| println!("{line}"))?;
    *counts = Counts::in_output(&output);
    judge(command, status).map_err(|why| match failed_tests::in_output(&output) {
        tests if tests.is_empty() => why,
        tests => Failure::new(format!("{why}:\n{tests}")),
    })
}

/// Runs `command` and shows its output only when it fails.
pub(crate) fn hushed(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    show(command);
    let (output, status) = collect(command.stderr(Stdio::piped()), limit, |_| ())?;
    judge(command, status).map_err(|why| Failure::new(format!("{why}:\n{output}")))
}

/// The standard output of a quick `command`, nothing shown.
pub(crate) fn captured(command: &mut Command) -> Result<String, Failure> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|why| cannot_start(command, &why))?;
    judge(command, output.status).map_err(|why| {
        Failure::new(format!("{why}\n{}", String::from_utf8_lossy(&output.stderr)))
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `command` can be started and succeeds. For questions such as "is it installed?".
pub(crate) fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A child whose lines are read while it runs. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts `command` and reads its standard output, and its standard error if that is piped.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|why| cannot_start(command, &why))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            forward(stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, sender);
        }
        Ok(Self { name: line_of(command), child, lines })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line, or `None` when the child has closed its output.
    pub(crate) fn line(&mut self, deadline: Instant) -> Result<Option<String>, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(self.too_slow()),
        }
    }

    /// The lines that have come and were not read yet.
    pub(crate) fn waiting_lines(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Asks the child to stop (SIGTERM) and waits for it.
    pub(crate) fn stop(mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        // The shell's own `kill`: a small Debian has no program of that name.
        let pid = self.child.id().to_string();
        let asked = answers(Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &pid]));
        if !asked {
            return Err(Failure::new(format!("`{}` ended before it was stopped", self.name)));
        }
        self.wait(Instant::now() + limit)
    }

    fn wait(&mut self, deadline: Instant) -> Result<ExitStatus, Failure> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(TICK),
                Ok(None) => return Err(self.too_slow()),
                Err(why) => return Err(Failure::new(format!("cannot wait: {why}"))),
            }
        }
    }

    fn too_slow(&self) -> Failure {
        Failure::new(format!("`{}` took too long and was killed", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when the child is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(
    command: &mut Command,
    limit: Duration,
    show_line: impl Fn(&str),
) -> Result<(String, ExitStatus), Failure> {
    let mut running = Running::start(command)?;
    let deadline = Instant::now() + limit;
    let mut kept = String::new();
    while let Some(line) = running.line(deadline)? {
        show_line(&line);
        let _ = writeln!(kept, "{line}");
    }
    let status = running.wait(deadline)?;
    Ok((kept, status))
}

fn forward(output: impl Read + Send + 'static, sender: Sender<String>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
}

fn show(command: &Command) {
    println!("    $ {}", line_of(command));
}

/// The command as it would be typed in a shell, without its environment.
fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for word in command.get_args() {
        let _ = write!(line, " {}", word.to_string_lossy());
    }
    line
}

fn cannot_start(command: &Command, why: &std::io::Error) -> Failure {
    Failure::new(format!("cannot start `{}`: {why}", line_of(command)))
}

fn judge(command: &Command, status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}` ended with {status}", line_of(command))))
}

const TICK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_exit_code_is_the_verdict_and_the_output_only_a_count() {
        let mut counts = Counts::default();
        let mut green = shell("echo '1 failed, 2 passed in 3s'");
        assert!(test(&mut green, LIMIT, &mut counts).is_ok());
        assert_eq!(counts, Counts { passed: 2, failed: 1 });
        let mut red = shell("echo '2 passed in 3s'; echo 'FAILED sdk.py::b'; exit 3");
        let failure = test(&mut red, LIMIT, &mut counts).unwrap_err().to_string();
        assert!(failure.ends_with("exit status: 3:\nFAILED sdk.py::b"), "{failure}");
        assert!(run(&mut shell("exit 3")).is_err());
        assert!(run_within(&mut shell("exit 0"), LIMIT).is_ok());
    }

    #[test]
    fn the_output_of_a_quiet_command_is_in_its_failure() {
        let failure = hushed(&mut shell("echo one; echo two >&2; exit 1"), LIMIT).unwrap_err();
        assert!(failure.to_string().contains("one"), "{failure}");
        assert!(failure.to_string().contains("two"), "{failure}");
    }

    #[test]
    fn a_child_that_hangs_is_killed() {
        let started = Instant::now();
        let mut hanging = shell("exec sleep 60");
        let failure = run_within(&mut hanging, Duration::from_millis(100)).unwrap_err();
        assert!(failure.to_string().contains("took too long"), "{failure}");
        assert!(started.elapsed() < LIMIT);
    }

    #[test]
    fn a_server_is_stopped_with_sigterm() {
        let mut server =
            Running::start(&mut shell("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"))
                .unwrap();
        assert_eq!(server.line(Instant::now() + LIMIT).unwrap().as_deref(), Some("up"));
        assert!(server.stop(LIMIT).unwrap().success());
    }

    const LIMIT: Duration = Duration::from_secs(30);
}
