//! `kv`: backup and restore of the key-value store.
//!
//! The file form is that of Workers KV bulk files, so that a store can move to the edge and back:
//! `[{"key":…,"value":…,"expiration":…}]`, with `"base64":true` where the value is not text.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use code_assist_core::settings::{KvUrl, Settings};
use code_assist_core::time::Timestamp;
use serde_json::{Map, Value, json};

use crate::cli::KvTask;
use crate::store::{Clock, Entry, Store};
use crate::{Failure, print};

/// Runs one of the commands.
pub(crate) async fn run(task: KvTask, settings: &Settings) -> Result<(), Failure> {
    if settings.kv_url == KvUrl::Memory {
        let told = "KV_URL is memory:, so there is nothing outside a running proxy; set KV_URL";
        return Err(Failure::Runtime(told.into()));
    }
    // What is wrong with a file to import is told before the store is touched.
    let now = Clock::system().now();
    let import = match &task {
        KvTask::Import { file } => Some(read_import(file, now)?),
        KvTask::Clear | KvTask::Export { .. } | KvTask::List => None,
    };
    let opened = Store::open_only(settings).await;
    let (store, notice) = opened.map_err(|error| Failure::Runtime(error.to_string()))?;
    if let Some(notice) = notice {
        crate::warn(&notice);
    }
    let done = match task {
        KvTask::Export { file } => export(&store, file.as_deref()).await,
        KvTask::Import { file } => restore(&store, import.unwrap_or_default(), &file).await,
        KvTask::List => list(&store, now).await,
        KvTask::Clear => clear(&store).await,
    };
    done.map_err(Failure::Runtime)
}

async fn export(store: &Store, file: Option<&Path>) -> Result<(), String> {
    let entries = store.entries().await.map_err(|error| error.to_string())?;
    let count = entries.len();
    let rows: Vec<Value> = entries.iter().map(row).collect();
    let mut text = format!("{:#}", Value::Array(rows));
    text.push('\n');
    let Some(path) = file else {
        print(&text);
        return Ok(());
    };
    replace(path, text.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))?;
    print(&format!("{count} entries written to {}\n", path.display()));
    Ok(())
}

async fn restore(store: &Store, import: Import, file: &Path) -> Result<(), String> {
    let count = import.entries.len();
    store.restore(import.entries).await.map_err(|error| error.to_string())?;
    let expired = match import.expired {
        0 => String::new(),
        left_out => format!(", {left_out} left out because they have expired"),
    };
    print(&format!("{count} entries read from {}{expired}\n", file.display()));
    Ok(())
}

async fn list(store: &Store, now: Timestamp) -> Result<(), String> {
    let entries = store.entries().await.map_err(|error| error.to_string())?;
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

async fn clear(store: &Store) -> Result<(), String> {
    let count = store.clear().await.map_err(|error| error.to_string())?;
    print(&format!("{count} entries removed\n"));
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
    Value::Object(row)
}

/// What an import file holds.
#[derive(Debug, Default, PartialEq)]
struct Import {
    entries: Vec<Entry>,
    /// How many others have expired.
    expired: usize,
}

fn read_import(file: &Path, now: Timestamp) -> Result<Import, Failure> {
    let in_file = |wrong: String| Failure::Runtime(format!("{}: {wrong}", file.display()));
    let mut text = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut text).map(|_| ())
    } else {
        fs::read(file).map(|bytes| text = bytes)
    };
    read.map_err(|error| in_file(error.to_string()))?;
    parse(&text, now).map_err(|problems| in_file(problems.join("\n  ")))
}

