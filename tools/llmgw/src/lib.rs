//! The users' side of LLM Gateway: an identity, signed requests, and the command line around them;
//! and the operator's, below `admin`.
//!
//! The command line is `cli` (what can be typed) and `commands` (what it does); everything that a
//! program needs to call a gateway is below them:
//!
//! ```text
//! main (clock, randomness, environment)
//!   └─ commands ── cli
//!        └─ admin · books (the operator's commands) · debug
//!        └─ answer
//!        └─ curl
//!             └─ gateway
//!                  └─ identity · target
//! ```

pub mod admin;
pub mod answer;
pub mod books;
pub mod cli;
pub mod commands;
pub mod curl;
pub mod debug;
pub mod gateway;
pub mod identity;
pub mod target;
