//! Returns free memory to the system after a peak.
//!
//! glibc keeps free memory for two reasons. Each has its remedy here:
//!
//! - It raises its mapping threshold to the largest block that was ever freed. After one event of
//!   12 MiB, blocks of that size have no mapping of their own any more, and twice as much may lie
//!   unused at the top of each heap. Measured over eight such events: 62 to 74 MiB at rest; with a
//!   fixed threshold, 22 MiB.
//! - It does not return pages that are free below a block in use. Measured after several rounds of a
//!   thousand streams: 86 to 94 MiB at rest; after `malloc_trim`, 26 MiB. Fewer arenas did
//!   not help. A trim takes a few hundred microseconds on a blocking thread.

use std::time::{Duration, Instant};

use code_assist_core::Proxy;

/// Fixes glibc's mapping threshold. Call it before any large block is allocated.
pub(crate) fn hold_threshold() {
    set_threshold();
}

/// Checks every few seconds whether a trim would return memory, and trims the heap then.
pub(crate) async fn after_peaks(proxy: &Proxy) {
    let started = Instant::now();
    let mut policy = TrimPolicy::new(resident_bytes());
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let metrics = proxy.metrics();
        // Connections hold memory too, also those without a request in flight.
        let busy = metrics.in_flight() + metrics.connections().open();
        if policy.is_due(started.elapsed(), busy, resident_bytes()) {
            // A failed trim changes nothing for the requests.
            let _ = tokio::task::spawn_blocking(trim_heap).await;
            policy.trimmed(started.elapsed(), busy, resident_bytes());
        }
    }
}

/// Decides when to trim, from the requests and connections (`busy`) and the resident memory.
#[derive(Debug)]
struct TrimPolicy {
    /// The least resident memory since the start.
    lowest: u64,
    /// What was resident after the last trim, or has been since.
    left: u64,
    /// What was resident at the last check.
    seen: u64,
    /// The most requests and connections since the last trim.
    busiest: u64,
    last: Option<Duration>,
    /// The time between two trims without a peak between them. It grows while they return nothing.
    pause: Duration,
}

impl TrimPolicy {
    fn new(resident: u64) -> Self {
        let (lowest, left, seen) = (resident, resident, resident);
        Self { lowest, left, seen, busiest: 0, last: None, pause: MIN_PAUSE }
    }

    /// True at the end of a peak; and some time after the last trim, if memory has been lower before:
    /// what was in use during that trim may be free now.
    fn is_due(&mut self, now: Duration, busy: u64, resident: u64) -> bool {
        self.seen = resident;
        self.lowest = self.lowest.min(resident);
        self.left = self.left.min(resident);
        self.busiest = self.busiest.max(busy);
        let has_calmed = busy <= self.busiest / 2;
        if has_calmed && resident >= self.left + MIN_GAIN {
            return true;
        }
        let pause = if has_calmed { MIN_PAUSE } else { self.pause };
        resident >= self.lowest + MIN_GAIN && self.last.is_some_and(|last| now >= last + pause)
    }

    /// A trim has left so much memory resident.
    fn trimmed(&mut self, now: Duration, busy: u64, resident: u64) {
        let is_vain = resident + MIN_GAIN > self.seen;
        self.pause = if is_vain { (2 * self.pause).min(MAX_PAUSE) } else { MIN_PAUSE };
        *self = Self { left: resident, busiest: busy, last: Some(now), ..*self };
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no safe interface exists; it takes a number and no pointer")]
fn trim_heap() {
    // SAFETY: `malloc_trim(3)` may be called at any time from any thread. It takes the allocator's
    // own locks and releases only free pages.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no safe interface exists; it takes two numbers and no pointer")]
fn set_threshold() {
    // SAFETY: `mallopt(3)` with a known parameter and a value in its range changes one number of the
    // allocator, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim_heap() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn set_threshold() {}

/// The process's resident memory, or 0 where `/proc` does not exist.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE
}

/// The smallest page size of any platform, since an estimate is enough.
const PAGE: u64 = 4096;

/// Blocks from this size on get their own mapping, which is returned when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MMAP_THRESHOLD: libc::c_int = 1 << 20;

/// A trim has to return at least this much.
const MIN_GAIN: u64 = 8 << 20;

const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A trim takes the allocator's locks for up to some milliseconds.
const MIN_PAUSE: Duration = Duration::from_secs(60);

const MAX_PAUSE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_trim_is_due_when_half_of_the_requests_ended_and_memory_is_free() {
        let mut policy = TrimPolicy::new(20 * MIB);
        assert!(!policy.is_due(seconds(5), 0, 20 * MIB), "nothing has happened");
        assert!(!policy.is_due(seconds(10), 1000, 90 * MIB), "during the peak");
        assert!(!policy.is_due(seconds(15), 600, 90 * MIB), "most requests are still in flight");
        assert!(policy.is_due(seconds(20), 400, 90 * MIB));
        policy.trimmed(seconds(20), 400, 25 * MIB);
        assert!(!policy.is_due(seconds(25), 0, 26 * MIB), "a trim would return too little");
        assert!(policy.is_due(seconds(30), 0, 60 * MIB), "one large answer between two checks");
    }

    #[test]
    fn what_a_trim_could_not_return_is_tried_again_after_a_minute() {
        let mut policy = TrimPolicy::new(8 * MIB);
        assert!(!policy.is_due(seconds(5), 2000, 137 * MIB));
        assert!(policy.is_due(seconds(10), 1000, 137 * MIB));
        policy.trimmed(seconds(10), 1000, 136 * MIB);
        assert!(!policy.is_due(seconds(15), 0, 136 * MIB), "too soon");
        assert!(policy.is_due(seconds(70), 0, 136 * MIB), "the connections are gone");
        policy.trimmed(seconds(70), 0, 9 * MIB);
        assert!(!policy.is_due(seconds(700), 0, 9 * MIB));
    }

    #[test]
    fn trims_that_return_nothing_become_rare() {
        let mut policy = TrimPolicy::new(8 * MIB);
        assert!(policy.is_due(seconds(5), 0, 40 * MIB));
        policy.trimmed(seconds(5), 100, 40 * MIB);
        let trims = |policy: &mut TrimPolicy, from: u64, to: u64| {
            let due = (from..to).step_by(5).filter(|at| {
                let is_due = policy.is_due(seconds(*at), 100, 40 * MIB);
                if is_due {
                    policy.trimmed(seconds(*at), 100, 40 * MIB);
                }
                is_due
            });
            due.count()
        };
        assert_eq!(trims(&mut policy, 10, 605), 2, "after 2 and 4 minutes");
        let day = 24 * 3600;
        assert!(trims(&mut policy, day, 2 * day) <= 30);
    }
}
