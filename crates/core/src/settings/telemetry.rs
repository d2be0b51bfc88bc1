//! The settings of the audit log and of traces.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;

use super::parse;
use super::read::SettingsReader;

/// Where the audit log is written, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// `AUDIT_LOG`.
    pub path: String,
    /// `AUDIT_LOG_MAX_BYTES`.
    pub max_bytes: u64,
    /// `AUDIT_LOG_FILES`: how many full files are kept.
    pub files: usize,
}

/// Where spans are sent, and which.
#[derive(Debug, Clone)]
pub struct TracingSettings {
    /// The whole URL.
    pub endpoint: String,
    /// The setting that the URL is from.
    pub endpoint_from: &'static str,
    /// `OTEL_EXPORTER_OTLP_HEADERS`.
    pub headers: Vec<(String, SecretString)>,
    /// `OTEL_EXPORTER_OTLP_TIMEOUT`.
    pub timeout: Duration,
    /// `OTEL_RESOURCE_ATTRIBUTES`, and `OTEL_SERVICE_NAME` as `service.name`.
    pub resource: BTreeMap<String, String>,
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    pub sampler: Sampler,
}

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// What the client has decided holds, where it has sent a trace.
    pub follows_client: bool,
    /// The share of all other traces, from 0 to 1.
    pub ratio: f64,
}

impl SettingsReader<'_> {
    pub(super) fn audit(&mut self) -> Option<AuditSettings> {
        let (max_bytes, files) = (self.bytes("AUDIT_LOG_MAX_BYTES"), self.whole("AUDIT_LOG_FILES"));
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let path = self.path("AUDIT_LOG")?;
        Some(AuditSettings { path, max_bytes, files })
    }

    /// `None` where no spans are sent.
    pub(super) fn tracing(&mut self) -> Option<TracingSettings> {
        let off = self.switch("OTEL_SDK_DISABLED");
        let whole = self.text(TRACES_ENDPOINT, |url| parse::url(url).map(|_| url.to_owned()));
        let base = self.text(ENDPOINT, |url| parse::url(url).map(|_| url.to_owned()));
        let headers = self.text(HEADERS, pairs).unwrap_or_default();
        let mut resource: BTreeMap<_, _> =
            self.text("OTEL_RESOURCE_ATTRIBUTES", pairs).unwrap_or_default().into_iter().collect();
        let service = self.text("OTEL_SERVICE_NAME", |name| Ok(name.to_owned()));
        if let Some(service) = service {
            resource.insert("service.name".to_owned(), service);
        }
        resource.entry("service.name".to_owned()).or_insert_with(|| SERVICE_NAME.to_owned());
        let timeout = Duration::from_millis(self.whole("OTEL_EXPORTER_OTLP_TIMEOUT"));
        let sampler = self.sampler();
        let (endpoint, endpoint_from) = match (whole, base) {
            (Some(whole), _) => (whole, TRACES_ENDPOINT),
            (None, Some(base)) => (format!("{}/v1/traces", base.trim_end_matches('/')), ENDPOINT),
            (None, None) => return None,
        };
        if !off {
            self.text("OTEL_EXPORTER_OTLP_COMPRESSION", uncompressed);
        }
        let headers = headers.into_iter().map(|(name, value)| (name, value.into())).collect();
        let settings =
            TracingSettings { endpoint, endpoint_from, headers, timeout, resource, sampler };
        (!off).then_some(settings)
    }

    fn sampler(&mut self) -> Sampler {
        let name = self.choice("OTEL_TRACES_SAMPLER");
        let share = self.text("OTEL_TRACES_SAMPLER_ARG", |text| match text.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err("is out of range".into()),
        });
        let ratio = match name {
            "always_off" | "parentbased_always_off" => 0.0,
            "traceidratio" | "parentbased_traceidratio" => share.unwrap_or(1.0),
            _ => 1.0,
        };
        Sampler { follows_client: name.starts_with("parentbased"), ratio }
    }
}

/// Many collectors are set up with `gzip` for all programs of a machine.
fn uncompressed(name: &str) -> Result<(), super::SettingError> {
    match name {
        "none" => Ok(()),
        _ => Err("is not supported, since spans are sent uncompressed".into()),
    }
}

/// `name=value` separated by commas, with percent-encoded values.
fn pairs(text: &str) -> Result<Vec<(String, String)>, super::SettingError> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or("has a part without `=`")?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8();
        let value = value.map_err(|_| "has a value that is no text")?;
        let name = name.trim();
        if name.is_empty() {
            return Err("has a part without a name".into());
        }
        Ok((name.to_owned(), value.into_owned()))
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(pair).collect()
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const SERVICE_NAME: &str = "code-assist-proxy";
