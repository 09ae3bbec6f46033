//! The stand-in for OpenRouter.
//!
//! | user | starts | answers |
//! |---|---|---|
//! | end-to-end tests | [`OpenRouter::start`] | faults by the requested model's name, bills, jobs, the management API, the answers for SDKs |
//! | `cargo xtask dev` | [`OpenRouter::demo`] | an answer to any model on any endpoint, at a reading pace, and the faults above |
//! | simulation | [`server`], [`answer`], [`script`], [`job`], [`billing`] | the same answers and faults, played as each request's plan says, and observed |
//! | benchmark | [`server`], [`load`] | answers of a known size and pace that cost no time |
//!
//! All of them refuse what the gateway must never send ([`rules`]), and write their events without
//! Nagle's delay.

pub mod answer;
pub mod billing;
pub mod demo;
pub mod endpoint;
pub mod job;
pub mod load;
pub mod long;
pub mod management;
mod openrouter;
pub mod response;
pub mod rules;
pub mod script;
pub mod scripted;
pub mod sdks;
pub mod server;

pub use self::{
    answer::{Answer, Charge, Tokens},
    endpoint::Endpoint,
    openrouter::OpenRouter,
    server::Received,
};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The value of a mutex, also after a panic of another holder.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
