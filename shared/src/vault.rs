//! Users' keys: their types, how they are sealed, and the keyset in AWS Secrets Manager.

mod aws_http;
pub mod keyset;
pub mod secret;
pub mod secrets_manager;
