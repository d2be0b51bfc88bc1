//! Histograms of durations. They count by fixed bounds, since the start and for about the last minute.
//!
//! Recording takes a few relaxed atomic additions, without a lock and without allocation.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::time::Monotonic;

/// Counts of durations by upper bounds in microseconds.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [u64],
    /// Since the start.
    all: BucketCounts,
    sum_micros: AtomicU64,
    /// The last minute in slices, which are reused in rotation.
    recent: [TimeSlice; SLICES],
}

impl Histogram {
    /// An empty histogram. `bounds` are ascending, at most [`MOST_BOUNDS`].
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        debug_assert!(
            bounds.len() <= MOST_BOUNDS && bounds.is_sorted(),
            "a constant of this module"
        );
        Self {
            bounds,
            all: BucketCounts::default(),
            sum_micros: AtomicU64::new(0),
            recent: array::from_fn(|_| TimeSlice::default()),
        }
    }

    /// The sum of several histograms with the same bounds.
    pub(super) fn merged<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = all.into_iter().peekable();
        let sum = Self::new(all.peek().map_or(&[], |first| first.bounds));
        for one in all {
            sum.all.add_all(&one.all);
            sum.sum_micros.fetch_add(one.sum_micros.load(Relaxed), Relaxed);
            for (sum, one) in sum.recent.iter().zip(&one.recent) {
                sum.add_all(one);
            }
        }
        sum
    }

    /// Counts one duration.
    pub(super) fn record(&self, took: Duration, now: Monotonic) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| *bound < micros);
        self.all.add(bucket);
        self.sum_micros.fetch_add(micros, Relaxed);
        let period = now.0 / SLICE_MICROS;
        self.recent[slice_of(period)].add(bucket, period);
    }

    /// The upper bounds in seconds, without the last one, infinity.
    pub(super) fn bounds_seconds(&self) -> impl Iterator<Item = f64> {
        self.bounds.iter().map(|micros| *micros as f64 / 1e6)
    }

    /// The number of durations at or below each bound. The last number is the total.
    pub(super) fn cumulative(&self) -> Vec<u64> {
        let mut sum = 0;
        let counts = self.all.read().into_iter().take(self.bounds.len() + 1);
        counts
            .map(|count| {
                sum += count;
                sum
            })
            .collect()
    }

    /// The sum of all durations, in seconds.
    pub(super) fn sum_seconds(&self) -> f64 {
        self.sum_micros.load(Relaxed) as f64 / 1e6
    }

    /// The quantiles of the last minute.
    pub(super) fn recent(&self, now: Monotonic) -> Quantiles {
        let period = now.0 / SLICE_MICROS;
        let mut counts = [0; MOST_BOUNDS + 1];
        for back in 0..SLICES as u64 {
            let Some(period) = period.checked_sub(back) else { break };
            let slice = &self.recent[slice_of(period)];
            if slice.period.load(Relaxed) == period {
                for (sum, count) in counts.iter_mut().zip(slice.counts.read()) {
                    *sum += count;
                }
            }
        }
        Quantiles { bounds: self.bounds, counts }
    }
}

/// A snapshot of the counts, from which quantiles are computed.
#[derive(Debug)]
pub(super) struct Quantiles {
    bounds: &'static [u64],
    counts: [u64; MOST_BOUNDS + 1],
}

impl Quantiles {
    /// The number of durations.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The quantile `q` in milliseconds, interpolated within its bucket as Prometheus does. Above
    /// the last bound it is that bound. `None` without durations.
    pub(super) fn millis(&self, q: f64) -> Option<f64> {
        let rank = q * self.count() as f64;
        let mut below = 0.0;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if below + count >= rank {
                let lower = bucket.checked_sub(1).map_or(0, |before| self.bounds[before]) as f64;
                let upper = self.bounds.get(bucket).map_or(lower, |bound| *bound as f64);
                return Some((lower + (upper - lower) * (rank - below) / count) / 1000.0);
            }
            below += count;
        }
        None
    }
}

/// One slice of the last minute.
#[derive(Debug, Default)]
struct TimeSlice {
    /// The period of time of the counts: the clock divided by the length of a slice.
    period: AtomicU64,
    counts: BucketCounts,
}

impl TimeSlice {
    /// The first caller in a new period clears the slice. Counts of other threads at that moment
    /// may be lost or kept: quantiles tolerate this error, so no lock is needed.
    fn add(&self, bucket: usize, period: u64) {
        let seen = self.period.load(Relaxed);
        if seen != period && self.period.compare_exchange(seen, period, Relaxed, Relaxed).is_ok() {
            self.counts.clear();
        }
        self.counts.add(bucket);
    }

