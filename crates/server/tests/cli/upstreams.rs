//! The examples of `docs/UPSTREAMS.md`: each block of settings is read by the binary as it stands there.

use crate::{BINARY, Home, stderr, stdout};

/// The blocks of one language, in order.
fn blocks(language: &str) -> Vec<String> {
    let text = include_str!("../../../../docs/UPSTREAMS.md");
    let fence = format!("```{language}\n");
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(&fence) {
        let block = &rest[at + fence.len()..];
        let end = block.find("```").expect("every block ends");
        found.push(block[..end].to_owned());
        rest = &block[end..];
    }
    found
}

/// The variables that a block exports.
fn exports(block: &str) -> Vec<(&str, &str)> {
    let exports = block.lines().filter_map(|line| line.strip_prefix("export "));
    exports.map(|line| line.split_once('=').expect("NAME=VALUE")).collect()
}

#[test]
fn the_variables_of_every_example_make_the_upstreams_that_it_speaks_of() {
    let blocks = blocks("sh");
    let listed: Vec<String> = blocks
        .iter()
        .map(|block| {
            let home = Home::new();
            let output = home.run_with(&["config"], &exports(block));
            assert_eq!(output.status.code(), Some(0), "{block}\n{}", stderr(&output));
            let listing = stdout(&output);
            let line = listing.lines().find(|line| line.starts_with("FAILOVER="));
            line.expect("a line for each setting").split_whitespace().next().unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        listed,
        ["FAILOVER=off", "FAILOVER=off", "FAILOVER=off", "FAILOVER=quota,capacity,unreachable"]
    );
}

#[test]
fn the_tables_of_the_example_are_read_with_their_files() {
    let [toml] = &blocks("toml")[..] else { panic!("one example with tables") };
    let home = Home::new();
    let folder = home.path("secrets");
    std::fs::create_dir(&folder).unwrap();
    let credentials = code_assist_emulator::service_account_json("http://127.0.0.1:1");
    home.write("secrets/team.json", &credentials);
    home.write("secrets/spare.key", "a-key-of-the-gemini-api\n");
    home.write("c.toml", &toml.replace("/etc/code-assist-proxy", &folder.to_string_lossy()));
    let output = home.run_with(&["--config", "c.toml", "config"], &[]);
    assert_eq!(output.status.code(), Some(0), "{BINARY}\n{}", stderr(&output));
    let listing = stdout(&output);
    for line in ["upstream.team.project=team-project", "upstream.spare.provider=gemini-api"] {
        assert!(listing.contains(line), "{listing}");
    }
    assert!(!listing.contains("a-key-of-the-gemini-api"), "{listing}");
}
