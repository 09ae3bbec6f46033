//! The users' side of LLM Gateway: an identity, signed requests, and the command line around them;
//! and the operator's, below `admin`.
//!
//! The command line is `cli` (what can be typed) and `commands` (what it does); everything that a
//! program needs to call a gateway is below them:
//!
//! ```text
//! main (clock, randomness, environment)
//!   └─ cli · commands · serve · admin · books (the operator's) · debug
//!        ├─ settings ── config                   (profiles)
//!        ├─ answer · curl · markdown · table · terminal  (what is shown)
//!        └─ api ── client
//!             └─ gateway
//!                  └─ identity · target
//! ```

pub mod admin;
pub mod answer;
pub mod api;
pub mod books;
pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod curl;
pub mod debug;
pub mod gateway;
pub mod identity;
pub mod markdown;
mod private_file;
pub mod serve;
pub mod settings;
pub mod table;
pub mod target;
pub mod terminal;
