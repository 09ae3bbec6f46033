//! The users' side of LLM Gateway: an identity, signed requests, and the command line around them.
//!
//! The command line is `cli` (what can be typed) and `commands` (what it does); everything that a
//! program needs to call a gateway is below them:
//!
//! ```text
//! main (clock, randomness, environment)
//!   └─ commands ── cli
//!        ├─ serve
//!        ├─ answer
//!        └─ curl · client
//!             └─ gateway
//!                  └─ identity · target
//! ```

pub mod answer;
pub mod cli;
pub mod client;
pub mod commands;
pub mod curl;
pub mod gateway;
pub mod identity;
pub mod serve;
pub mod target;
