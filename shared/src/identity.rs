//! The callers: DIDs and their documents, access tokens, the canonical form of a request, the signed text, and its verification.

pub mod access;
pub mod access_token;
pub mod auth;
pub mod canonical;
pub mod did;
pub mod documents;
pub mod signing;
