//! What all Google APIs share: the shape of errors, how they are read, credentials.

pub mod credentials;
pub mod error;
pub mod status;
