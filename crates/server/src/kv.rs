//! `kv`: backup and restore of the key-value store.
//!
//! The file format is that of Workers KV bulk files, so that a store can move to the edge and back:
//! `[{"key":…,"value":…,"expiration":…,"metadata":…}]`, with `"base64":true` where the value is not text.
//! The metadata names the format's version, so that a later form is refused and not misread; exports of
//! earlier versions have none, and are of the first one.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use code_assist_core::settings::{KvUrl, Settings};
use code_assist_core::{StoreError, Timestamp};
use serde_json::{Map, Value, json};

use crate::cli::KvTask;
use crate::store::{Clock, Entry, Store};
use crate::{CommandError, print, private_file};

/// Runs one of the commands.
pub(crate) async fn run(task: KvTask, settings: &Settings) -> Result<(), CommandError> {
    run_task(task, settings).await.map_err(CommandError::runtime)
}

/// Why a command failed. The texts show no value of an entry.
#[derive(Debug, thiserror::Error)]
enum KvError {
    #[error("KV_URL is memory:, so there is nothing outside a running proxy; set KV_URL")]
    MemoryOnly,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Import { path: PathBuf, source: ImportError },
}

/// Why a file cannot be imported.
#[derive(Debug, PartialEq, thiserror::Error)]
enum ImportError {
    /// serde's own message is left out, since it quotes what it found.
    #[error("is not a JSON array (line {line}, column {column})")]
    NotAnArray { line: usize, column: usize },
    #[error("{}", in_lines(.0))]
    Entries(Vec<(usize, EntryError)>),
}

/// What is wrong with one entry of a file.
#[derive(Debug, PartialEq, thiserror::Error)]
enum EntryError {
    #[error("its key is there already")]
    Duplicate,
    #[error("is not an object")]
    NotAnObject,
    #[error("has no {0:?} that is a string")]
    NotAString(&'static str),
    #[error("has a bad base64 \"value\"")]
    BadBase64,
    #[error("has a \"base64\" that is not a boolean")]
    NotABoolean,
    #[error("has an {0:?} that is not a whole number of seconds")]
    NotSeconds(&'static str),
    #[error("has an unknown field {0:?}")]
    UnknownField(String),
    #[error(
        "was exported in format {0} by a later version of code-assist-proxy, and this version reads \
         formats up to {FORMAT}: import it with that version"
    )]
    NewerFormat(Value),
}

/// The version of the export's form, and its name in the metadata.
const FORMAT: u64 = 1;
const FORMAT_KEY: &str = "code_assist_proxy_format";

fn in_lines(problems: &[(usize, EntryError)]) -> String {
    let lines: Vec<_> =
        problems.iter().map(|(number, problem)| format!("entry {number}: {problem}")).collect();
    lines.join("\n  ")
}

async fn run_task(task: KvTask, settings: &Settings) -> Result<(), KvError> {
    if settings.kv_url == KvUrl::Memory {
        return Err(KvError::MemoryOnly);
    }
    // A file to import is checked before the store is opened.
    let now = Clock::system().now();
    let import = match &task {
        KvTask::Import { file } => Some(read_import(file, now)?),
        KvTask::Clear { .. } | KvTask::Export { .. } | KvTask::List => None,
    };
    let (store, notice) = Store::open_only(settings).await?;
    if let Some(notice) = notice {
        crate::warn(&notice);
    }
    match task {
        KvTask::Export { file } => export(&store, file.as_deref()).await,
        KvTask::Import { file } => restore(&store, import.unwrap_or_default(), &file).await,
        KvTask::List => list(&store, now).await,
        KvTask::Clear { usage } => clear(&store, usage).await,
    }
}

async fn export(store: &Store, file: Option<&Path>) -> Result<(), KvError> {
    let entries = store.entries().await?;
    let count = entries.len();
    let rows: Vec<Value> = entries.iter().map(row).collect();
    let mut text = format!("{:#}", Value::Array(rows));
    text.push('\n');
    let Some(path) = file else {
        print(&text);
        return Ok(());
    };
    private_file::replace(path, text.as_bytes())
        .map_err(|source| KvError::File { path: path.to_path_buf(), source })?;
    print(&format!("{count} entries written to {}\n", path.display()));
    Ok(())
}

