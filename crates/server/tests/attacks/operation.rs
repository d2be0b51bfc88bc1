//! A shared store that others write to, signals and crashes. The store's file is in `machine.rs`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::samples::{GENERATE, HELLO, WHOLE, ok};
use code_assist_harness::{
    GoogleEmulator, ProxyBuilder, RedisServer, ScriptedUpstream, TestProxy, post, proxy_binary,
};

use crate::attacked::Attacked;
use crate::table::attacks;
use crate::upstream::at_once;

attacks! {
    "Shared stores, signals and crashes"
    both {}
    native {
        planted_entries: "a token in the clear in a Redis whose entries are encrypted", "it is never used",
            because "a Worker has its own store";
        lying_redis: "a Redis that answers with nonsense, 512 MB announced, 2,147,483,647 items, 100,000 levels, errors, or not at all",
            "200 after one timeout at most, from memory", because "a Worker has its own store";
        flushed_redis: "a Redis that loses all entries again and again under load", "200, every time",
            because "a Worker has its own store";
        hangup_storm: "100 SIGHUPs under load, with good, broken and missing configuration files",
            "200, every time; the old keys stay", because "a Worker gets no signals";
        slow_body_at_shutdown: "a body that comes byte by byte while the proxy stops",
            "it ends after `SHUTDOWN_GRACE_MS`", because "a Worker gets no signals";
        keys_that_all_can_read: "a configuration file with keys that every user of the machine may read and write",
            "it starts, and warns with the file's name", because "a Worker has no files";
        export_over_a_link: "`kv export` over a symbolic link, with umask 0",
            "the link is replaced by a file with mode 0600; what it led to is untouched", because "a Worker has no files";
    }
    proved {
        killed_while_writing: "SIGKILL at any moment", "the store is whole, and so are token and project",
            by "crates/server/tests/serve/start.rs::a_proxy_killed_at_any_moment_restarts_with_an_intact_store";
        disk_full: "a disk that is full", "200, from memory",
            by "crates/server/tests/faults/store.rs::store_full";
        clock_jumps: "a clock that jumps", "no burst of refreshes, and no token is lost",
            by "crates/testkit/tests/credentials/clock.rs::a_jump_of_the_wall_clock_causes_no_burst_of_refreshes_and_invalidates_no_token";
        redis_suspended: "a Redis that hangs", "one timeout; memory stands in",
            by "crates/server/src/store/redis/tests.rs::a_server_that_hangs_costs_one_timeout_and_memory_stands_in";
        stream_at_shutdown: "a stream that is longer than `SHUTDOWN_GRACE_MS`", "it ends with an error, and the proxy ends",
            by "crates/server/tests/serve/shutdown.rs::a_stream_longer_than_the_grace_period_ends_with_an_error";
        panics: "a request that meets a bug", "500 for this request, and for no other",
            by "crates/testkit/tests/life/errors.rs::a_panic_fails_its_own_request_and_no_other";
    }
}

fn planted_entries() -> Vec<Attacked> {
    let redis = RedisServer::start(&[]);
    let start = |settings: &[(&str, &str)]| {
        let shared = [("KV_URL", &*redis.url()), ("VALIDATE_TOKENS_BEFORE_USE", "false")];
        let google = GoogleEmulator::start();
        TestProxy::with_expired_token(google, &[&shared[..], settings].concat())
    };
    // A proxy without a key writes the entry in the form that the attacker needs.
    let open = start(&[]);
    assert_eq!(open.post(GENERATE, HELLO).status(), 200);
    open.until("a stored token", |_| redis.cli(&["KEYS", "*"]).contains("oauth_token_cache"));
    let names = redis.cli(&["KEYS", "*oauth_token_cache*"]);
    let name = names.lines().find(|name| name.contains("kv:")).expect("the token's entry");
    drop(open);
    let planted = redis.cli(&["GET", name]).replace("ya29.", "ya29.planted-");
    let used = |proxy: &TestProxy| {
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
        proxy.google().log().iter().any(|call| call.to_string().contains("planted"))
    };
    redis.cli(&["SET", name, &planted]);
    let open = start(&[]);
    assert!(used(&open), "without a key the entry is believed: the attack is a real one");
    drop(open);
    redis.cli(&["SET", name, &planted]);
    let sealed = start(&[("KV_ENCRYPTION_KEY", &"0f".repeat(32))]);
    assert!(!used(&sealed));
    vec![sealed.into()]
}

fn lying_redis() -> Vec<Attacked> {
    let answers = [
        "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        "$536870912\r\nx".to_owned(),
        "*2147483647\r\n".to_owned(),
        "*1\r\n".repeat(100_000),
        "-ERR no\r\n".repeat(100),
        "$-7\r\n:x\r\n".to_owned(),
        "\0\u{1}\u{2}".to_owned(),
        String::new(),
    ];
    let attack = |answer: String| {
        let shown: String = answer.chars().take(40).collect();
        let server = ScriptedUpstream::raw(move |stream: TcpStream| lie(stream, &answer));
        let url = server.url().replace("http://", "redis://");
        let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[("KV_URL", &url)]);
        for _ in 0..3 {
            let started = Instant::now();
            assert_eq!(proxy.post(GENERATE, HELLO).status(), 200, "{shown:?}");
            let took = started.elapsed();
            assert!(took < Duration::from_secs(4), "{shown:?}: {took:?}");
        }
        Attacked::from(proxy)
    };
    at_once(answers.map(|answer| move || attack(answer)))
}

