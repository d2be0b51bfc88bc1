//! How much of a setting's value may be shown.

use super::spec::{Secrecy, SettingSpec};

impl SettingSpec {
    /// `value` as it may be printed, on one line: whole, without the login in a URL, or not at all.
    pub(super) fn redacted(&self, value: &str) -> String {
        // A credential JSON in the wrong setting is still a secret.
        if self.secrecy == Secrecy::Secret || value.trim_start().starts_with('{') {
            return MASK.into();
        }
        let mut line: String =
            value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // A URL with a login is refused where none is allowed, and the message shows the URL.
        let may_hold_login = self.secrecy == Secrecy::Login || line.contains("://");
        // Only known parameters are shown: other programs put a password into the query.
        let is_known = |part: &str| ["prefix=", "sentinel="].iter().any(|it| part.starts_with(it));
        if may_hold_login
            && let Some((before, query)) = line.split_once('?')
            && !query.split('&').all(is_known)
        {
            line = format!("{before}?{MASK}");
        }
        match (line.find("://"), line.rfind('@')) {
            (Some(scheme), Some(at)) if at > scheme => {
                format!("{}{MASK}{}", &line[..scheme + 3], &line[at..])
            }
            (None, Some(at)) if may_hold_login => format!("{MASK}{}", &line[at..]),
            _ => line,
        }
    }
}

/// Stands for a secret.
pub(super) const MASK: &str = "***";
