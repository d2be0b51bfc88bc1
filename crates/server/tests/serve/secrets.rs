//! No secret in the output about a damaged credential file, garbage requests and bad settings.

use std::thread;
use std::time::Duration;

use code_assist_harness::{GoogleEmulator, ProxyBuilder};

use crate::{GENERATE, HELLO};

#[test]
fn no_secret_of_a_damaged_credential_file_is_printed() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google)
        .credentials_file(&google.expired_credentials())
        .env("LOG_LEVEL", "trace")
        .env("KV_URL", "file:kv.redb");
    let proxy = setup.start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    let mut connection = proxy.connect();
    connection.write("POST /?key=hush-wrong-key HTTP/1.1\r\nnonsense\r\n\r\n");
    let mut output = String::from_utf8_lossy(&connection.until_closed()).into_owned();
    proxy.write_credentials_file("{\"access_token\": \"ya29.hush-half-written");
    thread::sleep(Duration::from_millis(1200));
    output += &proxy.post(GENERATE, HELLO).text();
    proxy.signal("TERM");
    proxy.await_output("stopped");
    let (stdout, stderr) = proxy.into_output();
    assert!(stdout.contains("DEBUG") || stdout.contains("TRACE"), "{stdout}");
    for (place, text) in [("an answer", &output), ("stdout", &stdout), ("stderr", &stderr)] {
        for secret in ["hush", "ya29.", "1//emulator-refresh"] {
            assert!(!text.contains(secret), "{secret} is in {place}: {text}");
        }
    }
}

#[test]
fn bad_settings_are_reported_without_the_values_of_secrets() {
    let google = GoogleEmulator::start();
    let refused = ProxyBuilder::for_emulator(&google)
        .env("PROXY_API_KEYS", "hush-key")
        .env("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.hush\nhush")
        .env("KV_URL", "redis://user:hush-password@example:99999")
        .env("PORT", "x")
        .run_to_exit();
    assert_eq!(refused.status.code(), Some(2));
    let message =
        String::from_utf8(refused.stderr).unwrap() + &String::from_utf8(refused.stdout).unwrap();
    assert!(message.contains("PORT"), "{message}");
    assert!(!message.contains("hush"), "{message}");
}
