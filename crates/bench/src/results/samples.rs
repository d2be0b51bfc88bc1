//! Measured values: one for each pass, contender and measure; medians, ranges and ratios.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Values by contender and measure, one slot for each pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    cells: BTreeMap<String, BTreeMap<String, Vec<Option<f64>>>>,
}

/// The median of some values, and their range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// Summaries by contender and measure.
pub(crate) type Summaries = BTreeMap<String, BTreeMap<String, Summary>>;

impl Samples {
    /// Keeps a value. One that is not finite counts as not measured.
    pub(crate) fn put(&mut self, pass: usize, contender: &str, measure: &str, value: f64) {
        let measures = self.cells.entry(contender.to_owned()).or_default();
        let slots = measures.entry(measure.to_owned()).or_default();
        if slots.len() <= pass {
            slots.resize(pass + 1, None);
        }
        slots[pass] = value.is_finite().then_some(value);
    }

    /// The values of all passes.
    pub(crate) fn passes(&self, contender: &str, measure: &str) -> &[Option<f64>] {
        let slots = self.cells.get(contender).and_then(|measures| measures.get(measure));
        slots.map_or(&[], Vec::as_slice)
    }

    pub(crate) fn summary(&self, contender: &str, measure: &str) -> Option<Summary> {
        Summary::of(self.passes(contender, measure).iter().copied().flatten())
    }

    /// How much more than `base` a contender needed in the same pass.
    pub(crate) fn added(&self, contender: &str, base: &str, measure: &str) -> Vec<Option<f64>> {
        pairwise(self.passes(contender, measure), self.passes(base, measure), |own, base| {
            Some(own - base)
        })
    }

    /// What `summarise` makes of each contender and measure, where it makes something.
    pub(crate) fn summaries(&self, summarise: impl Fn(&str, &str) -> Option<Summary>) -> Summaries {
        let mut all = Summaries::new();
        for (contender, measures) in &self.cells {
            for measure in measures.keys() {
                if let Some(summary) = summarise(contender, measure) {
                    let own = all.entry(contender.clone()).or_default();
                    own.insert(measure.clone(), summary.rounded());
                }
            }
        }
        all
    }
}

impl Summary {
    /// `None` for no values at all.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            f64::midpoint(values[half - 1], values[half])
        };
        Some(Self { median, min, max })
    }

    /// The ratios of two contenders, each ratio of one pass. A divisor that is not above zero has no
    /// ratio: the latency that nginx adds may drown in noise.
    pub(crate) fn ratio(own: &[Option<f64>], other: &[Option<f64>]) -> Option<Self> {
        let ratios =
            pairwise(own, other, |own, other| (other > 0.0).then_some((own / other).max(0.0)));
        Self::of(ratios.into_iter().flatten())
    }

    /// Four significant digits: more is noise, and would change every line of the file.
    pub(crate) fn rounded(self) -> Self {
        let Self { median, min, max } = self;
        let [median, min, max] = [median, min, max].map(|value| {
            if value == 0.0 {
                return 0.0;
            }
            let digits = 3 - value.abs().log10().floor() as i32;
            let power = 10f64.powi(digits.abs());
            if digits < 0 {
                (value / power).round() * power
            } else {
                (value * power).round() / power
            }
        });
        Self { median, min, max }
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
    fn the_median_does_not_depend_on_the_order_of_the_values() {
        let summary = |values: &[f64]| Summary::of(values.iter().copied());
        assert_eq!(summary(&[9.0, 1.0, 2.0]), Some(Summary { median: 2.0, min: 1.0, max: 9.0 }));
        assert_eq!(summary(&[4.0, 2.0]), Some(Summary { median: 3.0, min: 2.0, max: 4.0 }));
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_pass_and_then_the_median() {
        let mut samples = Samples::default();
        for (pass, (proxy, nginx, direct)) in
            [(150.0, 130.0, 100.0), (300.0, 300.0, 200.0), (110.0, 120.0, 100.0)].iter().enumerate()
        {
            samples.put(pass, "proxy", "p50", *proxy);
            samples.put(pass, "nginx", "p50", *nginx);
            samples.put(pass, "direct", "p50", *direct);
        }
        let (proxy, nginx) =
            (samples.added("proxy", "direct", "p50"), samples.added("nginx", "direct", "p50"));
        let ratio = Summary::ratio(&proxy, &nginx).unwrap();
        assert_eq!((ratio.median, ratio.min), (1.0, 0.5));
        assert!((ratio.max - 5.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_pass_without_a_value_has_no_ratio() {
        let mut samples = Samples::default();
        samples.put(1, "proxy", "rps", 8.0);
        samples.put(0, "nginx", "rps", 4.0);
        samples.put(1, "nginx", "rps", 4.0);
        samples.put(2, "proxy", "rps", f64::NAN);
        let ratio = Summary::ratio(samples.passes("proxy", "rps"), samples.passes("nginx", "rps"));
        assert_eq!(ratio, Some(Summary { median: 2.0, min: 2.0, max: 2.0 }));
        assert_eq!(Summary::ratio(&[Some(1.0)], &[Some(0.0)]), None);
    }

    #[test]
    fn summaries_are_rounded_to_four_digits() {
        let summary = Summary { median: 29_512.4, min: -0.012_345_6, max: 0.0 };
        assert_eq!(summary.rounded(), Summary { median: 29_510.0, min: -0.012_35, max: 0.0 });
    }
}
