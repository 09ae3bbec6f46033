//! The HTTP client: sends requests to a gateway, signed as one user.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header::USER_AGENT};
use jiff::{SignedDuration, Timestamp};
use reqwest::Response;
use shared::{
    causes::causes,
    clock::Clock,
    http_client::{self, HttpClientError},
    identity::{
        auth::TIMESTAMP_WINDOW,
        signing::{self, Audience, Nonce},
    },
};
use tokio::time::Instant;

use crate::{
    gateway::{Draft, Gateway, SignError},
    identity::Identity,
    response::{UPSTREAM, date},
};

/// The timeout of connecting. Responses have none: models think for minutes.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The difference from which a gateway refuses a timestamp, less what the whole seconds of `Date` and the time
/// of the response explain.
const REFUSED_DIFFERENCE: SignedDuration =
    SignedDuration::from_secs(TIMESTAMP_WINDOW.as_secs() - 10);
/// The largest difference that is corrected: nobody gets a signature for a distant day.
const CORRECTED_DIFFERENCE: SignedDuration = SignedDuration::from_hours(7 * 24);
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
        self.send_at(draft, self.clock.now()).await
    }

    /// As [`send`](Self::send). If the gateway refuses the request because this machine's clock is wrong (as
    /// after sleep, in WSL), signs it once more, for the gateway's time.
    pub async fn send_by_server_clock(&self, draft: Draft) -> Result<Response, SendError> {
        let now = self.clock.now();
        let response = self.send_at(draft.clone(), now).await?;
        match server_time(&response, now) {
            Some(time) => {
                tracing::warn!(%now, server_time = %time, "this machine's clock is wrong");
                self.send_at(draft, time).await
            }
            None => Ok(response),
        }
    }

    async fn send_at(&self, draft: Draft, time: Timestamp) -> Result<Response, SendError> {
        let request = self.signed(draft, time)?;
        log_request(&request, self.gateway.audience());
        let begun = Instant::now();
        let sent = self.http.execute(request.try_into()?).await;
        if let Ok(response) = &sent {
            log_response(response, begun);
        }
        sent.map_err(|source| {
            let base = self.gateway.base().clone();
            // The URL contains the query, which may be private.
            let source = source.without_url();
            if causes(&source).contains("InvalidContentType") {
                SendError::NotTls { base }
            } else if source.is_connect() {
                SendError::Unreachable { base, source }
            } else {
                SendError::Broken { base, source }
            }
        })
    }

    fn signed(&self, draft: Draft, time: Timestamp) -> Result<Request<Bytes>, SendError> {
        let mut bytes = [0; 16];
        (self.random)(&mut bytes)?;
        let nonce = Nonce::from_random(bytes);
        let mut request = self.gateway.signed(&self.identity, draft, time, &nonce)?;
        request
            .headers_mut()
            .entry(USER_AGENT)
            .or_insert(OUR_USER_AGENT);
        Ok(request)
    }
}

/// The gateway's time, if the response refuses a request for its timestamp, `signed_at`.
fn server_time(response: &Response, signed_at: Timestamp) -> Option<Timestamp> {
    let is_refusal =
        response.status() == StatusCode::UNAUTHORIZED && !response.headers().contains_key(UPSTREAM);
    let time = date(response.headers()).filter(|_| is_refusal)?;
    let difference = signed_at.duration_until(time).abs();
    (REFUSED_DIFFERENCE..=CORRECTED_DIFFERENCE)
        .contains(&difference)
        .then_some(time)
}

/// Logs what was signed. Not the signature, which is a credential, and of the query and the body, which may
/// be private, nothing but the size.
fn log_request(request: &Request<Bytes>, audience: &Audience) {
    let header = |name| request.headers().get(name).and_then(|it| it.to_str().ok());
    tracing::debug!(
        method = %request.method(),
        path = request.uri().path(),
        query_bytes = request.uri().query().unwrap_or_default().len(),
        body_bytes = request.body().len(),
        %audience,
        did = header(signing::DID),
        timestamp = header(signing::TIMESTAMP),
        nonce = header(signing::NONCE),
        "signed a request"
    );
}

fn log_response(response: &Response, begun: Instant) {
    let header = |name| response.headers().get(name).and_then(|it| it.to_str().ok());
    tracing::debug!(
        status = response.status().as_u16(),
        content_type = header("content-type"),
        request_id = header("x-gateway-request-id"),
        from_upstream = response.headers().contains_key(UPSTREAM),
        elapsed_ms = begun.elapsed().as_millis(),
        "received the response's headers"
    );
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
    /// The server answers TLS's greeting with something else, as one of plain HTTP does.
    #[error(
        "{base} begins with https://, but the server there does not speak TLS; check the address and the \
         port, or use http:// for a gateway on this machine"
    )]
    NotTls { base: Audience },
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
