//! The forms of an error body.

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::failure::Failure;
use crate::upstream::endpoint::Dialect;

/// An error body. In each form the reason is `error.metadata.reason`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Envelope<'a> {
    /// `{"success":false,"error":{…},"request_id":…}`, which OpenAI's and OpenRouter's SDKs read, too.
    Own {
        success: bool,
        error: OwnError<'a>,
        request_id: Uuid,
    },
    /// `{"type":"error","error":{"type":…},"request_id":…}`.
    /// <https://docs.claude.com/en/api/errors>
    Anthropic {
        r#type: &'static str,
        error: AnthropicError<'a>,
        request_id: Uuid,
    },
}

/// The member in which OpenRouter's and OpenAI's SDKs look for `message` and `code`.
#[derive(Debug, Serialize)]
pub(super) struct OwnError<'a> {
    code: u16,
    message: &'a str,
    metadata: Map<String, Value>,
}

#[derive(Debug, Serialize)]
pub(super) struct AnthropicError<'a> {
    r#type: &'static str,
    message: &'a str,
    metadata: Map<String, Value>,
}

impl<'a> Envelope<'a> {
    pub(super) fn new(dialect: Dialect, failure: &'a Failure, reason: &str, id: Uuid) -> Self {
        let message = &failure.message;
        let mut metadata = failure.metadata.clone();
        metadata.insert("reason".to_owned(), Value::from(reason));
        match dialect {
            Dialect::Messages => Self::Anthropic {
                r#type: "error",
                error: AnthropicError {
                    r#type: anthropics_type(failure.status),
                    message,
                    metadata,
                },
                request_id: id,
            },
            Dialect::Chat
            | Dialect::Completions
            | Dialect::Responses
            | Dialect::Images
            | Dialect::Unknown => Self::Own {
                success: false,
                error: OwnError {
                    code: failure.status.as_u16(),
                    message,
                    metadata,
                },
                request_id: id,
            },
        }
    }
}

/// Anthropic's name for what a status says.
fn anthropics_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::PAYMENT_REQUIRED => "billing_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        other if other.is_server_error() => "api_error",
        _ => "invalid_request_error",
    }
}
