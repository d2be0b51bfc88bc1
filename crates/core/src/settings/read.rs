//! The reading of [`Settings`] from layers of strings. All problems are collected.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;

use super::redact::MASK;
use super::spec::{Kind, SettingSpec};
use super::table::SETTINGS;
use super::upstreams::base_url;
use super::{
    AllowedHosts, AllowedProtocol, Effective, KvUrl, Layer, LogFormat, Machine, Problem,
    SettingError, Settings, Source, Warning, parse,
};

pub(super) fn settings(
    layers: &[Layer<'_>],
    machine: &Machine<'_>,
) -> Result<(Settings, Vec<Warning>), Vec<Problem>> {
    let mut reader = SettingsReader::new(layers, machine.file);
    let allow_insecure_upstream = reader.switch("ALLOW_INSECURE_UPSTREAM");
    let problems = reader.problems.len();
    let upstreams = reader.upstreams(machine, allow_insecure_upstream);
    let has_sound_upstreams = reader.problems.len() == problems;
    let mut settings = Settings {
        host: reader.host(machine).unwrap_or_default(),
        port: u16::try_from(reader.whole("PORT")).unwrap_or(0),
        admin_port: reader.text("ADMIN_PORT", parse::port),
        status_page_try: reader.switch("STATUS_PAGE_TRY"),
        failover: reader.failover(&upstreams.in_use),
        failover_models: reader.failover_models(&upstreams.in_use),
        failover_signatures: reader.failover_signatures(),
        code_assist_endpoints: reader.code_assist_endpoints(
            &upstreams.in_use,
            machine,
            allow_insecure_upstream,
        ),
        upstreams: upstreams.in_use,
        public_url: reader.text("PUBLIC_URL", base_url),
        allow_auth_tokens: reader.switch("ALLOW_AUTH_TOKENS"),
        unused_upstreams: upstreams.unused,
        no_upstream_configured: upstreams.none_configured,
        adc_file: upstreams.adc_file,
        metadata_host: upstreams.metadata_host,
        api_version: reader.text("CODE_ASSIST_API_VERSION", parse::api_version).unwrap_or_default(),
        token_url: reader.url("OAUTH_TOKEN_URL"),
        tokeninfo_url: reader.url("OAUTH_TOKENINFO_URL"),
        allow_insecure_upstream,
        oauth_client_id: reader.text("OAUTH_CLIENT_ID", |id| Ok(id.into())),
        oauth_client_secret: reader.secret("OAUTH_CLIENT_SECRET"),
        kv_url: reader.kv_url(),
        kv_encryption_key: reader.text("KV_ENCRYPTION_KEY", parse::seal_keys),
        usage_retention_days: count(reader.whole("USAGE_RETENTION_DAYS")),
        connection_pooling: reader.switch("ENABLE_CONNECTION_POOLING"),
        max_concurrent_requests: size(reader.whole("MAX_CONCURRENT_REQUESTS")),
        max_concurrent_requests_per_caller: reader
            .optional("MAX_CONCURRENT_REQUESTS_PER_CALLER")
            .map(size),
        queue_timeout: Duration::from_millis(reader.whole("QUEUE_TIMEOUT_MS")),
        connection_timeout: Duration::from_millis(reader.whole("CONNECTION_TIMEOUT_MS")),
        first_byte_timeout: Duration::from_millis(reader.whole("FIRST_BYTE_TIMEOUT_MS")),
        stream_idle_timeout: Duration::from_millis(reader.whole("STREAM_IDLE_TIMEOUT_MS")),
        keep_alive_timeout: Duration::from_millis(reader.whole("KEEP_ALIVE_TIMEOUT_MS")),
        token_refresh_buffer: Duration::from_secs(
            60 * reader.whole("TOKEN_REFRESH_BUFFER_MINUTES"),
        ),
        token_cache_ttl: reader.hours("TOKEN_CACHE_TTL_HOURS"),
        validate_tokens: reader.switch("VALIDATE_TOKENS_BEFORE_USE"),
        project_cache_ttl: reader.hours("PROJECT_ID_CACHE_TTL_HOURS"),
        model_name_cache: reader.switch("ENABLE_MODEL_NAME_CACHE"),
        model_aliases: reader.text("MODEL_ALIASES", parse::model_aliases).unwrap_or_default(),
        dialects: reader.text("DIALECTS", parse::dialects).unwrap_or(parse::ALL_DIALECTS),
        early_heartbeat: Some(Duration::from_millis(reader.whole("EARLY_HEARTBEAT_MS")))
            .filter(|after| !after.is_zero()),
        signature_cache_bytes: size(reader.bytes("SIGNATURE_CACHE_BYTES")),
        dedup_window: Duration::from_millis(reader.whole("REQUEST_DEDUP_WINDOW_MS")),
        response_cache_ttl: Duration::from_secs(reader.whole("RESPONSE_CACHE_TTL_SECONDS")),
        breaker_threshold: count(reader.whole("CIRCUIT_BREAKER_FAILURE_THRESHOLD")),
        breaker_timeout: Duration::from_millis(reader.whole("CIRCUIT_BREAKER_TIMEOUT_MS")),
        max_retries: count(reader.whole("MAX_RETRY_ATTEMPTS")),
        retry_base_delay: Duration::from_millis(reader.whole("RETRY_BASE_DELAY_MS")),
        retry_max_delay: Duration::from_millis(reader.whole("RETRY_MAX_DELAY_MS")),
        rate_limit: count(reader.whole("RATE_LIMIT_MAX_REQUESTS")),
        rate_limit_window: Duration::from_millis(reader.whole("RATE_LIMIT_WINDOW_MS")),
        api_keys: reader.text("PROXY_API_KEYS", parse::api_keys).unwrap_or_default(),
        keys: Vec::new(),
        prices: Vec::new(),
        allow_unauthenticated: reader.switch("ALLOW_UNAUTHENTICATED"),
        allowed_hosts: AllowedHosts::Listed(
            reader.text("ALLOWED_HOSTS", parse::allowed_hosts).unwrap_or_default(),
        ),
        allowed_origins: reader.text("ALLOWED_ORIGINS", parse::origins).unwrap_or_default(),
        trust_forwarded_for: reader.switch("TRUST_FORWARDED_FOR"),
        code_assist_protocol: AllowedProtocol::of_word(reader.choice("CODE_ASSIST_PROTOCOL"))
            .unwrap_or(AllowedProtocol::Generate),
        max_request_body_bytes: size(reader.whole("MAX_REQUEST_BODY_BYTES")),
        memory_budget_bytes: size(reader.bytes("MEMORY_BUDGET_BYTES")),
        max_event_bytes: size(reader.whole("MAX_EVENT_BYTES")),
        response_cache_max_bytes: size(reader.whole("RESPONSE_CACHE_MAX_BYTES")),
        shutdown_delay: Duration::from_millis(reader.whole("SHUTDOWN_DELAY_MS")),
        shutdown_grace: Duration::from_millis(reader.whole("SHUTDOWN_GRACE_MS")),
        log_level: reader.choice("LOG_LEVEL").into(),
        log_format: match reader.choice("LOG_FORMAT") {
            "pretty" => LogFormat::Pretty,
            _ => LogFormat::Json,
        },
        audit: reader.audit(),
        tracing: reader.tracing(),
        https_proxy: reader.text("HTTPS_PROXY", parse::outgoing_proxy),
        http_proxy: reader.text("HTTP_PROXY", parse::outgoing_proxy),
        no_proxy: reader.text("NO_PROXY", |hosts| Ok(hosts.into())),
        ssl_cert_file: reader.path("SSL_CERT_FILE"),
    };
    let tables = reader.key_tables(&settings, machine, has_sound_upstreams);
    (settings.keys, settings.prices) = (tables.keys, tables.prices);
    reader.check_combinations(&settings, machine, tables.has_tables);
    if reader.problems.is_empty() { Ok((settings, reader.warnings)) } else { Err(reader.problems) }
}

pub(super) fn effective(layers: &[Layer<'_>]) -> Vec<Effective> {
    let reader = SettingsReader::new(layers, None);
    SETTINGS
        .iter()
        .map(|spec| {
            let (value, source) = match reader.find(spec) {
                Some(found) => (found.value, found.source),
                None => (reader.default_of(spec).unwrap_or_default(), Source::Default),
            };
            let value = if value.is_empty() { value } else { spec.redacted(&value) };
            Effective { name: spec.name, value, source }
        })
        .collect()
}

/// Looks settings up and collects problems and warnings.
pub(super) struct SettingsReader<'a> {
    layers: &'a [Layer<'a>],
    /// The path of the TOML file.
    file: Option<&'a str>,
    pub(super) home: Option<String>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

/// A value with its origin.
pub(super) struct FoundValue {
    /// The name under which it was set.
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) source: Source,
}

