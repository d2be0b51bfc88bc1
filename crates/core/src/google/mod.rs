//! What all Google APIs share: the shape of errors, how they are read, credentials.

pub mod credentials;
pub mod error;
mod provider_kind;
pub mod status;
pub mod usage;
pub(crate) mod usage_scan;

pub use provider_kind::ProviderKind;

/// The proxy's own `User-Agent`: it does not pretend to be another product (`README.md`).
pub const USER_AGENT: &str = concat!("code-assist-proxy/", env!("CARGO_PKG_VERSION"));
