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
        vec!["man"],
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

#[test]
fn each_command_has_a_manual_page_with_the_text_of_its_options() {
    let home = Home::new();
    let folder = home.path("share/man1");
    let output = home.run_with(&["man", folder.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    for name in ["-check", "-keys-new", "-kv-export", "-man", "-serve"] {
        let page = page(&format!("code-assist-proxy{name}.1"));
        let version = format!("\"code-assist-proxy {}\"", env!("CARGO_PKG_VERSION"));
        assert!(page.contains(&version), "{page}");
    }
    let whole = page("code-assist-proxy.1").replace("\\-", "-");
    for spec in code_assist_core::settings::SETTINGS.iter().filter(|spec| spec.flag().is_some()) {
        assert!(whole.contains(&format!("env: {}]", spec.name)), "{}", spec.name);
    }
    let synopsis = whole.split_once("SYNOPSIS").unwrap().1.split_once("DESCRIPTION").unwrap().0;
    assert!(synopsis.lines().count() < 6, "{synopsis}");
}

#[test]
fn a_folder_that_cannot_be_made_fails_the_manual() {
    let home = Home::new();
    let file = home.path("file");
    std::fs::write(&file, "").unwrap();
    let output = home.run_with(&["man", file.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot write into"), "{}", stderr(&output));
}
