//! Arguments, help and shell completions.

use crate::{Home, stderr, stdout};

#[test]
fn bad_usage_is_2_and_help_and_version_are_0() {
    let home = Home::new();
    for bad in [
        vec!["frobnicate"],
        vec!["--frob"],
        vec!["kv"],
        vec!["kv", "import"],
        vec!["completions", "tcsh"],
        vec!["serve", "--proxy-api-keys", "hush"],
    ] {
        let output = home.run_with(&bad, &[]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        assert!(!stderr(&output).contains("hush"), "{bad:?}");
    }
    for good in [vec!["--help"], vec!["--version"], vec!["kv", "export", "--help"], vec!["help"]] {
        assert_eq!(home.run_with(&good, &[]).status.code(), Some(0), "{good:?}");
    }
    let version = stdout(&home.run_with(&["--version"], &[]));
    assert_eq!(version, format!("code-assist-proxy {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_says_where_settings_come_from_and_names_every_flag() {
    let home = Home::new();
    let help = stdout(&home.run_with(&["serve", "--help"], &[]));
    for setting in code_assist_core::settings::SETTINGS {
        match setting.flag() {
            Some(flag) => assert!(help.contains(&format!("--{flag}")), "{flag}"),
            None => assert!(
                help.contains(setting.name),
                "{} is not listed among settings without a flag",
                setting.name
            ),
        }
    }
    for command in [
        "",
        "serve",
        "check",
        "config",
        "health",
        "models",
        "kv list",
        "kv export",
        "keys new",
        "keys list",
    ] {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = stdout(&home.run_with(&arguments, &[]));
        assert!(help.contains("Exit codes: 0"), "{command}");
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = home.run_with(&["completions", shell], &[]);
        assert_eq!(output.status.code(), Some(0));
        let script = stdout(&output);
        assert!(script.contains("kv-url") && script.contains("emulator"), "{shell}");
    }
}
