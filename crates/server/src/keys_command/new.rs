//! `keys new`: makes a key and its table.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use code_assist_core::settings::Problem;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use toml::Table;

use super::arguments::NewKey;
use super::file::{KeyFile, KeyFileError, ModeChange};
use super::table::{NewTable, has_passed, hash, new_key, short};
use crate::CommandError;
use crate::sources::Sources;

pub(super) fn run(arguments: &NewKey, sources: &Sources) -> Result<(), CommandError> {
    let place = sources.config_path();
    let file = match (&place, arguments.append) {
        (Some(place), true) => KeyFile::open(&place.path),
        (None, true) => Err(KeyFileError::NoPlace),
        (Some(place), false) => KeyFile::read(&place.path),
        (None, false) => KeyFile::read(Path::new("config.toml")),
    };
    let file = file.map_err(CommandError::runtime)?;

    let key = new_key();
    let hash = hash(key.expose_secret());
    let others = file.tables_of(arguments.id.trim());
    let table = NewTable::new(arguments, &hash, others.last());
    let text = file.with(&table.text());
    let (settings, _) = sources.read_text(&file.path, &text).map_err(|problems| {
        let number =
            text.parse::<Table>().ok().and_then(|file| Some(file.get("key")?.as_array()?.len()));
        CommandError::Settings(with_outcome(problems, number))
    })?;
    let mode_change = match arguments.append {
        true => file.replace(&text).map_err(CommandError::runtime)?,
        false => None,
    };
    let is_first = others.is_empty() && settings.number_of_keys() == 1;
    let made = MadeKey {
        key,
        hash,
        table,
        others,
        file: place.map(|place| place.path),
        is_appended: arguments.append,
        mode_change,
        is_first,
    };
    let shown = if arguments.json { made.as_json() } else { made.as_text() };
    let mut out = io::stdout().lock();
    let printed = out.write_all(shown.expose_secret().as_bytes()).and_then(|()| out.flush());
    printed.map_err(|error| {
        let table = match made.is_appended {
            true => format!(": remove the table with hash = \"{}\" from the file", made.hash),
            false => String::new(),
        };
        CommandError::runtime(format!("the key could not be printed, and is lost{table} ({error})"))
    })
}

/// Says after the problems what has become of the command. `number` is the place of the new table among
/// the file's, which problems name.
fn with_outcome(mut problems: Vec<Problem>, number: Option<usize>) -> Vec<Problem> {
    let place = number.map(|number| format!("; the new table would be [[key]] {number}"));
    let text = format!("no key was made, and nothing was written{}", place.unwrap_or_default());
    problems.push(Problem { name: "keys new".to_owned(), text });
    problems
}

/// A key that was made, and what its operator has to know.
struct MadeKey {
    key: SecretString,
    hash: String,
    table: NewTable,
    /// The tables that have the same `id`.
    others: Vec<Table>,
    file: Option<PathBuf>,
    is_appended: bool,
    mode_change: Option<ModeChange>,
    /// No other key exists.
    is_first: bool,
}

impl MadeKey {
    fn as_text(&self) -> SecretString {
        let key = self.key.expose_secret();
        let mut text = format!(
            "The key of {}. It is shown this once, and is stored nowhere:\n\n{key}\n\n",
            self.id()
        );
        let file = self.file_name();
        match self.is_appended {
            true => text.push_str(&format!("This table is now at the end of {file}:\n\n")),
            false => text.push_str(&format!(
                "Put this table at the end of {file} (--append does that):\n\n"
            )),
        }
        text.push_str(&self.table.shown());
        for note in self.notes() {
            text.push_str(&format!("\n{note}\n"));
        }
        text.into()
    }

    fn as_json(&self) -> SecretString {
        let others: Vec<String> = self.other_keys();
        let json = json!({
            "id": self.id(),
            "key": self.key.expose_secret(),
            "hash": self.hash,
            "table": self.table.shown(),
            "file": self.file,
            "appended": self.is_appended,
            "other_keys": others,
            "notes": self.notes(),
        });
        format!("{json:#}\n").into()
    }

    fn notes(&self) -> Vec<String> {
        let file = self.file_name();
        let mut notes = Vec::new();
        if self.table.holds_a_login() {
            notes.push(match self.is_appended {
                true => "The login in credentials is not shown here; it was copied from the older \
                         table."
                    .to_owned(),
                false => "Replace *** by the login in the older table.".to_owned(),
            });
        }
        if let Some(expires) = self.table.get("expires").filter(|at| has_passed(at)) {
            notes.push(format!("The key has expired already: {expires} has passed."));
        }
        let others = self.other_keys();
        if !others.is_empty() {
            let id = self.id();
            let (keys, them, tables) = match others.len() {
                1 => ("another key", "it", "its table"),
                _ => ("other keys", "them", "their tables"),
            };
            let hashes = others.join(", ");
            notes.push(format!(
                "{id} has {keys}: {hashes}. All work, and the limits of {id} count for them together. \
                 What was not given here is as in the last of their tables. To replace {them}: give \
                 {id} the new key, wait until it is in use, remove {tables} from {file}, and reload."
            ));
        }
        if let Some(ModeChange { before, after }) = self.mode_change {
            notes.push(format!(
                "The mode of {file} was {before:04o} and is {after:04o} now, since it may hold \
                 secrets. A proxy that runs as another user must be able to read it: give it the file, \
                 or a group of its own and mode 0640."
            ));
        }
        if self.is_first {
            notes.push(
                "It is the only key: once the proxy has it, every request needs a key.".to_owned(),
            );
        }
        notes.push(
            "A running proxy takes the key after a reload: systemctl reload code-assist-proxy, or \
             kill -HUP and the number of its process."
                .to_owned(),
        );
        notes
    }

    fn id(&self) -> &str {
        self.table.get("id").and_then(toml::Value::as_str).unwrap_or_default()
    }

    fn file_name(&self) -> String {
        let file = self.file.as_ref().map(|file| file.display().to_string());
        file.unwrap_or_else(|| "the TOML file".to_owned())
    }

    /// The starts of the digests of the other keys.
    fn other_keys(&self) -> Vec<String> {
        let hash_of = |table: &Table| {
            let text = |name| table.get(name).and_then(toml::Value::as_str);
            Some(text("hash").map_or_else(|| text("key").map(hash), |hash| Some(hash.to_owned())))?
        };
        self.others.iter().filter_map(hash_of).map(|hash| short(&hash)).collect()
    }
}
