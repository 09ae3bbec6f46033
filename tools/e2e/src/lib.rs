//! The harness of the end-to-end tests: the built functions on Lambda's runtime protocol, between
//! a real database, a real Secrets Manager API and an OpenRouter that breaks on demand.

pub mod chaos_proxy;
pub mod deployments;
pub mod lambda;
pub mod samples;
pub mod signer;
pub mod user;
pub mod world;
