//! What a build without an optional part answers when a setting asks for that part:
//!
//! ```text
//! cargo test -p code-assist-proxy --no-default-features --test features
//! ```

#![cfg(not(all(feature = "emulator", feature = "otel", feature = "redis")))]

use std::process::Command;

#[cfg(not(feature = "emulator"))]
#[test]
fn serve_emulator_without_the_emulator_names_the_feature_and_ends_with_2() {
    let printed = refused(&["serve", "--emulator", "--kv-url", "memory:"]);
    assert!(printed.contains("serve --emulator: this build has no emulator"), "{printed}");
    assert!(printed.contains("--features emulator"), "{printed}");
}

#[cfg(not(feature = "otel"))]
#[test]
fn a_collector_without_otel_names_the_feature_and_ends_with_2() {
    for flag in ["--otel-exporter-otlp-endpoint", "--otel-exporter-otlp-traces-endpoint"] {
        let printed = refused(&["serve", "--kv-url", "memory:", flag, "http://127.0.0.1:9"]);
        let name = flag.trim_start_matches('-').to_uppercase().replace('-', "_");
        assert!(printed.contains(&format!("{name}: this build sends no spans")), "{printed}");
        assert!(printed.contains("--features otel"), "{printed}");
    }
}

#[cfg(not(feature = "redis"))]
#[test]
fn a_redis_url_without_redis_names_the_feature_and_ends_with_2() {
    for command in ["serve", "check", "config", "models", "kv list"] {
        for url in ["redis://127.0.0.1:9", "rediss://ada:hush@127.0.0.1:9/2"] {
            let arguments: Vec<&str> = command.split(' ').chain(["--kv-url", url]).collect();
            let printed = refused(&arguments);
            assert!(
                printed.contains("KV_URL: this build has no Redis support"),
                "{command}: {printed}"
            );
            assert!(printed.contains("--features redis"), "{command}: {printed}");
            assert!(printed.contains("KV_URL=file:PATH"), "{command}: {printed}");
            // `config` prints the setting itself, without its login.
            assert!(!printed.contains("hush"), "{command}: {printed}");
        }
    }
}

/// What the program prints when it refuses `arguments` with exit code 2.
fn refused(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_code-assist-proxy"))
        .args(arguments)
        .env_clear()
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}
