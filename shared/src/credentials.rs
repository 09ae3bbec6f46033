//! The OpenRouter keys of DIDs, brought or provisioned.

pub mod keys;
pub mod provisioning;
