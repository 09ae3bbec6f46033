//! The gateway as its users meet it: request in, answer out, then the rows.

#![expect(
    clippy::unwrap_used,
    reason = "in tests' helpers, too, what does not work fails the test"
)]

mod answers;
mod clients;
mod events;
mod failures;
mod limits;
mod reconciliation;
mod refusals;
mod secrecy;
mod serve;