async fn restore(store: &Store, import: Import, file: &Path) -> Result<(), KvError> {
    let count = import.entries.len();
    store.restore(import.entries).await?;
    let expired = match import.expired {
        0 => String::new(),
        left_out => format!(", {left_out} left out because they have expired"),
    };
    print(&format!("{count} entries read from {}{expired}\n", file.display()));
    Ok(())
}

async fn list(store: &Store, now: Timestamp) -> Result<(), KvError> {
    let entries = store.entries().await?;
    let keys: Vec<String> = entries.iter().map(|entry| printable(&entry.key)).collect();
    let width = keys.iter().map(|key| key.chars().count()).max().unwrap_or(0).max("KEY".len());
    let mut text = format!("{:width$}  {:>10}  EXPIRES IN\n", "KEY", "BYTES");
    for (entry, key) in entries.iter().zip(keys) {
        let left = entry.expires_at.map_or_else(|| "never".into(), |at| in_words(now.until(at)));
        text += &format!("{key:width$}  {:>10}  {left}\n", entry.value.len());
    }
    print(&text);
    Ok(())
}

async fn clear(store: &Store, with_usage: bool) -> Result<(), KvError> {
    let count = store.clear().await?;
    print(&format!("{count} entries removed\n"));
    if with_usage {
        let rows = store.clear_usage().await?;
        print(&format!("{rows} rows of usage removed\n"));
    }
    Ok(())
}

fn row(entry: &Entry) -> Value {
    let mut row = Map::new();
    row.insert("key".into(), json!(entry.key));
    match std::str::from_utf8(&entry.value) {
        Ok(text) => {
            row.insert("value".into(), json!(text));
        }
        Err(_) => {
            row.insert("value".into(), json!(STANDARD.encode(&entry.value)));
            row.insert("base64".into(), json!(true));
        }
    }
    if let Some(at) = entry.expires_at {
        row.insert("expiration".into(), json!(at.0 / 1000));
    }
    row.insert("metadata".into(), json!({ FORMAT_KEY: FORMAT }));
    Value::Object(row)
}

/// The content of an import file.
#[derive(Debug, Default, PartialEq)]
struct Import {
    entries: Vec<Entry>,
    /// How many other entries have expired.
    expired: usize,
}

fn read_import(file: &Path, now: Timestamp) -> Result<Import, KvError> {
    let mut text = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut text).map(|_| ())
    } else {
        fs::read(file).map(|bytes| text = bytes)
    };
    let path = || file.to_path_buf();
    read.map_err(|source| KvError::File { path: path(), source })?;
    parse(&text, now).map_err(|source| KvError::Import { path: path(), source })
}

/// Parses the whole file, or returns all problems with it.
fn parse(text: &[u8], now: Timestamp) -> Result<Import, ImportError> {
    let rows: Vec<Value> = serde_json::from_slice(text)
        .map_err(|error| ImportError::NotAnArray { line: error.line(), column: error.column() })?;
    let mut import = Import::default();
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for (index, row) in rows.into_iter().enumerate() {
        let entry = match entry(row, now) {
            Ok(entry) if seen.insert(entry.key.clone()) => entry,
            Ok(_) => {
                problems.push((index + 1, EntryError::Duplicate));
                continue;
            }
            Err(problem) => {
                problems.push((index + 1, problem));
                continue;
            }
        };
        if entry.expires_at.is_some_and(|at| at <= now) {
            import.expired += 1;
        } else {
            import.entries.push(entry);
        }
    }
    if problems.is_empty() { Ok(import) } else { Err(ImportError::Entries(problems)) }
}

fn entry(row: Value, now: Timestamp) -> Result<Entry, EntryError> {
    let Value::Object(mut row) = row else {
        return Err(EntryError::NotAnObject);
    };
    let Some(Value::String(key)) = row.remove("key") else {
        return Err(EntryError::NotAString("key"));
    };
    let Some(Value::String(value)) = row.remove("value") else {
        return Err(EntryError::NotAString("value"));
    };
    let value = match row.remove("base64") {
        None | Some(Value::Null | Value::Bool(false)) => Bytes::from(value),
        Some(Value::Bool(true)) => {
            STANDARD.decode(value).map(Bytes::from).map_err(|_| EntryError::BadBase64)?
        }
        Some(_) => return Err(EntryError::NotABoolean),
    };
    let mut seconds = |name: &'static str| match row.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(number) => match number.as_u64() {
            Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
            None => Err(EntryError::NotSeconds(name)),
        },
    };
    let expires_at = match (seconds("expiration")?, seconds("expiration_ttl")?) {
        (Some(at), _) => Some(Timestamp(0) + at),
        (None, Some(ttl)) => Some(now + ttl),
        (None, None) => None,
    };
    // Entries of Workers KV may have metadata of any form, which this store does not keep.
    let metadata = row.remove("metadata").unwrap_or_default();
    if metadata.get(FORMAT_KEY).is_some_and(|format| format.as_u64().is_none_or(|it| it > FORMAT)) {
        return Err(EntryError::NewerFormat(metadata[FORMAT_KEY].clone()));
    }
    match row.keys().next() {
        None => Ok(Entry { key, value, expires_at }),
        Some(unknown) => Err(EntryError::UnknownField(unknown.clone())),
    }
}

