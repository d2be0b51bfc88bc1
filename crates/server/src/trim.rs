//! Returns free memory to the system after a peak.
//!
//! glibc keeps free memory for two reasons. Each has its remedy here:
//!
//! - It raises its mapping threshold to the largest block that was ever freed. After one event of
//!   12 MiB, blocks of that size have no mapping of their own any more, and twice as much may lie
//!   unused at the top of each heap. Measured over eight such events: 62 to 74 MiB at rest; with a
//!   fixed threshold, 22 MiB.
//! - It does not return pages that are free below a block in use. Measured after several rounds of a
//!   thousand streams: 86 to 94 MiB at rest; after `malloc_trim`, 26 MiB. Neither fewer arenas nor
//!   mimalloc helped (86 MiB). A trim takes a few hundred microseconds on a blocking thread.

use std::time::Duration;

use code_assist_core::Proxy;

/// Fixes glibc's mapping threshold. Call it before any large block is allocated.
pub(crate) fn hold_threshold() {
    set_threshold();
}

/// Checks every few seconds whether a peak has passed, and trims the heap then.
pub(crate) async fn after_peaks(proxy: &Proxy) {
    let mut peak = Peak { in_flight: 0, resident: resident_bytes() };
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        if peak.has_passed(proxy.metrics().in_flight(), resident_bytes()) {
            // A failed trim changes nothing for the requests.
            let _ = tokio::task::spawn_blocking(trim_heap).await;
            peak.reset(resident_bytes());
        }
    }
}

/// The most requests in flight and the least resident memory since the last trim.
#[derive(Debug)]
struct Peak {
    in_flight: u64,
    resident: u64,
}

impl Peak {
    /// True if half of the requests have ended and a trim would return enough memory.
    fn has_passed(&mut self, in_flight: u64, resident: u64) -> bool {
        self.in_flight = self.in_flight.max(in_flight);
        self.resident = self.resident.min(resident);
        in_flight <= self.in_flight / 2 && resident >= self.resident + MIN_GAIN
    }

    /// Starts anew from the memory that a trim could not return.
    fn reset(&mut self, resident: u64) {
        *self = Self { in_flight: 0, resident };
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

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_peak_has_passed_when_half_of_the_requests_ended_and_memory_is_free() {
        let mut peak = Peak { in_flight: 0, resident: 20 * MIB };
        assert!(!peak.has_passed(0, 20 * MIB), "nothing has happened");
        assert!(!peak.has_passed(1000, 90 * MIB), "during the peak");
        assert!(!peak.has_passed(600, 90 * MIB), "most requests are still in flight");
        assert!(peak.has_passed(400, 90 * MIB));
        peak.reset(25 * MIB);
        assert!(!peak.has_passed(0, 26 * MIB), "a trim would return too little");
        assert!(peak.has_passed(0, 60 * MIB), "one large answer between two checks");
    }
}
