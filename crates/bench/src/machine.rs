//! The machine, and what its kernel reports of a process (proc(5)).

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::BenchError;

/// The machine, the commit and the programs of a run. Names of hosts, users and folders are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) date: String,
    pub(crate) commit: String,
    /// The share of all cores that other processes used, before the run or after it.
    pub(crate) busy: Option<f64>,
    /// Programs and their versions.
    pub(crate) programs: Vec<String>,
}

impl Machine {
    /// Describes this machine.
    pub(crate) fn describe() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processors.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == "model name").then(|| value.trim().to_owned())
        });
        let commit = output_of("git", &["rev-parse", "--short", "HEAD"]);
        let changed =
            !output_of("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        Self {
            processor: processor.unwrap_or_else(|| "unknown".to_owned()),
            cores: cores().len(),
            memory_gib: field("/proc/meminfo", "MemTotal:").unwrap_or_default() as f64
                / (1 << 20) as f64,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            date: output_of("date", &["-u", "+%Y-%m-%d"]),
            commit: if changed { commit + " with changes" } else { commit },
            busy: Some(busy()),
            programs: Vec::new(),
        }
    }
}

/// The share of all cores that other processes use while this one waits: what is measured beside
/// their work is noise.
pub(crate) fn busy() -> f64 {
    let look = || ticks(&fs::read_to_string("/proc/stat").unwrap_or_default()).unwrap_or_default();
    let (idle, all) = look();
    std::thread::sleep(Duration::from_secs(2));
    let (idle_later, all_later) = look();
    let all = all_later.saturating_sub(all).max(1);
    1.0 - idle_later.saturating_sub(idle) as f64 / all as f64
}

/// The cores that this process may use.
pub(crate) fn cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cores = parse_cores(list.unwrap_or("0"));
    if cores.is_empty() { vec![0] } else { cores }
}

/// The standard output of a command; empty if it fails.
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

/// Raises the limit of open files to the hard limit: 5,000 streams have 10,000 sockets.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it fails, the streams beyond the limit are counted as errors.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// A process and all its descendants: nginx has a worker process, others have helpers.
#[derive(Debug, Clone)]
pub(crate) struct ProcessTree(Vec<u32>);

impl ProcessTree {
    /// The process `parent` and all its descendants.
    pub(crate) fn of(parent: u32) -> Self {
        let pairs: Vec<(u32, u32)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|id: u32| {
                let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
                // The name stands in brackets and may contain anything.
                let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?;
                Some((id, parent.parse().ok()?))
            })
            .collect();
        let mut members = vec![parent];
        let mut seen = 0;
        while let Some(&member) = members.get(seen) {
            members.extend(pairs.iter().filter(|(_, parent)| *parent == member).map(|(id, _)| id));
            seen += 1;
        }
        Self(members)
    }

    /// Nanoseconds that all threads have run (`schedstat`; ticks are too coarse).
    pub(crate) fn cpu_nanos(&self) -> u64 {
        let threads = self.0.iter().flat_map(|id| {
            fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().filter_map(Result::ok)
        });
        threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
            .filter_map(|stat| stat.split_ascii_whitespace().next()?.parse::<u64>().ok())
            .sum()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The peak of resident memory since [`Self::reset_peak`], in KiB.
    pub(crate) fn peak(&self) -> f64 {
        self.status("VmHWM:")
    }

    pub(crate) fn reset_peak(&self) -> Result<(), BenchError> {
        for id in &self.0 {
            fs::write(format!("/proc/{id}/clear_refs"), "5")?;
        }
        Ok(())
    }

    fn status(&self, name: &str) -> f64 {
        let sizes = self.0.iter().filter_map(|id| field(&format!("/proc/{id}/status"), name));
        sizes.sum::<u64>() as f64
    }
}

/// `VmRSS:   123 kB` is 123.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// Idle ticks and all ticks of the first line of `/proc/stat`. Waiting for a disk counts as idle, time
/// stolen by other virtual machines does not.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> =
        line.split_ascii_whitespace().filter_map(|tick| tick.parse().ok()).collect();
    // Fields after the eighth are guests' time, which is counted as user time already.
    Some((ticks.get(3)? + ticks.get(4)?, ticks.iter().take(8).sum()))
}

/// `0,2-3` is three cores.
fn parse_cores(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_parsed() {
        assert_eq!(parse_cores("\t0,2-4\n"), [0, 2, 3, 4]);
        assert_eq!(parse_cores(""), [0; 0]);
    }

    #[test]
    fn idle_ticks_exclude_busy_and_stolen_ones() {
        let stat = "cpu  10 1 20 300 5 2 3 4 99 0\ncpu0 1 2\n";
        assert_eq!(ticks(stat), Some((305, 345)));
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn the_kernel_reports_memory_and_cpu_of_this_process() {
        let processes = ProcessTree::of(std::process::id());
        assert!(processes.resident() > 100.0 && processes.peak() >= processes.resident() / 2.0);
        assert!(processes.cpu_nanos() > 0);
    }
}
