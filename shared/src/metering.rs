//! The reading of answers as they stream past: JSON, server-sent events, usage, money.

pub mod json_scan;
pub mod meter;
pub mod money;
pub mod sse;
