//! The ledger test: OpenRouter's bills and the gateway's books agree to the last digit, whatever fails
//! in between.
//!
//! A seeded run drives the built functions, each in a strict [Lambda](stack::lambda) environment of its
//! own, between an [OpenRouter](openrouter) with bills of its own and a [proxy](storage) of a real
//! database. Both inject the faults that the [plan] of a request says. Then
//! [reconciliation](settlement) runs until nothing is open, and the two ledgers are
//! [compared](verdict).

pub mod amount;
pub mod bills;
pub mod books;
pub mod budgets;
pub mod client;
pub mod faults;
pub mod journal;
pub mod openrouter;
mod options;
pub mod plan;
mod progress;
pub mod report;
pub mod request;
pub mod run;
pub mod settlement;
pub mod storage;
pub mod tokens;
pub mod verdict;

pub use options::Options;
pub use run::run;