    /// Adds the counts of another slice, if they are of the same period. Of two periods the later one remains.
    fn add_all(&self, other: &Self) {
        let (own, period) = (self.period.load(Relaxed), other.period.load(Relaxed));
        if period > own {
            self.period.store(period, Relaxed);
            self.counts.clear();
        }
        if period >= own {
            self.counts.add_all(&other.counts);
        }
    }
}

#[derive(Debug)]
struct BucketCounts([AtomicU64; MOST_BOUNDS + 1]);

impl Default for BucketCounts {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl BucketCounts {
    fn add(&self, bucket: usize) {
        if let Some(count) = self.0.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn add_all(&self, other: &Self) {
        for (sum, count) in self.0.iter().zip(&other.0) {
            sum.fetch_add(count.load(Relaxed), Relaxed);
        }
    }

    fn clear(&self) {
        for count in &self.0 {
            count.store(0, Relaxed);
        }
    }

    fn read(&self) -> [u64; MOST_BOUNDS + 1] {
        array::from_fn(|bucket| self.0[bucket].load(Relaxed))
    }
}

fn slice_of(period: u64) -> usize {
    usize::try_from(period % SLICES as u64).unwrap_or(0)
}

/// The time that [`Histogram::recent`] covers, in seconds: five whole slices and the current one.
pub(super) const RECENT_SECONDS: u64 = SLICES as u64 * SLICE_MICROS / 1_000_000;

/// Bounds for whole requests and for upstream, from 1 ms to 10 minutes.
pub(super) const LONG: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    20_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];

/// Bounds for the proxy's own time, from 25 µs to 1 s.
pub(super) const SHORT: &[u64] = &[
    25, 50, 75, 100, 150, 200, 300, 500, 750, 1_000, 1_500, 2_500, 5_000, 10_000, 25_000, 50_000,
    100_000, 250_000, 1_000_000,
];

const MOST_BOUNDS: usize = 19;
const SLICES: usize = 6;
const SLICE_MICROS: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[u64] = &[1_000, 2_000, 4_000];

    fn with(millis: &[f64]) -> Histogram {
        let histogram = Histogram::new(BOUNDS);
        for millis in millis {
            histogram.record(Duration::from_secs_f64(millis / 1000.0), Monotonic(0));
        }
        histogram
    }

    #[test]
    fn a_duration_equal_to_a_bound_is_counted_below_it() {
        let histogram = with(&[0.0, 1.0, 1.001, 4.0, 4.001, 9e9]);
        assert_eq!(histogram.cumulative(), [2, 3, 4, 6]);
    }

    #[test]
    fn the_sum_is_exact_to_the_microsecond() {
        let histogram = with(&[0.001, 2.5, 1000.0]);
        assert!((histogram.sum_seconds() - 1.002_501).abs() < 1e-9);
    }

    #[test]
    fn quantiles_are_interpolated_within_their_bucket() {
        let quantiles = with(&[1.5, 1.5, 1.5, 1.5]).recent(Monotonic(0));
        assert_eq!(quantiles.millis(0.5), Some(1.5));
        assert_eq!(quantiles.millis(0.99), Some(1.99));
        assert_eq!(with(&[9.0]).recent(Monotonic(0)).millis(0.9), Some(4.0));
        assert_eq!(with(&[]).recent(Monotonic(0)).millis(0.9), None);
    }

    #[test]
    fn durations_leave_the_quantiles_after_a_minute_and_stay_in_the_counts() {
        let histogram = with(&[3.0]);
        let after = |seconds: u64| Monotonic(seconds * 1_000_000);
        assert_eq!(histogram.recent(after(59)).count(), 1);
        assert_eq!(histogram.recent(after(60)).count(), 0);
        histogram.record(Duration::ZERO, after(60));
        assert_eq!(histogram.recent(after(61)).count(), 1);
        assert_eq!(histogram.cumulative(), [1, 1, 2, 2]);
    }

    #[test]
    fn a_merged_histogram_has_the_counts_of_all_and_of_the_last_minute_only() {
        let (one, other) = (with(&[1.5, 9.0]), with(&[3.0]));
        let after = Monotonic(60_000_000);
        other.record(Duration::from_millis(1), after);
        let merged = Histogram::merged([&one, &other, &one]);
        assert_eq!(merged.cumulative(), [1, 3, 4, 6]);
        assert!((merged.sum_seconds() - 0.025).abs() < 1e-9);
        assert_eq!(merged.recent(after).count(), 1, "the slice of the first minute was reused");
        assert_eq!(Histogram::merged([&one, &one]).recent(Monotonic(0)).count(), 4);
    }

    #[test]
    fn every_table_of_bounds_fits_and_ascends() {
        for bounds in [LONG, SHORT] {
            assert!(bounds.len() <= MOST_BOUNDS && bounds.is_sorted_by(|a, b| a < b));
            assert!(bounds.contains(&100_000), "the alert rules ask for 0.1 s");
        }
    }
}
