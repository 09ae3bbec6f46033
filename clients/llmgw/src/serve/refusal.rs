//! What the proxy itself answers, in the dialect of whoever asked.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{
    guard::Intruder,
    route::{Dialect, RouteError},
};
use crate::client::SendError;

/// Read by OpenAI's and Anthropic's SDKs before they try again.
const SHOULD_RETRY: &str = "x-should-retry";

/// Why a request was not answered by the gateway.
#[derive(Debug)]
pub enum Refusal {
    /// Someone who may not use the proxy.
    Intruder(Intruder),
    /// The request leads nowhere.
    Route(RouteError),
    /// More than a gateway takes.
    BodyTooLarge,
    /// The body is compressed.
    ContentEncoding,
    /// The caller did not send all of its body.
    BodyBroken,
    /// The gateway's address leads elsewhere.
    Redirected {
        /// Where.
        location: String,
    },
    /// There is no answer.
    Send(SendError),
}

impl Refusal {
    /// The answer.
    #[must_use]
    pub fn response(&self, dialect: Dialect) -> Response {
        let body = self.body(dialect).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        if self.may_have_been_sent() {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Intruder(Intruder::Host | Intruder::Page) => StatusCode::FORBIDDEN,
            Self::Intruder(Intruder::Token) => StatusCode::UNAUTHORIZED,
            Self::Route(RouteError::NotFound) => StatusCode::NOT_FOUND,
            Self::Route(RouteError::Malformed(_)) | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Send(SendError::Random(_) | SendError::Sign(_) | SendError::Request(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Redirected { .. }
            | Self::Send(SendError::Unreachable { .. } | SendError::Broken { .. }) => {
                StatusCode::BAD_GATEWAY
            }
        }
    }

    /// The stable name: the gateway's where it has one.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Intruder(Intruder::Host) => "host_not_allowed",
            Self::Intruder(Intruder::Page) => "origin_not_allowed",
            Self::Intruder(Intruder::Token) => "invalid_local_token",
            Self::Route(RouteError::NotFound) => "not_found",
            Self::Route(RouteError::Malformed(_)) => "malformed_path",
            Self::BodyTooLarge => "body_too_large",
            Self::ContentEncoding => "content_encoding_not_supported",
            Self::BodyBroken => "malformed_body",
            Self::Redirected { .. } => "gateway_redirects",
            Self::Send(SendError::Random(_) | SendError::Sign(_) | SendError::Request(_)) => {
                "cannot_sign"
            }
            Self::Send(SendError::Unreachable { .. }) => "gateway_unreachable",
            Self::Send(SendError::Broken { .. }) => "gateway_closed_connection",
        }
    }

    /// What is wrong and what to do about it.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Intruder(Intruder::Host) => "llmgw serve answers only to localhost and to \
                 addresses of this machine; start it with --allow-host NAME to use another name."
                .to_owned(),
            Self::Intruder(Intruder::Page) => "llmgw serve is not for web pages; start it with \
                 --allow-origin ORIGIN to let one use it."
                .to_owned(),
            Self::Intruder(Intruder::Token) => "This is not the token of llmgw serve; give your \
                 program the one that it was started with, as its API key."
                .to_owned(),
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
                "Send the request without Content-Encoding: gateways take no compressed bodies."
                    .to_owned()
            }
            Self::BodyBroken => "The request's body did not arrive as a whole.".to_owned(),
            Self::Redirected { location } => format!(
                "The gateway's address leads to {location}; start llmgw serve with the address \
                 that answers itself."
            ),
            Self::Send(error) => sentence(error),
        }
    }

    /// Whether the gateway may have received the request, which may then cost something: it is not
    /// to be sent again without asking.
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

impl From<Intruder> for Refusal {
    fn from(intruder: Intruder) -> Self {
        Self::Intruder(intruder)
    }
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Self {
        Self::Route(error)
    }
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

/// The errors of this program begin with a small letter and end without a full stop.
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
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_its_own_words() {
        for (refusal, status, openai, anthropic) in [
            (
                Intruder::Token.into(),
                401,
                ["authentication_error", "invalid_local_token"],
                "authentication_error",
            ),
            (
                Intruder::Page.into(),
                403,
                ["permission_error", "origin_not_allowed"],
                "permission_error",
            ),
            (
                Refusal::Route(RouteError::NotFound),
                404,
                ["invalid_request_error", "not_found"],
                "not_found_error",
            ),
            (
                Refusal::BodyTooLarge,
                413,
                ["invalid_request_error", "body_too_large"],
                "request_too_large",
            ),
            (
                Refusal::ContentEncoding,
                415,
                ["invalid_request_error", "content_encoding_not_supported"],
                "invalid_request_error",
            ),
            (
                Refusal::Redirected {
                    location: "https://other".to_owned(),
                },
                502,
                ["server_error", "gateway_redirects"],
                "api_error",
            ),
        ] {
            assert_eq!(refusal.status(), status);
            let message = refusal.message();
            assert!(message.ends_with('.'), "{message}");
            let [kind, code] = openai;
            assert_eq!(
                refusal.body(Dialect::OpenAi),
                json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
            );
            assert_eq!(
                refusal.body(Dialect::OpenRouter),
                json!({"error": {"code": status, "message": message, "metadata": {"reason": code}}})
            );
            assert_eq!(
                refusal.body(Dialect::Anthropic),
                json!({"type": "error", "error": {"type": anthropic, "message": message}})
            );
        }
    }
}
