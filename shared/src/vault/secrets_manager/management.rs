//! The operator's management key for OpenRouter, and when it is read.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use super::{FetchError, FetchSecret};
use crate::vault::secret::{ApiKey, ApiKeyFault};

/// The time for which a key is used before it is read again.
const LIFETIME: SignedDuration = SignedDuration::from_secs(300);
/// The age at which a refused key is read again: a key that is wrong for good must not turn every
/// request into a call to Secrets Manager.
const REFUSED_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// Keeps the management key for 300 s, and in an outage of Secrets Manager for as long as it lasts.
pub struct ManagementKeyCache {
    source: Box<dyn FetchSecret>,
    cached: Mutex<Option<Cached>>,
}

#[derive(Clone)]
struct Cached {
    key: Arc<ApiKey>,
    since: Timestamp,
}

/// Why there is no management key.
#[derive(Debug, thiserror::Error)]
pub enum ManagementKeyError {
    /// It could not be read, and none is cached.
    #[error("the management key could not be read")]
    Unavailable(#[from] FetchError),
    /// The secret is no key. The operator has to act.
    #[error("the secret is no management key")]
    Malformed(#[from] ApiKeyFault),
}

impl ManagementKeyCache {
    /// An empty cache. Nothing is fetched yet.
    #[must_use]
    pub fn new(source: impl FetchSecret + 'static) -> Self {
        Self {
            source: Box::new(source),
            cached: Mutex::default(),
        }
    }

    /// The key, read if there is none or it is older than 300 s.
    pub async fn get(&self, now: Timestamp) -> Result<Arc<ApiKey>, ManagementKeyError> {
        let cached = self.cached();
        if let Some(cached) = &cached
            && now.duration_since(cached.since).abs() < LIFETIME
        {
            return Ok(Arc::clone(&cached.key));
        }
        match (self.fetch(now).await, cached) {
            (Err(error), Some(cached)) => {
                tracing::warn!(
                    error = crate::causes::causes(&error),
                    "the management key could not be refreshed; the cached one stays in use"
                );
                Ok(cached.key)
            }
            (fetched, _) => fetched,
        }
    }

    /// Another key than `refused`, which OpenRouter does not accept: one that has replaced it.
    pub async fn instead_of(&self, refused: &ApiKey, now: Timestamp) -> Option<Arc<ApiKey>> {
        let cached = self.cached()?;
        let other = if cached.key.expose_secret() != refused.expose_secret() {
            cached.key
        } else if now.duration_since(cached.since).abs() < REFUSED_EVERY {
            return None;
        } else {
            self.fetch(now).await.ok()?
        };
        (other.expose_secret() != refused.expose_secret()).then_some(other)
    }

    async fn fetch(&self, now: Timestamp) -> Result<Arc<ApiKey>, ManagementKeyError> {
        let text = self.source.fetch().await?;
        let key = Arc::new(ApiKey::new(text.trim().to_owned())?);
        let cached = Cached {
            key: Arc::clone(&key),
            since: now,
        };
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = Some(cached);
        Ok(key)
    }

    fn cached(&self) -> Option<Cached> {
        self.cached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for ManagementKeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagementKeyCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::future::{BoxFuture, FutureExt as _, ready};
    use zeroize::Zeroizing;

    use super::*;

    const START: Timestamp = Timestamp::constant(1_790_000_000, 0);

    fn at(seconds: i64) -> Timestamp {
        START + SignedDuration::from_secs(seconds)
    }

    /// Hands out texts, one per reading; then it is down.
    struct Script(Mutex<VecDeque<&'static str>>);

    impl FetchSecret for Script {
        fn fetch(&self) -> BoxFuture<'_, Result<Zeroizing<String>, FetchError>> {
            let next = self.0.lock().unwrap().pop_front();
            ready(
                next.map(|text| Zeroizing::new(text.to_owned()))
                    .ok_or(FetchError::TimedOut),
            )
            .boxed()
        }
    }

    fn cache(texts: &[&'static str]) -> ManagementKeyCache {
        ManagementKeyCache::new(Script(Mutex::new(texts.iter().copied().collect())))
    }

    #[tokio::test]
    async fn it_is_read_every_five_minutes_and_kept_through_an_outage() {
        let cache = cache(&["one\n", "two"]);
        for (seconds, expected) in [
            (0, "one"),
            (299, "one"),
            (300, "two"),
            (1000, "two"),
            (1001, "two"),
        ] {
            let key = cache.get(at(seconds)).await.unwrap();
            assert_eq!(key.expose_secret(), expected, "{seconds}");
        }
        assert!(!format!("{cache:?}").contains("two"));
    }

    #[tokio::test]
    async fn a_refused_key_is_replaced_by_a_newer_one_only() {
        let cache = cache(&["one", "two", "two"]);
        let one = cache.get(at(0)).await.unwrap();
        assert!(
            cache.instead_of(&one, at(29)).await.is_none(),
            "it was just read"
        );
        let two = cache.instead_of(&one, at(30)).await.unwrap();
        assert_eq!(two.expose_secret(), "two");
        // Another request that was refused meanwhile.
        assert!(cache.instead_of(&one, at(31)).await.is_some());
        assert!(
            cache.instead_of(&two, at(90)).await.is_none(),
            "the same again"
        );
    }

    #[tokio::test]
    async fn what_is_no_key_is_none() {
        let malformed = cache(&["{\"key\": \"planted secret\"}"])
            .get(at(0))
            .await
            .unwrap_err();
        assert!(!format!("{malformed:?}{malformed}").contains("planted"));
        assert!(matches!(
            cache(&[]).get(at(0)).await,
            Err(ManagementKeyError::Unavailable(FetchError::TimedOut))
        ));
    }
}
