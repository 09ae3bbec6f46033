//! Sends requests to a gateway, signed as one user.

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

/// How long making a connection may take. An answer may take as long as it likes: models think for
/// minutes.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const OUR_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("llmgw/", env!("CARGO_PKG_VERSION")));

/// Fills a buffer with bytes that nobody can guess.
pub type FillRandom = fn(&mut [u8]) -> Result<(), getrandom::Error>;

/// A user at a gateway. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    gateway: Gateway,
    identity: Arc<Identity>,
    clock: Clock,
    random: FillRandom,
    http: reqwest::Client,
}

impl Client {
    /// A client; it connects when it sends.
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

    /// Signs `draft` for this moment and sends it; gives the answer once its head has come, whatever
    /// its status. To drop the future or the answer ends the exchange.
    pub async fn send(&self, draft: Draft) -> Result<Response, SendError> {
        let request = self.signed(draft)?;
        let sent = self.http.execute(request.try_into()?).await;
        sent.map_err(|source| {
            let base = self.gateway.base().clone();
            // The URL may hold the user's query.
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

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the gateway and the cause")]
pub enum SendError {
    /// Without randomness no nonce.
    #[error("the system has no randomness to give")]
    Random(#[from] getrandom::Error),
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// It cannot be sent, whatever the gateway.
    #[error("the request cannot be sent")]
    Request(#[from] reqwest::Error),
    /// No connection: the gateway has not seen the request.
    #[error(
        "no answer from the gateway at {base}; check that it is running and that --gateway \
         (LLMGW_GATEWAY) is its address"
    )]
    Unreachable {
        base: Audience,
        source: reqwest::Error,
    },
    /// The connection broke after the gateway may have received the request.
    #[error("the gateway at {base} closed the connection before it answered")]
    Broken {
        base: Audience,
        source: reqwest::Error,
    },
}
