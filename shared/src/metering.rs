//! What an answer says about itself, read as it streams past: JSON, server-sent events, usage, money.

pub mod json_scan;
pub mod meter;
pub mod money;
pub mod sse;
