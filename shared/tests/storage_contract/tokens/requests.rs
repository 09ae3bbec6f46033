//! The requests that come with a token, also while it changes.

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::json;
use shared::{
    clock::Clock,
    storage::{
        Begin, BudgetPeriod, Refusal, StorageError, TokenChange, TokenRefusal, TokenSettings,
        TokenState,
    },
};

use super::{refused, settings};
use crate::{
    budgets::budget,
    user::{completed, cut, refusal, unknown, with_user},
};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_tokens_request_is_repeated_by_its_id_alone() {
    with_user(json!({"credit_limit": "1"}), async |user| {
        with_user(json!({}), async |other| {
            let (_, digest) = user.token(&settings("a")).await;
            let (_, second) = user.token(&settings("b")).await;
            let (_, theirs) = other.token(&settings("a")).await;
            let begin = user.by_token(digest, "0.6");
            let answer = user.begin(&begin).await.unwrap();
            for _ in 0..3 {
                assert_eq!(user.begin(&begin).await.unwrap(), answer);
            }
            assert_eq!(user.account().await, ("0".into(), "0.6".into()));
            // Another token, another DID, and a signature do not get at it.
            let with = |digest| Begin {
                id: begin.id,
                ..user.by_token(digest, "0")
            };
            for stolen in [
                with(second),
                with(theirs),
                Begin {
                    id: begin.id,
                    ..user.billable("0")
                },
            ] {
                assert!(matches!(
                    user.begin(&stolen).await,
                    Err(StorageError::Protocol(_))
                ));
            }
            // Once finished, the same begin would be a free ride.
            user.finish(&completed(begin.id, "0.1")).await.unwrap();
            assert!(matches!(
                user.begin(&begin).await,
                Err(StorageError::Protocol(_))
            ));
            assert_eq!(user.account().await, ("0.1".into(), "0".into()));
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn books_close_after_their_token_has_ended() {
    with_user(json!({"credit_limit": "10"}), async |user| {
        let wanted = TokenSettings {
            budgets: vec![budget(BudgetPeriod::Total, "5", "UTC")],
            ..settings("a")
        };
        let (made, digest) = user.token(&wanted).await;
        let (done, lost) = (user.by_token(digest, "1"), user.by_token(digest, "2"));
        user.begin(&done).await.unwrap();
        user.begin(&lost).await.unwrap();
        let revoked = user.end_token(made.id).await;
        assert_eq!(
            (&*revoked.budgets[0].spent, &*revoked.budgets[0].held),
            ("0", "3")
        );
        user.finish(&completed(done.id, "0.25")).await.unwrap();
        user.finish(&cut(lost.id)).await.unwrap();
        user.settle(&unknown(lost.id)).await;
        assert_eq!(user.account().await, ("0.25".into(), "0".into()));
        let shown = user.tokens(true).await.remove(0);
        assert_eq!(
            (&*shown.budgets[0].spent, &*shown.budgets[0].held),
            ("0.25", "0")
        );
        assert_eq!((&*shown.requests, &*shown.cost), ("2", "0.25"));
        user.agrees().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_a_revocation_and_its_requests_each_is_before_or_after() {
    with_user(json!({}), async |user| {
        let (made, digest) = user.token(&settings("a")).await;
        let begins: Vec<_> = (0..40).map(|_| user.by_token(digest, "0")).collect();
        let requests = futures_util::future::join_all(begins.iter().map(|it| user.begin(it)));
        let (answers, revoked) = tokio::join!(requests, user.end_token(made.id));
        let passed = answers.iter().filter(|it| it.is_ok()).count();
        for answer in answers.into_iter().filter(Result::is_err) {
            assert_eq!(refused(answer), TokenRefusal::Revoked);
        }
        assert_eq!(user.requests().await.len(), passed);
        assert_eq!(revoked.state, TokenState::Revoked);
        assert_eq!(
            refused(user.begin(&user.by_token(digest, "0")).await),
            TokenRefusal::Revoked
        );
    })
    .await;
}

/// Half of the requests come with a secret that a rotation ends.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_a_rotation_and_its_requests_each_is_before_or_after() {
    with_user(json!({}), async |user| {
        let (made, first) = user.token(&settings("a")).await;
        let (_, second) = user.rotate(made.id, 600).await.unwrap();
        let begins: Vec<_> = (0..40)
            .map(|number| user.by_token(if number % 2 == 0 { first } else { second }, "0"))
            .collect();
        let requests = join_all(begins.iter().map(|it| user.begin(it)));
        let (answers, rotated) = tokio::join!(requests, user.rotate(made.id, 600));
        let (_, third) = rotated.unwrap();
        for (number, answer) in answers.into_iter().enumerate() {
            if number % 2 == 0 && answer.is_err() {
                assert_eq!(refused(answer), TokenRefusal::Revoked);
            } else {
                answer.unwrap();
            }
        }
        // A clock that is behind does not bring the first one back.
        let early = Begin {
            request_time: Clock::system().now() - SignedDuration::from_mins(5),
            ..user.by_token(first, "0")
        };
        assert_eq!(refused(user.begin(&early).await), TokenRefusal::Revoked);
        for digest in [second, third] {
            user.begin(&user.by_token(digest, "0")).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_an_edit_and_its_requests_each_is_before_or_after() {
    with_user(json!({}), async |user| {
        let (made, digest) = user.token(&settings("a")).await;
        let change = TokenChange {
            endpoints: Some(Some(["embeddings".to_owned()].into())),
            ..TokenChange::default()
        };
        let begins: Vec<_> = (0..40).map(|_| user.by_token(digest, "0")).collect();
        let requests = join_all(begins.iter().map(|it| user.begin(it)));
        let (answers, edited) = tokio::join!(requests, user.edit(made.id, change));
        edited.unwrap();
        let passed = answers.iter().filter(|it| it.is_ok()).count();
        for answer in answers.into_iter().filter(Result::is_err) {
            assert!(matches!(
                refused(answer),
                TokenRefusal::EndpointNotAllowed(_)
            ));
        }
        assert_eq!(user.requests().await.len(), passed);
        let later = user.begin(&user.by_token(digest, "0")).await;
        assert!(matches!(
            refused(later),
            TokenRefusal::EndpointNotAllowed(_)
        ));

        // A budget that is lowered counts for every request after it.
        let with_budget = |amount: &str| TokenChange {
            endpoints: Some(None),
            budgets: Some(vec![budget(BudgetPeriod::Day, amount, "UTC")]),
            ..TokenChange::default()
        };
        user.edit(made.id, with_budget("100")).await.unwrap();
        let begins: Vec<_> = (0..40).map(|_| user.by_token(digest, "0.1")).collect();
        let requests = join_all(begins.iter().map(|it| user.begin(it)));
        let (answers, edited) = tokio::join!(requests, user.edit(made.id, with_budget("0.3")));
        let edited = edited.unwrap().budgets.remove(0);
        let passed = answers.iter().filter(|it| it.is_ok()).count();
        // Those that are held when it is lowered stay; what comes later fits into the rest.
        let (dollars, dimes) = edited.held.split_once('.').unwrap_or((&edited.held, "0"));
        let before = 10 * dollars.parse::<usize>().unwrap() + dimes.parse::<usize>().unwrap();
        assert!(passed <= before.max(3), "{passed} passed, {before} before");
        let later = user.begin(&user.by_token(digest, "0.3")).await;
        assert!(matches!(refusal(later), Refusal::BudgetReached(_)));
        user.agrees().await;
    })
    .await;
}
