//! The arguments of `keys …`. Flags of limits take what the keys of a `[[key]]` table take.

use clap::{Args, Subcommand};
use code_assist_core::Day;
use code_assist_core::settings::AllowedProtocol;
use toml::Value;
use toml::value::{Datetime, Offset, Time};

#[derive(Debug, Args)]
pub(crate) struct KeysArguments {
    #[command(subcommand)]
    pub(crate) task: KeysTask,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysTask {
    /// Make a key for a person or a program, and the `[[key]]` table that lets it in
    ///
    /// Prints the key once, on a line of its own. Only its digest is in the table, and the key is stored
    /// nowhere. For an ID that exists it makes a second key, with the settings of the first one but
    /// for those given here, so that the first one can be replaced without a pause.
    #[command(after_help = NEW_FOOT, after_long_help = NEW_FOOT)]
    New(Box<NewKey>),
    /// Show the keys that the settings let in, and what each may do, without a secret
    #[command(after_help = LIST_FOOT, after_long_help = LIST_FOOT)]
    List {
        /// Print one JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Show what keys have used
    ///
    /// Asks the proxy that runs on this machine with the same key-value store; without one, reads the
    /// store itself. A store in Redis is read there. Days are UTC.
    #[command(after_help = USAGE_FOOT, after_long_help = USAGE_FOOT)]
    Usage(UsageArguments),
}

#[derive(Debug, Args)]
pub(crate) struct UsageArguments {
    /// Only the usage of this key [default: all keys]
    pub(crate) id: Option<String>,
    /// The first day, such as 2026-11-01 [default: the first of the month]
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub(crate) since: Option<Day>,
    /// The last day [default: today]
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub(crate) until: Option<Day>,
    /// Sum by one of these [default: a row for each key, model and day]
    #[arg(long, value_name = "key|model|day", value_parser = ["key", "model", "day"])]
    pub(crate) by: Option<String>,
    /// Print JSON, as /usage answers
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print CSV, as /usage answers
    #[arg(long)]
    pub(crate) csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// The name of the person or program in logs, metrics and usage
    pub(crate) id: String,
    /// Models that the key may use, where * stands for any text [default: all]
    #[arg(long, value_name = "MODEL,…", value_delimiter = ',')]
    pub(crate) models: Option<Vec<String>>,
    /// Upstreams for the key, in this order [default: all, in the order of UPSTREAMS]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) upstreams: Option<Vec<String>>,
    /// Requests within any sixty seconds; 0 is no limit, here and below
    #[arg(long, value_name = "N", value_parser = whole, allow_hyphen_values = true)]
    pub(crate) requests_per_minute: Option<Value>,
    /// Tokens within any sixty seconds
    #[arg(long, value_name = "N", value_parser = whole, allow_hyphen_values = true)]
    pub(crate) tokens_per_minute: Option<Value>,
    /// Tokens of a day in UTC
    #[arg(long, value_name = "N", value_parser = whole, allow_hyphen_values = true)]
    pub(crate) tokens_per_day: Option<Value>,
    /// Tokens of a calendar month in UTC
    #[arg(long, value_name = "N", value_parser = whole, allow_hyphen_values = true)]
    pub(crate) tokens_per_month: Option<Value>,
    /// Cost of a calendar month in UTC, in the currency of the `[[price]]` tables
    #[arg(long, value_name = "X", value_parser = amount, allow_hyphen_values = true)]
    pub(crate) cost_per_month: Option<Value>,
    /// Requests at the same time; further ones wait
    #[arg(long, value_name = "N", value_parser = whole, allow_hyphen_values = true)]
    pub(crate) max_concurrent: Option<Value>,
    /// When the key ends: 2027-01-31T18:00:00Z, or 2027-01-31 for the beginning of that day in UTC
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) expires: Option<Value>,
    /// The file with the holder's own Google login (oauth_creds.json): requests go out with it
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub(crate) credentials: Option<String>,
    /// The project for the holder's own login
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// What the key may call of Code Assist's own protocol [default: CODE_ASSIST_PROTOCOL]
    #[arg(
        long,
        value_name = "off|generate|all",
        value_parser = AllowedProtocol::WORDS
    )]
    pub(crate) code_assist_protocol: Option<String>,
    /// The key may read the usage of all keys, metrics and detailed health
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) admin: Option<bool>,
    /// Write the table to the end of the TOML file: --config, else the default one
    #[arg(long)]
    pub(crate) append: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads one value as TOML does.
fn toml(text: &str) -> Option<Value> {
    let text = text.trim();
    if text.contains(['\n', '\r', '#']) {
        return None;
    }
    format!("value = {text}").parse::<toml::Table>().ok()?.remove("value")
}

fn whole(text: &str) -> Result<Value, String> {
    match toml(text) {
        Some(Value::Integer(number)) if number >= 0 => Ok(Value::Integer(number)),
        _ => Err("must be a whole number of at least 0, such as 200000".to_owned()),
    }
}

