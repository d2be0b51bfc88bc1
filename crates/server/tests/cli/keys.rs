//! `keys`: a key is made and shown once, its table is added to the file, and keys are listed.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{BINARY, Home, stderr, stdout};

#[test]
fn a_key_is_shown_on_a_line_of_its_own_and_only_its_digest_is_in_the_table() {
    let home = Home::new();
    home.write("c.toml", "");
    let output = new(&home, &["ada", "--models", "gemini-2.5-*,x", "--tokens-per-day", "2_000"]);
    let key = key_of(&output);
    assert_eq!(key.len(), "cap_".len() + 43, "{key}");
    let text = stdout(&output);
    assert_eq!(text.matches(&key).count(), 1, "{text}");
    let table = format!(
        "[[key]]\nid = \"ada\"\nhash = \"{}\"\nmodels = [\"gemini-2.5-*\", \"x\"]\n\
         tokens_per_day = 2000\n",
        hash(&key)
    );
    assert!(text.contains(&table), "{text}");
    assert!(text.contains("c.toml") && text.contains("kill -HUP"), "{text}");
    assert!(text.contains("It is the only key"), "{text}");
    assert_eq!(read(&home, "c.toml"), "", "the file is not written without --append");
    assert_ne!(key, key_of(&new(&home, &["ada"])));
}

