//! Any file in the place of `oauth_creds.json` is credentials or a polite no, and no secret of it
//! can be printed.
#![no_main]

use code_assist_core::internals::google::credentials::Login;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let login = Login::parse(data);
    let mut printed = format!("{login:?}");
    if let Err(problem) = &login {
        printed += &problem.to_string();
    }
    if let Ok(Value::Object(fields)) = serde_json::from_slice(data) {
        for name in SECRETS {
            let Some(Value::String(secret)) = fields.get(name) else {
                continue;
            };
            // Short ones occur by chance.
            let is_told = secret.len() >= 12 && printed.contains(secret);
            assert!(!is_told, "{name} is in {printed}");
        }
    }
});

const SECRETS: [&str; 6] =
    ["access_token", "client_secret", "id_token", "private_key", "refresh_token", "token"];
