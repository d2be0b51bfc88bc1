//! What is known of a setting: its names, its default, its range and its secrecy.

use std::fmt;

/// One setting. It has the same name as environment variable, as flag and as key of the file.
#[derive(Debug, Clone, Copy)]
pub struct SettingSpec {
    /// The name of the environment variable. The TOML key is in lower case, the flag in kebab case.
    pub name: &'static str,
    /// Other names, which are used when `name` is unset in the same source.
    pub aliases: &'static [&'static str],
    /// The default as an operator would write it; empty where there is none.
    pub default: &'static str,
    /// The values that are accepted.
    pub kind: Kind,
    /// The meaning, in one line.
    pub doc: &'static str,
    /// The heading in the reference.
    pub group: Group,
    /// How much of the value may be shown.
    pub secrecy: Secrecy,
    /// A value without a character counts as unset. False for a setting that protects something: an
    /// empty value, such as that of a variable that a template did not fill in, is then a problem.
    pub may_be_blank: bool,
}

impl SettingSpec {
    /// The name as a command-line flag, without the dashes. Secrets have no flag: `ps` shows flags.
    pub fn flag(&self) -> Option<String> {
        (self.secrecy != Secrecy::Secret).then(|| self.name.to_lowercase().replace('_', "-"))
    }

    /// The first name, then the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    pub(super) const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn never_blank(mut self) -> Self {
        self.may_be_blank = false;
        self
    }

    pub(super) const fn login(mut self) -> Self {
        self.secrecy = Secrecy::Login;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secrecy = Secrecy::Secret;
        self
    }
}

/// A setting without aliases whose value is no secret and may be blank.
pub(super) const fn setting(
    group: Group,
    name: &'static str,
    default: &'static str,
    kind: Kind,
    doc: &'static str,
) -> SettingSpec {
    let secrecy = Secrecy::Open;
    SettingSpec { name, aliases: &[], default, kind, doc, group, secrecy, may_be_blank: true }
}

/// The values that a setting accepts. `Display` is the range as problems and documentation name it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A number of bytes, plain or with a binary unit, bounds included.
    Bytes {
        /// The lowest value.
        min: u64,
        /// The highest value.
        max: u64,
    },
    /// One of a few words, in any case.
    Choice(&'static [&'static str]),
    /// A number with or without a fraction, bounds included.
    Decimal {
        /// The lowest value.
        min: f64,
        /// The highest value.
        max: f64,
    },
    /// True or false.
    Switch,
    /// A text of the described form.
    Text(&'static str),
    /// A whole number, bounds included.
    Whole {
        /// The lowest value.
        min: u64,
        /// The highest value.
        max: u64,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes { min, max } => {
                write!(f, "{min} to {max} bytes, also as `64MiB` (KiB, MiB, GiB)")
            }
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Self::Decimal { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Switch => write!(f, "true or false (also 1/0, yes/no)"),
            Self::Text(form) => f.write_str(form),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
        }
    }
}

/// How much of a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// All but the login in a URL.
    Login,
    /// Nothing.
    Secret,
}

/// A heading of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Listen address, keys and origins.
    Access,
    /// The account of Code Assist.
    Credentials,
    /// What clients speak.
    Dialects,
    /// The public Gemini API.
    GeminiApi,
    /// Sizes, wait queue, repeated requests, shutdown.
    Limits,
    /// Log lines.
    Logging,
    /// Model names.
    Models,
    /// Outgoing proxies and certificate authorities.
    Network,
    /// Retries and circuit breaker.
    Resilience,
    /// The key-value store.
    Store,
    /// Tokens and project.
    Tokens,
    /// Spans of requests.
    Tracing,
    /// Google's endpoints and the timeouts.
    Upstream,
    /// Which accounts are used.
    Upstreams,
    /// Vertex AI.
    Vertex,
}

impl Group {
    /// The headings in the order of the reference.
    pub const ALL: &'static [Self] = &[
        Self::Access,
        Self::Upstreams,
        Self::Credentials,
        Self::Tokens,
        Self::GeminiApi,
        Self::Vertex,
        Self::Store,
        Self::Upstream,
        Self::Models,
        Self::Dialects,
        Self::Resilience,
        Self::Limits,
        Self::Logging,
        Self::Tracing,
        Self::Network,
    ];

    /// The heading in words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Access => "Listening and access",
            Self::Credentials => "Credentials of Code Assist",
            Self::Dialects => "Dialects",
            Self::GeminiApi => "Gemini API",
            Self::Limits => "Limits, repeated requests and shutdown",
            Self::Logging => "Logging",
            Self::Models => "Models",
            Self::Network => "Outgoing network",
            Self::Resilience => "Retries and circuit breaker",
            Self::Store => "Key-value store",
            Self::Tokens => "Tokens and project",
            Self::Tracing => "Tracing",
            Self::Upstream => "Upstream",
            Self::Upstreams => "Upstreams and failover",
            Self::Vertex => "Vertex AI",
        }
    }
}

pub(super) const MINUTE_MS: u64 = 60_000;
pub(super) const GIBIBYTE: u64 = 1 << 30;
pub(super) const MEBIBYTE: u64 = 1 << 20;
