//! What keys have used, as a list for people and programs: `GET /usage` and the command `keys usage`.

mod query;
mod report;
#[cfg(test)]
mod tests;

#[cfg(test)]
use query::UsageBy;
pub(crate) use query::{UsageQuery, UsageQueryError};
pub(crate) use report::{KeyBudget, UsageFormat, UsageReport, tightest};
