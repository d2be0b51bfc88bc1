//! Any file in the place of `oauth_creds.json` is credentials or a polite no, and no secret of it
//! can be printed.
#![no_main]

use code_assist_core::oauth::Login;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let printed = format!("{:?}", Login::parse(data));
    let Ok(Value::Object(fields)) = serde_json::from_slice(data) else {
        return;
    };
    for name in [
        "access_token",
        "refresh_token",
        "client_secret",
        "private_key",
        "id_token",
    ] {
        let Some(Value::String(secret)) = fields.get(name) else {
            continue;
        };
        // Short ones occur by chance.
        assert!(
            secret.len() < 12 || !printed.contains(secret),
            "{name} is in {printed}"
        );
    }
});
