//! What is not begun, and leaves no trace.

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::storage::{Begin, BeginSender, Refusal, StorageError};

use crate::user::{books, completed, fingerprint, refusal, signed, with_user};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_stranger_has_no_key() {
    with_user(json!({}), async |user| {
        for begin in [user.look_up(), user.billable("0")] {
            let stranger = Begin {
                sender: signed(
                    "did:key:z6MkStranger",
                    Some(fingerprint(begin.request_time)),
                ),
                ..begin
            };
            assert_eq!(refusal(user.begin(&stranger).await), Refusal::NoKeyForDid);
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_disabled_key_is_not_handed_out() {
    with_user(json!({}), async |user| {
        user.change_account(json!({"disabled": true})).await;
        for begin in [user.look_up(), user.billable("0")] {
            assert_eq!(refusal(user.begin(&begin).await), Refusal::KeyDisabled);
        }
        assert_eq!(user.requests().await, Vec::<Value>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_equal_requests_one_passes() {
    with_user(json!({"credit_limit": "100"}), async |user| {
        for first in [user.billable("0.01"), user.look_up()] {
            let same: Vec<_> = (0..20)
                .map(|_| Begin {
                    id: user.id(),
                    ..first.clone()
                })
                .collect();
            let answers = join_all(same.iter().map(|begin| user.begin(begin))).await;
            let (passed, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
            assert_eq!(passed.len(), 1);
            for answer in refused {
                assert_eq!(refusal(answer), Refusal::Replayed);
            }
        }
        assert_eq!(user.requests().await.len(), 1);
        assert_eq!(user.account().await, ("0".into(), "0.01".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_repeated_begin_changes_nothing() {
    with_user(json!({"credit_limit": "0.5"}), async |user| {
        let begin = user.billable("0.3");
        let answer = user.begin(&begin).await.unwrap();
        let answers = join_all((0..5).map(|_| user.begin(&begin))).await;
        for repeated in answers {
            assert_eq!(repeated.unwrap(), answer);
        }
        assert_eq!(user.requests().await.len(), 1);
        assert_eq!(user.account().await, ("0".into(), "0.3".into()));

        let look_up = user.look_up();
        user.begin(&look_up).await.unwrap();
        user.begin(&look_up).await.unwrap();

        // Once finished, the same begin would be a free ride.
        user.finish(&completed(begin.id, "0.1")).await.unwrap();
        assert_eq!(refusal(user.begin(&begin).await), Refusal::Replayed);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_repeated_begin_is_bound_to_its_did() {
    with_user(json!({}), async |user| {
        with_user(json!({}), async |other| {
            let begin = user.billable("0");
            user.begin(&begin).await.unwrap();
            let guard = match &begin.sender {
                BeginSender::Signed { fingerprint, .. } => *fingerprint,
                BeginSender::Token { .. } => None,
            };
            assert!(guard.is_some());
            let stolen = Begin {
                sender: signed(&other.did, guard),
                ..begin
            };
            assert_eq!(refusal(user.begin(&stolen).await), Refusal::Replayed);
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_storage_insists_on_ids_and_fingerprints() {
    with_user(json!({}), async |user| {
        let bare = Begin {
            sender: signed(&user.did, None),
            ..user.billable("0")
        };
        assert!(matches!(
            user.begin(&bare).await,
            Err(StorageError::Protocol(_))
        ));

        let begin = user.billable("0");
        user.begin(&begin).await.unwrap();
        let same_id = Begin {
            id: begin.id,
            ..user.billable("0")
        };
        assert!(matches!(
            user.begin(&same_id).await,
            Err(StorageError::Protocol(_))
        ));
        assert_eq!(user.requests().await.len(), 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_refused_request_leaves_no_trace() {
    with_user(json!({"credit_limit": "1"}), async |user| {
        let begin = user.billable("1.01");
        assert!(matches!(
            refusal(user.begin(&begin).await),
            Refusal::CreditLimitReached { .. }
        ));
        assert_eq!(user.requests().await, Vec::<Value>::new());
        let affordable = Begin {
            books: Some(books("1")),
            ..begin
        };
        user.begin(&affordable).await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn expired_fingerprints_are_cleared_away() {
    with_user(json!({}), async |user| {
        let live = user.look_up();
        user.begin(&live).await.unwrap();
        let mut old = user.look_up();
        let mut expired = fingerprint(old.request_time);
        expired.expires_at = old.request_time - SignedDuration::from_secs(60);
        old.sender = signed(&user.did, Some(expired));
        user.begin(&old).await.unwrap();

        // One call of about 20 clears some, of every DID's.
        for _ in 0..400 {
            if user.fingerprints(old.id).await == 0 {
                break;
            }
            user.begin(&user.look_up()).await.unwrap();
        }
        assert_eq!(user.fingerprints(old.id).await, 0);
        assert_eq!(user.fingerprints(live.id).await, 1);
    })
    .await;
}
