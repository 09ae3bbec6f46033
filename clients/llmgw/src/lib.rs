//! The command line of LLM Gateway, for its users, and below `admin` for its operators. Its lower
//! modules are a client library: an identity, and signed requests to a gateway.
//!
//! ```text
//! main (process: environment, streams)
//!   └─ commands ─┬─ admin (operators)
//!                └─ context · args
//!        ├─ settings ── config                            (profiles)
//!        ├─ response · curl · markdown · table · terminal (output)
//!        └─ api ── client
//!             └─ gateway
//!                  └─ identity · target
//! ```
//!
//! Imports point downwards only; `tests/cli/imports.rs` holds that.

pub mod admin;
mod api;
mod args;
pub mod client;
pub mod commands;
pub mod config;
pub mod context;
pub mod curl;
pub mod debug;
pub mod gateway;
pub mod identity;
mod markdown;
mod private_file;
mod response;
pub mod settings;
mod table;
pub mod target;
pub mod terminal;

/// Private parsers, exposed to the fuzz targets alone.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::{
        admin::restore_fuzzing as restore, commands::serve_fuzzing as serve, markdown::render,
    };
}
