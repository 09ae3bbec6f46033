//! LLM Gateway's library: everything that is not Lambda.
//!
//! It speaks [`http`] and [`bytes`], never `lambda_http`, so that the functions, the tests and the
//! local stack drive the same code. Imports point one way:
//!
//! ```text
//! respond (the one file that knows HTTP statuses)
//!   └─ error
//!        └─ stages:  auth · vault · meter · usage
//!             └─ clients:  storage (PostgREST) · openrouter · secrets_manager
//!                  └─ pure parts:  canonical · did · endpoint · json_scan · money · secret · sse · clock
//! ```
//!
//! Stages do not import each other.

pub mod auth;
pub mod aws_http;
pub mod canonical;
pub mod clock;
pub mod config;
pub mod did;
pub mod endpoint;
pub mod error;
pub mod http_client;
pub mod json_scan;
pub mod ledger;
pub mod meter;
pub mod money;
pub mod openrouter;
pub mod payload;
pub mod relay;
pub mod request;
pub mod respond;
pub mod secret;
pub mod secrets_manager;
pub mod signing;
pub mod sse;
pub mod storage;
pub mod usage;
pub mod vault;
