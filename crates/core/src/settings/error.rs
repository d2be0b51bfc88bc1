//! Why a value is refused.

use std::borrow::Cow;

/// Why a value is refused, as the second half of a sentence: `is out of range`. Never quotes the
/// value, which may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct SettingError(Cow<'static, str>);

impl From<&'static str> for SettingError {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for SettingError {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}
