//! The store, the machine and the settings of an operator.

use std::fs;

use code_assist_harness::samples::{GENERATE, HELLO};
use code_assist_harness::{GoogleEmulator, ProxyBuilder, TestProxy};
use serde_json::json;

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Store and machine"
    both {}
    native {
        damaged_store_after_a_rotation: "a store that is damaged, then deleted, after Google has replaced the refresh token",
            "the new refresh token is used: a copy of it is kept beside the store, with mode 0600",
            because "KV has no file";
        damaged_store_at_each_start: "five starts, each on a damaged store",
            "all serve; the last two damaged files are kept, with mode 0600", because "KV has no file";
        linked_store: "a store that is a symbolic link to a file of the user's, and one to nothing",
            "what the link leads to keeps its content and mode, and is not created; the proxy serves from memory and says why",
            because "KV has no file";
        later_store: "a store that a later version has written", "not a byte of it is changed; the proxy serves from memory and names the format",
            because "KV has no file";
        core_files: "a process that is started with unlimited core files", "its limit is 0: no core file holds a token",
            because "an isolate leaves no core file";
    }
    proved {
        keys_in_the_balancers_log: "`?key=` through the HAProxy of `packaging/`", "its log has the path only",
            by "crates/server/tests/fleet/main.rs::the_balancers_log_has_paths_and_no_keys";
        overloaded_google_behind_a_balancer: "a request through the HAProxy of `packaging/` while Google answers 503",
            "as many calls as one proxy makes, not three times as many",
            by "crates/server/tests/fleet/main.rs::an_overloaded_google_is_called_no_more_often_through_the_balancer";
        store_of_another_user: "a store that belongs to another user", "it is refused and left as it is",
            by "crates/server/tests/cli/store.rs::a_store_behind_a_symbolic_link_or_of_another_user_is_refused_and_left_alone";
    }
}

fn damaged_store_after_a_rotation() -> Vec<Attacked> {
    let google = GoogleEmulator::start();
    google.set_state(json!({"rotate_refresh": true}));
    let setup = with_store(&google).credentials(&google.expired_credentials());
    assert_eq!(setup.start().post(GENERATE, HELLO).status(), 200);
    damage(&setup, 0);
    assert_eq!(setup.start().post(GENERATE, HELLO).status(), 200, "the store was damaged");
    fs::remove_file(setup.path("kv.redb")).expect("a store");
    let proxy = TestProxy::start(setup, &[]);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200, "the store was deleted");
    assert_eq!(mode(&proxy, "kv.redb.refresh-token"), 0o600);
    vec![proxy.with(google).into()]
}

fn damaged_store_at_each_start() -> Vec<Attacked> {
    let google = GoogleEmulator::start();
    let setup = with_store(&google);
    for round in 0..4 {
        damage(&setup, round);
        assert_eq!(setup.start().post(GENERATE, HELLO).status(), 200);
    }
    damage(&setup, 4);
    let proxy = TestProxy::start(setup, &[]);
    let names = fs::read_dir(proxy.path(".")).expect("a folder").flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut damaged: Vec<_> = names.filter(|name| name.contains(".damaged-")).collect();
    damaged.sort();
    assert_eq!(damaged.len(), 2, "{damaged:?}");
    for (name, round) in damaged.iter().zip(["3", "4"]) {
        assert!(fs::read_to_string(proxy.path(name)).expect("a copy").starts_with(round));
        assert_eq!(mode(&proxy, name), 0o600);
    }
    vec![proxy.with(google).into()]
}

fn linked_store() -> Vec<Attacked> {
    let attack = |target: &str| {
        let google = GoogleEmulator::start();
        let setup = with_store(&google);
        setup.write("diary.txt", "Dear diary");
        set_mode(&setup, "diary.txt");
        std::os::unix::fs::symlink(target, setup.path("kv.redb")).expect("a link");
        let proxy = TestProxy::start(setup, &[]);
        let output = proxy.stdout();
        assert!(
            output.contains("it is a symbolic link") && output.contains("in memory"),
            "{output}"
        );
        assert_eq!(fs::read_to_string(proxy.path("diary.txt")).expect("a file"), "Dear diary");
        assert_eq!(mode(&proxy, "diary.txt"), 0o644);
        assert!(!proxy.path("nowhere").exists());
        Attacked::from(proxy.with(google))
    };
    vec![attack("diary.txt"), attack("nowhere")]
}

fn later_store() -> Vec<Attacked> {
    let google = GoogleEmulator::start();
    let setup = with_store(&google);
    assert_eq!(setup.start().post(GENERATE, HELLO).status(), 200);
    let mut later = fs::read(setup.path("kv.redb")).expect("a store");
    // Where redb names its file format.
    (later[64], later[192]) = (4, 4);
    setup.write("kv.redb", &later);
    let proxy = TestProxy::start(setup, &[]);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert!(proxy.stdout().contains("a redb file of version 4"), "{}", proxy.stdout());
    assert!(fs::read(proxy.path("kv.redb")).expect("a store") == later, "a byte was changed");
    vec![proxy.with(google).into()]
}

fn core_files() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    assert_eq!(proxy.limits("Max core file size"), ("0".to_owned(), "0".to_owned()));
    vec![proxy.into()]
}

fn with_store(google: &GoogleEmulator) -> ProxyBuilder {
    ProxyBuilder::for_emulator(google).env("KV_URL", "file:kv.redb")
}

fn damage(setup: &ProxyBuilder, round: u32) {
    setup.write("kv.redb", format!("{round} is no database. ").repeat(4096));
}

fn set_mode(setup: &ProxyBuilder, name: &str) {
    use std::os::unix::fs::PermissionsExt;

    let readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(setup.path(name), readable).expect("a file of this user");
}

fn mode(proxy: &TestProxy, name: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt;

    fs::metadata(proxy.path(name)).expect("a file").permissions().mode() & 0o7777
}
