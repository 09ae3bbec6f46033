//! The look-up of DID documents, for DIDs that do not contain their key.
//!
//! A document is fetched from a host that its DID names, which anyone can write, so that two things bound it: the
//! operator's list of hosts ([`DocumentHosts`], off unless it is set), and the addresses that are connected to
//! ([`is_public`]). A document is used for [`LIFETIME`], a failure for [`FAILURE_LIFETIME`]. A key that was
//! removed is therefore refused after [`LIFETIME`] at the latest, and no document outlives it while its host is down.

mod address;
mod error;
mod fetch;
mod hosts;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use jiff::{SignedDuration, Timestamp};

use self::fetch::Fetcher;
pub use self::{
    address::is_public,
    error::{DocumentError, DocumentFault, FetchError, MAX_DOCUMENT},
    fetch::{Network, TIMEOUT},
    hosts::{DocumentHosts, MalformedHosts},
};
use crate::{
    http_client::HttpClientError,
    identity::did::{Did, Document, KeyReference, PublicKey},
};

/// The time for which a document is used.
pub const LIFETIME: SignedDuration = SignedDuration::from_mins(5);
/// The time for which a document is not asked for again after it could not be had.
pub const FAILURE_LIFETIME: SignedDuration = SignedDuration::from_secs(30);
/// The most documents and failures that are kept.
const MAX_ENTRIES: usize = 256;

/// The keys of DIDs with documents, fetched and kept.
#[derive(Debug)]
pub struct Documents(Option<LookUps>);

#[derive(Debug)]
struct LookUps {
    hosts: DocumentHosts,
    fetcher: Fetcher,
    entries: Mutex<HashMap<Did, Entry>>,
    /// Look-ups that run, each held by those who wait for it.
    flights: Mutex<HashMap<Did, Weak<tokio::sync::Mutex<()>>>>,
}

/// The result of a look-up.
#[derive(Debug)]
struct Entry {
    outcome: Result<Document, DocumentError>,
    since: Timestamp,
}

impl Documents {
    /// No documents: DIDs that need one are refused.
    pub const OFF: Self = Self(None);

    /// The documents of `hosts`, from the internet. Nothing is fetched yet.
    pub fn new(hosts: DocumentHosts) -> Result<Self, HttpClientError> {
        match hosts {
            DocumentHosts::None => Ok(Self::OFF),
            hosts @ (DocumentHosts::Listed(_) | DocumentHosts::Any) => {
                Self::from_network(hosts, Network::internet())
            }
        }
    }

    /// The documents of `hosts`, from a network of a test's own.
    pub fn from_network(hosts: DocumentHosts, network: Network) -> Result<Self, HttpClientError> {
        Ok(Self(Some(LookUps {
            hosts,
            fetcher: Fetcher::new(network)?,
            entries: Mutex::default(),
            flights: Mutex::default(),
        })))
    }

    /// The key, if it is known without a look-up that there is one or none.
    pub(super) fn known(
        &self,
        key: &KeyReference<'_>,
        now: Timestamp,
    ) -> Option<Result<PublicKey, DocumentError>> {
        match &self.0 {
            Some(look_ups) => look_ups.known(key, now),
            None => Some(Err(key.unsupported().into())),
        }
    }

    /// The key, after a look-up if that is needed. At most one runs for a DID: others wait for it and share its
    /// outcome. A caller that goes away during its look-up leaves it to the next.
    pub(super) async fn look_up(
        &self,
        key: &KeyReference<'_>,
        now: Timestamp,
    ) -> Result<PublicKey, DocumentError> {
        let Some(look_ups) = &self.0 else {
            return Err(key.unsupported().into());
        };
        key.fragment()?;
        let url = key.document_url()?;
        if !look_ups.hosts.allow(url.host()) {
            return Err(DocumentError::HostNotAllowed(url.host().clone()));
        }
        let flight = look_ups.flight(key.did());
        let _running = flight.lock().await;
        if let Some(known) = look_ups.known(key, now) {
            return known;
        }
        let outcome = look_ups.fetcher.fetch(key.did(), &url).await;
        let found = match &outcome {
            Ok(document) => key_in(document, key, now),
            Err(error) => Err(error.clone()),
        };
        look_ups.keep(
            key.did(),
            Entry {
                outcome,
                since: now,
            },
        );
        found
    }
}

impl LookUps {
    fn known(
        &self,
        key: &KeyReference<'_>,
        now: Timestamp,
    ) -> Option<Result<PublicKey, DocumentError>> {
        let entries = self.entries();
        let entry = entries.get(key.did()).filter(|it| it.is_fresh(now))?;
        Some(match &entry.outcome {
            Ok(document) => key_in(document, key, now),
            Err(error) => Err(error.clone()),
        })
    }

    /// Keeps an entry. Where there are too many, one that failed goes before one that did not, and then the oldest.
    fn keep(&self, did: &Did, entry: Entry) {
        let mut entries = self.entries();
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(did) {
            entries.retain(|_, it| it.is_fresh(entry.since));
        }
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(did) {
            let rank = |it: &Entry| (it.outcome.is_ok(), it.since);
            let least = entries.iter().min_by_key(|(_, it)| rank(it));
            if let Some(least) = least.map(|(did, _)| did.clone()) {
                entries.remove(&least);
            }
        }
        entries.insert(did.clone(), entry);
    }

    fn flight(&self, did: &Did) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(did).and_then(Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::default();
        flights.insert(did.clone(), Arc::downgrade(&flight));
        flight
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Did, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Whether it may be used: not if the clock was set back, either.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let lifetime = match self.outcome {
            Ok(_) => LIFETIME,
            Err(_) => FAILURE_LIFETIME,
        };
        self.since.duration_until(now).abs() < lifetime
    }
}

fn key_in(
    document: &Document,
    key: &KeyReference<'_>,
    now: Timestamp,
) -> Result<PublicKey, DocumentError> {
    let fragment = key.fragment()?;
    document
        .key(fragment, now)
        .map_err(|error| DocumentError::Key {
            fragment: fragment.to_owned(),
            error,
        })
}
