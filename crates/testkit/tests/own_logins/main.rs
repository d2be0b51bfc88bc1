//! Keys with a login of their own: whose token and project a request goes out with, and that what
//! happens to one account is not felt by another (`docs/CREDENTIALS.md`).

mod answers;
mod fixture;
mod isolation;
mod reload;
mod tokens;
