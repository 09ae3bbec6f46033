//! Who calls: DIDs, the canonical form of a request, what is signed, and the check of it.

pub mod auth;
pub mod canonical;
pub mod did;
pub mod signing;
