//! LLM Gateway's library: everything that is not Lambda.
//!
//! It speaks [`http`] and [`bytes`], never `lambda_http`, so that the functions, the tests and the
//! local stack drive the same code. Its rooms, and the files between them, each importing only from
//! lines below its own; `tests/import_order.rs` reads this diagram and holds every import against it:
//!
//! ```text
//! respond (the one file that knows HTTP statuses) · relay (answers, as they stream) · config
//!   └─ error
//!        └─ accounting (ledger, reconciliation, usage) · credentials (keys, provisioning)
//!             └─ storage (PostgREST) · upstream (OpenRouter)
//!                  └─ metering (JSON, events, usage, money) · identity (DIDs, signatures)
//!                       └─ observe (the request's line in the log)
//!                            └─ vault (keys, keyset, Secrets Manager)
//!                                 └─ routes · request · http_client · clock · causes · strict_json
//! ```

#![warn(missing_docs)]

pub mod accounting;
pub mod causes;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod error;
pub mod http_client;
pub mod identity;
pub mod metering;
pub mod observe;
pub mod relay;
pub mod request;
pub mod respond;
pub mod routes;
pub mod storage;
pub mod strict_json;
pub mod upstream;
pub mod vault;
