//! Floods of refused requests: what they do to the log.

use code_assist_harness::{GoogleEmulator, ProxyBuilder, get, post};
use serde_json::Value;

use crate::{GENERATE, HELLO};

#[test]
fn a_flood_without_a_key_writes_few_lines_and_hides_no_other() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).env("PROXY_API_KEYS", KEY).start();
    let mut connection = proxy.connect();
    let id = format!("x-request-id: {}", "i".repeat(128));
    for _ in 0..2000 {
        assert_eq!(connection.send(post(GENERATE, &[&id], HELLO)).status(), 401);
    }
    assert_eq!(proxy.send(get("/nothing", &[&format!("x-api-key: {KEY}")])).status(), 404);
    assert_eq!(proxy.send(post(GENERATE, &["x-api-key: wrong"], HELLO)).status(), 401);
    proxy.await_output("refused requests without a line of their own");
    proxy.await_output("api_key_invalid");
    let lines = proxy.request_lines();
    let with = |reason: &str| lines.iter().filter(|line| line["reason"] == reason).count();
    assert_eq!((with("not_found"), with("api_key_invalid")), (1, 1), "{lines:?}");
    assert!(with("api_key_missing") < 500, "{}", with("api_key_missing"));
    assert!(lines.iter().all(|line| line["peer"] == "127.0.0.1"), "{lines:?}");
    let (output, _) = proxy.into_output();
    assert!(output.len() < 400_000, "{}", output.len());
}

#[test]
fn what_was_left_out_of_the_log_is_counted_to_the_last_line() {
    let google = GoogleEmulator::start();
    let mut proxy = ProxyBuilder::for_emulator(&google).start();
    let mut connection = proxy.connect();
    for _ in 0..300 {
        assert_eq!(connection.send(get("/nothing", &[])).status(), 404);
    }
    drop(connection);
    proxy.signal("TERM");
    proxy.wait_for_exit(std::time::Duration::from_secs(10));
    let (output, _) = proxy.into_output();
    let values = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_reason: Vec<Value> = values.filter(|line| line["reason"] == "not_found").collect();
    let written = of_reason.iter().filter(|line| line["target"] == "request").count() as u64;
    let counted: u64 = of_reason.iter().filter_map(|line| line["count"].as_u64()).sum();
    assert_eq!(written + counted, 300);
}

const KEY: &str = "0123456789abcdef";
