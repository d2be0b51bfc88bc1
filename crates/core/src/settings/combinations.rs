//! Problems and risks that only a combination of settings has.

use secrecy::ExposeSecret;

use super::read::{SettingsReader, spec_of};
use super::{Machine, Problem, Settings, Source, parse};

impl SettingsReader<'_> {
    /// Problems and risks that only a combination of settings has.
    pub(super) fn check_combinations(
        &mut self,
        settings: &Settings,
        machine: &Machine<'_>,
        has_tables: bool,
    ) {
        self.check_keys(settings, is_on_network(settings, machine));
        self.check_encryption(settings);
        // Bad keys are already reported.
        let has_keys = settings.number_of_keys() > 0
            || has_tables
            || self.problems.iter().any(|problem| problem.name == "PROXY_API_KEYS");
        if !settings.host.is_empty() && !settings.is_loopback() && !has_keys {
            if settings.allow_unauthenticated {
                let text = "the port is open to everyone who reaches it: they use your account";
                self.warn("ALLOW_UNAUTHENTICATED", text.into());
            } else {
                let source = self.find(spec_of("HOST")).map_or(Source::Default, |it| it.source);
                let unset = match source {
                    Source::Env => ": unset it there if it is not meant for the proxy",
                    _ => "",
                };
                let text = format!(
                    "refuses to listen on {} without keys, since everyone who reaches it could \
                     use your account; set PROXY_API_KEYS or add [[key]] tables, or listen on 127.0.0.1, or (behind a \
                     gateway that authenticates) set ALLOW_UNAUTHENTICATED=true (HOST is from \
                     {}{unset})",
                    settings.host,
                    self.origin(source)
                );
                self.problems.push(Problem { name: "HOST".into(), text });
            }
        }
        if settings.port != 0 && settings.admin_port == Some(settings.port) {
            let text = "is the same as PORT; choose another port, or 0 for a free one";
            self.problems.push(Problem { name: "ADMIN_PORT".into(), text: text.into() });
        }
        if settings.allowed_origins.iter().any(|origin| origin == "*") && !has_keys {
            let text = "with `*` and no PROXY_API_KEYS every web page that is open in a browser \
                        on this machine can use your account";
            self.warn("ALLOWED_ORIGINS", text.into());
        }
        if settings.allowed_origins.iter().any(|origin| origin == "null") && !has_keys {
            let text = "with `null` and no PROXY_API_KEYS a sandboxed frame of any web page, and any \
                        page opened from a file, can use your account";
            self.warn("ALLOWED_ORIGINS", text.into());
        }
        if settings.oauth_client_id.is_some() != settings.oauth_client_secret.is_some() {
            let text = "OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET belong together; only one is set";
            self.warn("OAUTH_CLIENT_ID", text.into());
        }
        if settings.retry_base_delay > settings.retry_max_delay {
            let text = "is longer than RETRY_MAX_DELAY_MS, so every delay is cut to that";
            self.warn("RETRY_BASE_DELAY_MS", text.into());
        }
    }

    /// A short key can be guessed.
    fn check_keys(&mut self, settings: &Settings, on_network: bool) {
        for (key, number) in settings.api_keys.iter().zip(1..) {
            let length = key.key.expose_secret().len();
            let which = match &key.name {
                Some(name) => format!("the key of {name}"),
                None => format!("key {number}"),
            };
            self.check_key_length("PROXY_API_KEYS", &which, length, on_network);
        }
    }

    /// Complains of a short key, for which `which` stands.
    pub(super) fn check_key_length(
        &mut self,
        name: &str,
        which: &str,
        length: usize,
        on_network: bool,
    ) {
        if on_network && length < LEAST_KEY_LENGTH {
            let text = format!(
                "{which} has fewer than {LEAST_KEY_LENGTH} characters and can be guessed over the \
                 network; `openssl rand -hex 32` makes a good one"
            );
            self.complain(name, text);
        } else if length < GOOD_KEY_LENGTH {
            let text = format!(
                "{which} has fewer than {GOOD_KEY_LENGTH} characters; `openssl rand -hex 32` makes \
                 a good one"
            );
            self.warn(name, text);
        }
    }

    /// Tokens, and the refresh token, would travel in the clear.
    fn check_encryption(&mut self, settings: &Settings) {
        let oauth = [
            ("OAUTH_TOKEN_URL", &settings.token_url),
            ("OAUTH_TOKENINFO_URL", &settings.tokeninfo_url),
        ];
        for (name, url) in oauth {
            self.check_encrypted(name, url, settings.allow_insecure_upstream);
        }
    }

    /// Secrets do not travel in the clear unless the operator allows it.
    pub(super) fn check_encrypted(&mut self, name: &str, url: &str, allow_insecure: bool) {
        let Some(uri) = parse::url(url).ok().filter(parse::is_unencrypted) else { return };
        let host = uri.host().unwrap_or_default();
        if allow_insecure {
            self.warn(name, format!("tokens travel to {host} in the clear; use https"));
        } else {
            let text = format!(
                "refuses to send tokens to {host} in the clear: use https, or set \
                 ALLOW_INSECURE_UPSTREAM=true if the network in between is trusted"
            );
            self.problems.push(Problem { name: name.into(), text });
        }
    }
}

/// Whether clients come over a network.
pub(super) fn is_on_network(settings: &Settings, machine: &Machine<'_>) -> bool {
    machine.is_on_network || (!settings.host.is_empty() && !settings.is_loopback())
}

/// Keys below this length get a warning.
const GOOD_KEY_LENGTH: usize = 16;

/// Keys below this length are refused where clients come over a network.
const LEAST_KEY_LENGTH: usize = 8;
