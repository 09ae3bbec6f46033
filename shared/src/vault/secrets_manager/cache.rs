//! When the keyset is read, and what happens while it cannot be.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use super::{FetchError, FetchSecret};
use crate::vault::{
    keyset::{Keyset, KeysetFault, OpenError},
    secret::{ApiKey, MalformedSealedKey, SealedKey},
};

/// The time for which a keyset is used further after it could not be refreshed, before that is
/// tried again: an outage costs one request in this time the fetch's timeout, not every request.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// The shortest interval between refreshes that unknown key ids cause: one damaged row must not
/// turn every request into a call to Secrets Manager.
const UNKNOWN_ID_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// Keeps the keyset for its source's [`lifetime`](FetchSecret::lifetime) (300 s), and in an outage
/// for as long as it lasts.
///
/// At most one fetch runs at any time. Whoever has no keyset waits for it and shares its outcome,
/// a failure too; whoever has one that is merely old uses it meanwhile. A caller that goes away
/// during its fetch leaves it to the next.
///
/// `now` is the wall clock, which goes on while a Lambda environment is frozen. It may be some
/// milliseconds old.
pub struct KeysetCache {
    source: Box<dyn FetchSecret>,
    state: Mutex<State>,
    /// Held during a fetch.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    cached: Option<Cached>,
    /// The fault of the last fetch, while nothing is cached.
    failure: Option<KeysetError>,
    /// Fetches that have ended. Whoever waited for one knows by it that there was one.
    fetches: u64,
    /// The last fetch because of an unknown key id.
    forced_at: Option<Timestamp>,
}

struct Cached {
    keyset: Arc<Keyset>,
    since: Timestamp,
    lifetime: SignedDuration,
}

impl KeysetCache {
    /// An empty cache. Nothing is fetched yet.
    #[must_use]
    pub fn new(source: impl FetchSecret + 'static) -> Self {
        Self {
            source: Box::new(source),
            state: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
        }
    }

    /// The keyset, fetched if there is none or it is older than its lifetime.
    ///
    /// Once there is one, this does not fail: if it can neither be fetched nor read, the old one
    /// stays, and a warning is logged.
    pub async fn get(&self, now: Timestamp) -> Result<Arc<Keyset>, KeysetError> {
        let fetches_seen = {
            let state = self.state();
            if let Some(cached) = &state.cached
                && (cached.is_fresh(now) || self.flight.try_lock().is_err())
            {
                return Ok(Arc::clone(&cached.keyset));
            }
            state.fetches
        };
        let _flight = self.flight.lock().await;
        if let Some(outcome) = self.state().outcome_since(fetches_seen) {
            return outcome;
        }
        let fetched = self.fetch().await;
        self.state().record(fetched, now, self.source.lifetime())
    }

    /// A keyset that may know a key id that `keyset` does not: the one that replaced it meanwhile,
    /// or else one fetched now, at most once in 30 s. Otherwise `keyset` itself.
    async fn refresh_for_unknown_id(&self, keyset: Arc<Keyset>, now: Timestamp) -> Arc<Keyset> {
        let _flight = self.flight.lock().await;
        {
            let state = self.state();
            match &state.cached {
                Some(cached) if !Arc::ptr_eq(&cached.keyset, &keyset) => {
                    return Arc::clone(&cached.keyset);
                }
                _ if state
                    .forced_at
                    .is_some_and(|at| within(UNKNOWN_ID_EVERY, at, now)) =>
                {
                    return keyset;
                }
                _ => {}
            }
        }
        let fetched = self.fetch().await;
        let mut state = self.state();
        state.forced_at = Some(now);
        state
            .record(fetched, now, self.source.lifetime())
            .unwrap_or(keyset)
    }

    /// Opens a user's key with the keyset, or with a newer one if it does not know the master key.
    pub async fn open(
        &self,
        owner: &str,
        sealed: &SealedKey,
        now: Timestamp,
    ) -> Result<ApiKey, VaultError> {
        let keyset = self.get(now).await?;
        match keyset.open(owner, sealed) {
            Err(OpenError::UnknownKeyId(_)) => {
                let newer = self.refresh_for_unknown_id(keyset, now).await;
                Ok(newer.open(owner, sealed)?)
            }
            outcome => Ok(outcome?),
        }
    }

    async fn fetch(&self) -> Result<Keyset, KeysetError> {
        let text = self
            .source
            .fetch()
            .await
            .map_err(|error| KeysetError::Unavailable(Arc::new(error)))?;
        Keyset::parse(&text).map_err(KeysetError::Malformed)
    }

    /// Never held across an `await`. No code panics while holding it, and if some did, each field
    /// would still be whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn record(
        &mut self,
        fetched: Result<Keyset, KeysetError>,
        now: Timestamp,
        lifetime: SignedDuration,
    ) -> Result<Arc<Keyset>, KeysetError> {
        self.fetches += 1;
        match (fetched, &mut self.cached) {
            (Ok(keyset), _) => {
                let keyset = Arc::new(keyset);
                self.cached = Some(Cached {
                    keyset: Arc::clone(&keyset),
                    since: now,
                    lifetime,
                });
                self.failure = None;
                Ok(keyset)
            }
            (Err(error), Some(cached)) => {
                tracing::warn!(
                    error = crate::causes::causes(&error),
                    "the keyset could not be refreshed; the cached one stays in use"
                );
                cached.since = now;
                cached.lifetime = RETRY_AFTER;
                Ok(Arc::clone(&cached.keyset))
            }
            (Err(error), None) => {
                self.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The result of the last fetch, if one has ended since there were `fetches_seen`.
    fn outcome_since(&self, fetches_seen: u64) -> Option<Result<Arc<Keyset>, KeysetError>> {
        if self.fetches == fetches_seen {
            return None;
        }
        let cached = self.cached.as_ref().map(|it| Ok(Arc::clone(&it.keyset)));
        cached.or_else(|| self.failure.clone().map(Err))
    }
}

impl Cached {
    fn is_fresh(&self, now: Timestamp) -> bool {
        within(self.lifetime, self.since, now)
    }
}

/// In either direction: a request's `now` may be a little older than what another one recorded,
/// and a clock that was set back a long way must not make anything last forever.
fn within(span: SignedDuration, then: Timestamp, now: Timestamp) -> bool {
    now.duration_since(then).abs() < span
}

impl fmt::Debug for KeysetCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let keyset = state.cached.as_ref().map(|cached| &cached.keyset);
        f.debug_struct("KeysetCache")
            .field("keyset", &keyset)
            .finish_non_exhaustive()
    }
}

/// Why there is no keyset.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeysetError {
    /// It could not be fetched, and none is cached. Trying again later may help.
    #[error("the keyset could not be fetched, and none is cached")]
    Unavailable(#[source] Arc<FetchError>),
    /// The secret is not a keyset, and none is cached. The operator has to act.
    #[error("the secret is not a usable keyset, and none is cached")]
    Malformed(#[source] KeysetFault),
}

/// Why a user's key could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VaultError {
    /// There is no keyset.
    #[error(transparent)]
    Keyset(#[from] KeysetError),
    /// The keyset does not open it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stored text is not a sealed key at all.
    #[error(transparent)]
    MalformedSealedKey(#[from] MalformedSealedKey),
}

impl KeysetError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable(_) | Self::Malformed(_) => "keyset_unavailable",
        }
    }
}

impl VaultError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Keyset(error) => error.reason(),
            Self::Open(_) | Self::MalformedSealedKey(_) => "internal",
        }
    }
}

#[cfg(test)]
mod tests;
