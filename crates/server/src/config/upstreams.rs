//! The `[[upstream]]` tables of the TOML file, and the key files that they name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use code_assist_core::settings::{UpstreamTable, Warning, suggestion};
use secrecy::SecretString;
use toml::{Table, Value};

use super::{ConfigFile, ValueError, holds_json, is_readable_by_others, text_of};

impl ConfigFile {
    /// Reads the value of `upstream`, and returns whether it holds a secret.
    pub(super) fn read_upstreams(&mut self, path: &Path, value: Value, home: Option<&str>) -> bool {
        let Value::Array(tables) = value else {
            let name = format!("upstream in {}", path.display());
            self.complain(&name, "must be a table under the line [[upstream]]".to_owned());
            return false;
        };
        let mut holds_a_secret = false;
        for (value, number) in tables.into_iter().zip(1..) {
            let place = format!("[[upstream]] {number} in {}", path.display());
            let Value::Table(table) = value else {
                self.complain(&place, "must be a table under the line [[upstream]]".to_owned());
                continue;
            };
            holds_a_secret |= self.read_upstream(&place, table, home);
        }
        holds_a_secret
    }

    fn read_upstream(&mut self, place: &str, table: Table, home: Option<&str>) -> bool {
        let mut upstream = UpstreamTable::default();
        let (mut key_file, mut holds_a_secret) = (None, false);
        for (key, value) in table {
            let read = match key.as_str() {
                "models" => entries(value).map(|models| upstream.models = models),
                "model_map" => pairs(value).map(|pairs| upstream.model_map = pairs),
                _ => text_of(value).map(|text| match key.as_str() {
                    "name" => upstream.name = text,
                    "provider" => upstream.provider = text,
                    "endpoint" => upstream.endpoint = Some(text),
                    "api_key" => {
                        holds_a_secret = true;
                        upstream.api_key = Some(text.into());
                    }
                    "api_key_file" => key_file = Some(text),
                    "credentials" => {
                        holds_a_secret |= holds_json(&text);
                        upstream.credentials = Some(text.into());
                    }
                    "project" => upstream.project = Some(text),
                    "location" => upstream.location = Some(text),
                    "api_version" => upstream.api_version = Some(text),
                    _ => {
                        let known = UpstreamTable::KEYS.map(str::to_owned);
                        let text = suggestion(&key, &known, "a key of these tables");
                        self.complain(&format!("{key} of {place}"), text);
                    }
                }),
            };
            if let Err(error) = read {
                self.complain(&format!("{key} of {place}"), error.to_string());
            }
        }
        if let Some(path) = key_file {
            let name = format!("api_key_file of {place}");
            if upstream.api_key.is_some() {
                self.complain(&name, "and api_key are both set; remove one of them".to_owned());
            } else {
                upstream.api_key = self.key_in(&name, &path, home);
            }
        }
        self.upstreams.push(upstream);
        holds_a_secret
    }

    /// The key in a file. A file that cannot be read is a problem.
    fn key_in(&mut self, name: &str, path: &str, home: Option<&str>) -> Option<SecretString> {
        let path = match (path.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => Path::new(home).join(rest),
            _ => PathBuf::from(path),
        };
        match read_key(&path) {
            Ok(key) => {
                if is_readable_by_others(&path) {
                    let text =
                        "holds a key and other users of this machine can read it; `chmod 600` it";
                    let name = path.display().to_string();
                    self.warnings.push(Warning { name, text: text.into() });
                }
                Some(key)
            }
            Err(error) => {
                self.complain(name, format!("{} cannot be used: {error}", path.display()));
                // The upstream has a key as far as other problems are concerned.
                Some("unread".into())
            }
        }
    }
}

/// Reads a small text. A symbolic link is followed: orchestrators mount secrets behind one.
fn read_key(path: &Path) -> io::Result<SecretString> {
    // Opening a named pipe would block.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut key = String::new();
    File::open(path)?.take(LARGEST_KEY_FILE + 1).read_to_string(&mut key)?;
    match key.trim().len() as u64 {
        0 => Err(io::Error::other("it is empty")),
        length if length > LARGEST_KEY_FILE => Err(io::Error::other("it is too large for a key")),
        _ => Ok(SecretString::from(key.trim())),
    }
}

fn entries(value: Value) -> Result<Vec<String>, ValueError> {
    let text = text_of(value)?;
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    Ok(entries.map(str::to_owned).collect())
}

fn pairs(value: Value) -> Result<Vec<(String, String)>, ValueError> {
    let Value::Table(table) = value else {
        return Err(ValueError::NotATableOfStrings);
    };
    let pairs = table.into_iter().map(|(from, to)| match to {
        Value::String(to) => Ok((from, to)),
        _ => Err(ValueError::NotATableOfStrings),
    });
    pairs.collect()
}

