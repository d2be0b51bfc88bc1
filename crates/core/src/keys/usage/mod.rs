//! What keys have used, as a list for people and programs: `GET /usage` and the command `keys usage`.

mod query;
mod report;
#[cfg(test)]
mod tests;

pub use query::{UsageBy, UsageQuery};
pub use report::{KeyBudget, UsageFormat, UsageReport, tightest};
