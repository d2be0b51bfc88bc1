//! The rows of the settings of the audit log and of traces.

use super::spec::{GIBIBYTE, Group, Kind, MEBIBYTE, MINUTE_MS, SettingSpec, setting};

pub(super) const AUDIT_LOG: SettingSpec = setting(
    Group::Logging,
    "AUDIT_LOG",
    "",
    Kind::Text("a path"),
    "A file with one JSON line for each request that asks a model, with caller, model, tokens and \
     outcome, and nothing of what was said.",
);

pub(super) const AUDIT_LOG_MAX_BYTES: SettingSpec = setting(
    Group::Logging,
    "AUDIT_LOG_MAX_BYTES",
    "100MiB",
    Kind::Bytes { min: MEBIBYTE / 256, max: 1024 * GIBIBYTE },
    "A longer audit log is renamed to `PATH.1`, and a new one begun.",
);

pub(super) const AUDIT_LOG_FILES: SettingSpec = setting(
    Group::Logging,
    "AUDIT_LOG_FILES",
    "10",
    Kind::Whole { min: 0, max: 10_000 },
    "How many renamed files of the audit log are kept.",
);

pub(super) const OTEL_EXPORTER_OTLP_ENDPOINT: SettingSpec = setting(
    Group::Tracing,
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "",
    Kind::Text("an http(s) URL without query or login"),
    "The collector that gets the spans of requests, by OTLP over HTTP with protobuf (port 4318 as a \
     rule); `/v1/traces` is added. Unset, no spans are recorded.",
);

pub(super) const OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: SettingSpec = setting(
    Group::Tracing,
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "",
    Kind::Text("an http(s) URL without query or login"),
    "The same as a whole URL, to which nothing is added.",
);

pub(super) const OTEL_EXPORTER_OTLP_HEADERS: SettingSpec = setting(
    Group::Tracing,
    "OTEL_EXPORTER_OTLP_HEADERS",
    "",
    Kind::Text("`name=value` separated by commas, values percent-encoded"),
    "Headers for the collector, such as its key.",
)
.secret();

pub(super) const OTEL_EXPORTER_OTLP_TIMEOUT: SettingSpec = setting(
    Group::Tracing,
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "10000",
    Kind::Whole { min: 1, max: MINUTE_MS },
    "How many milliseconds the collector may take to answer.",
);

pub(super) const OTEL_EXPORTER_OTLP_COMPRESSION: SettingSpec = setting(
    Group::Tracing,
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "none",
    Kind::Text("none"),
    "Spans are sent uncompressed: with a collector set, anything else is an error.",
);

pub(super) const OTEL_SERVICE_NAME: SettingSpec = setting(
    Group::Tracing,
    "OTEL_SERVICE_NAME",
    "",
    Kind::Text("a name"),
    "The service that the spans are of. Default: that of `OTEL_RESOURCE_ATTRIBUTES`, else \
     `code-assist-proxy`.",
);

pub(super) const OTEL_RESOURCE_ATTRIBUTES: SettingSpec = setting(
    Group::Tracing,
    "OTEL_RESOURCE_ATTRIBUTES",
    "",
    Kind::Text("`name=value` separated by commas, values percent-encoded"),
    "What the spans say of this process, such as `deployment.environment.name=production`.",
);

pub(super) const OTEL_TRACES_SAMPLER: SettingSpec = setting(
    Group::Tracing,
    "OTEL_TRACES_SAMPLER",
    "parentbased_always_on",
    Kind::Choice(&[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ]),
    "Which requests have spans. `parentbased_…`: what the client's `traceparent` says, and the rest of \
     the name for requests without one.",
);

pub(super) const OTEL_TRACES_SAMPLER_ARG: SettingSpec = setting(
    Group::Tracing,
    "OTEL_TRACES_SAMPLER_ARG",
    "",
    Kind::Text("a number from 0 to 1"),
    "The share of traces that a sampler with `traceidratio` records; default 1.",
);

pub(super) const OTEL_SDK_DISABLED: SettingSpec = setting(
    Group::Tracing,
    "OTEL_SDK_DISABLED",
    "false",
    Kind::Switch,
    "Record no spans, whatever the other settings say.",
);
