//! Files that are generated from the table of settings.

use std::collections::BTreeSet;
use std::fs;

use code_assist_core::settings::{config_schema, reference, worker_example};
use code_assist_harness::{assert_generated, workspace};
use serde_json::Value;

use crate::{Home, stderr, stdout};

#[test]
fn config_md_is_what_the_table_says() {
    assert_generated("docs/CONFIG.md", &reference(), "cli config_md");
}

#[test]
fn dev_vars_example_has_every_setting_of_the_worker() {
    assert_generated("crates/worker/.dev.vars.example", &worker_example(), "cli dev_vars");
}

#[test]
fn config_schema_is_what_the_tables_say() {
    assert_generated("docs/config.schema.json", &config_schema(), "cli config_schema");
}

#[test]
fn the_example_file_is_accepted_and_has_every_key_of_every_table() {
    let text = fs::read_to_string(workspace().join("docs/config.example.toml")).unwrap();
    let home = Home::new();
    home.write("c.toml", &text);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(home.path("c.toml"), private).unwrap();
    }
    let output = home.run_with(&["--config", "c.toml", "config"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "", "an example has no risks");
    assert!(stdout(&output).contains("key.ada.tokens_per_day=2000000"), "{}", stdout(&output));
    let schema: Value = serde_json::from_str(&config_schema()).unwrap();
    for table in ["upstream", "key", "price"] {
        let known = schema["properties"][table]["items"]["properties"].as_object().unwrap();
        let known: BTreeSet<&str> = known.keys().map(String::as_str).collect();
        // A line that is commented out is an example too.
        let mut shown = BTreeSet::new();
        let mut inside = false;
        for line in text.lines() {
            let line = line.trim_start_matches('#').trim_start();
            if line.starts_with('[') {
                inside = line == format!("[[{table}]]");
            } else if let Some((key, _)) = line.split_once(" =").filter(|_| inside) {
                shown.insert(key);
            }
        }
        assert_eq!(shown, known, "[[{table}]]");
    }
}