fn flushed_redis() -> Vec<Attacked> {
    let redis = RedisServer::start(&[]);
    let limit = ("RATE_LIMIT_MAX_REQUESTS", "10000");
    let settings = [("KV_URL", &*redis.url()), limit];
    let proxy = TestProxy::with_expired_token(GoogleEmulator::start(), &settings);
    for _ in 0..20 {
        redis.cli(&["FLUSHALL"]);
        for _ in 0..5 {
            let answer = proxy.post(GENERATE, HELLO);
            assert_eq!(answer.status(), 200, "{}", answer.text());
        }
    }
    assert!(proxy.google().count("token") <= 2, "{}", proxy.google().count("token"));
    vec![proxy.into()]
}

fn hangup_storm() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|_, connection| connection.write(ok(WHOLE)));
    let setup = ProxyBuilder::for_upstream(&upstream);
    let keys = "proxy_api_keys = \"ada:adas-own-long-key\"\n";
    setup.write("proxy.toml", keys);
    let file = setup.path("proxy.toml");
    let setup = setup.argument("--config").argument(&file.to_string_lossy());
    let key = "x-goog-api-key: adas-own-long-key";
    let proxy = TestProxy::start(setup, &[]).with_key("adas-own-long-key");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut connection = proxy.connect();
            while !done.load(Ordering::SeqCst) {
                let answer = connection.send(post(GENERATE, &[key], HELLO));
                assert_eq!(answer.status(), 200, "{}", answer.text());
            }
        });
        for content in ["this is no toml", "log_level = \"loud\"", "proxy_api_keys = \"\"", keys] {
            std::fs::write(&file, content).expect("a writable folder");
            (0..20).for_each(|_| proxy.signal("HUP"));
        }
        std::fs::remove_file(&file).expect("a writable folder");
        (0..20).for_each(|_| proxy.signal("HUP"));
        done.store(true, Ordering::SeqCst);
        load.join().expect("no panic");
    });
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 401);
    vec![proxy.into()]
}

fn slow_body_at_shutdown() -> Vec<Attacked> {
    let setup = ProxyBuilder::without_upstream().env("SHUTDOWN_GRACE_MS", "500");
    let mut proxy = setup.start();
    let mut connection = proxy.connect();
    connection.write(format!(
        "POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{{"
    ));
    thread::sleep(Duration::from_millis(100));
    proxy.signal("TERM");
    let started = Instant::now();
    let dribbling = thread::spawn(move || {
        while connection.try_write(" ") && started.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(20));
        }
    });
    proxy.wait_for_exit(Duration::from_secs(8));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    dribbling.join().expect("no panic");
    Vec::new()
}

fn keys_that_all_can_read() -> Vec<Attacked> {
    use std::os::unix::fs::PermissionsExt;

    let setup = ProxyBuilder::without_upstream();
    setup.write("open.toml", "proxy_api_keys = \"ada:adas-own-long-key\"\n");
    let file = setup.path("open.toml");
    let all = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&file, all).expect("a file of this user");
    let setup = setup.argument("--config").argument(&file.to_string_lossy());
    let proxy = TestProxy::start(setup, &[]).with_key("adas-own-long-key");
    let said = proxy.stderr();
    assert!(said.contains("open.toml") && said.contains("chmod 600"), "{said}");
    vec![Attacked::without_upstream(proxy)]
}

fn export_over_a_link() -> Vec<Attacked> {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let setup = ProxyBuilder::without_upstream();
    setup.write("victim", "the user's own");
    setup.write("in.json", r#"[{"key":"a","value":"hush"}]"#);
    symlink(setup.path("victim"), setup.path("out.json")).expect("a writable folder");
    let url = format!("file:{}", setup.path("kv.redb").display());
    for words in ["kv import in.json", "kv export out.json"] {
        let script = format!("umask 0; exec '{}' {words}", proxy_binary().display());
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script]).env_clear().env("KV_URL", &url);
        shell.env("HOME", setup.path("")).current_dir(setup.path(""));
        let out = shell.stdin(Stdio::null()).output().expect("a shell");
        assert!(out.status.success(), "{words}: {}", String::from_utf8_lossy(&out.stderr));
    }
    let read = |name: &str| std::fs::read_to_string(setup.path(name)).expect("a file");
    assert_eq!(read("victim"), "the user's own");
    assert!(read("out.json").contains("hush"));
    let exported = std::fs::symlink_metadata(setup.path("out.json")).expect("a file");
    assert!(exported.is_file());
    assert_eq!(exported.permissions().mode() & 0o777, 0o600);
    Vec::new()
}

/// Gives this answer to whatever comes.
fn lie(mut stream: TcpStream, answer: &str) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer) {
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
