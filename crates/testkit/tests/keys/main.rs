//! Keys with limits: what each has used, and whether it may use more.

mod budgets;
mod copies;
mod counting;
mod fixture;
mod sharing;
mod storing;
