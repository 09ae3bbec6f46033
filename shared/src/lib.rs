//! LLM Gateway's library: everything that is not Lambda.
//!
//! It speaks [`http`] and [`bytes`], never `lambda_http`, so that the functions, the tests and the
//! local stack drive the same code. A module imports only from lines below its own:
//!
//! ```text
//! respond (the one file that knows HTTP statuses) · relay (answers, as they stream) · config
//!   └─ ledger (the books) · reconcile (what they left open)
//!        └─ error
//!             └─ stages:  auth · keys · meter · provisioning · usage
//!                  └─ clients:  storage (PostgREST) · openrouter · secrets_manager
//!                       └─ parts:  aws_http · endpoint · http_client · json_scan · money · payload ·
//!                          clock · sse · signing · vault
//!                            └─ canonical · did · secret
//!                                 └─ causes · request
//! ```
//!
//! Stages do not import each other, nor do clients.

#![warn(missing_docs)]

pub mod auth;
mod aws_http;
pub mod canonical;
pub mod causes;
pub mod clock;
pub mod config;
pub mod did;
pub mod endpoint;
pub mod error;
pub mod http_client;
pub mod json_scan;
pub mod keys;
pub mod ledger;
pub mod meter;
pub mod money;
pub mod observe;
pub mod openrouter;
pub mod payload;
pub mod provisioning;
pub mod reconcile;
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
