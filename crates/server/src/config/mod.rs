//! The TOML file, read as one layer of strings for the settings.

mod keys;
mod upstreams;

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use code_assist_core::settings::{
    self, KeyTables, Problem, SETTINGS, Secrecy, UpstreamTable, Warning,
};
use toml::{Table, Value};

/// The values in the file, and the problems with it.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    /// Where it was read.
    pub(crate) path: Option<String>,
    /// By the keys of the file, which are in lower case. May hold secrets, so `Debug` omits them.
    values: Values,
    /// The `[[key]]` and `[[price]]` tables.
    pub(crate) key_tables: KeyTables,
    /// The `[[upstream]]` tables, in the order of the file.
    pub(crate) upstreams: Vec<UpstreamTable>,
    /// What prevents a start.
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
}

impl ConfigFile {
    /// Reads the file that `flag` names, else `CODE_ASSIST_PROXY_CONFIG`, else the one at the
    /// default path, which need not exist.
    pub(crate) fn read(flag: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Self {
        match ConfigPath::find(flag, &env) {
            Some(at) => Self::read_at(&at.path, at.must_exist, home(&env).as_deref()),
            None => Self::default(),
        }
    }

    /// Reads a text as if it were the content of the file at `path`.
    pub(crate) fn of_text(path: &Path, text: &str, env: impl Fn(&str) -> Option<String>) -> Self {
        let mut file = Self { path: Some(path.display().to_string()), ..Self::default() };
        file.parse(path, text, home(&env).as_deref());
        file
    }

    /// Finds a value by its name in any case.
    pub(crate) fn look_up(&self, name: &str) -> Option<String> {
        self.values.0.get(&name.to_lowercase()).cloned()
    }

    fn read_at(path: &Path, must_exist: bool, home: Option<&str>) -> Self {
        let mut file = Self { path: Some(path.display().to_string()), ..Self::default() };
        match fs::read_to_string(path) {
            Ok(text) => file.parse(path, &text, home),
            // The home of a service account may be /dev/null, or a folder it must not read.
            Err(error) if !must_exist => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => {}
                ErrorKind::PermissionDenied => file.warnings.push(Warning {
                    name: path.display().to_string(),
                    text: "cannot be read, so its settings are ignored: permission denied".into(),
                }),
                _ => file.complain(&path.display().to_string(), format!("{error}")),
            },
            Err(error) => file.complain(&path.display().to_string(), format!("{error}")),
        }
        file
    }

    fn parse(&mut self, path: &Path, text: &str, home: Option<&str>) {
        let table: Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                // Its `Display` quotes the line, which may hold a secret.
                let error: toml::de::Error = error;
                let before = error.span().and_then(|span| text.get(..span.start));
                let line = before.map_or(1, |before| before.matches('\n').count() + 1);
                let problem = format!("line {line} is not TOML: {}", error.message());
                return self.complain(&path.display().to_string(), problem);
            }
        };
        let mut holds_a_secret = false;
        for (key, value) in table {
            if key == "upstream" {
                holds_a_secret |= self.read_upstreams(path, value, home);
                continue;
            }
            if matches!(&*key, "key" | "price") {
                holds_a_secret |= self.read_key_tables(path, &key, value);
                continue;
            }
            let name = format!("{key} in {}", path.display());
            let known = settings::find(&key).filter(|_| key == key.to_lowercase());
            let Some(spec) = known else {
                self.complain(&name, unknown(&key, &value));
                continue;
            };
            let is_path =
                spec.name == "VERTEX_CREDENTIALS" && !value.as_str().is_some_and(holds_json);
            holds_a_secret |= spec.secrecy == Secrecy::Secret && !is_path;
            if key == "upstreams"
                && value.as_array().is_some_and(|it| it.iter().any(Value::is_table))
            {
                self.complain(
                    &name,
                    "is a list of names; the tables are called [[upstream]]".into(),
                );
                continue;
            }
            match text_of(value) {
                Ok(text) => {
                    self.values.0.insert(key, text);
                }
                Err(error) => self.complain(&name, error.to_string()),
            }
        }
        if holds_a_secret && is_readable_by_others(path) {
            let text = "holds secrets and other users of this machine can read it; `chmod 600` it";
            self.warnings.push(Warning { name: path.display().to_string(), text: text.into() });
        }
    }

    fn complain(&mut self, name: &str, text: String) {
        self.problems.push(Problem { name: name.into(), text });
    }
}

/// Where the TOML file is, or would be.
#[derive(Debug)]
pub(crate) struct ConfigPath {
    pub(crate) path: PathBuf,
    /// The operator has named the file.
    pub(crate) must_exist: bool,
}

impl ConfigPath {
    /// The file that `flag` names, else `CODE_ASSIST_PROXY_CONFIG`, else the default one. `None` without a
    /// home folder.
    pub(crate) fn find(flag: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let named = flag.map(Path::to_path_buf).or_else(|| env(CONFIG_VARIABLE).map(PathBuf::from));
        if let Some(path) = named {
            return Some(Self { path, must_exist: true });
        }
        let root = env("XDG_CONFIG_HOME").map(PathBuf::from);
        let root = root.or_else(|| Some(Path::new(&home(env)?).join(".config")))?;
        Some(Self { path: root.join("code-assist-proxy/config.toml"), must_exist: false })
    }
}

fn home(env: impl Fn(&str) -> Option<String>) -> Option<String> {
    let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    env("HOME").or_else(|| env("USERPROFILE"))
}

