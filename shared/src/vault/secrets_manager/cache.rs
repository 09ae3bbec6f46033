//! When the keyset is read, and what happens while it cannot be.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use super::{FetchError, FetchKeyset};
use crate::vault::{
    keyset::{Keyset, KeysetFault, OpenError},
    secret::{ApiKey, MalformedSealedKey, SealedKey},
};

/// How long a keyset is used further after it could not be refreshed, before that is tried again:
/// an outage costs one request in this time the fetch's timeout, not every request.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// How often an unknown key id may cause a refresh: one damaged row must not turn every request
/// into a call to Secrets Manager.
const UNKNOWN_ID_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// Keeps the keyset for its source's [`lifetime`](FetchKeyset::lifetime) (300 s), and in an outage
/// for as long as it lasts.
///
/// At most one fetch runs at any time. Whoever has no keyset waits for it and shares its outcome,
/// a failure too; whoever has one that is merely old uses it meanwhile. A caller that goes away
/// during its fetch leaves it to the next.
///
/// `now` is the wall clock, which goes on while a Lambda environment is frozen. It may be some
/// milliseconds old.
pub struct KeysetCache {
    source: Box<dyn FetchKeyset>,
    state: Mutex<State>,
    /// Held during a fetch.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    cached: Option<Cached>,
    /// What the last fetch ended with, while nothing is cached.
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
    pub fn new(source: impl FetchKeyset + 'static) -> Self {
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

    /// What the last fetch ended with, if one has ended since there were `fetches_seen`.
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
    /// What is stored is not a sealed key at all.
    #[error(transparent)]
    MalformedSealedKey(#[from] MalformedSealedKey),
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::future::{BoxFuture, FutureExt as _, join_all};
    use tokio::{sync::Semaphore, time::timeout};
    use tracing::Level;
    use zeroize::Zeroizing;

    use super::{super::log::Log, *};
    use crate::vault::secret::KeyId;

    const START: Timestamp = Timestamp::constant(1_790_000_000, 0);

    fn at(seconds: i64) -> Timestamp {
        START + SignedDuration::from_secs(seconds)
    }

    /// Answers as scripted, then as it last did.
    #[derive(Clone)]
    struct Script(Arc<ScriptState>);

    struct ScriptState {
        answers: Mutex<VecDeque<Answer>>,
        fetches: AtomicUsize,
        running: AtomicUsize,
        /// Each fetch takes one permit.
        permits: Semaphore,
    }

    #[derive(Clone, Copy)]
    enum Answer {
        Keyset(u32),
        Malformed,
        Down,
    }

    impl Script {
        fn new(answers: &[Answer]) -> (Self, KeysetCache) {
            let script = Self(Arc::new(ScriptState {
                answers: Mutex::new(answers.iter().copied().collect()),
                fetches: AtomicUsize::new(0),
                running: AtomicUsize::new(0),
                permits: Semaphore::new(1000),
            }));
            (script.clone(), KeysetCache::new(script))
        }

        fn fetches(&self) -> usize {
            self.0.fetches.load(Ordering::SeqCst)
        }

        /// Lets no fetch end until [`resume`](Self::resume).
        fn hold(&self) {
            self.0.permits.forget_permits(1000);
        }

        fn resume(&self) {
            self.0.permits.add_permits(1000);
        }
    }

    impl FetchKeyset for Script {
        fn fetch(&self) -> BoxFuture<'_, Result<Zeroizing<String>, FetchError>> {
            Box::pin(async {
                let script = &self.0;
                script.fetches.fetch_add(1, Ordering::SeqCst);
                let running = script.running.fetch_add(1, Ordering::SeqCst);
                assert_eq!(running, 0, "one fetch at a time");
                let _running = Running(&script.running);
                script.permits.acquire().await.unwrap().forget();
                script.permits.add_permits(1);
                let mut answers = script.answers.lock().unwrap();
                let answer = answers.front().copied().unwrap();
                if answers.len() > 1 {
                    answers.pop_front();
                }
                match answer {
                    Answer::Keyset(id) => Ok(text(id)),
                    Answer::Malformed => Ok(Zeroizing::new("{}".to_owned())),
                    Answer::Down => Err(FetchError::TimedOut),
                }
            })
        }
    }

    struct Running<'a>(&'a AtomicUsize);

    impl Drop for Running<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn text(id: u32) -> Zeroizing<String> {
        Keyset::generate(&Zeroizing::new([7; 64]), KeyId(id))
    }

