//! Memory given back to the system after a peak.
//!
//! glibc keeps memory for two reasons, and each has its remedy here:
//!
//! - It learns from the largest block that was ever freed: after one event of 12 MiB, blocks of that
//!   size no longer have a mapping of their own, and twice as much may lie unused at the top of each
//!   heap. Measured over eight such events: 22 MiB at rest, 62 to 74 MiB for ever after; with the
//!   threshold held, 22 MiB.
//! - It does not give back what lies free below something that is still in use. Measured over a
//!   thousand streams at a time, a few times over: 86 to 94 MiB when all had gone, 26 MiB after
//!   `malloc_trim`. Neither fewer arenas nor mimalloc helped (86 MiB). So it is asked for, seldom: a
//!   few hundred microseconds each time, off the threads that serve.

use std::time::Duration;

use code_assist_core::proxy::Proxy;

/// Keeps glibc from learning to keep large blocks. To be called before any is allocated.
pub(crate) fn hold_threshold() {
    set_threshold();
}

/// Looks now and then whether a peak has passed, and gives back what it left.
pub(crate) async fn after_peaks(proxy: &Proxy) {
    let mut peak = Peak { in_flight: 0, resident: resident_bytes() };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if peak.has_passed(proxy.report().in_flight(), resident_bytes()) {
            // A failure to trim is no failure of anything.
            let _ = tokio::task::spawn_blocking(give_back).await;
            peak.settle(resident_bytes());
        }
    }
}

/// What was in flight, and in memory, since the last time that memory was given back.
#[derive(Debug)]
struct Peak {
    in_flight: u64,
    resident: u64,
}

impl Peak {
    /// True when half of what was in flight has gone and there is something to give back.
    fn has_passed(&mut self, in_flight: u64, resident: u64) -> bool {
        self.in_flight = self.in_flight.max(in_flight);
        self.resident = self.resident.min(resident);
        in_flight <= self.in_flight / 2 && resident >= self.resident + WORTHWHILE
    }

    /// Takes note of what cannot be given back.
    fn settle(&mut self, resident: u64) {
        *self = Self { in_flight: 0, resident };
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no safe interface exists; it takes a number and no pointer")]
fn give_back() {
    // SAFETY: `malloc_trim(3)` may be called at any time from any thread; it takes the allocator's
    // own locks and releases only pages that hold nothing.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no safe interface exists; it takes two numbers and no pointer")]
fn set_threshold() {
    // SAFETY: `mallopt(3)` with a known parameter and a value in its range changes a number of the
    // allocator's under its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn set_threshold() {}

/// The process's resident memory, 0 where it cannot be told.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE
}

/// The smallest page there is: an estimate is enough here.
const PAGE: u64 = 4096;

/// Blocks of this size and more have a mapping of their own, which ends with them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM: libc::c_int = 1 << 20;

/// Less than this is not worth the walk over the heap.
const WORTHWHILE: u64 = 8 << 20;

const LOOK_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_peak_has_passed_when_half_of_it_is_gone_and_left_something() {
        let mut peak = Peak { in_flight: 0, resident: 20 * MIB };
        assert!(!peak.has_passed(0, 20 * MIB), "nothing has happened");
        assert!(!peak.has_passed(1000, 90 * MIB), "in the middle of it");
        assert!(!peak.has_passed(600, 90 * MIB), "most of it is still there");
        assert!(peak.has_passed(400, 90 * MIB));
        peak.settle(25 * MIB);
        assert!(!peak.has_passed(0, 26 * MIB), "there is nothing to give back");
        assert!(peak.has_passed(0, 60 * MIB), "one large answer between two looks");
    }
}
