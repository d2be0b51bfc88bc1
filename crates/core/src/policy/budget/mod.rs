//! Usage and budgets of keys (`docs/TEAM.md`).
//!
//! A request **reserves** an estimate of what it will use before it goes upstream, and **settles** with what
//! upstream has counted once its answer has ended. What is reserved and what is used never exceed a limit by
//! more than an estimate is wrong.

mod charge;
mod day;
mod estimate;
mod judge;
mod ledger;
mod minute;
mod shared;
mod shared_ledger;

pub use charge::{Charge, Cost, Price};
pub use day::Day;
pub use judge::{Budget, Counts, Limits, Reserved, Shortage, judge};
pub use ledger::{
    BudgetStanding, Ledger, LoadMark, ModelTotal, Moment, ReservationTicket, TakenUsage,
};
pub use shared::{ProcessId, SharedReservation, SharedStanding, UsageBatch, UsageRow};
pub use shared_ledger::SharedLedger;