impl<'a> SettingsReader<'a> {
    pub(super) fn new(layers: &'a [Layer<'a>], file: Option<&'a str>) -> Self {
        let (problems, warnings) = (Vec::new(), Vec::new());
        let mut reader = Self { layers, file, home: None, problems, warnings };
        reader.home = reader.env("HOME").or_else(|| reader.env("USERPROFILE"));
        reader
    }

    /// The parsed value; `None` when it is unset or bad.
    pub(super) fn text<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, SettingError>,
    ) -> Option<T> {
        let (spec, found) = self.value(name);
        let found = found?;
        match parse(&found.value) {
            Ok(parsed) => Some(parsed),
            Err(wrong) => {
                self.refuse(spec, &found, None, &wrong);
                None
            }
        }
    }

    /// A host name must have an address. Shells and compilers export a `HOST` of their own, such as
    /// `x86_64-conda-linux-gnu`; without this, the problem would be that there are no keys for it.
    fn host(&mut self, machine: &Machine<'_>) -> Option<String> {
        let host = self.text("HOST", parse::host)?;
        if host.parse::<IpAddr>().is_ok() || parse::is_loopback(&host) || (machine.has_host)(&host)
        {
            return Some(host);
        }
        let source = self.find(spec_of("HOST")).map_or(Source::Default, |found| found.source);
        let unset = if source == Source::Env { "unset HOST, or " } else { "" };
        let text = format!(
            "{host} (from {}) is no address of this machine: {unset}set HOST=127.0.0.1",
            self.origin(source)
        );
        self.problems.push(Problem { name: "HOST".into(), text });
        None
    }

    fn secret(&mut self, name: &'static str) -> Option<SecretString> {
        self.text(name, |secret| Ok(SecretString::from(secret)))
    }

    pub(super) fn path(&mut self, name: &'static str) -> Option<String> {
        let home = self.home.clone();
        self.text(name, |path| parse::path(path, home.as_deref()))
    }

    pub(super) fn whole(&mut self, name: &'static str) -> u64 {
        let Kind::Whole { min, .. } = spec_of(name).kind else {
            return 0;
        };
        self.optional(name).unwrap_or(min)
    }

    /// A whole number; `None` when it is unset or bad.
    fn optional(&mut self, name: &'static str) -> Option<u64> {
        let Kind::Whole { min, max } = spec_of(name).kind else {
            return None;
        };
        self.text(name, |text| match text.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err("is out of range".into()),
        })
    }

    pub(super) fn bytes(&mut self, name: &'static str) -> u64 {
        let Kind::Bytes { min, max } = spec_of(name).kind else {
            return 0;
        };
        self.text(name, |text| match parse::bytes(text) {
            Some(bytes) if (min..=max).contains(&bytes) => Ok(bytes),
            _ => Err("is out of range".into()),
        })
        .unwrap_or(min)
    }

    fn hours(&mut self, name: &'static str) -> Duration {
        let Kind::Decimal { min, max } = spec_of(name).kind else {
            return Duration::ZERO;
        };
        let hours = self
            .text(name, |text| match text.parse::<f64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(number),
                _ => Err("is out of range".into()),
            })
            .unwrap_or(min);
        Duration::from_secs_f64(hours * 3600.0)
    }

    pub(super) fn switch(&mut self, name: &'static str) -> bool {
        self.text(name, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => Err("is neither".into()),
        })
        .unwrap_or(false)
    }

    pub(super) fn choice(&mut self, name: &'static str) -> &'static str {
        let Kind::Choice(words) = spec_of(name).kind else {
            return "";
        };
        self.text(name, |text| {
            words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .copied()
                .ok_or_else(|| "is none of them".into())
        })
        .unwrap_or("")
    }

    fn url(&mut self, name: &'static str) -> String {
        let url = self.text(name, |text| parse::url(text).map(|_| text.to_owned()));
        url.unwrap_or_default()
    }

    fn kv_url(&mut self) -> KvUrl {
        let home = self.home.clone();
        let problems_before = self.problems.len();
        let parsed = self.text("KV_URL", |url| parse::kv_url(url, home.as_deref()));
        if parsed.is_none() && self.problems.len() == problems_before {
            let text = "there is no home folder (HOME) for the default file, so tokens are kept \
                        in memory only; set KV_URL to a file";
            self.warn("KV_URL", text.into());
        }
        if let Some(KvUrl::Redis(url)) = &parsed
            && !url.tls
            && let Some((host, _)) = url.hosts.iter().find(|(host, _)| !parse::is_loopback(host))
        {
            let text = format!("tokens travel to {host} in the clear; use rediss");
            self.warn("KV_URL", text);
        }
        parsed.unwrap_or(KvUrl::Memory)
    }

    /// The spec and the value in force, which may be the default.
    fn value(&mut self, name: &'static str) -> (&'static SettingSpec, Option<FoundValue>) {
        let spec = spec_of(name);
        if self.is_blank(spec) {
            return (spec, None);
        }
        if let Some(found) = self.find(spec) {
            self.warn_of_disagreement(spec, &found);
            return (spec, Some(found));
        }
        let default = self.default_of(spec);
        let found =
            default.map(|value| FoundValue { name: spec.name, value, source: Source::Default });
        (spec, found)
    }

    /// True if the setting may not be blank, and its strongest layer has it without a value. Records the
    /// problem.
    fn is_blank(&mut self, spec: &'static SettingSpec) -> bool {
        if spec.may_be_blank {
            return false;
        }
        let layers = self.layers;
        let Some((name, layer)) = layers.iter().find_map(|layer| {
            let mut set = spec.names().filter(|name| (layer.lookup)(name).is_some());
            set.next().map(|name| (name, layer))
        }) else {
            return false;
        };
        let is_blank = spec.names().all(|name| look_up(layer, name).is_none());
        if is_blank {
            let origin = self.origin(layer.source);
            let text = format!(
                "is set and empty (in {origin}), which protects nothing; give it a value, or remove it"
            );
            self.problems.push(Problem { name: name.into(), text });
        }
        is_blank
    }

    /// The value of the strongest layer that has the setting, by its first name or else an alias.
    pub(super) fn find(&self, spec: &SettingSpec) -> Option<FoundValue> {
        self.layers.iter().find_map(|layer| {
            spec.names().find_map(|name| {
                let value = look_up(layer, name)?;
                Some(FoundValue { name, value, source: layer.source })
            })
        })
    }

    /// As `find`, by one name only.
    pub(super) fn find_name(&self, name: &'static str) -> Option<FoundValue> {
        self.layers.iter().find_map(|layer| {
            Some(FoundValue { name, value: look_up(layer, name)?, source: layer.source })
        })
    }

    /// The default with its variables replaced; `None` when there is no default.
    pub(super) fn default_of(&self, spec: &SettingSpec) -> Option<String> {
        let in_home = |path: &str| self.home.as_ref().map(|home| format!("{home}{path}"));
        match spec.name {
            "GEMINI_OAUTH_CREDS_FILE" => {
                let root = self.env("GEMINI_CLI_HOME").or_else(|| self.home.clone())?;
                Some(format!("{root}/.gemini/oauth_creds.json"))
            }
            "KV_URL" => {
                let root = self.env("XDG_DATA_HOME").or_else(|| in_home("/.local/share"))?;
                Some(format!("file:{root}/code-assist-proxy/kv.redb"))
            }
            _ => Some(spec.default).filter(|text| !text.is_empty()).map(str::to_owned),
        }
    }

    pub(super) fn env(&self, name: &str) -> Option<String> {
        let mut env = self.layers.iter().filter(|layer| layer.source == Source::Env);
        env.find_map(|layer| look_up(layer, name))
    }

    /// Records a bad value. `label` is its name where it is no setting but the key of a table.
    pub(super) fn refuse(
        &mut self,
        spec: &SettingSpec,
        found: &FoundValue,
        label: Option<&str>,
        wrong: &SettingError,
    ) {
        let shown = match spec.redacted(&found.value) {
            hidden if hidden.contains(MASK) => "the value".into(),
            shown => format!("{shown:?}"),
        };
        let origin = match label {
            Some(_) => String::new(),
            None => format!(" (from {})", self.origin(found.source)),
        };
        let text = format!("{shown}{origin} {wrong}; wanted: {}", spec.kind);
        self.problems.push(Problem { name: label.unwrap_or(found.name).into(), text });
    }

    /// A source in words, as problems name it.
    pub(super) fn origin(&self, source: Source) -> &'a str {
        match source {
            Source::Flag => "a flag",
            Source::Env => "the environment",
            Source::File => self.file.unwrap_or("the settings file"),
            Source::Cgroup => "the memory limit of the control group",
            Source::Default => "the defaults",
        }
    }

    pub(super) fn complain(&mut self, name: &str, text: impl Into<String>) {
        self.problems.push(Problem { name: name.into(), text: text.into() });
    }

    pub(super) fn warn(&mut self, name: &str, text: String) {
        let warning = Warning { name: name.into(), text };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Warns when another name of the same setting has another value in the same source.
    pub(super) fn warn_of_disagreement(&mut self, spec: &'static SettingSpec, found: &FoundValue) {
        if found.source == Source::Default {
            return;
        }
        let layers = self.layers;
        for layer in layers.iter().filter(|layer| layer.source == found.source) {
            for name in spec.names().filter(|name| *name != found.name) {
                if look_up(layer, name).is_some_and(|other| other != found.value) {
                    let text = format!(
                        "{name} is set too, to something else (both in {}); {} is used",
                        self.origin(found.source),
                        found.name
                    );
                    self.warn(found.name, text);
                }
            }
        }
    }
}

fn look_up(layer: &Layer<'_>, name: &str) -> Option<String> {
    let value = (layer.lookup)(name)?;
    let trimmed = value.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

pub(super) fn spec_of(name: &'static str) -> &'static SettingSpec {
    SETTINGS.iter().find(|spec| spec.name == name).expect("every name that is read is in the table")
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
