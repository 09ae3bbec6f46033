//! The parsers of local requests, for fuzz targets.

use http::{HeaderMap, HeaderValue, request::Parts};

use super::{
    forward,
    guard::{Guard, Origin, Token},
    route,
};
use crate::target::Target;

/// The access rules of a proxy.
#[derive(Debug)]
pub struct Rules(Guard);

impl Rules {
    /// The rules that the arguments of `serve` set.
    #[must_use]
    pub fn new(
        token: Option<Token>,
        any_address: bool,
        hosts: Vec<String>,
        origins: Vec<Origin>,
    ) -> Self {
        Self(Guard {
            token,
            any_address,
            hosts,
            origins,
        })
    }

    /// The page that sent a request, if one did; or the part of the head by which the request is refused.
    pub fn admit<'a>(&self, head: &'a Parts) -> Result<Option<&'a HeaderValue>, String> {
        self.0.admit(head).map_err(|error| format!("{error:?}"))
    }

    /// Whether the headers hold the token.
    #[must_use]
    pub fn authorize(&self, headers: &HeaderMap) -> bool {
        self.0.authorize(headers).is_ok()
    }
}

/// The headers that are sent to the gateway.
#[must_use]
pub fn sent(headers: &HeaderMap) -> HeaderMap {
    forward::sent(headers)
}

/// The gateway's route for a local path.
#[must_use]
pub fn target(path: &str, query: Option<&str>) -> Option<Target> {
    route::target(path, query).ok()
}