    fn sealed_by(id: u32) -> SealedKey {
        let keyset = Keyset::parse(&text(id)).unwrap();
        keyset.seal("did:a", &ApiKey::new("sk-or".to_owned()).unwrap())
    }

    async fn primary(cache: &KeysetCache, seconds: i64) -> u32 {
        cache.get(at(seconds)).await.unwrap().primary_id().0
    }

    #[tokio::test]
    async fn a_keyset_is_used_for_300_seconds() {
        let (script, cache) = Script::new(&[Answer::Keyset(1), Answer::Keyset(2)]);
        assert_eq!(script.fetches(), 0, "lazy");
        assert_eq!(primary(&cache, 0).await, 1);
        assert_eq!(primary(&cache, 299).await, 1);
        assert_eq!(script.fetches(), 1);
        assert_eq!(primary(&cache, 300).await, 2);
        assert_eq!(primary(&cache, 599).await, 2);
        assert_eq!(script.fetches(), 2);
    }

    /// What a test of a rotation sets, to see one in less than ten minutes.
    #[tokio::test]
    async fn a_source_may_ask_for_less() {
        struct Brief(Script);
        impl FetchKeyset for Brief {
            fn fetch(&self) -> BoxFuture<'_, Result<Zeroizing<String>, FetchError>> {
                self.0.fetch()
            }
            fn lifetime(&self) -> SignedDuration {
                SignedDuration::from_secs(2)
            }
        }
        let (script, _) = Script::new(&[Answer::Keyset(1), Answer::Keyset(2)]);
        let cache = KeysetCache::new(Brief(script));
        assert_eq!(primary(&cache, 0).await, 1);
        assert_eq!(primary(&cache, 1).await, 1);
        assert_eq!(primary(&cache, 2).await, 2);
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_does_not_extend_it() {
        let (script, cache) = Script::new(&[Answer::Keyset(1), Answer::Keyset(2)]);
        assert_eq!(primary(&cache, 0).await, 1);
        assert_eq!(
            primary(&cache, -1).await,
            1,
            "another request's older `now`"
        );
        assert_eq!(primary(&cache, -4000).await, 2);
        assert_eq!(script.fetches(), 2);
    }

