//! The ledger test: what OpenRouter billed and what the books say is the same, to the last digit,
//! whatever goes wrong in between.
//!
//! A seeded run drives the built functions, each in a strict [Lambda](stack::lambda) environment of its
//! own, between an [OpenRouter](upstream) that keeps its own ledger and a [door] to a real
//! database. Both break what the [plan] of a request wants broken. Then
//! [reconciliation](settlement) runs until nothing is open, and the two ledgers are
//! [compared](verdict).

pub mod amount;
pub mod books;
pub mod chronicle;
pub mod client;
pub mod door;
pub mod faults;
pub mod kind;
pub mod plan;
mod progress;
pub mod report;
pub mod run;
pub mod settlement;
pub mod upstream;
pub mod verdict;

pub use run::{Options, run};
