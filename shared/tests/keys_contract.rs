//! What `migrations/20260107000000_keys.sql`, the later ones and the client promise of keys, against a real
//! `PostgREST`-compatible backend; environment and exceptions as in `storage_contract.rs`.
//!
//! Every test makes DIDs of its own and deletes their rows, but for those of `key_events`, which
//! nobody may delete.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test fail as the test does"
)]

#[path = "keys_contract/retired.rs"]
mod retired;

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Mutex,
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    secret::SealedKey,
    storage::{
        Asking, Begin, Claim, Condemned, Grant, KeyDescription, KeySource, LimitReset, NewKey,
        Refusal, ReplayGuard, Reserved, RevokedKey, Storage, StorageError, StorageKey, StoredKey,
    },
};
use tokio::time::Instant;
use uuid::Uuid;

const LEASE: Duration = Duration::from_mins(2);
const SEALED: &str = "v1.AQIDBAUAAQIDBAUGBwgJCgsMDQ4PEA";
const OTHER_SEALED: &str = "v1.AQIDBAUBAQIDBAUGBwgJCgsMDQ4PEA";
/// The key id in both.
const SEAL_KEY_ID: &str = "33752069";

// --------------------------------------------------------------------------- bring, see, revoke

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_key_is_stored_described_replaced_and_revoked() {
    with_user(async |user| {
        assert_eq!(refusal(user.describe().await), Refusal::NoKeyForDid);

        let stored = user.store("hash-1", Some("mine")).await.unwrap();
        assert_eq!(stored.condemned, None);
        assert_eq!(user.describe().await.unwrap(), stored.key);
        let key = stored.key;
        assert_eq!(
            (key.key_name.as_str(), key.hash.as_str()),
            ("mine", "hash-1")
        );
        assert_eq!((key.source, key.disabled), (KeySource::Own, false));
        assert_eq!((key.limit, key.remaining), (None, None));
        assert_eq!((key.spent.as_str(), key.held.as_str()), ("0", "0"));
        assert_eq!(key.seal_key_id.as_deref(), Some(SEAL_KEY_ID));
        assert_eq!(user.sealed_key().await, SEALED);

        user.change_key(json!({"credit_limit": "2.50", "spent": "0.75", "reserved": "0.5"}))
            .await;
        let asking = user.asking();
        let replaced = user
            .storage
            .store_key(
                &asking,
                &new_key("hash-2", &OTHER_SEALED.parse().unwrap(), None),
                soon(),
            )
            .await
            .unwrap();
        assert_eq!(replaced.key.key_name, "mine", "no name changes none");
        assert_eq!(replaced.key.hash, "hash-2");
        assert_eq!(replaced.key.limit.as_deref(), Some("2.5"));
        assert_eq!(replaced.key.spent, "0.75");
        assert_eq!(replaced.key.held, "0.5");
        assert_eq!(replaced.key.remaining.as_deref(), Some("1.25"));
        assert_eq!(replaced.key.created_at, key.created_at);
        assert!(replaced.key.updated_at > key.updated_at);
        assert_eq!(user.sealed_key().await, OTHER_SEALED);

        let revoked = user.revoke().await.unwrap();
        assert_eq!((revoked.hash.as_str(), revoked.condemned), ("hash-2", None));
        assert_eq!(refusal(user.describe().await), Refusal::NoKeyForDid);
        assert_eq!(refusal(user.revoke().await), Refusal::NoKeyForDid);
        assert_eq!(
            refusal(user.storage.begin(&user.look_up(), soon()).await),
            Refusal::NoKeyForDid
        );

        let events = user.events().await;
        let told: Vec<_> = events
            .iter()
            .map(|event| {
                (
                    event["actor"].as_str().unwrap(),
                    event["action"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("user", "stored"),
                ("user", "replaced"),
                ("user", "revoked")
            ]
        );
        assert_eq!(events[1]["request_id"], asking.id.to_string());
        assert_eq!(events[1]["key_hash"], "hash-2");
        assert_eq!(events[1]["details"]["replaced_key_hash"], "hash-1");
        assert!(
            !Value::from(events).to_string().contains("v1."),
            "no event holds a key"
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_signed_change_passes_once_and_its_repetition_changes_nothing() {
    with_user(async |user| {
        let (sealed, asking) = (SEALED.parse().unwrap(), user.asking());
        let store = async |asking: &Asking<'_>| {
            let key = new_key("hash", &sealed, None);
            user.storage.store_key(asking, &key, soon()).await
        };
        let first = store(&asking).await.unwrap();
        // The client repeats a call whose answer was lost.
        assert_eq!(store(&asking).await.unwrap().key, first.key);
        let same = Asking {
            id: user.id(),
            ..asking
        };
        let replays = join_all((0..5).map(|_| store(&same))).await;
        assert!(
            replays
                .into_iter()
                .all(|it| refusal(it) == Refusal::Replayed)
        );
        let unsigned = Asking {
            fingerprint: None,
            ..user.asking()
        };
        assert!(matches!(
            store(&unsigned).await,
            Err(StorageError::Protocol(_))
        ));

        let asking = user.asking();
        let first = user.storage.revoke_key(&asking, soon()).await.unwrap();
        assert_eq!(
            user.storage.revoke_key(&asking, soon()).await.unwrap(),
            first
        );
        user.store("hash", None).await.unwrap();
        let same = Asking {
            id: user.id(),
            ..asking
        };
        assert_eq!(
            refusal(user.storage.revoke_key(&same, soon()).await),
            Refusal::Replayed
        );
        user.describe().await.unwrap();
        assert_eq!(user.events().await.len(), 3);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn revoking_shakes_off_no_limit_no_cost_and_no_block() {
    with_user(async |user| {
        user.store("hash-1", None).await.unwrap();
        user.change_key(json!({"credit_limit": "3", "requests_per_minute": 7, "spent": "2"}))
            .await;
        user.revoke().await.unwrap();
        let key = user.store("hash-2", None).await.unwrap().key;
        assert_eq!((key.limit.as_deref(), key.spent.as_str()), (Some("3"), "2"));
        let row = &user.rows("user_api_keys", "requests_per_minute").await[0];
        assert_eq!(row["requests_per_minute"], 7);

        user.change_key(json!({"disabled": true})).await;
        assert_eq!(
            refusal(user.store("hash-3", None).await),
            Refusal::KeyDisabled
        );
        assert!(user.describe().await.unwrap().disabled);
        user.revoke().await.unwrap();
        assert_eq!(
            refusal(user.store("hash-3", None).await),
            Refusal::KeyDisabled
        );
        assert_eq!(refusal(user.reserve().await), Refusal::KeyDisabled);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn keys_stored_at_once_end_as_one() {
    with_user(async |user| {
        let stored = join_all((0..10).map(|_| user.store("hash", None))).await;
        assert!(stored.iter().all(Result::is_ok), "{stored:?}");
        assert_eq!(user.rows("user_api_keys", "id").await.len(), 1);
        let events = user.events().await;
        assert_eq!(
            events.iter().filter(|it| it["action"] == "stored").count(),
            1
        );
        assert_eq!(events.len(), 10);
    })
    .await;
}

// ---------------------------------------------------------------------------------- provisioning

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_provisioning_goes_from_reservation_to_deletion() {
    with_user(async |user| {
        let asking = user.asking();
        assert_eq!(user.reserve_as(&asking).await.unwrap(), Reserved::Go);
        // Nothing is handed out before there is a key.
        assert_eq!(refusal(user.describe().await), Refusal::NoKeyForDid);
        assert_eq!(
            user.reserve_as(&asking).await.unwrap(),
            Reserved::Go,
            "a lost answer"
        );

        let key = user.activate(asking.id, "up-1").await.unwrap().unwrap();
        assert_eq!(
            (key.source, key.hash.as_str()),
            (KeySource::Provisioned, "up-1")
        );
        assert_eq!(key.openrouter_limit.as_deref(), Some("1.5"));
        assert_eq!(key.openrouter_limit_reset.as_deref(), Some("daily"));
        let again = user.activate(asking.id, "up-1").await.unwrap();
        assert_eq!(again.as_ref(), Some(&key), "a lost answer");
        assert_eq!(
            user.reserve().await.unwrap(),
            Reserved::Already(Box::new(key))
        );
        assert_eq!(user.claim(far_future()).await, []);

        let revoked = user.revoke().await.unwrap();
        let condemned = Condemned {
            id: asking.id,
            upstream_hash: Some("up-1".to_owned()),
            age: None,
        };
        assert_eq!(revoked.condemned, Some(condemned.clone()));
        let now = Clock::system().now();
        let claimed = user.claim(now).await;
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].upstream_hash, condemned.upstream_hash);
        assert_eq!(user.claim(now).await, [], "it is claimed");
        assert_eq!(
            user.claim(now + SignedDuration::from_mins(1)).await.len(),
            1
        );
        for _ in 0..2 {
            user.storage
                .finish_provisioning(asking.id, soon())
                .await
                .unwrap();
        }
        assert_eq!(user.claim(far_future()).await, []);
        assert_eq!(user.states().await, ["deleted"]);
        let actions: Vec<_> = user
            .events()
            .await
            .iter()
            .map(|it| it["action"].clone())
            .collect();
        assert_eq!(actions, ["provisioned", "revoked", "deleted_upstream"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_reservations_at_once_one_goes_on() {
    with_user(async |user| {
        let answers = join_all((0..20).map(|_| user.reserve())).await;
        let (passed, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(passed.len(), 1);
        for answer in refused {
            assert_eq!(refusal(answer), Refusal::ProvisioningInProgress);
        }
        assert_eq!(user.states().await, ["reserved"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_replayed_reservation_is_refused() {
    with_user(async |user| {
        let asking = user.asking();
        user.reserve_as(&asking).await.unwrap();
        let same = Asking {
            id: user.id(),
            ..asking
        };
        assert_eq!(refusal(user.reserve_as(&same).await), Refusal::Replayed);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn what_did_not_become_live_is_deleted() {
    with_user(async |user| {
        // Certainly nothing was made.
        let refused = user.reserved().await;
        user.storage
            .abandon_provisioning(refused, false, soon())
            .await
            .unwrap();
        // Perhaps something was.
        let lost = user.reserved().await;
        user.storage
            .abandon_provisioning(lost, true, soon())
            .await
            .unwrap();
        // Nobody knows: its function was killed.
        let killed = user.reserved().await;
        assert_eq!(user.states().await, ["deleted", "reserved", "to_delete"]);

        let now = Clock::system().now();
        let due: Vec<_> = user.claim(now).await.into_iter().map(|it| it.id).collect();
        assert_eq!(due, [lost], "the other has its lease");
        let later = now + SignedDuration::try_from(LEASE).unwrap();
        let due = user.claim(later).await;
        assert!(
            due.iter()
                .any(|it| it.id == killed && it.upstream_hash.is_none()),
            "{due:?}"
        );
        assert!(due.iter().all(|it| it.age.unwrap() >= LEASE));

        // It lives after all, but too late; its key is known now.
        assert_eq!(user.activate(killed, "up-late").await.unwrap(), None);
        user.storage
            .finish_provisioning(lost, soon())
            .await
            .unwrap();
        assert_eq!(user.activate(lost, "up-lost").await.unwrap(), None);
        let mut due: Vec<_> = user
            .claim(far_future())
            .await
            .into_iter()
            .map(|it| it.upstream_hash.unwrap())
            .collect();
        due.sort();
        assert_eq!(due, ["up-late", "up-lost"]);
        assert_eq!(refusal(user.describe().await), Refusal::NoKeyForDid);
        assert_eq!(user.reserve().await.unwrap(), Reserved::Go);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_reservation_whose_lease_is_over_keeps_nobody_waiting() {
    with_user(async |user| {
        let dead = user.reserved().await;
        let later = Asking {
            request_time: Clock::system().now() + SignedDuration::try_from(LEASE).unwrap(),
            ..user.asking()
        };
        assert_eq!(user.reserve_as(&later).await.unwrap(), Reserved::Go);
        assert_eq!(user.activate(dead, "up-dead").await.unwrap(), None);
        assert!(user.activate(later.id, "up-live").await.unwrap().is_some());
        let due: Vec<_> = user
            .claim(far_future())
            .await
            .into_iter()
            .map(|it| it.id)
            .collect();
        assert_eq!(due, [dead]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_key_that_was_brought_meanwhile_wins() {
    with_user(async |user| {
        let id = user.reserved().await;
        user.store("brought", None).await.unwrap();
        assert_eq!(user.activate(id, "up-1").await.unwrap(), None);
        assert_eq!(user.describe().await.unwrap().hash, "brought");
        assert_eq!(user.claim(far_future()).await.len(), 1);
        assert_eq!(refusal(user.reserve().await), Refusal::KeyExists);
    })
    .await;
}

/// Whoever takes a provisioned key's row away or puts another key into it, even with SQL, has the key
/// deleted; sealing it anew does not.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_provisioned_key_does_not_outlive_its_row() {
    for change in [
        Change::Brought,
        Change::ByHand,
        Change::Deleted,
        Change::SealedAnew,
    ] {
        with_user(async |user| {
            let id = user.reserved().await;
            user.activate(id, "up-1").await.unwrap().unwrap();
            match change {
                Change::Brought => {
                    let stored = user.store("brought", None).await.unwrap();
                    assert_eq!(stored.condemned.unwrap().id, id);
                    assert_eq!(stored.key.source, KeySource::Own);
                }
                Change::ByHand => {
                    user.change_key(json!({"openrouter_key_hash": "other"}))
                        .await;
                }
                Change::Deleted => user.delete("user_api_keys").await,
                Change::SealedAnew => {
                    user.change_key(json!({"encrypted_api_key": OTHER_SEALED, "seal_key_id": 7}))
                        .await;
                }
            }
            let due = user.claim(far_future()).await;
            if change == Change::SealedAnew {
                assert_eq!(due, []);
                assert_eq!(
                    user.describe().await.unwrap().source,
                    KeySource::Provisioned
                );
            } else {
                assert_eq!(due.len(), 1, "{change:?}");
            }
            if change == Change::ByHand {
                assert_eq!(user.describe().await.unwrap().source, KeySource::Own);
            }
        })
        .await;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Brought,
    ByHand,
    Deleted,
    SealedAnew,
}

/// Else whoever gives a key up and asks for another would have the limit as often as they like.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_limit_is_given_once_in_its_time() {
    for (reset, next) in [
        (
            Some(LimitReset::Daily),
            Some(SignedDuration::from_hours(24)),
        ),
        (
            Some(LimitReset::Weekly),
            Some(SignedDuration::from_hours(7 * 24)),
        ),
        (
            Some(LimitReset::Monthly),
            Some(SignedDuration::from_hours(31 * 24)),
        ),
        (None, None),
    ] {
        with_user(async |user| {
            let grant = Grant { reset, ..grant() };
            let asking = user.asking();
            let reserve = async |asking: &Asking<'_>| {
                user.storage
                    .reserve_provisioning(asking, grant, LEASE, soon())
                    .await
            };
            reserve(&asking).await.unwrap();
            user.activate(asking.id, "up-1").await.unwrap().unwrap();
            user.revoke().await.unwrap();

            let Refusal::ProvisioningUsedUp { available_at } =
                refusal(reserve(&user.asking()).await)
            else {
                panic!("{reset:?}: not used up");
            };
            assert_eq!(available_at.is_some(), next.is_some(), "{reset:?}");
            let (Some(at), Some(next)) = (available_at, next) else {
                return;
            };
            let now = Clock::system().now();
            assert!(at > now && at <= now + next, "{reset:?}: {at}");
            assert_eq!(at.as_second() % 86_400, 0, "midnight in UTC");
            let moment = Asking {
                request_time: at - SignedDuration::from_millis(1),
                ..user.asking()
            };
            assert!(matches!(
                refusal(reserve(&moment).await),
                Refusal::ProvisioningUsedUp { .. }
            ));
            let moment = Asking {
                request_time: at,
                ..user.asking()
            };
            assert_eq!(reserve(&moment).await.unwrap(), Reserved::Go, "{reset:?}");
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn an_account_lives_on_in_a_provisioned_key() {
    with_user(async |user| {
        user.store("brought", None).await.unwrap();
        user.change_key(json!({"credit_limit": "3", "spent": "2"}))
            .await;
        user.revoke().await.unwrap();
        let id = user.reserved().await;
        let key = user.activate(id, "up-1").await.unwrap().unwrap();
        assert_eq!((key.limit.as_deref(), key.spent.as_str()), (Some("3"), "2"));
        let begun = user.storage.begin(&user.look_up(), soon()).await.unwrap();
        assert_eq!(begun.sealed_key, SEALED);
    })
    .await;
}

// ----------------------------------------------------------------------------------------- access

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_public_is_refused_at_the_door() {
    with_user(async |user| {
        user.store("hash", None).await.unwrap();
        for (method, path, body) in doors(user) {
            for key in [Some(env("STORAGE_ANON_KEY")), None] {
                let (status, text) = user.send(key, method.clone(), &path, body.as_deref()).await;
                assert!(
                    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
                    "{method} {path}: {status} {text}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_public_neither_sees_nor_changes_keys() {
    with_user(async |user| {
        user.store("hash", None).await.unwrap();
        user.open().await;
        user.revoke().await.unwrap();
        let id = user.reserved().await;
        user.activate(id, "up-public").await.unwrap();
        let before = (user.describe().await.unwrap(), user.events().await);
        for (method, path, body) in doors(user) {
            let anon = Some(env("STORAGE_ANON_KEY"));
            let (_, text) = user
                .send(anon, method.clone(), &path, body.as_deref())
                .await;
            assert!(
                !text.contains("up-public") && !text.contains(SEALED),
                "{method} {path}: {text}"
            );
        }
        assert_eq!(
            (user.describe().await.unwrap(), user.events().await),
            before
        );
        assert_eq!(user.states().await, ["live"]);
        assert_eq!(user.retired().await, ["hash"]);
    })
    .await;
}

/// Every way to the rows: each table with each verb, each function.
fn doors(user: &User) -> Vec<(Method, String, Option<String>)> {
    let tables = [
        ("key_provisionings", json!({"state": "deleted"})),
        ("key_settings", json!({"disabled": false})),
        ("key_events", json!({"action": "forged"})),
        ("retired_keys", json!({"key_hash": "forged"})),
    ];
    let mut doors = Vec::new();
    for (table, change) in tables {
        let path = format!("{table}?did=eq.{}", user.did);
        let change = Some(change.to_string());
        doors.push((Method::GET, path.clone(), None));
        doors.push((Method::POST, table.to_owned(), change.clone()));
        doors.push((Method::PATCH, path.clone(), change));
        doors.push((Method::DELETE, path, None));
    }
    let request = json!({"request": {
        "id": Uuid::nil().to_string(), "did": user.did, "request_time": 0, "now": 4_000_000_000_000_u64,
        "limit": 9, "leases": [60], "lease": 60, "upstream_hash": "x", "made": true,
        "fingerprint": "00".repeat(32), "fingerprint_expires_at": 0,
        "key_hash": "x", "sealed_key": SEALED, "seal_key_id": 1,
    }});
    for function in [
        "describe_key",
        "store_key",
        "revoke_key",
        "reserve_provisioning",
        "activate_provisioning",
        "abandon_provisioning",
        "claim_provisionings",
        "finish_provisioning",
    ] {
        doors.push((
            Method::POST,
            format!("rpc/{function}"),
            Some(request.to_string()),
        ));
    }
    for (function, arguments) in [
        ("key_description", json!({"p_did": user.did})),
        (
            "forget_retired_keys",
            json!({"p_did": user.did, "p_id": null, "p_now": "2100-01-01T00:00:00Z"}),
        ),
        (
            "provisioning_is_awaited",
            json!({"p_provisioning": Uuid::nil().to_string(), "p_now": "2100-01-01T00:00:00Z"}),
        ),
        (
            "insert_key",
            json!({"p_in": request["request"], "p_provisioning": null}),
        ),
        (
            "note_key_event",
            json!({"p_in": request["request"], "p_actor": "user", "p_action": "forged", "p_key_hash": null,
                   "p_seal_key_id": null, "p_details": null}),
        ),
    ] {
        doors.push((
            Method::POST,
            format!("rpc/{function}"),
            Some(arguments.to_string()),
        ));
    }
    doors
}

// --------------------------------------------------------------------------------------- the user

/// A DID, and the means to look at its rows.
struct User {
    did: String,
    storage: Storage,
    client: Client,
    ids: Mutex<Vec<Uuid>>,
}

/// Runs a test with a fresh user, and deletes the user's rows however it ends.
async fn with_user(test: impl AsyncFnOnce(&User)) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().build().unwrap();
    let key = StorageKey::parse(&env("STORAGE_KEY")).unwrap();
    let url = env("STORAGE_URL").parse().unwrap();
    let user = User {
        did: format!("did:key:keys-contract-{}", random_id()),
        storage: Storage::new(client.clone(), &url, key)
            // PGlite has one connection, on which twenty parallel calls queue up.
            .with_attempt_timeout(Duration::from_secs(20)),
        client,
        ids: Mutex::default(),
    };
    let result = AssertUnwindSafe(test(&user)).catch_unwind().await;
    for table in [
        "request_logs",
        "user_api_keys",
        "retired_keys",
        "key_settings",
        "key_provisionings",
    ] {
        user.delete(table).await;
    }
    let ids = user.ids.lock().unwrap().clone();
    for id in ids {
        let path = format!("request_fingerprints?request_id=eq.{id}");
        user.rest(Method::DELETE, &path, None).await;
    }
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

impl User {
    async fn describe(&self) -> Result<KeyDescription, StorageError> {
        let asking = Asking {
            fingerprint: None,
            ..self.asking()
        };
        self.storage.describe_key(&asking, soon()).await
    }

    async fn store(&self, hash: &str, name: Option<&str>) -> Result<StoredKey, StorageError> {
        let sealed = SEALED.parse().unwrap();
        let key = new_key(hash, &sealed, name);
        self.storage.store_key(&self.asking(), &key, soon()).await
    }

    async fn revoke(&self) -> Result<RevokedKey, StorageError> {
        self.storage.revoke_key(&self.asking(), soon()).await
    }

    async fn reserve(&self) -> Result<Reserved, StorageError> {
        self.reserve_as(&self.asking()).await
    }

    async fn reserve_as(&self, asking: &Asking<'_>) -> Result<Reserved, StorageError> {
        self.storage
            .reserve_provisioning(asking, grant(), LEASE, soon())
            .await
    }

    /// The id of a new reservation.
    async fn reserved(&self) -> Uuid {
        let asking = self.asking();
        assert_eq!(self.reserve_as(&asking).await.unwrap(), Reserved::Go);
        asking.id
    }

    async fn activate(&self, id: Uuid, hash: &str) -> Result<Option<KeyDescription>, StorageError> {
        let sealed = SEALED.parse().unwrap();
        let key = new_key(hash, &sealed, None);
        self.storage
            .activate_provisioning(id, &self.did, &key, soon())
            .await
    }

    async fn claim(&self, now: Timestamp) -> Vec<Condemned> {
        let claim = Claim {
            now,
            limit: 100,
            leases: &[Duration::from_mins(1), Duration::from_mins(10)],
            abandoned_after: None,
            did: Some(&self.did),
        };
        self.storage
            .claim_provisionings(&claim, soon())
            .await
            .unwrap()
    }

    /// A request, signed anew.
    fn asking(&self) -> Asking<'_> {
        let now = Clock::system().now();
        let mut digest = [0; 32];
        getrandom::fill(&mut digest).unwrap();
        Asking {
            id: self.id(),
            did: &self.did,
            request_time: now,
            fingerprint: Some(ReplayGuard {
                digest,
                expires_at: now + SignedDuration::from_mins(6),
            }),
        }
    }

    fn look_up(&self) -> Begin<'_> {
        Begin {
            id: self.id(),
            did: &self.did,
            request_time: Clock::system().now(),
            fingerprint: None,
            requests_per_minute: None,
            books: None,
        }
    }

    fn id(&self) -> Uuid {
        let id = random_id();
        self.ids.lock().unwrap().push(id);
        id
    }

    async fn sealed_key(&self) -> String {
        let rows = self.rows("user_api_keys", "encrypted_api_key").await;
        rows[0]["encrypted_api_key"].as_str().unwrap().to_owned()
    }

    async fn states(&self) -> Vec<String> {
        let rows = self.rows("key_provisionings", "state").await;
        let mut states: Vec<_> = rows
            .iter()
            .map(|row| row["state"].as_str().unwrap().to_owned())
            .collect();
        states.sort();
        states
    }

    async fn events(&self) -> Vec<Value> {
        let select = "actor,action,key_hash,request_id,details&order=id";
        self.rows("key_events", select).await
    }

    async fn rows(&self, table: &str, select: &str) -> Vec<Value> {
        let path = format!("{table}?did=eq.{}&select={select}", self.did);
        serde_json::from_str(&self.rest(Method::GET, &path, None).await).unwrap()
    }

    async fn change_key(&self, change: Value) {
        let path = format!("user_api_keys?did=eq.{}", self.did);
        self.rest(Method::PATCH, &path, Some(&change.to_string()))
            .await;
    }

    async fn delete(&self, table: &str) {
        let path = format!("{table}?did=eq.{}", self.did);
        self.rest(Method::DELETE, &path, None).await;
    }

    /// One exchange with the tables, as the service.
    async fn rest(&self, method: Method, path: &str, body: Option<&str>) -> String {
        let (status, text) = self
            .send(Some(env("STORAGE_KEY")), method, path, body)
            .await;
        assert!(status.is_success(), "{path}: {status} {text}");
        text
    }

    async fn send(
        &self,
        key: Option<String>,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> (StatusCode, String) {
        let url = format!("{}/{path}", env("STORAGE_URL"));
        let mut request = self.client.request(method, url);
        if let Some(key) = key {
            if key.starts_with("eyJ") {
                request = request.header("authorization", format!("Bearer {key}"));
            }
            request = request.header("apikey", key);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_owned());
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

fn new_key<'a>(hash: &'a str, sealed: &'a SealedKey, name: Option<&'a str>) -> NewKey<'a> {
    NewKey { hash, sealed, name }
}

fn grant() -> Grant {
    Grant {
        limit: "1.50".parse().unwrap(),
        reset: Some(LimitReset::Daily),
    }
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, StorageError>) -> Refusal {
    match answer {
        Err(StorageError::Refused(refusal)) => refusal,
        other => panic!("not a refusal: {other:?}"),
    }
}

fn far_future() -> Timestamp {
    Clock::system().now() + SignedDuration::from_hours(24)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn random_id() -> Uuid {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests get their backend from the environment"
)]
fn env(name: &str) -> String {
    std::env::var(name).expect(name)
}
