//! A request as it entered the gateway, freed from the event format that carried it.

use bytes::Bytes;
use http::{HeaderMap, Method};

/// One HTTP request. Nothing in it has been checked, decoded or normalised beyond what the event
/// format itself did.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The HTTP method.
    pub method: Method,
    /// The path exactly as the event holds it, API Gateway's stage included where the event
    /// includes it.
    pub raw_path: String,
    /// The stage's name, unless it is `$default`.
    pub stage: Option<String>,
    /// The query.
    pub query: RawQuery,
    /// All headers, names in lower case.
    pub headers: HeaderMap,
    /// The body, with API Gateway's base64 undone.
    pub body: Bytes,
}

/// The query as the event format delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawQuery {
    /// HTTP API and Function URL events (v2): the string between `?` and the end, still encoded.
    Encoded(String),
    /// REST API events (v1): decoded pairs whose order was lost.
    Decoded(Vec<(String, String)>),
}
