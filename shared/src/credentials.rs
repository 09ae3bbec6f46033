//! What a DID holds at the gateway: its OpenRouter key, brought or provisioned.

pub mod keys;
pub mod provisioning;
