//! The request for a document.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use http::{StatusCode, header::CONTENT_ENCODING};
use reqwest::{
    dns::Resolve,
    redirect::{Attempt, Policy},
};
use rustls::RootCertStore;

use super::{
    address::{CheckedAddresses, SystemResolver, is_public},
    error::{DocumentError, DocumentFault, FetchError, MAX_DOCUMENT},
};
use crate::{
    causes::causes,
    http_client::{self, HttpClientError},
    identity::did::{Did, Document, DocumentUrl},
};

/// The limit for all of a look-up.
pub const TIMEOUT: Duration = Duration::from_secs(3);
/// The most redirects within a host that are followed.
const MAX_REDIRECTS: usize = 3;

/// The network that documents are fetched from.
#[derive(Clone)]
pub struct Network {
    /// Finds the addresses of hosts.
    pub resolver: Arc<dyn Resolve>,
    /// Whether an address may be connected to.
    pub permits: fn(IpAddr) -> bool,
    /// The certificate authorities that hosts are trusted by.
    pub roots: RootCertStore,
}

impl Network {
    /// The internet: its public addresses only.
    #[must_use]
    pub fn internet() -> Self {
        Self {
            resolver: Arc::new(SystemResolver),
            permits: is_public,
            roots: http_client::web_roots(),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

/// Fetches documents.
#[derive(Debug)]
pub(super) struct Fetcher(reqwest::Client);

impl Fetcher {
    /// No connection is kept: the next one is to addresses that are checked anew.
    pub(super) fn new(network: Network) -> Result<Self, HttpClientError> {
        let addresses = CheckedAddresses {
            resolver: network.resolver,
            permits: network.permits,
        };
        let client = http_client::builder(network.roots, TIMEOUT)?
            .https_only(true)
            .dns_resolver(Arc::new(addresses))
            .redirect(Policy::custom(|attempt| {
                if stays_at_its_host(&attempt) {
                    attempt.follow()
                } else {
                    attempt.stop()
                }
            }))
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self(client))
    }

    pub(super) async fn fetch(
        &self,
        did: &Did,
        place: &DocumentUrl,
    ) -> Result<Document, DocumentError> {
        let url = place.url();
        let unavailable = |cause| DocumentError::Unavailable {
            url: url.clone(),
            cause,
        };
        let body = tokio::time::timeout(TIMEOUT, self.body(place))
            .await
            .unwrap_or(Err(FetchError::Timeout))
            .map_err(unavailable)?;
        body.and_then(|body| Ok(Document::read(&body, did)?))
            .map_err(|fault| DocumentError::Unusable {
                url: url.clone(),
                fault,
            })
    }

    /// The response's body, if it can be a document.
    async fn body(
        &self,
        place: &DocumentUrl,
    ) -> Result<Result<Vec<u8>, DocumentFault>, FetchError> {
        let broken = |error: reqwest::Error| FetchError::Connection(causes(&error.without_url()));
        let request = self.0.get(place.url().clone());
        let mut response = request.send().await.map_err(broken)?;
        let status = response.status();
        let is_temporary = status.is_server_error()
            || matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            );
        if is_temporary {
            return Err(FetchError::Status(status.as_u16()));
        }
        if status.is_redirection() {
            return Ok(Err(DocumentFault::Redirect));
        }
        if status != StatusCode::OK {
            return Ok(Err(DocumentFault::Status(status.as_u16())));
        }
        if response.headers().contains_key(CONTENT_ENCODING) {
            return Ok(Err(DocumentFault::Encoded));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > MAX_DOCUMENT {
                return Ok(Err(DocumentFault::TooLong));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Ok(body))
    }
}

/// Whether a redirect leads to the same host and port by the same scheme.
fn stays_at_its_host(attempt: &Attempt<'_>) -> bool {
    let previous = attempt.previous();
    previous.len() <= MAX_REDIRECTS
        && previous
            .iter()
            .all(|before| before.origin() == attempt.url().origin())
}
