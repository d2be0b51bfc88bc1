//! Plain pictures: lines over axes, and bars. Readable on light and on dark ground.

use std::fmt::Write as _;

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Axis {
    /// From zero to a round number.
    Even { most: f64 },
    /// From one power of ten to another.
    Powers { least: i32, most: i32 },
}

impl Axis {
    /// An even axis with room for all values.
    pub(crate) fn even(values: impl Iterator<Item = f64>) -> Self {
        let most = values.fold(0.0, f64::max);
        let step = step(most);
        Self::Even { most: if most > 0.0 { (most / step).ceil() * step } else { 1.0 } }
    }

    /// A logarithmic axis with room for all values.
    pub(crate) fn powers(values: impl Iterator<Item = f64> + Clone) -> Self {
        let positive = values.filter(|value| *value > 0.0);
        let least = positive.clone().fold(f64::INFINITY, f64::min);
        let most = positive.fold(0.0, f64::max);
        if least > most {
            return Self::Powers { least: 0, most: 1 };
        }
        let (least, most) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        Self::Powers { least, most: most.max(least + 1) }
    }

    /// Where a value lies, from 0 to 1.
    fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Even { most } => value / most,
            Self::Powers { least, most } => {
                (value.max(f64::MIN_POSITIVE).log10() - f64::from(least)) / f64::from(most - least)
            }
        };
        place.clamp(0.0, 1.0)
    }

    fn ticks(self) -> Vec<f64> {
        match self {
            Self::Even { most } => {
                let step = step(most);
                (0..=(most / step).round() as u32).map(|index| f64::from(index) * step).collect()
            }
            Self::Powers { least, most } => (least..=most).map(|power| 10f64.powi(power)).collect(),
        }
    }
}