#[test]
fn json_is_one_object_with_the_key_and_the_table() {
    let home = Home::new();
    home.write("c.toml", "");
    let output = new(&home, &["ada", "--json", "--append"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["id"], "ada");
    assert_eq!(made["hash"], *hash(made["key"].as_str().unwrap()));
    assert_eq!(made["appended"], true);
    assert_eq!(made["other_keys"], serde_json::json!([]));
    assert_eq!(read(&home, "c.toml"), made["table"].as_str().unwrap());
}

#[test]
fn a_table_is_appended_and_every_other_byte_of_the_file_stays() {
    let home = Home::new();
    let before = "# Ours: don't touch\nport = 9000   # as agreed\n\n[[upstream]]\n\
                  name = \"team\"\nprovider = \"gemini-api\"\napi_key = \"hush\"";
    home.write("c.toml", before);
    private(&home, "c.toml", 0o600);
    let output = new(&home, &["ada", "--upstreams", "team", "--append"]);
    let key = key_of(&output);
    let after = read(&home, "c.toml");
    let table = after.strip_prefix(before).expect("what was there");
    assert_eq!(
        table,
        format!("\n\n[[key]]\nid = \"ada\"\nhash = \"{}\"\nupstreams = [\"team\"]\n", hash(&key))
    );
    assert!(!format!("{output:?}").contains("hush"), "{output:?}");
    assert!(!after.contains(&key) && !holds(home.path("."), &key), "the key is stored");
    assert_eq!(home.run_with(&["--config", "c.toml", "config"], &[]).status.code(), Some(0));
}

#[test]
fn the_default_file_is_created_with_its_folder_and_is_private() {
    let home = Home::new();
    let output = home.run_with(&["keys", "new", "ada", "--append"], &[]);
    let key = key_of(&output);
    let path = "config/code-assist-proxy/config.toml";
    assert!(stdout(&output).contains(path), "{output:?}");
    assert_eq!(read(&home, path), format!("[[key]]\nid = \"ada\"\nhash = \"{}\"\n", hash(&key)));
    #[cfg(unix)]
    {
        assert_eq!(mode(&home, path), 0o600);
        assert_eq!(mode(&home, "config/code-assist-proxy"), 0o700);
    }
    let listing = stdout(&home.run_with(&["keys", "list"], &[]));
    assert!(listing.contains("ada"), "{listing}");
    // A file that is named is created too.
    new(&home, &["ada", "--append"]);
    assert!(home.path("c.toml").exists());
}

#[test]
fn a_key_makes_a_public_host_safe() {
    let home = Home::new();
    home.write("c.toml", "host = \"0.0.0.0\"\n");
    assert_eq!(home.run_with(&["--config", "c.toml", "config"], &[]).status.code(), Some(2));
    key_of(&new(&home, &["ada", "--append"]));
    assert_eq!(home.run_with(&["--config", "c.toml", "config"], &[]).status.code(), Some(0));
}

#[test]
fn a_second_key_has_the_limits_of_the_first_and_the_way_to_end_the_rotation_is_shown() {
    let home = Home::new();
    home.write("c.toml", "");
    let first = key_of(&new(&home, &["ada", "--tokens-per-day", "5", "--append"]));
    assert!(!stdout(&new(&home, &["ada"])).contains("It is the only key"));
    key_of(&new(&home, &["bob", "--append"]));
    let output = new(&home, &["ada", "--max-concurrent", "2", "--append"]);
    let second = key_of(&output);
    let text = stdout(&output);
    let short = format!("{}…", &hash(&first)["".len().."sha256:".len() + 8]);
    assert!(text.contains(&format!("ada has another key: {short}")), "{text}");
    assert!(text.contains("the limits of ada count for them together"), "{text}");
    assert!(text.contains("remove its table from"), "{text}");
    assert!(text.contains("tokens_per_day = 5\nmax_concurrent = 2\n"), "{text}");
    let file = read(&home, "c.toml");
    assert!(file.contains(&hash(&first)) && file.contains(&hash(&second)), "{file}");
    let made: Value = serde_json::from_slice(&new(&home, &["ada", "--json"]).stdout).expect("JSON");
    assert_eq!(made["other_keys"].as_array().unwrap().len(), 2);
}

#[test]
fn what_a_table_does_not_take_makes_no_key_and_leaves_the_file_as_it_is() {
    let home = Home::new();
    let before = "port = 1\n[[price]]\nmodel = \"a\"\ninput = 1\noutput = 2\n";
    home.write("c.toml", before);
    for (arguments, says) in [
        (&["a b"][..], "id"),
        (&[""], "id"),
        (&["#2"], "id"),
        (&["ada", "--tokens-per-day", "-1"], "at least 0"),
        (&["ada", "--max-concurrent", "many"], "whole number"),
        (&["ada", "--cost-per-month", "-0.5"], "at least 0"),
        (&["ada", "--expires", "2027-01-31T10:00:00"], "offset from UTC"),
        (&["ada", "--code-assist-protocol", "some"], "generate"),
        (&["ada", "--upstreams", "nowhere"], "nowhere"),
        (&["ada", "--models", "a b"], "models"),
        (&["ada", "--cost-per-month", "50"], "price"),
        (&["ada", "--credentials", "{\"refresh_token\":\"hush\"}"], "path of a file"),
    ] {
        for append in [&[][..], &["--append"]] {
            let output = new(&home, &[arguments, append].concat());
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
            assert_eq!(stdout(&output), "", "{arguments:?}");
            assert!(stderr(&output).contains(says), "{arguments:?}: {output:?}");
            assert_eq!(read(&home, "c.toml"), before, "{arguments:?}");
        }
    }
    let refused = stderr(&new(&home, &["a b", "--append"]));
    assert!(refused.contains("no key was made, and nothing was written"), "{refused}");
    assert_eq!(home.names(), ["c.toml"]);
    let priced = new(&home, &["ada", "--cost-per-month", "50", "--models", "a", "--append"]);
    assert_eq!(priced.status.code(), Some(0), "{priced:?}");
}

#[test]
fn a_file_with_mistakes_gets_no_table() {
    let home = Home::new();
    for (content, says) in [
        (&b"port = \"hush\" \"hush\"\n"[..], "line 1 is not TOML"),
        (b"prot = 1\n", "did you mean port?"),
        (b"key = \"hush\"\n", "key"),
        (b"key = [1]\n", "key"),
        (b"text = \"\"\"hush\n", "is not TOML"),
    ] {
        fs::write(home.path("c.toml"), content).unwrap();
        let output = new(&home, &["ada", "--append"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains(says), "{output:?}");
        assert!(!format!("{output:?}").contains("hush"), "{output:?}");
        assert_eq!(fs::read(home.path("c.toml")).unwrap(), content);
    }
    fs::write(home.path("c.toml"), b"\xff\xfe").unwrap();
    let output = new(&home, &["ada", "--append"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("c.toml: cannot be read"), "{output:?}");
    assert_eq!(home.names(), ["c.toml"]);
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_is_made_private_and_that_is_said() {
    let home = Home::new();
    for (before, after) in [(0o644, 0o600), (0o600, 0o600), (0o400, 0o400), (0o666, 0o600)] {
        home.write("c.toml", "port = 1\n");
        private(&home, "c.toml", before);
        let output = new(&home, &["ada", "--append"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(mode(&home, "c.toml"), after);
        let note = format!("was {before:04o} and is {after:04o} now");
        assert_eq!(stdout(&output).contains(&note), before != after, "{output:?}");
        fs::remove_file(home.path("c.toml")).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_group_that_was_given_the_file_may_still_read_it() {
    use std::os::unix::fs::{MetadataExt, chown};

    let home = Home::new();
    home.write("c.toml", "port = 1\n");
    private(&home, "c.toml", 0o640);
    // Only root can give a file to any group.
    if chown(home.path("c.toml"), None, Some(OTHER_GROUP)).is_err() {
        return;
    }
    private(&home, "c.toml", 0o644);
    assert_eq!(new(&home, &["ada", "--append"]).status.code(), Some(0));
    assert_eq!(mode(&home, "c.toml"), 0o640);
    assert_eq!(fs::metadata(home.path("c.toml")).unwrap().gid(), OTHER_GROUP);
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_and_a_file_of_another_user_are_refused_and_left_alone() {
    use std::os::unix::fs::{chown, symlink};

    let home = Home::new();
    home.write("target.toml", "port = 1\n");
    for target in ["target.toml", "nowhere.toml"] {
        symlink(target, home.path("c.toml")).unwrap();
        let output = new(&home, &["ada", "--append"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = stderr(&output);
        assert!(message.contains("is a symbolic link") && message.contains(target), "{message}");
        assert_eq!(fs::read_link(home.path("c.toml")).unwrap(), Path::new(target));
        fs::remove_file(home.path("c.toml")).unwrap();
    }
    assert_eq!(read(&home, "target.toml"), "port = 1\n");
    assert!(!home.path("nowhere.toml").exists());

    home.write("c.toml", "port = 1\n");
    if chown(home.path("c.toml"), Some(OTHER_USER), None).is_ok() {
        let output = new(&home, &["ada", "--append"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("belongs to the user with the number"), "{output:?}");
        assert_eq!(read(&home, "c.toml"), "port = 1\n");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_an_error_and_prints_no_key() {
    let home = Home::new();
    let path = "/dev/null/config.toml";
    let output = home.run_with(&["keys", "new", "ada", "--append", "--config", path], &[]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{output:?}");
    assert!(stderr(&output).contains("cannot be written"), "{output:?}");

    fs::create_dir(home.path("locked")).unwrap();
    home.write("locked/c.toml", "port = 1\n");
    private(&home, "locked", 0o500);
    // Root may write everywhere.
    if fs::write(home.path("locked/probe"), "").is_err() {
        let arguments = ["keys", "new", "ada", "--append", "--config", "locked/c.toml"];
        let output = home.run_with(&arguments, &[]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{output:?}");
        assert!(stderr(&output).contains("is left as it was"), "{output:?}");
        assert_eq!(read(&home, "locked/c.toml"), "port = 1\n");
    }
    private(&home, "locked", 0o700);
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_file() {
    let home = Home::new();
    let before = format!("# {}\nport = 1\n", "x".repeat(10_000));
    home.write("c.toml", &before);
    // A limit on file sizes (4 KiB) fails writes as a full disk does.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" keys new ada --append --config c.toml";
    let output = home.command_of("/bin/sh", &[]).args(["-c", script, BINARY]).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{output:?}");
    assert!(stderr(&output).contains("is left as it was"), "{output:?}");
    assert_eq!(read(&home, "c.toml"), before);
    assert_eq!(home.names(), ["c.toml"]);
}

#[test]
fn commands_at_the_same_time_lose_no_table() {
    let home = Home::new();
    home.write("c.toml", "port = 1\n");
    let started: Vec<_> = (0..8)
        .map(|number| {
            let id = format!("user-{number}");
            let mut command =
                home.command(&["--config", "c.toml", "keys", "new", &id, "--append"], &[]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let outputs: Vec<Output> =
        started.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let file = read(&home, "c.toml");
    for output in &outputs {
        assert!(file.contains(&hash(&key_of(output))), "{output:?}");
    }
    assert_eq!(file.matches("[[key]]").count(), 8);
    assert_eq!(home.names(), ["c.toml"]);
}

#[cfg(unix)]
#[test]
fn a_process_killed_at_any_moment_leaves_a_whole_file() {
    let home = Home::new();
    home.write("c.toml", "port = 1\n");
    let mut before = 0;
    for n in 0..20 {
        let mut command =
            home.command(&["--config", "c.toml", "keys", "new", "ada", "--append"], &[]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(700 * n));
        child.kill().unwrap();
        child.wait().unwrap();
        let output = home.run_with(&["--config", "c.toml", "keys", "list", "--json"], &[]);
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let keys = listed["keys"].as_array().unwrap().len();
        assert!(keys == before || keys == before + 1, "{keys} after {before}");
        before = keys;
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_key_that_cannot_be_printed_is_an_error_that_names_its_table() {
    let home = Home::new();
    home.write("c.toml", "");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = home.command(&["--config", "c.toml", "keys", "new", "ada", "--append"], &[]);
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = stderr(&output);
    let file = read(&home, "c.toml");
    let hash = file.lines().find(|line| line.starts_with("hash")).unwrap();
    assert!(message.contains("is lost") && message.contains(hash), "{message}");
}

#[test]
fn keys_are_listed_with_what_they_may_do_and_without_a_secret() {
    let home = Home::new();
    home.write("ada.json", r#"{"refresh_token":"hush-token"}"#);
    let login = home.path("ada.json").display().to_string();
    home.write(
        "c.toml",
        &format!(
            "proxy_api_keys = \"team:hush-0123456789abcdef,hush-0123456789abcdeg\"\n\
             [[price]]\nmodel = \"*\"\ninput = 1\noutput = 2\n\
             [[key]]\nid = \"ada\"\nhash = \"{}\"\nmodels = [\"gemini-2.5-*\"]\n\
             tokens_per_day = 2000\ncost_per_month = 12.5\ncredentials = '{login}'\n\
             [[key]]\nid = \"bob\"\nkey = \"hush-bobs-0123456789\"\nexpires = 2020-01-01T00:00:00Z\n\
             admin = true\n",
            hash("hush-ada")
        ),
    );
    private(&home, "c.toml", 0o600);
    let output = home.run_with(&["--config", "c.toml", "keys", "list"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    let short = |key: &str| format!("{}…", &hash(key)[..15]);
    assert_eq!(lines.len(), 5, "{text}");
    assert_eq!(
        lines[1],
        [
            "ada",
            &short("hush-ada"),
            "gemini-2.5-*",
            "all",
            "never",
            "yes",
            "no",
            "tokens_per_day=2000",
            "cost_per_month=12.5"
        ],
    );
    assert_eq!(
        lines[2],
        [
            "bob",
            &short("hush-bobs-0123456789"),
            "all",
            "all",
            "2020-01-01T00:00:00Z",
            "EXPIRED",
            "no",
            "yes",
            "none"
        ],
    );
    assert_eq!(lines[3][..2], ["team", "PROXY_API_KEYS"]);
    assert_eq!(lines[4][..2], ["#2", "PROXY_API_KEYS"]);

    let json = home.run_with(&["--config", "c.toml", "keys", "list", "--json"], &[]);
    let listed: Value = serde_json::from_slice(&json.stdout).unwrap();
    let [ada, bob, team, _] = &listed["keys"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!(ada["limits"], serde_json::json!({"tokens_per_day": 2000, "cost_per_month": 12.5}));
    assert_eq!((&ada["own_login"], &ada["expired"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!((&bob["expired"], &bob["admin"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!((&team["hash"], &team["from"]), (&Value::Null, &Value::from("PROXY_API_KEYS")));
    for printed in [output, json] {
        let printed = format!("{}{}", stdout(&printed), stderr(&printed));
        assert!(!printed.contains("hush"), "{printed}");
        assert!(!printed.contains(&hash("hush-ada")[7..]), "a whole digest: {printed}");
    }
}

#[test]
fn a_list_of_no_keys_says_how_to_make_one() {
    let home = Home::new();
    let output = home.run_with(&["keys", "list"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains("keys new ID --append"), "{output:?}");
}

fn new(home: &Home, arguments: &[&str]) -> Output {
    home.run_with(&[&["--config", "c.toml", "keys", "new"], arguments].concat(), &[])
}

/// The line of the key in the output of a command that has succeeded.
fn key_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(output);
    let keys: Vec<&str> = text.lines().filter(|line| line.starts_with("cap_")).collect();
    assert_eq!(keys.len(), 1, "{text}");
    keys[0].to_owned()
}

fn hash(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

fn read(home: &Home, name: &str) -> String {
    fs::read_to_string(home.path(name)).expect("a text file")
}

/// True if a file in the folder, or in one below, holds the text.
fn holds(folder: impl AsRef<Path>, text: &str) -> bool {
    fs::read_dir(folder).expect("a folder").flatten().any(|entry| match entry.path() {
        path if path.is_dir() => holds(path, text),
        path => String::from_utf8_lossy(&fs::read(path).expect("a file")).contains(text),
    })
}

fn private(home: &Home, name: &str, mode: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        fs::set_permissions(home.path(name), fs::Permissions::from_mode(mode)).expect("a file");
    }
    #[cfg(not(unix))]
    let _ = (home, name, mode);
}

#[cfg(unix)]
fn mode(home: &Home, name: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt;

    fs::metadata(home.path(name)).expect("a file").permissions().mode() & 0o7777
}

/// A user and a group that no test runs as.
#[cfg(unix)]
const OTHER_USER: u32 = 65_534;
#[cfg(unix)]
const OTHER_GROUP: u32 = 65_533;
