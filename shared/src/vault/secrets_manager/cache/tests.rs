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

impl FetchSecret for Script {
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

/// A test of a rotation sets this, to see one in less than ten minutes.
#[tokio::test]
async fn a_source_may_ask_for_less() {
    struct Brief(Script);
    impl FetchSecret for Brief {
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
        let (script, cache) = Script::new(&[Answer::Keyset(1), outage, outage, Answer::Keyset(2)]);
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
