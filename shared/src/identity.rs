//! The callers: DIDs, the canonical form of a request, the signed text, and its verification.

pub mod access;
pub mod auth;
pub mod canonical;
pub mod did;
pub mod signing;