/// Lines over two axes.
#[derive(Debug)]
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) across: (&'a str, Axis),
    pub(crate) up: (&'a str, Axis),
    /// Names and points.
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

impl Plot<'_> {
    /// The picture.
    pub(crate) fn draw(&self) -> String {
        let (width, height) = (640.0, 380.0);
        let (left, right, top, bottom) = (70.0, 20.0, 62.0, 52.0);
        let x = |value| left + self.across.1.place(value) * (width - left - right);
        let y = |value| height - bottom - self.up.1.place(value) * (height - top - bottom);
        let mut svg = opening(width, height, self.title);
        text(&mut svg, (left, 24.0), "title", "start", self.title);
        for tick in self.up.1.ticks() {
            let at = y(tick);
            let end = width - right;
            let _ = writeln!(
                svg,
                r#"<line class="grid" x1="{left}" x2="{end}" y1="{at:.1}" y2="{at:.1}"/>"#
            );
            text(&mut svg, (left - 8.0, at + 4.0), "note", "end", &short(tick));
        }
        for tick in self.across.1.ticks() {
            text(&mut svg, (x(tick), height - bottom + 18.0), "note", "middle", &short(tick));
        }
        let middle = f64::midpoint(left, width - right);
        text(&mut svg, (middle, height - 12.0), "note", "middle", self.across.0);
        text(&mut svg, (left, 44.0), "note", "start", self.up.0);
        for (index, (name, points)) in self.lines.iter().enumerate() {
            let class = COLOURS[index % COLOURS.len()];
            let places: Vec<String> =
                points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
            let _ =
                writeln!(svg, r#"<polyline class="{class} line" points="{}"/>"#, places.join(" "));
            for (a, b) in points {
                let (a, b) = (x(*a), y(*b));
                let _ = writeln!(
                    svg,
                    r#"<circle class="{class} fill" cx="{a:.1}" cy="{b:.1}" r="3"/>"#
                );
            }
            let at = width - right - 150.0 * (self.lines.len() - index) as f64;
            let _ = writeln!(svg, r#"<circle class="{class} fill" cx="{at}" cy="40" r="5"/>"#);
            text(&mut svg, (at + 10.0, 44.0), "note", "start", name);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Bars in several groups, side by side; the first bar of each is ours.
#[derive(Debug)]
pub(crate) struct Bars<'a> {
    pub(crate) title: &'a str,
    /// How many of the first bars stand out.
    pub(crate) ours: usize,
    /// The names of the bars.
    pub(crate) names: Vec<String>,
    /// Titles and values; a bar without a value is told to have none.
    pub(crate) groups: Vec<(&'a str, Vec<Option<f64>>)>,
}

impl Bars<'_> {
    /// The picture.
    pub(crate) fn draw(&self) -> String {
        let (names, group, gap) = (210.0, 230.0, 24.0);
        let width = names + (group + gap) * self.groups.len() as f64;
        let height = 78.0 + 30.0 * self.names.len() as f64;
        let mut svg = opening(width, height, self.title);
        text(&mut svg, (12.0, 24.0), "title", "start", self.title);
        let row = |index: usize| 66.0 + 30.0 * index as f64;
        for (index, name) in self.names.iter().enumerate() {
            text(&mut svg, (names - 12.0, row(index) + 15.0), "name", "end", name);
        }
        for (place, (title, values)) in self.groups.iter().enumerate() {
            let left = names + (group + gap) * place as f64;
            text(&mut svg, (left, 52.0), "note", "start", title);
            let most = values.iter().copied().flatten().fold(f64::MIN_POSITIVE, f64::max);
            for (index, value) in values.iter().enumerate() {
                let at = row(index);
                let Some(value) = value else {
                    text(&mut svg, (left, at + 15.0), "note", "start", "not measured");
                    continue;
                };
                // Room for the number behind the longest bar.
                let length = (value.max(0.0) / most * (group - 60.0)).max(1.0);
                let class = COLOURS[usize::from(index >= self.ours)];
                let _ = writeln!(
                    svg,
                    r#"<rect class="{class} fill" x="{left}" y="{at}" width="{length:.1}" height="20" rx="2"/>"#
                );
                text(&mut svg, (left + length + 6.0, at + 15.0), "note", "start", &short(*value));
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn opening(width: f64, height: f64, title: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n"
    )
}

fn text(svg: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(
        svg,
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#
    );
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// A number that a person takes in at a glance.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.01 || size == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

/// A round distance that divides a range into four to ten.
fn step(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf((most / 4.0).log10().floor());
    let times = most / 4.0 / power;
    power * [5.0, 2.0, 1.0].into_iter().find(|round| *round <= times).unwrap_or(1.0)
}

const COLOURS: [&str; 3] = ["ours", "other", "third"];

const STYLE: &str = "\
text{font-processes:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}\
.title{font-size:15px;font-weight:600}.name{font-size:13px}.note{font-size:12px;fill:#59636e}\
.grid{stroke:#d1d9e0;stroke-width:1}.line{fill:none;stroke-width:2.5}\
.ours.fill{fill:#0969da}.ours.line{stroke:#0969da}\
.other.fill{fill:#8c959f}.other.line{stroke:#8c959f}\
.third.fill{fill:#bf8700}.third.line{stroke:#bf8700}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.grid{stroke:#3d444d}\
.ours.fill{fill:#4493f8}.ours.line{stroke:#4493f8}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_axes_begin_at_zero_and_end_on_a_round_number() {
        let axis = Axis::even([3.0, 87.0].into_iter());
        assert_eq!(axis, Axis::Even { most: 100.0 });
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!((axis.place(0.0), axis.place(50.0), axis.place(1e9)), (0.0, 0.5, 1.0));
    }

    #[test]
    fn powers_of_ten_are_at_even_distances() {
        let axis = Axis::powers([0.0, 20.0, 900.0].into_iter());
        assert_eq!(axis, Axis::Powers { least: 1, most: 3 });
        assert_eq!(axis.ticks(), [10.0, 100.0, 1000.0]);
        assert!((axis.place(100.0) - 0.5).abs() < 1e-9);
        assert_eq!(Axis::powers([7.0].into_iter()), Axis::Powers { least: 0, most: 1 });
    }

    #[test]
    fn numbers_are_short() {
        let pairs = [(0.0, "0"), (0.25, "0.25"), (12.34, "12.3"), (104.9, "105")];
        let large = [(9999.0, "9999"), (45_300.0, "45.3 k"), (20e6, "20 M"), (100.0, "100")];
        for (value, expected) in pairs.into_iter().chain(large) {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn a_title_cannot_break_the_picture() {
        let bars = Bars {
            ours: 1,
            title: "a < b & \"c\"",
            names: vec!["ours".to_owned()],
            groups: vec![("rps", vec![None])],
        };
        let svg = bars.draw();
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;") && svg.contains("not measured"));
    }
}
