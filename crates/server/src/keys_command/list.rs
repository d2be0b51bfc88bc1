//! `keys list`: the keys that the settings let in.

use code_assist_core::settings::{AllowedProtocol, KeySettings, Settings};
use code_assist_core::{Timestamp, key_label};
use serde_json::{Map, Value, json};

use super::table::short;
use crate::print;
use crate::store::Clock;

pub(super) fn run(settings: &Settings, as_json: bool) {
    let now = Clock::system().now();
    let tables = settings.keys.iter().map(|key| Row::of_table(key, now));
    let plain = (1..).zip(&settings.api_keys);
    let plain = plain.map(|(number, key)| Row::plain(key_label(number, key).to_string()));
    let rows: Vec<Row> = tables.chain(plain).collect();
    print(&if as_json { json_of(&rows) } else { text_of(&rows) });
}

/// What is shown of one key.
#[derive(Debug)]
struct Row {
    id: String,
    /// The start of the digest. Keys of `PROXY_API_KEYS` may be short enough to be guessed, and a guess could
    /// be compared with it: they have none here.
    hash: Option<String>,
    models: Vec<String>,
    upstreams: Vec<String>,
    /// Names as in the table, and values as in JSON.
    limits: Vec<(&'static str, Value)>,
    expires: Option<Timestamp>,
    has_expired: bool,
    has_own_login: bool,
    protocol: Option<&'static str>,
    is_admin: bool,
    is_plain: bool,
}

impl Row {
    fn of_table(key: &KeySettings, now: Timestamp) -> Self {
        let limits = &key.limits;
        let whole = |limit: Option<u64>| limit.map(Value::from);
        let limits = [
            ("requests_per_minute", whole(key.requests_per_minute.map(u64::from))),
            ("tokens_per_minute", whole(limits.tokens_per_minute)),
            ("tokens_per_day", whole(limits.tokens_per_day)),
            ("tokens_per_month", whole(limits.tokens_per_month)),
            (
                "cost_per_month",
                limits.cost_per_month.and_then(|cost| serde_json::from_str(&cost.to_string()).ok()),
            ),
            ("max_concurrent", whole(limits.max_concurrent)),
        ];
        Self {
            id: key.id.to_string(),
            hash: Some(short(&key.digest.to_string())),
            models: key.models.iter().map(ToString::to_string).collect(),
            upstreams: key.upstreams.iter().map(ToString::to_string).collect(),
            limits: limits.into_iter().filter_map(|(name, limit)| Some((name, limit?))).collect(),
            expires: key.expires,
            has_expired: key.expires.is_some_and(|at| at <= now),
            has_own_login: key.own.is_some(),
            protocol: key.code_assist_protocol.map(AllowedProtocol::word),
            is_admin: key.admin,
            is_plain: false,
        }
    }

    fn plain(id: String) -> Self {
        Self {
            id,
            hash: None,
            models: Vec::new(),
            upstreams: Vec::new(),
            limits: Vec::new(),
            expires: None,
            has_expired: false,
            has_own_login: false,
            protocol: None,
            is_admin: false,
            is_plain: true,
        }
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let all = |names: &[String]| match names.is_empty() {
            true => "all".to_owned(),
            false => names.join(","),
        };
        let limits: Vec<String> =
            self.limits.iter().map(|(name, limit)| format!("{name}={limit}")).collect();
        let expires = match (self.expires, self.has_expired) {
            (None, _) => "never".to_owned(),
            (Some(at), false) => at.rfc3339(),
            (Some(at), true) => format!("{} EXPIRED", at.rfc3339()),
        };
        let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        [
            self.id.clone(),
            self.hash.clone().unwrap_or_else(|| "PROXY_API_KEYS".to_owned()),
            all(&self.models),
            all(&self.upstreams),
            expires,
            yes(self.has_own_login),
            yes(self.is_admin),
            match limits.is_empty() {
                true => "none".to_owned(),
                false => limits.join(" "),
            },
        ]
    }

    fn json(&self) -> Value {
        let limits: Map<String, Value> =
            self.limits.iter().map(|(name, limit)| ((*name).to_owned(), limit.clone())).collect();
        json!({
            "id": self.id,
            "from": if self.is_plain { "PROXY_API_KEYS" } else { "[[key]]" },
            "hash": self.hash,
            "models": self.models,
            "upstreams": self.upstreams,
            "limits": limits,
            "expires": self.expires.map(Timestamp::rfc3339),
            "expired": self.has_expired,
            "own_login": self.has_own_login,
            "code_assist_protocol": self.protocol,
            "admin": self.is_admin,
        })
    }
}

fn text_of(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "There are no keys. `code-assist-proxy keys new ID --append` makes one.\n"
            .to_owned();
    }
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let mut widths = COLUMNS.map(|title| title.chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    let titles = line(&COLUMNS.map(str::to_owned));
    std::iter::once(titles).chain(cells.iter().map(|row| line(row))).collect()
}

fn json_of(rows: &[Row]) -> String {
    let keys: Vec<Value> = rows.iter().map(Row::json).collect();
    format!("{:#}\n", json!({ "keys": keys }))
}

/// The limits come last, since they are long.
const COLUMNS: [&str; 8] =
    ["ID", "HASH", "MODELS", "UPSTREAMS", "EXPIRES", "OWN LOGIN", "ADMIN", "LIMITS"];