/// Escapes control characters, so that a key fits on one line of a terminal.
fn printable(key: &str) -> String {
    if key.is_empty() {
        return "\"\"".into();
    }
    key.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

fn in_words(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_is_what_is_imported() {
        let entries = vec![
            Entry { key: String::new(), value: Bytes::new(), expires_at: None },
            Entry {
                key: "a\"\n".into(),
                value: Bytes::from_static(b"{\"x\":\"\xC3\xA9\"}"),
                expires_at: Some(Timestamp(NOW.0 + 5000)),
            },
            Entry { key: "b".into(), value: Bytes::from_static(b"\xFF\x00"), expires_at: None },
        ];
        let rows: Vec<Value> = entries.iter().map(row).collect();
        let metadata = json!({"code_assist_proxy_format": 1});
        let binary = json!({"key": "b", "value": "/wA=", "base64": true, "metadata": metadata});
        assert_eq!(rows[2], binary);
        assert_eq!(rows[1]["expiration"], json!(NOW.0 / 1000 + 5));
        let text = Value::Array(rows).to_string();
        assert_eq!(parse(text.as_bytes(), NOW), Ok(Import { entries, expired: 0 }));
    }

    #[test]
    fn every_bad_entry_is_reported_without_its_value() {
        let text = br#"[{"key":"fine","value":"hush"}, 7, {"value":"hush"}, {"key":"a","value":7},
            {"key":"b","value":"hush!","base64":true}, {"key":"c","value":"hush","expiration":-1},
            {"key":"fine","value":"hush"}, {"key":"d","value":"hush","hint":1}]"#;
        let all = parse(text, NOW).unwrap_err().to_string();
        assert_eq!(all.lines().count(), 7, "{all}");
        assert!(all.starts_with("entry 2: is not an object"), "{all}");
        assert!(all.contains("entry 7: its key is there already"), "{all}");
        assert!(all.contains("entry 8: has an unknown field \"hint\""), "{all}");
        assert!(!all.contains("hush"), "{all}");
        for bad in [&b"\"hush\""[..], b"[\"hush", b"", b"{\"hush\":1}"] {
            let error = parse(bad, NOW).unwrap_err().to_string();
            assert!(error.contains("is not a JSON array") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn an_export_without_a_version_is_imported_and_one_of_a_later_version_is_refused() {
        let of = |metadata: Value| {
            let row = json!([{"key": "a", "value": "hush", "metadata": metadata}]).to_string();
            parse(row.as_bytes(), NOW).map(|import| import.entries.len())
        };
        for fine in [Value::Null, json!({}), json!("any"), json!({"code_assist_proxy_format": 1})] {
            assert_eq!(of(fine.clone()), Ok(1), "{fine}");
        }
        for later in [json!(2), json!(1.5), json!("2.0")] {
            let error = of(json!({"code_assist_proxy_format": later})).unwrap_err().to_string();
            assert!(error.starts_with("entry 1: was exported in format"), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn expired_entries_are_left_out_and_a_time_to_live_counts_from_now() {
        let now = NOW.0 / 1000;
        let text = json!([
            {"key": "old", "value": "", "expiration": now},
            {"key": "new", "value": "", "expiration_ttl": 60, "metadata": {"by": "wrangler"}},
        ]);
        let import = parse(text.to_string().as_bytes(), NOW).unwrap();
        assert_eq!((import.expired, import.entries.len()), (1, 1));
        assert_eq!(import.entries[0].expires_at, Some(Timestamp(NOW.0 + 60_000)));
    }

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
}
