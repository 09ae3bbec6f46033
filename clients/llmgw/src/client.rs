//! The HTTP client: sends requests to a gateway, signed as one user.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, header::USER_AGENT};
use reqwest::Response;
use shared::{
    clock::Clock,
    http_client::{self, HttpClientError},
    identity::signing::{Audience, Nonce},
};

use crate::{
    gateway::{Draft, Gateway, SignError},
    identity::Identity,
};

/// The timeout of connecting. Responses have none: models think for minutes.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const OUR_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("llmgw/", env!("CARGO_PKG_VERSION")));

/// The message for a [`FillRandom`] that fails.
pub(crate) const NO_RANDOMNESS: &str = "the system's random number generator failed";

/// Fills a buffer with bytes that cannot be predicted: `getrandom::fill`.
pub type FillRandom = fn(&mut [u8]) -> Result<(), getrandom::Error>;

/// A gateway and the user who calls it. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    gateway: Gateway,
    identity: Arc<Identity>,
    clock: Clock,
    random: FillRandom,
    http: reqwest::Client,
}

impl Client {
    /// Creates a client. It connects when it sends.
    pub fn new(
        gateway: Gateway,
        identity: Identity,
        clock: Clock,
        random: FillRandom,
    ) -> Result<Self, HttpClientError> {
        Ok(Self {
            gateway,
            identity: Arc::new(identity),
            clock,
            random,
            http: http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?,
        })
    }

    /// The gateway.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The user.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Signs `draft` for the current time and sends it. Returns the response as soon as its headers are
    /// there, whatever its status. Dropping the future or the response ends the exchange.
    pub async fn send(&self, draft: Draft) -> Result<Response, SendError> {
        let request = self.signed(draft)?;
        let sent = self.http.execute(request.try_into()?).await;
        sent.map_err(|source| {
            let base = self.gateway.base().clone();
            // The URL contains the query, which may be private.
            let source = source.without_url();
            if source.is_connect() {
                SendError::Unreachable { base, source }
            } else {
                SendError::Broken { base, source }
            }
        })
    }

    fn signed(&self, draft: Draft) -> Result<Request<Bytes>, SendError> {
        let mut bytes = [0; 16];
        (self.random)(&mut bytes)?;
        let nonce = Nonce::from_random(bytes);
        let now = self.clock.now();
        let mut request = self.gateway.signed(&self.identity, draft, now, &nonce)?;
        request
            .headers_mut()
            .entry(USER_AGENT)
            .or_insert(OUR_USER_AGENT);
        Ok(request)
    }
}

/// The reason why there is no response.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the gateway and the cause")]
pub enum SendError {
    /// A nonce could not be generated.
    #[error("{NO_RANDOMNESS}")]
    Random(#[from] getrandom::Error),
    /// The request cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The request cannot be sent to any gateway.
    #[error("the request cannot be sent")]
    Request(#[from] reqwest::Error),
    /// Connecting failed: the gateway has not received the request.
    #[error(
        "the gateway at {base} cannot be reached; check that it is running and that --gateway \
         (LLMGW_GATEWAY) is its address"
    )]
    Unreachable {
        base: Audience,
        source: reqwest::Error,
    },
    /// The connection broke after the gateway may have received the request.
    #[error("the gateway at {base} closed the connection without a response")]
    Broken {
        base: Audience,
        source: reqwest::Error,
    },
}