/// Reads all of the file, or says everything that is wrong with it, without a value.
fn parse(text: &[u8], now: Timestamp) -> Result<Import, Vec<String>> {
    let rows: Vec<Value> = match serde_json::from_slice(text) {
        Ok(rows) => rows,
        Err(error) => {
            // The message of a type error quotes what it found.
            let place = format!("line {}, column {}", error.line(), error.column());
            return Err(vec![format!("is not a JSON array ({place})")]);
        }
    };
    let mut import = Import::default();
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for (index, row) in rows.into_iter().enumerate() {
        let entry = match entry(row, now) {
            Ok(entry) if seen.insert(entry.key.clone()) => entry,
            Ok(_) => {
                problems.push(format!("entry {}: its key is there already", index + 1));
                continue;
            }
            Err(wrong) => {
                problems.push(format!("entry {}: {wrong}", index + 1));
                continue;
            }
        };
        if entry.expires_at.is_some_and(|at| at <= now) {
            import.expired += 1;
        } else {
            import.entries.push(entry);
        }
    }
    if problems.is_empty() { Ok(import) } else { Err(problems) }
}

fn entry(row: Value, now: Timestamp) -> Result<Entry, String> {
    let Value::Object(mut row) = row else {
        return Err("is not an object".into());
    };
    let Some(Value::String(key)) = row.remove("key") else {
        return Err("has no \"key\" that is a string".into());
    };
    let Some(Value::String(value)) = row.remove("value") else {
        return Err("has no \"value\" that is a string".into());
    };
    let value = match row.remove("base64") {
        None | Some(Value::Null | Value::Bool(false)) => Bytes::from(value),
        Some(Value::Bool(true)) => {
            STANDARD.decode(value).map(Bytes::from).map_err(|_| "has a bad base64 \"value\"")?
        }
        Some(_) => return Err("has a \"base64\" that is not a boolean".into()),
    };
    let mut seconds = |name: &str| match row.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(number) => match number.as_u64() {
            Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
            None => Err(format!("has an {name:?} that is not a whole number of seconds")),
        },
    };
    let expires_at = match (seconds("expiration")?, seconds("expiration_ttl")?) {
        (Some(at), _) => Some(Timestamp(0) + at),
        (None, Some(ttl)) => Some(now + ttl),
        (None, None) => None,
    };
    // Workers KV has metadata on entries; we have no use for it.
    row.remove("metadata");
    match row.keys().next() {
        None => Ok(Entry { key, value, expires_at }),
        Some(unknown) => Err(format!("has an unknown field {unknown:?}")),
    }
}

/// Writes a file of mode 0600 in one step: whoever reads it sees the old content or the new.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::other("is not the name of a file"));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.tmp", std::process::id()));
    let draft: PathBuf = path.with_file_name(hidden);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&draft).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&draft, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&draft);
    }
    replaced
}

/// A key on one line of a terminal.
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
        assert_eq!(rows[2], json!({"key": "b", "value": "/wA=", "base64": true}));
        assert_eq!(rows[1]["expiration"], json!(NOW.0 / 1000 + 5));
        let text = Value::Array(rows).to_string();
        assert_eq!(parse(text.as_bytes(), NOW), Ok(Import { entries, expired: 0 }));
    }

    #[test]
    fn every_bad_entry_is_told_and_no_value() {
        let text = br#"[{"key":"fine","value":"hush"}, 7, {"value":"hush"}, {"key":"a","value":7},
            {"key":"b","value":"hush!","base64":true}, {"key":"c","value":"hush","expiration":-1},
            {"key":"fine","value":"hush"}, {"key":"d","value":"hush","hint":1}]"#;
        let problems = parse(text, NOW).unwrap_err();
        assert_eq!(problems.len(), 7, "{problems:#?}");
        let all = problems.join("\n");
        assert!(all.starts_with("entry 2: is not an object"), "{all}");
        assert!(all.contains("entry 7: its key is there already"), "{all}");
        assert!(all.contains("entry 8: has an unknown field \"hint\""), "{all}");
        assert!(!all.contains("hush"), "{all}");
        for bad in [&b"\"hush\""[..], b"[\"hush", b"", b"{\"hush\":1}"] {
            let told = parse(bad, NOW).unwrap_err().join("\n");
            assert!(told.contains("is not a JSON array") && !told.contains("hush"), "{told}");
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
