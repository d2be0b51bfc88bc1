//! The proxy under test: its settings and its credential file.

use code_assist_core::Proxy;
use code_assist_core::settings::{Layer, Settings, Source};

use crate::script::ScriptedPlatform;

/// A proxy with the settings of every test, and `more` before them.
pub fn proxy_with(script: &ScriptedPlatform, more: &[(&str, &str)]) -> Proxy {
    Proxy::new(settings(more), script)
}

/// The settings of every test, and `more` before them.
pub fn settings(more: &[(&str, &str)]) -> Settings {
    let common = [
        ("CODE_ASSIST_ENDPOINT", "http://127.0.0.1:1"),
        ("OAUTH_TOKEN_URL", "http://127.0.0.1:2/token"),
        ("OAUTH_TOKENINFO_URL", "http://127.0.0.1:2/tokeninfo"),
        ("HOME", "/home/test"),
    ];
    let lookup = |name: &str| {
        let found = more.iter().chain(&common).find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let layers = [Layer { source: Source::Env, lookup: &lookup }];
    Settings::read(&layers).expect("the test's settings are good").0
}

/// An `oauth_creds.json` whose access token expires `seconds` after the scripted clock's start.
pub fn login(access: &str, refresh: &str, seconds: i64) -> String {
    let expiry = 1_750_000_000_000_i64 + seconds * 1000;
    format!(
        r#"{{"access_token":"{access}","refresh_token":"{refresh}","expiry_date":{expiry},"token_type":"Bearer"}}"#
    )
}
