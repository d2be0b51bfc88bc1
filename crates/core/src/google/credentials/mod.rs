//! Google's OAuth 2.0 as an installed application speaks it (`docs/reference/protocol.md` 1).
//!
//! `text.rs` finds the JSON of a credential and `login.rs` reads it; `refresh.rs` turns it into an access token; `token.rs` is
//! that token and the check of it; `stored.rs` is how tokens are kept in the store. `adc/` has the
//! credentials for Google Cloud.

pub mod adc;
mod fields;
mod login;
mod refresh;
mod stored;
#[cfg(test)]
mod tests;
mod text;
mod token;

pub use login::{CredentialError, Login, credential_problem};
pub use refresh::{OAuthClient, RefreshError, RefreshedToken, read_refresh};
pub use stored::{StoredToken, rotated_from_stored, rotated_to_stored};
pub use token::{AccessToken, TokenInfo, read_tokeninfo};
