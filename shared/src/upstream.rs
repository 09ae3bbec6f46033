//! OpenRouter: its endpoints, the payloads that they take and the models in them, and the client that asks it.

pub mod endpoint;
pub mod labels;
pub mod model_list;
pub mod openrouter;
pub mod payload;
