//! The fields of `[[key]]` and `[[price]]` tables. The reader and the documentation follow these lists.

use std::fmt;

use crate::settings::AllowedProtocol;
use crate::settings::spec::{Group, Kind, SettingSpec, setting};

/// A field of a table in the TOML file.
#[derive(Debug, Clone, Copy)]
pub struct TableField {
    /// The name.
    pub name: &'static str,
    /// The values that are accepted.
    pub kind: FieldKind,
    /// The meaning, in one line.
    pub doc: &'static str,
    /// Whether every table must have it.
    pub is_needed: bool,
}

/// The values that a field accepts. `Display` is the range as problems and documentation name it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldKind {
    /// A number with or without a fraction, from 0.
    Amount {
        /// The highest value.
        max: u32,
    },
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A list of strings of the described form.
    List(&'static str),
    /// A table of strings of the described form.
    Map(&'static str),
    /// True or false.
    Switch,
    /// A string of the described form.
    Text(&'static str),
    /// As `Text`, and the whole string matches a regular expression.
    Form(&'static str, &'static str),
    /// A point in time.
    Time,
    /// A whole number, from 0.
    Whole {
        /// The highest value.
        max: u64,
    },
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amount { max } => write!(f, "a number from 0 to {max}"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Self::List(form) => write!(f, "a list of {form}"),
            Self::Map(form) => write!(f, "a table of {form}"),
            Self::Switch => f.write_str("true or false"),
            Self::Text(form) | Self::Form(form, _) => f.write_str(form),
            Self::Time => f.write_str("a time with its zone, as 2027-01-31T00:00:00Z"),
            Self::Whole { max } => write!(f, "a whole number from 0 to {max}"),
        }
    }
}

const fn field(name: &'static str, kind: FieldKind, doc: &'static str) -> TableField {
    TableField { name, kind, doc, is_needed: false }
}

impl TableField {
    const fn needed(mut self) -> Self {
        self.is_needed = true;
        self
    }
}

/// The fields of a `[[key]]` table.
pub const KEY_FIELDS: &[TableField] = &[
    field(
        "id",
        FieldKind::Form(
            "at most 32 of a-z, 0-9, `-` and `_`, the first no sign",
            "^[a-z0-9][a-z0-9_-]{0,31}$",
        ),
        "The holder's name in logs, metrics and usage. Tables with the same one are several keys of one \
         holder, and share the counts of their limits.",
    )
    .needed(),
    field(
        "hash",
        FieldKind::Form(
            "`sha256:` and the 64 hexadecimal digits of the key's SHA-256",
            "^sha256:[0-9a-fA-F]{64}$",
        ),
        "The digest of the key. A table has this or `key`.",
    ),
    field(
        "key",
        FieldKind::Form("visible ASCII", "^[!-~]+$"),
        "The key itself, in place of `hash`. Accepted with a warning, since it is a secret in a file.",
    ),
    field(
        "models",
        FieldKind::List("model names, where `*` stands for any text"),
        "The only models that the key may use, by the names that upstream knows. Default: all.",
    ),
    field(
        "upstreams",
        FieldKind::List("names of upstreams in use"),
        "The only upstreams for the key, in order of preference. Default: all, in the order of `UPSTREAMS`.",
    ),
    field(
        "requests_per_minute",
        FieldKind::Whole { max: 1_000_000 },
        "Requests in any sixty seconds; 0 is no limit.",
    ),
    field(
        "tokens_per_minute",
        FieldKind::Whole { max: MOST_TOKENS },
        "Tokens in any sixty seconds, of prompts, answers and thoughts; 0 is no limit.",
    ),
    field(
        "tokens_per_day",
        FieldKind::Whole { max: MOST_TOKENS },
        "Tokens a day (UTC); 0 is no limit.",
    ),
    field(
        "tokens_per_month",
        FieldKind::Whole { max: MOST_TOKENS },
        "Tokens a month (UTC); 0 is no limit.",
    ),
    field(
        "cost_per_month",
        FieldKind::Amount { max: 1_000_000_000 },
        "Cost a month (UTC), in the currency of the `[[price]]` tables, which must cover every model that \
         the key may use; 0 is no limit.",
    ),
    field(
        "max_concurrent",
        FieldKind::Whole { max: 100_000 },
        "Requests in flight, a stream until it ends; further ones wait. 0 is no limit.",
    ),
    field("expires", FieldKind::Time, "The key is refused from then on."),
    field(
        "credentials",
        FieldKind::Text("the path of an `oauth_creds.json`, or its JSON"),
        "The holder's own login with Code Assist, with which the requests go out.",
    ),
    field(
        "project",
        FieldKind::Text("a Google Cloud project id, not a number"),
        "The project of `credentials`. Default: discovered from that account.",
    ),
    field(
        "code_assist_protocol",
        FieldKind::Choice(&AllowedProtocol::WORDS),
        "As `CODE_ASSIST_PROTOCOL`, for this key.",
    ),
    field(
        "admin",
        FieldKind::Switch,
        "Whether the key may read metrics, detailed health and the usage of every key. Default: false.",
    ),
];

/// The fields of a `[[price]]` table.
pub const PRICE_FIELDS: &[TableField] = &[
    field(
        "model",
        FieldKind::Text("a model's name, where `*` stands for any text"),
        "The models with this price, by the names that upstream knows. The first table that matches counts.",
    )
    .needed(),
    field(
        "input",
        FieldKind::Amount { max: HIGHEST_PRICE },
        "Per million tokens of prompts that were not cached.",
    )
    .needed(),
    field(
        "cached",
        FieldKind::Amount { max: HIGHEST_PRICE },
        "Per million cached tokens of prompts. Default: as `input`.",
    ),
    field(
        "output",
        FieldKind::Amount { max: HIGHEST_PRICE },
        "Per million tokens of answers, thoughts included.",
    )
    .needed(),
];

/// The tables as a setting, for containers and Workers.
pub const PROXY_KEYS_JSON: SettingSpec = setting(
    Group::Access,
    "PROXY_KEYS_JSON",
    "",
    Kind::Text("a JSON object `{\"key\":[{…}],\"price\":[{…}]}`"),
    "The `[[key]]` and `[[price]]` tables as JSON, for containers and Workers. Not together with such \
     tables in the file. Set and empty is an error.",
)
.secret()
.never_blank();

const MOST_TOKENS: u64 = 1_000_000_000_000_000;

const HIGHEST_PRICE: u32 = 1_000_000;
