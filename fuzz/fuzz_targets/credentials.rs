//! Any content of `oauth_creds.json` is either read or refused, and neither a login nor an error shows
//! a secret of it.
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
            // A short text occurs by chance.
            let is_printed = secret.len() >= 12 && printed.contains(secret);
            assert!(!is_printed, "{name} is in {printed}");
        }
    }
});

const SECRETS: [&str; 6] =
    ["access_token", "client_secret", "id_token", "private_key", "refresh_token", "token"];
