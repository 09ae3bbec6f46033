//! End-to-end harness.
pub mod upstream;
