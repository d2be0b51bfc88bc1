//! Keys with a login of their own: whose token and project a request goes out with, and that what
//! happens to one account has no effect on another (`docs/CREDENTIALS.md`).

mod answers;
mod fixture;
mod isolation;
mod reload;
mod tokens;
