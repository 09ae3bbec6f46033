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
mod aws_http;
pub mod canonical;
pub mod clock;
pub mod did;
pub mod http_client;
pub mod json_scan;
pub mod meter;
pub mod money;
pub mod request;
pub mod secret;
pub mod secrets_manager;
pub mod signing;
pub mod sse;
pub mod storage;
pub mod vault;
