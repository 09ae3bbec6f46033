//! Keys that the gateway has OpenRouter make.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use shared::{
    clock::Clock,
    storage::{
        CallerRequest, Claim, Grant, KeyDescription, KeySource, LimitReset, PendingDeletion,
        Refusal, Reserved, StorageError,
    },
};
use uuid::Uuid;

use crate::{
    keys::{OTHER_SEALED, SEALED, new_key},
    user::{User, far_future, refusal, soon, with_newcomer},
};

const LEASE: Duration = Duration::from_mins(2);

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_provisioning_goes_from_reservation_to_deletion() {
    with_newcomer(async |user| {
        let caller_request = user.caller_request();
        assert_eq!(
            user.reserve_as(&caller_request).await.unwrap(),
            Reserved::Go
        );
        // Nothing is handed out before there is a key.
        assert_eq!(refusal(user.describe().await), Refusal::NoKeyForDid);
        assert_eq!(
            user.reserve_as(&caller_request).await.unwrap(),
            Reserved::Go,
            "a lost answer"
        );

        let key = user
            .activate(caller_request.id, "up-1")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (key.source, key.hash.as_str()),
            (KeySource::Provisioned, "up-1")
        );
        assert_eq!(key.openrouter_limit.as_deref(), Some("1.5"));
        assert_eq!(key.openrouter_limit_reset.as_deref(), Some("daily"));
        let again = user.activate(caller_request.id, "up-1").await.unwrap();
        assert_eq!(again.as_ref(), Some(&key), "a lost answer");
        assert_eq!(
            user.reserve().await.unwrap(),
            Reserved::Already(Box::new(key))
        );
        assert_eq!(user.condemned(far_future()).await, []);

        let revoked = user.revoke().await.unwrap();
        let condemned = PendingDeletion {
            id: caller_request.id,
            upstream_hash: Some("up-1".to_owned()),
            age: None,
        };
        assert_eq!(revoked.condemned, Some(condemned.clone()));
        let now = Clock::system().now();
        let claimed = user.condemned(now).await;
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].upstream_hash, condemned.upstream_hash);
        assert_eq!(user.condemned(now).await, [], "it is claimed");
        assert_eq!(
            user.condemned(now + SignedDuration::from_mins(1))
                .await
                .len(),
            1
        );
        for _ in 0..2 {
            user.storage
                .finish_provisioning(caller_request.id, soon())
                .await
                .unwrap();
        }
        assert_eq!(user.condemned(far_future()).await, []);
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
    with_newcomer(async |user| {
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
    with_newcomer(async |user| {
        let caller_request = user.caller_request();
        user.reserve_as(&caller_request).await.unwrap();
        let same = CallerRequest {
            id: user.id(),
            ..caller_request
        };
        assert_eq!(refusal(user.reserve_as(&same).await), Refusal::Replayed);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn what_did_not_become_live_is_deleted() {
    with_newcomer(async |user| {
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
        let due: Vec<_> = user
            .condemned(now)
            .await
            .into_iter()
            .map(|it| it.id)
            .collect();
        assert_eq!(due, [lost], "the other has its lease");
        let later = now + SignedDuration::try_from(LEASE).unwrap();
        let due = user.condemned(later).await;
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
            .condemned(far_future())
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
    with_newcomer(async |user| {
        let dead = user.reserved().await;
        let later = CallerRequest {
            request_time: Clock::system().now() + SignedDuration::try_from(LEASE).unwrap(),
            ..user.caller_request()
        };
        assert_eq!(user.reserve_as(&later).await.unwrap(), Reserved::Go);
        assert_eq!(user.activate(dead, "up-dead").await.unwrap(), None);
        assert!(user.activate(later.id, "up-live").await.unwrap().is_some());
        let due: Vec<_> = user
            .condemned(far_future())
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
    with_newcomer(async |user| {
        let id = user.reserved().await;
        user.store("brought", None).await.unwrap();
        assert_eq!(user.activate(id, "up-1").await.unwrap(), None);
        assert_eq!(user.describe().await.unwrap().hash, "brought");
        assert_eq!(user.condemned(far_future()).await.len(), 1);
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
        with_newcomer(async |user| {
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
            let due = user.condemned(far_future()).await;
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
        with_newcomer(async |user| {
            let grant = Grant { reset, ..grant() };
            let caller_request = user.caller_request();
            let reserve = async |caller_request: &CallerRequest<'_>| {
                user.storage
                    .reserve_provisioning(caller_request, grant, LEASE, soon())
                    .await
            };
            reserve(&caller_request).await.unwrap();
            user.activate(caller_request.id, "up-1")
                .await
                .unwrap()
                .unwrap();
            user.revoke().await.unwrap();

            let Refusal::ProvisioningUsedUp { available_at } =
                refusal(reserve(&user.caller_request()).await)
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
            let moment = CallerRequest {
                request_time: at - SignedDuration::from_millis(1),
                ..user.caller_request()
            };
            assert!(matches!(
                refusal(reserve(&moment).await),
                Refusal::ProvisioningUsedUp { .. }
            ));
            let moment = CallerRequest {
                request_time: at,
                ..user.caller_request()
            };
            assert_eq!(reserve(&moment).await.unwrap(), Reserved::Go, "{reset:?}");
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn an_account_lives_on_in_a_provisioned_key() {
    with_newcomer(async |user| {
        user.store("brought", None).await.unwrap();
        user.change_account(json!({"credit_limit": "3", "spent": "2"}))
            .await;
        user.revoke().await.unwrap();
        let id = user.reserved().await;
        let key = user.activate(id, "up-1").await.unwrap().unwrap();
        assert_eq!((key.limit.as_deref(), key.spent.as_str()), (Some("3"), "2"));
        let begun = user.begin(&user.look_up()).await.unwrap();
        assert_eq!(begun.sealed_key, SEALED);
    })
    .await;
}

impl User {
    pub(crate) async fn reserve(&self) -> Result<Reserved, StorageError> {
        self.reserve_as(&self.caller_request()).await
    }

    async fn reserve_as(
        &self,
        caller_request: &CallerRequest<'_>,
    ) -> Result<Reserved, StorageError> {
        self.storage
            .reserve_provisioning(caller_request, grant(), LEASE, soon())
            .await
    }

    /// The id of a new reservation.
    pub(crate) async fn reserved(&self) -> Uuid {
        let caller_request = self.caller_request();
        assert_eq!(
            self.reserve_as(&caller_request).await.unwrap(),
            Reserved::Go
        );
        caller_request.id
    }

    pub(crate) async fn activate(
        &self,
        id: Uuid,
        hash: &str,
    ) -> Result<Option<KeyDescription>, StorageError> {
        let sealed = SEALED.parse().unwrap();
        let key = new_key(hash, &sealed, None);
        self.storage
            .activate_provisioning(id, &self.did, &key, soon())
            .await
    }

    pub(crate) async fn condemned(&self, now: Timestamp) -> Vec<PendingDeletion> {
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

    pub(crate) async fn states(&self) -> Vec<String> {
        let rows = self.rows("key_provisionings", "state").await;
        let mut states: Vec<_> = rows
            .iter()
            .map(|row| row["state"].as_str().unwrap().to_owned())
            .collect();
        states.sort();
        states
    }
}

fn grant() -> Grant {
    Grant {
        limit: "1.50".parse().unwrap(),
        reset: Some(LimitReset::Daily),
    }
}
