//! The books: open entries and how they close, reconciliation, and reports of usage.

pub mod ledger;
pub mod reconcile;
pub mod usage;
