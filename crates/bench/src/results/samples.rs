//! What was measured: one value a round, subject and measure; medians, spread and ratios.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Values by subject and measure, one slot a round.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Samples {
    cells: BTreeMap<String, BTreeMap<String, Vec<Option<f64>>>>,
}

/// The middle of some values, and their ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Samples {
    /// Keeps a value.
    pub(crate) fn put(&mut self, round: usize, contender: &str, measure: &str, value: f64) {
        let measures = self.cells.entry(contender.to_owned()).or_default();
        let slots = measures.entry(measure.to_owned()).or_default();
        if slots.len() <= round {
            slots.resize(round + 1, None);
        }
        slots[round] = value.is_finite().then_some(value);
    }

    /// The values of all rounds.
    pub(crate) fn rounds(&self, contender: &str, measure: &str) -> &[Option<f64>] {
        let slots = self.cells.get(contender).and_then(|measures| measures.get(measure));
        slots.map_or(&[], Vec::as_slice)
    }

    /// A measure's middle.
    pub(crate) fn middle(&self, contender: &str, measure: &str) -> Option<Summary> {
        Summary::of(self.rounds(contender, measure).iter().copied().flatten())
    }

    /// How much more than `base` in the same round.
    pub(crate) fn added(&self, contender: &str, base: &str, measure: &str) -> Vec<Option<f64>> {
        pairwise(self.rounds(contender, measure), self.rounds(base, measure), |own, base| {
            Some(own - base)
        })
    }
}

impl Summary {
    /// `None` for no values at all.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            f64::midpoint(values[half - 1], values[half])
        };
        Some(Self { median, least, most })
    }

    /// The same in another unit.
    pub(crate) fn times(self, factor: f64) -> Self {
        let Self { median, least, most } = self;
        Self { median: median * factor, least: least * factor, most: most * factor }
    }

    /// The middle of the quotients, each of one round. A divisor that is not above zero has no
    /// quotient: what nginx adds may drown in noise.
    pub(crate) fn ratio(own: &[Option<f64>], other: &[Option<f64>]) -> Option<Self> {
        let quotients =
            pairwise(own, other, |own, other| (other > 0.0).then_some((own / other).max(0.0)));
        Self::of(quotients.into_iter().flatten())
    }
}

fn pairwise(
    own: &[Option<f64>],
    other: &[Option<f64>],
    join: impl Fn(f64, f64) -> Option<f64>,
) -> Vec<Option<f64>> {
    own.iter().zip(other).map(|(own, other)| join((*own)?, (*other)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_of_any_order() {
        let middle = |values: &[f64]| Summary::of(values.iter().copied());
        assert_eq!(middle(&[9.0, 1.0, 2.0]), Some(Summary { median: 2.0, least: 1.0, most: 9.0 }));
        assert_eq!(middle(&[4.0, 2.0]), Some(Summary { median: 3.0, least: 2.0, most: 4.0 }));
        assert_eq!(middle(&[]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_then_the_median() {
        let mut samples = Samples::default();
        for (round, (ours, nginx, direct)) in
            [(150.0, 130.0, 100.0), (300.0, 300.0, 200.0), (110.0, 120.0, 100.0)].iter().enumerate()
        {
            samples.put(round, "ours", "p50", *ours);
            samples.put(round, "nginx", "p50", *nginx);
            samples.put(round, "direct", "p50", *direct);
        }
        let (ours, nginx) =
            (samples.added("ours", "direct", "p50"), samples.added("nginx", "direct", "p50"));
        let ratio = Summary::ratio(&ours, &nginx).unwrap();
        assert_eq!((ratio.median, ratio.least), (1.0, 0.5));
        assert!((ratio.most - 5.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_round_without_a_value_has_no_ratio() {
        let mut samples = Samples::default();
        samples.put(1, "ours", "rps", 8.0);
        samples.put(0, "nginx", "rps", 4.0);
        samples.put(1, "nginx", "rps", 4.0);
        samples.put(2, "ours", "rps", f64::NAN);
        let ratio = Summary::ratio(samples.rounds("ours", "rps"), samples.rounds("nginx", "rps"));
        assert_eq!(ratio, Some(Summary { median: 2.0, least: 2.0, most: 2.0 }));
        assert_eq!(Summary::ratio(&[Some(1.0)], &[Some(0.0)]), None);
    }
}
