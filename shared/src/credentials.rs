//! The OpenRouter keys of DIDs, brought or provisioned, and the access tokens that DIDs make.

pub mod body;
pub mod keys;
pub mod provisioning;
pub mod tokens;
