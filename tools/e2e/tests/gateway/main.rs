//! The gateway as its users meet it: request in, answer out, then the rows.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests' helpers, too, what does not work fails the test"
)]

mod access;
mod accounting;
mod answers;
mod broken_streams;
mod browser;
mod clients;
mod concurrency;
mod emulator;
mod environment;
mod events;
mod failures;
mod jobs;
mod keys;
mod limits;
mod observability;
mod operator;
mod platform;
mod reconciliation;
mod refusals;
mod rotation;
mod secrecy;
mod serve;
mod token_attacks;
mod token_sdks;
mod tokens;
mod told;
mod usage;
