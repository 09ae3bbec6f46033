//! What the database refuses a token, and its owner.

use serde::Deserialize;

/// A refusal that has to do with a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// No token has this secret.
    #[error("this token is not known")]
    Unknown,
    /// Its time is over.
    #[error("this token has expired")]
    Expired,
    /// Its owner or the operator has ended it, or this secret of it.
    #[error("this token has been revoked")]
    Revoked,
    /// Its owner refuses its requests for the time being.
    #[error("this token is disabled")]
    Disabled,
    /// It may not use the endpoint.
    #[error("this token may not use this endpoint")]
    EndpointNotAllowed(DisallowedEndpoint),
    /// It may not use a model that the request names, or the request cannot be read.
    #[error("this token may not use this model")]
    ModelNotAllowed(DisallowedModel),
    /// The caller has no such token.
    #[error("this DID has no such token")]
    NotFound,
    /// Another live token of the caller has the name.
    #[error("another token has this name")]
    NameTaken,
    /// It would have neither an expiry nor a budget.
    #[error("a token has an expiry or a budget")]
    Unbounded,
    /// The caller has as many live tokens as a DID may have.
    #[error("this DID has as many tokens as it may")]
    TooMany(TokenCount),
}

/// An endpoint that a token may not use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DisallowedEndpoint {
    /// The endpoint.
    pub endpoint: String,
    /// The endpoints that the token may use.
    pub endpoints: Vec<String>,
}

/// A model that a token may not use, or why the models of a request cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DisallowedModel {
    /// The model.
    pub model: Option<String>,
    /// Its place in the request, as a JSON Pointer (RFC 6901).
    pub pointer: Option<String>,
    /// What cannot be read.
    pub problem: Option<String>,
}

/// How many tokens a DID may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct TokenCount {
    /// The number.
    pub max_tokens: u32,
}

impl TokenRefusal {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_token",
            Self::Expired => "token_expired",
            Self::Revoked => "token_revoked",
            Self::Disabled => "token_disabled",
            Self::EndpointNotAllowed(_) => "endpoint_not_allowed",
            Self::ModelNotAllowed(_) => "model_not_allowed",
            Self::NotFound => "no_such_token",
            Self::NameTaken => "token_name_taken",
            Self::Unbounded => "token_unbounded",
            Self::TooMany(_) => "too_many_tokens",
        }
    }
}
