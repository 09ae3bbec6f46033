//! What the migrations and the client promise, against a real `PostgREST`-compatible backend.
//!
//! - `STORAGE_URL`: the REST base, e.g. `http://127.0.0.1:24321/rest/v1`
//! - `STORAGE_KEY`: the secret key
//! - `STORAGE_ANON_KEY`: the publishable key
//!
//! Every test makes DIDs of its own and deletes their rows, but for those of `key_events`, which
//! nobody may delete; so a shared database does no harm.
//!
//! The tests named `the_public_is_refused_at_the_door` fail on `@supabase/lite` with `PGlite`, which
//! logs in as the owner and gives everything back to `anon`: skip them there by name. The second lock
//! holds (`the_public_sees_and_changes_nothing`, `the_public_neither_sees_nor_changes_keys`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test fail as the test does"
)]

mod abandoned;
mod access;
mod admission;
mod beginning;
mod budgets;
mod jobs;
mod jobs_and_limits;
mod keys;
mod limits;
mod money;
mod original;
mod provisioning;
mod reconciliation;
mod refusals;
mod requests;
mod retention;
mod retired;
mod rollup;
mod tokens;
mod usage;
mod user;
