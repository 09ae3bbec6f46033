//! The proxy's own errors, in the caller's dialect.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{
    codings::{Coding, CodingError},
    guard::AccessDenied,
    route::{Dialect, RouteError},
};
use crate::client::SendError;

/// Read by OpenAI's and Anthropic's SDKs before they retry.
const SHOULD_RETRY: &str = "x-should-retry";

/// The reason why the gateway did not answer a request.
#[derive(Debug)]
pub(super) enum ProxyError {
    /// The caller may not use the proxy.
    AccessDenied(AccessDenied),
    /// The caller asks for a WebSocket.
    WebSocket,
    /// The path has no route.
    Route(RouteError),
    /// The body is larger than a gateway accepts.
    BodyTooLarge,
    /// The body is compressed in an unknown coding, or in too many.
    ContentEncoding,
    /// The body is not of its coding.
    Undecodable(Coding),
    /// The caller did not send the whole body.
    BodyBroken,
    /// The gateway redirects.
    Redirected {
        /// The target.
        location: String,
    },
    /// There is no response.
    Send(SendError),
}

impl ProxyError {
    /// The response.
    #[must_use]
    pub(super) fn response(&self, dialect: Dialect) -> Response {
        let body = self.body(dialect).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        if self.status() == StatusCode::UPGRADE_REQUIRED {
            // RFC 9110 §15.5.22 requires the name of a protocol that is spoken.
            headers.insert(header::UPGRADE, HeaderValue::from_static("HTTP/1.1"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        if self.may_have_been_sent() {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }

    /// The status.
    #[must_use]
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::AccessDenied(AccessDenied::Host | AccessDenied::Origin) => StatusCode::FORBIDDEN,
            Self::AccessDenied(AccessDenied::Token) => StatusCode::UNAUTHORIZED,
            Self::WebSocket => StatusCode::UPGRADE_REQUIRED,
            Self::Route(RouteError::NotFound) => StatusCode::NOT_FOUND,
            Self::Route(RouteError::Malformed(_)) | Self::BodyBroken | Self::Undecodable(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Send(SendError::Random(_) | SendError::Sign(_) | SendError::Request(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Redirected { .. }
            | Self::Send(
                SendError::NotTls { .. } | SendError::Unreachable { .. } | SendError::Broken { .. },
            ) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The stable name: the gateway's where it has one.
    #[must_use]
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::AccessDenied(AccessDenied::Host) => "host_not_allowed",
            Self::AccessDenied(AccessDenied::Origin) => "origin_not_allowed",
            Self::AccessDenied(AccessDenied::Token) => "invalid_local_token",
            Self::WebSocket => "websocket_not_supported",
            Self::Route(RouteError::NotFound) => "not_found",
            Self::Route(RouteError::Malformed(_)) => "malformed_path",
            Self::BodyTooLarge => "body_too_large",
            Self::ContentEncoding => "content_encoding_not_supported",
            Self::BodyBroken | Self::Undecodable(_) => "malformed_body",
            Self::Redirected { .. } => "gateway_redirects",
            Self::Send(SendError::Random(_) | SendError::Sign(_) | SendError::Request(_)) => {
                "cannot_sign"
            }
            Self::Send(SendError::NotTls { .. } | SendError::Unreachable { .. }) => {
                "gateway_unreachable"
            }
            Self::Send(SendError::Broken { .. }) => "gateway_closed_connection",
        }
    }

    /// The fault and its remedy.
    #[must_use]
    pub(super) fn message(&self) -> String {
        match self {
            Self::AccessDenied(AccessDenied::Host) => {
                "llmgw serve answers only to localhost and to \
                 addresses of this machine; start it with --allow-host NAME to use another name."
                    .to_owned()
            }
            Self::AccessDenied(AccessDenied::Origin) => {
                "llmgw serve is not for web pages; start it with \
                 --allow-origin ORIGIN to let one use it."
                    .to_owned()
            }
            Self::AccessDenied(AccessDenied::Token) => {
                "This is not the token of llmgw serve; give your \
                 program the one that it was started with, as its API key."
                    .to_owned()
            }
            Self::WebSocket => {
                "llmgw serve has no WebSockets; send the request over HTTP.".to_owned()
            }
            Self::Route(RouteError::NotFound) => "There is nothing at this path. The base URL is \
                 this address followed by /v1 (OpenAI), /api/v1 (OpenRouter) or nothing \
                 (Anthropic)."
                .to_owned(),
            Self::Route(RouteError::Malformed(error)) => format!("Not a path: {error}."),
            Self::BodyTooLarge => format!(
                "The request is larger than the {} MiB that a gateway takes.",
                shared::request::MAX_BODY >> 20
            ),
            Self::ContentEncoding => {
                "Send the request without Content-Encoding, or in gzip, deflate, br or zstd."
                    .to_owned()
            }
            Self::Undecodable(coding) => format!(
                "The request's body is not valid {}; its Content-Encoding says that it is.",
                coding.as_str()
            ),
            Self::BodyBroken => "The request's body is incomplete.".to_owned(),
            Self::Redirected { location } => format!(
                "The gateway's address leads to {location}; start llmgw serve with the address \
                 that answers itself."
            ),
            Self::Send(error) => sentence(error),
        }
    }

    /// Whether the gateway may have received the request. Such a request may cost something and must not
    /// be retried automatically.
    fn may_have_been_sent(&self) -> bool {
        matches!(self, Self::Send(SendError::Broken { .. }))
    }

    fn body(&self, dialect: Dialect) -> Value {
        let (status, reason, message) = (self.status(), self.reason(), self.message());
        match dialect {
            Dialect::OpenAi => {
                let kind = openai_type(status);
                json!({"error": {"message": message, "type": kind, "param": null, "code": reason}})
            }
            Dialect::OpenRouter => {
                let metadata = json!({"reason": reason});
                let code = status.as_u16();
                json!({"error": {"code": code, "message": message, "metadata": metadata}})
            }
            Dialect::Anthropic => {
                let kind = anthropic_type(status);
                json!({"type": "error", "error": {"type": kind, "message": message}})
            }
        }
    }
}

impl From<AccessDenied> for ProxyError {
    fn from(denied: AccessDenied) -> Self {
        Self::AccessDenied(denied)
    }
}

impl From<RouteError> for ProxyError {
    fn from(error: RouteError) -> Self {
        Self::Route(error)
    }
}

impl From<CodingError> for ProxyError {
    fn from(error: CodingError) -> Self {
        match error {
            CodingError::Unsupported => Self::ContentEncoding,
            CodingError::Broken(coding) => Self::Undecodable(coding),
            CodingError::TooLarge => Self::BodyTooLarge,
        }
    }
}

impl From<SendError> for ProxyError {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

/// Turns an error message into a sentence: a capital at the beginning, a full stop at the end.
fn sentence(error: &SendError) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
        None => text,
    }
}

/// <https://platform.openai.com/docs/guides/error-codes>. `litellm` takes any `invalid_request_error` for
/// a bad request, whatever its status.
fn openai_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

/// <https://docs.claude.com/en/api/errors>
fn anthropic_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests;