/// Texts by key. `Debug` shows only the keys.
#[derive(Default)]
struct Values(HashMap<String, String>);

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why a value cannot be a setting.
#[derive(Debug, thiserror::Error)]
enum ValueError {
    #[error("must be a string, a number, a boolean or a list of strings")]
    NotAScalarOrList,
    #[error("must be a list of strings")]
    NotAListOfStrings,
    #[error("must be a table of strings")]
    NotATableOfStrings,
    #[error("has a list entry with a comma in it")]
    Comma,
}

fn text_of(value: Value) -> Result<String, ValueError> {
    match value {
        Value::Array(list) => {
            let entries: Result<Vec<String>, _> = list.into_iter().map(entry_of).collect();
            Ok(entries?.join(","))
        }
        Value::Boolean(value) => Ok(value.to_string()),
        Value::Datetime(_) | Value::Table(_) => Err(ValueError::NotAScalarOrList),
        Value::Float(value) => Ok(value.to_string()),
        Value::Integer(value) => Ok(value.to_string()),
        Value::String(value) => Ok(value),
    }
}

fn entry_of(value: Value) -> Result<String, ValueError> {
    match value {
        Value::String(entry) if entry.contains(',') => Err(ValueError::Comma),
        Value::String(entry) => Ok(entry),
        _ => Err(ValueError::NotAListOfStrings),
    }
}

fn unknown(key: &str, value: &Value) -> String {
    let holds_tables = |value: &Value| {
        value.is_table() || value.as_array().is_some_and(|it| it.iter().any(Value::is_table))
    };
    if holds_tables(value) {
        let meant = SECTIONS.iter().find(|section| key.to_lowercase().starts_with(*section));
        return match meant {
            Some(section) => format!("is not a setting; the tables are called [[{section}]]"),
            None => "is not a setting; the file has no sections but [[upstream]], [[key]] and \
                     [[price]]"
                .into(),
        };
    }
    let names = SETTINGS.iter().flat_map(|spec| spec.names()).map(str::to_lowercase);
    settings::suggestion(key, &names.collect::<Vec<_>>(), "a setting")
}

/// Whether credentials are not merely the path of a file: a path is short, and has no brace.
fn holds_json(credentials: &str) -> bool {
    credentials.contains('{') || credentials.len() > LONGEST_PATH
}

#[cfg(unix)]
fn is_readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_others(_path: &Path) -> bool {
    false
}

/// The names of tables that the file may have.
const SECTIONS: [&str; 3] = ["upstream", "key", "price"];

const LONGEST_PATH: usize = 255;

const CONFIG_VARIABLE: &str = "CODE_ASSIST_PROXY_CONFIG";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_numbers_booleans_and_lists_are_texts() {
        let file = parsed(
            "port = 9000\nproject_id_cache_ttl_hours = 0.5\nvalidate_tokens_before_use = false\n\
             host = \"::1\"\nallowed_origins = [\"http://a\", \"http://b\"]\nmodel_aliases = []\n",
        );
        assert_eq!(file.problems, []);
        let text = |name: &str| file.look_up(name).unwrap();
        assert_eq!(text("PORT"), "9000");
        assert_eq!(text("PROJECT_ID_CACHE_TTL_HOURS"), "0.5");
        assert_eq!(text("VALIDATE_TOKENS_BEFORE_USE"), "false");
        assert_eq!(text("HOST"), "::1");
        assert_eq!(text("ALLOWED_ORIGINS"), "http://a,http://b");
        assert_eq!(text("MODEL_ALIASES"), "");
        assert_eq!(file.look_up("LOG_LEVEL"), None);
    }

    #[test]
    fn every_unknown_key_is_reported_with_the_likely_right_one() {
        let file = parsed(
            "prot = 1\nPORT = 1\ntoken_refresh_buffer = 5\nxyzzy = 1\nlog_level = {}\n\
             proxy_api_keys = [\"hush,hush\"]\n[server]\nport = 1\n",
        );
        let reported: Vec<String> = file.problems.iter().map(ToString::to_string).collect();
        assert_eq!(reported.len(), 7, "{reported:#?}");
        let all = reported.join("\n");
        assert!(all.contains("prot in c.toml: is not a setting; did you mean port?"), "{all}");
        assert!(all.contains("PORT in c.toml: is not a setting; keys are in lower case: port"));
        assert!(all.contains("did you mean token_refresh_buffer_minutes?"), "{all}");
        assert!(all.contains("xyzzy in c.toml: is not a setting; docs/CONFIG.md"), "{all}");
        assert!(all.contains("log_level in c.toml: must be a string"), "{all}");
        assert!(!all.contains("hush"), "{all}");
    }

    #[test]
    fn a_syntax_error_names_the_line_and_not_its_content() {
        let file = parsed("port = 1\nproxy_api_keys = \"hush\" \"hush\"\n");
        let reported = format!("{} {file:?}", file.problems[0]);
        assert!(reported.contains("line 2 is not TOML"), "{reported}");
        assert!(!reported.contains("hush"), "{reported}");
        let fine = parsed("proxy_api_keys = \"hush\"");
        assert!(!format!("{fine:?}").contains("hush"));
    }

    fn parsed(text: &str) -> ConfigFile {
        let mut file = ConfigFile::default();
        file.parse(Path::new("c.toml"), text, None);
        file
    }
}