/// API keys have some fifty characters.
const LARGEST_KEY_FILE: u64 = 4096;

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_table_is_read_key_by_key() {
        let file = parsed(
            "upstreams = [\"b\", \"a\"]\n[[upstream]]\nname = \"a\"\nprovider = \"vertex\"\n\
             endpoint = \"https://v.example\"\ncredentials = \"/key.json\"\nproject = 12345\n\
             location = \"eu\"\napi_version = \"v1\"\nmodels = [\"gemini-2.5-*\", \"x\"]\n\
             [upstream.model_map]\n\"gemini-flash-latest\" = \"gemini-2.5-flash\"\n\
             [[upstream]]\nname = \"b\"\nprovider = \"gemini-api\"\napi_key = \"hush\"\nmodels = \"y, z\"\n",
        );
        assert_eq!(file.problems, []);
        assert_eq!(file.look_up("UPSTREAMS").unwrap(), "b,a");
        let [a, b] = &file.upstreams[..] else { panic!("{file:?}") };
        assert_eq!((&*a.name, &*a.provider), ("a", "vertex"));
        assert_eq!(a.endpoint.as_deref(), Some("https://v.example"));
        assert_eq!(a.credentials.as_ref().unwrap().expose_secret(), "/key.json");
        assert_eq!((a.project.as_deref(), a.location.as_deref()), (Some("12345"), Some("eu")));
        assert_eq!(a.api_version.as_deref(), Some("v1"));
        assert_eq!(a.models, ["gemini-2.5-*", "x"]);
        assert_eq!(a.model_map, [("gemini-flash-latest".into(), "gemini-2.5-flash".into())]);
        assert_eq!(b.api_key.as_ref().unwrap().expose_secret(), "hush");
        assert_eq!(b.models, ["y", "z"]);
        assert!(!format!("{file:?}").contains("hush"));
    }

    #[test]
    fn what_is_no_key_of_a_table_is_reported_with_the_likely_right_one() {
        let file = parsed(
            "[[upstream]]\nname = \"a\"\nend_point = \"x\"\nApi_Key = \"hush\"\nxyzzy = 1\n\
             model_map = \"hush\"\nmodels = [1]\nproject = {}\napi_key = \"hush\"\n\
             api_key_file = \"hush-file\"\n",
        );
        let all: Vec<String> = file.problems.iter().map(ToString::to_string).collect();
        let all = all.join("\n");
        let place = "[[upstream]] 1 in c.toml";
        for line in [
            format!("end_point of {place}: is not a key of these tables; did you mean endpoint?"),
            format!(
                "Api_Key of {place}: is not a key of these tables; keys are in lower case: api_key"
            ),
            format!(
                "xyzzy of {place}: is not a key of these tables; docs/CONFIG.md lists them all"
            ),
            format!("model_map of {place}: must be a table of strings"),
            format!("models of {place}: must be a list of strings"),
            format!("project of {place}: must be a string"),
            format!("api_key_file of {place}: and api_key are both set; remove one of them"),
        ] {
            assert!(all.contains(&line), "{line} in {all}");
        }
        assert_eq!(file.problems.len(), 7, "{all}");
        assert!(!all.contains("hush"), "{all}");
        for single in ["[upstream]\nname = \"a\"\n", "upstream = \"a\"\n", "upstream = [\"a\"]\n"] {
            let file = parsed(single);
            let all = file.problems.iter().map(ToString::to_string).collect::<String>();
            assert!(all.contains("under the line [[upstream]]"), "{all}");
        }
        let file = parsed("[[upstreams]]\nname = \"a\"\n");
        let all = file.problems.iter().map(ToString::to_string).collect::<String>();
        assert!(all.contains("the tables are called [[upstream]]"), "{all}");
    }

    #[test]
    fn a_key_file_is_read_without_its_line_end_and_only_if_it_is_a_small_text() {
        let folder = tempfile::tempdir().unwrap();
        let written = |content: &[u8]| {
            fs::write(folder.path().join("key"), content).unwrap();
            let mut file = ConfigFile::default();
            let home = folder.path().to_str();
            let table = "[[upstream]]\napi_key_file = \"~/key\"\n";
            file.parse(Path::new("c.toml"), table, home);
            let key = file.upstreams[0].api_key.as_ref().unwrap().expose_secret().to_owned();
            (key, file.problems.iter().map(ToString::to_string).collect::<String>())
        };
        assert_eq!(written(b" AIza-1\r\n"), ("AIza-1".to_owned(), String::new()));
        for (bad, why) in [
            (&b""[..], "it is empty"),
            (b"\n", "it is empty"),
            (b"\xff", "UTF-8"),
            (&[b'a'; 5000], "too large"),
        ] {
            let problem = written(bad).1;
            assert!(problem.starts_with("api_key_file of [[upstream]] 1 in c.toml: "), "{problem}");
            assert!(problem.contains(why), "{problem}");
        }
        for path in ["/nowhere/at/all", "/"] {
            let file = parsed(&format!("[[upstream]]\napi_key_file = \"{path}\"\n"));
            assert_eq!(file.problems.len(), 1, "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_can_read_is_reported() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "AIza").unwrap();
        for (mode, count) in [(0o600, 0), (0o640, 1)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let file = parsed(&format!("[[upstream]]\napi_key_file = {path:?}\n"));
            assert_eq!(file.warnings.len(), count, "{file:?}");
        }
    }

    fn parsed(text: &str) -> ConfigFile {
        let mut file = ConfigFile::default();
        file.parse(Path::new("c.toml"), text, None);
        file
    }
}
