//! The harness of the end-to-end tests: the built functions on Lambda's runtime protocol, between
//! a real database, a real Secrets Manager API and an OpenRouter that breaks on demand.

pub mod deployments;
pub mod jobs;
pub mod lambda;
pub mod management;
pub mod samples;
pub mod signer;
pub mod storage_door;
pub mod upstream;
pub mod user;
pub mod world;
