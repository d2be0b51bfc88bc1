//! Child processes: shown, counted, bounded in time, and never left behind.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::report::Failure;

/// Runs `command` with its output shown; anything but exit code 0 is a failure.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    show(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|why| cannot_start(command, &why))?;
    if status.success() {
        Ok(())
    } else {
        Err(ended(command, status))
    }
}

/// Runs `command` with its standard output shown and kept. The exit status is the caller's to judge.
pub(crate) fn tee(command: &mut Command, limit: Duration) -> Result<(String, ExitStatus), Failure> {
    show(command);
    collect(command, limit, |line| println!("{line}"))
}

/// Runs `command` and keeps both of its outputs for the caller, who knows when they matter.
pub(crate) fn hushed(
    command: &mut Command,
    limit: Duration,
) -> Result<(String, ExitStatus), Failure> {
    show(command);
    collect(command.stderr(Stdio::piped()), limit, |_| ())
}

/// The standard output of a quick `command`, nothing shown.
pub(crate) fn captured(command: &mut Command) -> Result<String, Failure> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|why| cannot_start(command, &why))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!(
            "{}\n{said}",
            ended(command, output.status)
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `command` can be started and ends well. For questions such as `is it installed?`.
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
        Ok(Self {
            name: line_of(command),
            child,
            lines,
        })
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

    /// All lines that came since the last look.
    pub(crate) fn waiting_lines(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Asks the child to stop (SIGTERM) and waits for it.
    pub(crate) fn stop(mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        let asked = answers(Command::new("kill").args(["-TERM", &self.child.id().to_string()]));
        if !asked {
            return Err(Failure::new(format!(
                "`{}` was gone before it was stopped",
                self.name
            )));
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
        Failure::new(format!("`{}` took too long and was ended", self.name))
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
    see: impl Fn(&str),
) -> Result<(String, ExitStatus), Failure> {
    let mut running = Running::start(command)?;
    let deadline = Instant::now() + limit;
    let mut kept = String::new();
    while let Some(line) = running.line(deadline)? {
        see(&line);
        let _ = writeln!(kept, "{line}");
    }
    let status = running.wait(deadline)?;
    Ok((kept, status))
}

fn forward(output: impl Read + Send + 'static, sender: Sender<String>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
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

/// The command as a person would type it, without its environment.
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

fn ended(command: &Command, status: ExitStatus) -> Failure {
    Failure::new(format!("`{}` ended with {status}", line_of(command)))
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
    fn output_is_kept_and_a_bad_end_is_told() {
        let (kept, status) = tee(
            &mut shell("echo one; echo two; exit 3"),
            Duration::from_secs(30),
        )
        .unwrap();
        assert_eq!(kept, "one\ntwo\n");
        assert_eq!(status.code(), Some(3));
        assert!(run(&mut shell("exit 3")).is_err());
    }

    #[test]
    fn a_child_that_hangs_is_ended() {
        let started = Instant::now();
        let failure = tee(shell("exec sleep 60").arg("x"), Duration::from_millis(100)).unwrap_err();
        assert!(failure.to_string().contains("took too long"), "{failure}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_server_is_stopped_politely() {
        let mut server = Running::start(&mut shell(
            "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done",
        ))
        .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        assert_eq!(server.line(deadline).unwrap().as_deref(), Some("up"));
        assert!(server.stop(Duration::from_secs(30)).unwrap().success());
    }
}
