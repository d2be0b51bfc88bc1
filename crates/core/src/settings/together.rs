//! Problems and risks that only a combination of settings has.

use super::read::{SettingsReader, spec_of};
use super::{Problem, Settings, Source};

impl SettingsReader<'_> {
    /// Problems and risks that only a combination of settings has.
    pub(super) fn check_together(&mut self, settings: &Settings) {
        // Bad keys are already reported.
        let has_keys = !settings.api_keys.is_empty()
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
                     use your account; set PROXY_API_KEYS, or listen on 127.0.0.1, or (behind a \
                     gateway that authenticates) set ALLOW_UNAUTHENTICATED=true (HOST is from \
                     {}{unset})",
                    settings.host,
                    self.origin(source)
                );
                self.problems.push(Problem { name: "HOST".into(), text });
            }
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
}
