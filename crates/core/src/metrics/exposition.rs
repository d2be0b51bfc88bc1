//! Writing metrics as text: Prometheus 0.0.4, OpenMetrics 1.0, and JSON with the same content.

use std::fmt::{self, Write};

use http::HeaderValue;
use serde_json::{Map, Value, json};

/// A format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpositionFormat {
    /// JSON, for programs without a Prometheus parser, such as the status page.
    Json,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's text format 0.0.4.
    Prometheus,
}

impl ExpositionFormat {
    /// Returns the format that `?format=` names, else the one that `Accept` prefers, else Prometheus.
    pub(crate) fn choose(query: Option<&str>, accept: &str) -> Self {
        match query {
            Some("json") => return Self::Json,
            Some("openmetrics") => return Self::OpenMetrics,
            Some("prometheus" | "text") => return Self::Prometheus,
            _ => {}
        }
        let (mut best, mut weight) = (Self::Prometheus, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let offered = match kind.to_ascii_lowercase().as_str() {
                "application/json" => Self::Json,
                "application/openmetrics-text" => Self::OpenMetrics,
                "text/plain" | "text/*" | "*/*" => Self::Prometheus,
                _ => continue,
            };
            let q = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse);
            let q: f32 = q.unwrap_or(0.0);
            // Of equal weights the first one wins.
            if q > weight {
                (best, weight) = (offered, q);
            }
        }
        best
    }

    /// The value of `Content-Type`.
    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json; charset=UTF-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        })
    }

    /// Writes all families.
    pub(super) fn write(self, families: &[MetricFamily]) -> String {
        let mut out = String::with_capacity(16 * 1024);
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Json => write!(out, "{}", as_json(families)),
            Self::OpenMetrics => families
                .iter()
                .try_for_each(|family| family.write(&mut out, true))
                .and_then(|()| out.write_str("# EOF\n")),
            Self::Prometheus => {
                families.iter().try_for_each(|family| family.write(&mut out, false))
            }
        };
        out
    }
}

/// All samples of one metric.
#[derive(Debug)]
pub(super) struct MetricFamily {
    /// The name with its unit; a counter's without `_total`, an info's without `_info`.
    pub(super) name: String,
    pub(super) help: &'static str,
    pub(super) kind: MetricKind,
    pub(super) samples: Vec<Sample>,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
    /// Always 1: the labels are the information.
    Info,
}

/// One number, or one histogram, with its labels.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: SampleValue,
}

/// The value of a sample.
#[derive(Debug)]
pub(super) enum SampleValue {
    Count(u64),
    Number(f64),
    Buckets {
        /// Each upper bound with the number of values at or below it.
        below: Vec<(f64, u64)>,
        count: u64,
        sum: f64,
    },
}

impl MetricFamily {
    /// The name of the samples, which in Prometheus's format is also the name of the family.
    fn full_name(&self) -> String {
        let suffix = match self.kind {
            MetricKind::Counter => "_total",
            MetricKind::Info => "_info",
            MetricKind::Gauge | MetricKind::Histogram => "",
        };
        format!("{}{suffix}", self.name)
    }

    fn write(&self, out: &mut String, open_metrics: bool) -> fmt::Result {
        let full = self.full_name();
        let named = if open_metrics { &self.name } else { &full };
        let kind = match (self.kind, open_metrics) {
            (MetricKind::Counter, _) => "counter",
            (MetricKind::Gauge, _) | (MetricKind::Info, false) => "gauge",
            (MetricKind::Histogram, _) => "histogram",
            (MetricKind::Info, true) => "info",
        };
        writeln!(out, "# HELP {named} {}", self.help)?;
        writeln!(out, "# TYPE {named} {kind}")?;
        for sample in &self.samples {
            let labels = &sample.labels;
            match &sample.value {
                SampleValue::Count(count) => {
                    writeln!(out, "{full}{} {count}", LabelSet(labels, None))?;
                }
                SampleValue::Number(number) => {
                    writeln!(out, "{full}{} {}", LabelSet(labels, None), Decimal(*number))?;
                }
                SampleValue::Buckets { below, count, sum } => {
                    for (bound, below) in below {
                        let bound = Decimal(*bound).to_string();
                        writeln!(out, "{full}_bucket{} {below}", LabelSet(labels, Some(&bound)))?;
                    }
                    writeln!(out, "{full}_bucket{} {count}", LabelSet(labels, Some("+Inf")))?;
                    writeln!(out, "{full}_sum{} {}", LabelSet(labels, None), Decimal(*sum))?;
                    writeln!(out, "{full}_count{} {count}", LabelSet(labels, None))?;
                }
            }
        }
        Ok(())
    }
}

/// A number with a decimal point and without exponent, which is OpenMetrics' canonical form for
/// numbers of the size that occurs here.
struct Decimal(f64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = self;
        if number.fract() == 0.0 { write!(f, "{number}.0") } else { write!(f, "{number}") }
    }
}

/// `{name="value",le="0.1"}`, or nothing without labels.
struct LabelSet<'a>(&'a [(&'static str, String)], Option<&'a str>);

impl fmt::Display for LabelSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.0.iter().map(|(name, value)| (*name, value.as_str()));
        let all = own.chain(self.1.map(|bound| ("le", bound)));
        let mut separator = '{';
        for (name, value) in all {
            f.write_char(separator)?;
            write!(f, "{name}=\"")?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => f.write_char(c)?,
                }
            }
            f.write_char('"')?;
            separator = ',';
        }
        if separator == ',' { f.write_char('}') } else { Ok(()) }
    }
}

/// `{"metrics":{NAME:{"type":…,"help":…,"samples":[{"labels":{…},"value":…}]}}}`.
fn as_json(families: &[MetricFamily]) -> Value {
    let metrics: Map<String, Value> = families
        .iter()
        .map(|family| {
            let kind = match family.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
                MetricKind::Info => "info",
            };
            let samples: Vec<Value> = family.samples.iter().map(Sample::as_json).collect();
            let shown = json!({ "type": kind, "help": family.help, "samples": samples });
            (family.full_name(), shown)
        })
        .collect();
    json!({ "metrics": metrics })
}

impl Sample {
    /// Adds the upstream, where it has a label.
    #[must_use]
    pub(super) fn of_upstream(mut self, upstream: Option<&str>) -> Self {
        self.labels.extend(upstream.map(|name| ("upstream", name.to_owned())));
        self
    }

    fn as_json(&self) -> Value {
        let labels: Map<String, Value> =
            self.labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        match &self.value {
            SampleValue::Count(count) => json!({ "labels": labels, "value": count }),
            SampleValue::Number(number) => json!({ "labels": labels, "value": number }),
            SampleValue::Buckets { below, count, sum } => {
                let bucket = |(le, count): &(f64, u64)| json!({ "le": le, "count": count });
                let buckets: Vec<Value> = below.iter().map(bucket).collect();
                json!({ "labels": labels, "buckets": buckets, "count": count, "sum": sum })
            }
        }
    }
}