    #[tokio::test]
    async fn callers_without_a_keyset_share_one_fetch() {
        let (script, cache) = Script::new(&[Answer::Keyset(1)]);
        let all = join_all((0..50).map(|_| cache.get(START))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(script.fetches(), 1);
    }

    #[tokio::test]
    async fn they_share_its_failure_too_and_the_next_caller_tries_again() {
        let (script, cache) = Script::new(&[Answer::Down, Answer::Keyset(1)]);
        script.hold();
        let (all, ()) = tokio::join!(join_all((0..50).map(|_| cache.get(START))), async {
            tokio::task::yield_now().await;
            script.resume();
        });
        for outcome in all {
            let error = outcome.unwrap_err();
            assert!(
                matches!(&error, KeysetError::Unavailable(cause) if matches!(**cause, FetchError::TimedOut)),
                "{error:?}"
            );
        }
        assert_eq!(script.fetches(), 1);
        assert_eq!(primary(&cache, 0).await, 1);
        assert_eq!(script.fetches(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_caller_refreshes_the_others_use_what_they_have() {
        let (script, cache) = Script::new(&[Answer::Keyset(1), Answer::Keyset(2)]);
        primary(&cache, 0).await;
        script.hold();
        let (refreshing, ()) = tokio::join!(primary(&cache, 300), async {
            let other = timeout(Duration::from_secs(5), primary(&cache, 300)).await;
            script.resume();
            assert_eq!(other, Ok(1));
        });
        assert_eq!(refreshing, 2);
        assert_eq!(script.fetches(), 2);
    }

    #[tokio::test]
    async fn a_fetch_whose_caller_went_away_is_left_to_the_next() {
        let (script, cache) = Script::new(&[Answer::Keyset(1)]);
        script.hold();
        assert!(cache.get(START).now_or_never().is_none());
        script.resume();
        assert_eq!(primary(&cache, 0).await, 1);
        assert_eq!(script.fetches(), 2);
    }

    #[tokio::test]
    async fn without_any_keyset_an_outage_and_a_malformed_secret_differ() {
        let (_, cache) = Script::new(&[Answer::Down]);
        let error = cache.get(START).await.unwrap_err();
        assert!(matches!(error, KeysetError::Unavailable(_)), "{error:?}");

        let (_, cache) = Script::new(&[Answer::Malformed]);
        let error = cache.get(START).await.unwrap_err();
        assert!(matches!(error, KeysetError::Malformed(_)), "{error:?}");
    }

    #[tokio::test]
    async fn an_outage_keeps_the_keyset_and_warns_every_30_seconds() {
        for outage in [Answer::Down, Answer::Malformed] {
            let (script, cache) =
                Script::new(&[Answer::Keyset(1), outage, outage, Answer::Keyset(2)]);
            let log = Log::default();
            let _guard = log.capture(Level::INFO);
            primary(&cache, 0).await;
            assert_eq!(log.lines(), 0);
            // (time, keyset, fetches, warnings)
            for (seconds, id, fetches, warnings) in [
                (300, 1, 2, 1),
                (329, 1, 2, 1),
                (330, 1, 3, 2),
                (359, 1, 3, 2),
                (360, 2, 4, 2),
                (659, 2, 4, 2),
            ] {
                assert_eq!(primary(&cache, seconds).await, id, "{seconds}");
                assert_eq!(script.fetches(), fetches, "{seconds}");
                assert_eq!(log.lines(), warnings, "{seconds}");
            }
            let text = log.text();
            assert!(text.contains("WARN") && text.contains("error="), "{text}");
        }
    }

    #[tokio::test]
    async fn an_unknown_key_id_refreshes_once() {
        let (script, cache) = Script::new(&[Answer::Keyset(1), Answer::Keyset(2)]);
        let key = cache.open("did:a", &sealed_by(1), START).await.unwrap();
        assert_eq!(key.expose_secret(), "sk-or");
        assert_eq!(script.fetches(), 1);
        let key = cache.open("did:a", &sealed_by(2), at(1)).await.unwrap();
        assert_eq!(key.expose_secret(), "sk-or");
        assert_eq!(script.fetches(), 2);
    }

    #[tokio::test]
    async fn unknown_key_ids_refresh_at_most_every_30_seconds() {
        let (script, cache) = Script::new(&[Answer::Keyset(1)]);
        for (seconds, fetches) in [(0, 2), (1, 2), (29, 2), (30, 3), (59, 3), (60, 4)] {
            let error = cache
                .open("did:a", &sealed_by(9), at(seconds))
                .await
                .unwrap_err();
            assert!(
                matches!(error, VaultError::Open(OpenError::UnknownKeyId(KeyId(9)))),
                "{error:?}"
            );
            assert_eq!(script.fetches(), fetches, "{seconds}");
        }
    }

    #[tokio::test]
    async fn unknown_key_ids_at_the_same_time_share_one_refresh() {
        let (script, cache) = Script::new(&[Answer::Keyset(1), Answer::Keyset(2)]);
        primary(&cache, 0).await;
        script.hold();
        let sealed = sealed_by(2);
        let opens = join_all((0..50).map(|_| cache.open("did:a", &sealed, at(1))));
        let (all, ()) = tokio::join!(opens, async {
            tokio::task::yield_now().await;
            script.resume();
        });
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(script.fetches(), 2);
    }

    #[tokio::test]
    async fn an_unknown_key_id_in_an_outage_is_unknown_and_known_ones_open() {
        let (script, cache) = Script::new(&[Answer::Keyset(1), Answer::Down]);
        primary(&cache, 0).await;
        let error = cache.open("did:a", &sealed_by(2), at(1)).await.unwrap_err();
        assert!(
            matches!(error, VaultError::Open(OpenError::UnknownKeyId(_))),
            "{error:?}"
        );
        assert!(cache.open("did:a", &sealed_by(1), at(2)).await.is_ok());
        assert_eq!(script.fetches(), 2);
    }

    #[tokio::test]
    async fn what_is_not_authentic_fetches_nothing() {
        let (script, cache) = Script::new(&[Answer::Keyset(1)]);
        let error = cache.open("did:b", &sealed_by(1), START).await.unwrap_err();
        assert!(
            matches!(error, VaultError::Open(OpenError::NotAuthentic)),
            "{error:?}"
        );
        assert_eq!(script.fetches(), 1);
    }

    #[tokio::test]
    async fn debug_shows_ids_only() {
        let (_, cache) = Script::new(&[Answer::Keyset(5)]);
        primary(&cache, 0).await;
        assert_eq!(
            format!("{cache:?}"),
            "KeysetCache { keyset: Some(Keyset { primary: 5, others: [] }), .. }"
        );
    }
}
