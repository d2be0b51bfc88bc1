//! Floods of refused requests: what they do to the log.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::Duration;

use code_assist_harness::{Connection, GoogleEmulator, ProxyBuilder, get, post};
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
    proxy.wait_for_exit(Duration::from_secs(10));
    let (output, _) = proxy.into_output();
    let values = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_reason: Vec<Value> = values.filter(|line| line["reason"] == "not_found").collect();
    let written = of_reason.iter().filter(|line| line["target"] == "request").count() as u64;
    let counted: u64 = of_reason.iter().filter_map(|line| line["count"].as_u64()).sum();
    assert_eq!(written + counted, 300);
}

#[test]
fn lines_that_are_lost_while_standard_output_is_not_read_are_counted_and_warned_of() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google);
    let mut command = setup.serve_command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the proxy starts");
        if let Some(address) = line.trim().strip_prefix("listening on http://") {
            break address.to_owned();
        }
    };
    // Nothing is read from here on. Some 800 bytes a line, and room for 4 MiB.
    let mut connection = Connection::open(&address);
    let models = get("/v1beta/models", &[&format!("x-request-id: {}", "i".repeat(128))]);
    let lost = |connection: &mut Connection| {
        let metrics = connection.send(get("/metrics", &[])).text();
        let mut lines = metrics.lines();
        let count = lines
            .find_map(|line| line.strip_prefix("code_assist_proxy_log_lines_lost_total "))
            .expect("a count");
        count.parse::<u64>().unwrap()
    };
    assert_eq!(lost(&mut connection), 0);
    let batch = models.repeat(100);
    for _ in 0..100 {
        connection.write(&batch);
        for _ in 0..100 {
            assert_eq!(connection.response().status(), 200);
        }
        if lost(&mut connection) > 100 {
            break;
        }
    }
    assert!(lost(&mut connection) > 100);
    let mut seen = Vec::new();
    let mut piece = [0; 1 << 16];
    while !String::from_utf8_lossy(&seen).contains("log lines were lost") {
        let count = output.read(&mut piece).unwrap();
        assert_ne!(count, 0);
        seen.extend_from_slice(&piece[..count]);
        seen.drain(..seen.len().saturating_sub(2 * piece.len()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

const KEY: &str = "0123456789abcdef";