fn amount(text: &str) -> Result<Value, String> {
    match toml(text) {
        Some(Value::Integer(number)) if number >= 0 => Ok(Value::Integer(number)),
        Some(Value::Float(number)) if number >= 0.0 && number.is_finite() => {
            Ok(Value::Float(number))
        }
        _ => Err("must be a number of at least 0, such as 50 or 12.5".to_owned()),
    }
}

fn time(text: &str) -> Result<Value, String> {
    let midnight = Time { hour: 0, minute: 0, second: 0, nanosecond: 0 };
    match text.trim().parse::<Datetime>() {
        Ok(Datetime { date: Some(date), time: None, offset: None }) => {
            Ok(Value::Datetime(Datetime {
                date: Some(date),
                time: Some(midnight),
                offset: Some(Offset::Z),
            }))
        }
        Ok(at @ Datetime { date: Some(_), time: Some(_), offset: Some(_) }) => {
            Ok(Value::Datetime(at))
        }
        _ => Err("must be a day, such as 2027-01-31, or a time with its offset from UTC, such as \
             2027-01-31T18:00:00Z"
            .to_owned()),
    }
}

/// Reads a day, or the day in UTC of a time.
fn day(text: &str) -> Result<Day, String> {
    Day::of_text(text.trim()).ok_or_else(|| "must be a day in UTC, such as 2026-11-01".to_owned())
}

fn path(text: &str) -> Result<String, String> {
    match text.contains(['{', '\n']) {
        // The value itself stays out of the message.
        true => Err("must be the path of a file: every user of this machine can see flags (`ps`)"
            .to_owned()),
        false => Ok(text.to_owned()),
    }
}

const NEW_FOOT: &str = "\
Examples:
  code-assist-proxy keys new ada --append
  code-assist-proxy keys new ci --models 'gemini-2.5-flash*' --tokens-per-day 2000000 --expires 2027-01-31
  code-assist-proxy keys new ada --credentials /etc/code-assist-proxy/ada.json --append
  KEY=$(code-assist-proxy keys new ada --append --json | jq -r .key)

A running proxy takes the key after a reload (SIGHUP, `systemctl reload`).
Every setting is a flag here too, but for --upstreams and --code-assist-protocol, which are the key's;
`code-assist-proxy serve --help` lists them.

Exit codes: 0 ok, 1 failure, 2 bad usage or settings.";

const LIST_FOOT: &str = "\
Every setting is a flag here too; `code-assist-proxy serve --help` lists them.

Exit codes: 0 ok, 1 failure, 2 bad usage or settings.";

const USAGE_FOOT: &str = "\
Examples:
  code-assist-proxy keys usage --by key
  code-assist-proxy keys usage ada --since 2026-10-01 --until 2026-10-31 --by model
  code-assist-proxy keys usage --since 2026-10-01 --until 2026-10-31 --csv > october.csv

Every setting is a flag here too; `code-assist-proxy serve --help` lists them.

Exit codes: 0 ok, 1 failure, 2 bad usage or settings.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_toml() {
        for (text, number) in [("0", 0), ("2_000_000", 2_000_000), (" 0x10 ", 16)] {
            assert_eq!(whole(text), Ok(Value::Integer(number)), "{text}");
        }
        for bad in ["", "-1", "1.5", "many", "\"1\"", "1 # 2", "1\nadmin = true", "[1]"] {
            assert!(whole(bad).is_err(), "{bad}");
        }
        assert_eq!(amount("12.5"), Ok(Value::Float(12.5)));
        assert_eq!(amount("50"), Ok(Value::Integer(50)));
        for bad in ["-0.1", "nan", "inf", "€5", ""] {
            assert!(amount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_day_begins_at_midnight_in_utc_and_a_time_needs_its_offset() {
        let read = |text: &str| time(text).map(|value| value.to_string());
        assert_eq!(read("2027-01-31").unwrap(), "2027-01-31T00:00:00Z");
        assert_eq!(read("2027-01-31T18:00:00+02:00").unwrap(), "2027-01-31T18:00:00+02:00");
        for bad in ["2027-01-31T18:00:00", "18:00:00", "2027-02-30", "tomorrow", "", "1"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_stands_for_its_day_in_utc() {
        let read = |text: &str| day(text).map(|day| day.to_string());
        assert_eq!(read("2026-11-01").as_deref(), Ok("2026-11-01"));
        assert_eq!(read("2026-11-05T23:30:00-05:00").as_deref(), Ok("2026-11-06"));
        for bad in ["", "2026-13-01", "yesterday", "1"] {
            assert!(day(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_login_is_named_by_its_path_since_flags_can_be_seen() {
        assert_eq!(path("~/ada.json").as_deref(), Ok("~/ada.json"));
        let refused = path("{\"refresh_token\":\"hush\"}").unwrap_err();
        assert!(!refused.contains("hush"), "{refused}");
    }
}
