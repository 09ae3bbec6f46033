//! The secrets of a token: rotated, overlapping, and those that are none.

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    storage::{Begin, TokenDescription, TokenRefusal},
};

use super::{looking_up, presenting, refused, secret, settings};
use crate::user::{soon, with_user};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn an_old_secret_passes_while_it_overlaps() {
    with_user(json!({}), async |user| {
        let (made, first) = user.token(&settings("a")).await;
        let (rotated, second) = user.rotate(made.id, 60).await.unwrap();
        assert_ne!(rotated.label, made.label);
        assert_eq!(
            TokenDescription {
                label: made.label.clone(),
                ..rotated
            },
            made
        );
        let at = |digest, seconds| Begin {
            request_time: Clock::system().now() + SignedDuration::from_secs(seconds),
            ..user.by_token(digest, "0")
        };
        for (digest, seconds) in [(first, 0), (first, 50), (second, 0), (second, 3600)] {
            user.begin(&at(digest, seconds)).await.unwrap();
        }
        assert_eq!(
            refused(user.begin(&at(first, 61)).await),
            TokenRefusal::Revoked
        );
        // The next rotation ends the first at once, whatever it overlapped.
        let (_, third) = user.rotate(made.id, 60).await.unwrap();
        assert_eq!(
            refused(user.begin(&at(first, 0)).await),
            TokenRefusal::Revoked
        );
        for digest in [second, third] {
            user.begin(&at(digest, 0)).await.unwrap();
        }
        let (_, fourth) = user.rotate(made.id, 0).await.unwrap();
        for digest in [first, second, third] {
            assert_eq!(
                refused(user.begin(&at(digest, 0)).await),
                TokenRefusal::Revoked
            );
        }
        user.begin(&at(fourth, 0)).await.unwrap();
        // All of them are one token's.
        assert!(
            user.rows("request_logs", "token_id")
                .await
                .iter()
                .all(|it| it["token_id"] == json!(made.id))
        );

        // A lost answer.
        let secret = secret();
        let (digest, label) = (secret.digest(), secret.label());
        let caller_request = user.caller_request();
        let secret = (digest, label.clone());
        for _ in 0..2 {
            let rotated = user
                .storage
                .rotate_token(&caller_request, made.id, &secret, 60, soon());
            assert_eq!(rotated.await.unwrap().label, label);
        }
        user.begin(&at(fourth, 0)).await.unwrap();
        user.begin(&at(digest, 0)).await.unwrap();
        // Both end with the token.
        user.end_token(made.id).await;
        for digest in [fourth, digest] {
            assert_eq!(
                refused(user.begin(&at(digest, 0)).await),
                TokenRefusal::Revoked
            );
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn nobody_knows_another_text() {
    with_user(json!({}), async |user| {
        let digest = secret().digest();
        for begin in [user.by_token(digest, "0"), looking_up(user, digest)] {
            assert_eq!(refused(user.begin(&begin).await), TokenRefusal::Unknown);
        }
        let described = user
            .storage
            .describe_token(&presenting(digest, Clock::system().now()), soon())
            .await;
        assert_eq!(refused(described), TokenRefusal::Unknown);
        assert_eq!(user.requests().await, Vec::<Value>::new());
    })
    .await;
}
