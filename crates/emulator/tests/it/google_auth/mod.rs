//! Google's credential services: every field that they check, and their switches.

mod federation;
mod impersonation;
mod jwt;
mod metadata;
mod refresh;
