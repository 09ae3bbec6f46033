//! OpenRouter: its endpoints, the payloads that they take, and the client that asks it.

pub mod endpoint;
pub mod openrouter;
pub mod payload;
