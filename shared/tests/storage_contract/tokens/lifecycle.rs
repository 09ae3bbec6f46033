//! Tokens as their DID makes, lists, changes and ends them.

use std::{collections::BTreeSet, slice};

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    storage::{
        Begin, BudgetPeriod, CallerRequest, NewToken, Refusal, TokenChange, TokenDescription,
        TokenRefusal, TokenSettings, TokenState,
    },
};

use super::{far, looking_up, model_at, named, naming, presenting, refused, secret, settings};
use crate::{
    budgets::budget,
    user::{refusal, soon, with_user},
};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_token_is_made_listed_and_ended() {
    with_user(json!({}), async |user| {
        let secret = secret();
        let (digest, label) = (secret.digest(), secret.label());
        let wanted = TokenSettings {
            models: Some(BTreeSet::from(["openai/*".to_owned(), "*:free".to_owned()])),
            endpoints: Some(BTreeSet::from(["chat".to_owned()])),
            requests_per_minute: Some(7),
            read_usage: false,
            tag: Some("nightly".to_owned()),
            budgets: vec![
                budget(BudgetPeriod::Total, "3", "UTC"),
                budget(BudgetPeriod::Day, "0.50", "Asia/Kolkata"),
            ],
            ..settings("laptop")
        };
        let caller_request = user.caller_request();
        let new = NewToken {
            digest,
            label: &label,
            settings: &wanted,
        };
        let made = user
            .storage
            .create_token(&caller_request, &new, soon())
            .await
            .unwrap();
        assert_eq!(
            (made.id, &*made.label, &*made.name),
            (caller_request.id, &*label, "laptop")
        );
        assert_eq!(made.state, TokenState::Live);
        assert_eq!(
            made.created_at.as_millisecond(),
            caller_request.request_time.as_millisecond()
        );
        assert_eq!(
            (made.expires_at, made.revoked_at, made.last_used_at),
            (wanted.expires_at, None, None)
        );
        assert_eq!(
            made.models.as_deref(),
            Some(&["*:free".to_owned(), "openai/*".to_owned()][..])
        );
        assert_eq!(made.endpoints.as_deref(), Some(&["chat".to_owned()][..]));
        assert_eq!(
            (
                made.requests_per_minute,
                made.read_usage,
                made.tag.as_deref()
            ),
            (Some(7), false, Some("nightly"))
        );
        assert_eq!((&*made.requests, &*made.cost), ("0", "0"));
        let [day, total] = made.budgets.as_slice() else {
            panic!("{made:?}")
        };
        assert_eq!(
            (day.period, &*day.amount, &*day.time_zone),
            (BudgetPeriod::Day, "0.5", "Asia/Kolkata")
        );
        assert!(day.starts.is_some() && day.resets_at.is_some());
        assert_eq!(
            (total.period, &*total.remaining),
            (BudgetPeriod::Total, "3")
        );
        assert_eq!((total.starts, total.resets_at), (None, None));

        // A lost answer: the same call again. The same signature for another call is a replay.
        assert_eq!(
            user.storage
                .create_token(&caller_request, &new, soon())
                .await
                .unwrap(),
            made
        );
        let replay = CallerRequest {
            id: user.id(),
            ..caller_request
        };
        assert_eq!(
            refusal(user.storage.create_token(&replay, &new, soon()).await),
            Refusal::Replayed
        );
        assert_eq!(user.tokens(false).await, slice::from_ref(&made));
        assert_eq!(
            refused(user.try_token(&settings("laptop")).await),
            TokenRefusal::NameTaken
        );
        // The refused one has left nothing.
        assert_eq!(user.tokens(true).await.len(), 1);

        // Only the digest is kept.
        let kept = user
            .rest(
                Method::GET,
                &format!(
                    "token_digests?select=digest::text,token_id,valid_until&token_id=eq.{}",
                    made.id
                ),
                None,
            )
            .await;
        let kept: Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(
            kept,
            json!([{"digest": format!("\\x{digest}"), "token_id": made.id, "valid_until": null}])
        );
        let text = secret.expose();
        for table in ["access_tokens", "key_events"] {
            assert!(
                !json!(user.rows(table, "*").await)
                    .to_string()
                    .contains(&**text)
            );
        }

        let named = Ok(vec![model_at("openai/gpt-5", "/model", false)]);
        user.begin(&naming(user, digest, named)).await.unwrap();
        let revoked = user.end_token(made.id).await;
        assert_eq!(revoked.state, TokenState::Revoked);
        assert!(revoked.revoked_at.is_some() && revoked.last_used_at.is_some());
        assert_eq!(user.tokens(false).await, []);
        assert_eq!(user.tokens(true).await, slice::from_ref(&revoked));
        assert_eq!(
            user.storage
                .show_token(&user.caller_request(), made.id, soon())
                .await
                .unwrap(),
            revoked
        );
        assert_eq!(
            refused(user.begin(&user.by_token(digest, "0")).await),
            TokenRefusal::Revoked
        );
        let again = user
            .storage
            .revoke_token(&user.caller_request(), made.id, soon())
            .await;
        assert_eq!(refused(again), TokenRefusal::NotFound);
        assert_eq!(
            refused(
                user.edit(
                    made.id,
                    TokenChange {
                        disabled: Some(true),
                        ..TokenChange::default()
                    }
                )
                .await
            ),
            TokenRefusal::NotFound
        );
        // Its name is free.
        user.token(&settings("laptop")).await;

        let events = user.events().await;
        let actions: Vec<_> = events
            .iter()
            .map(|it| it["action"].as_str().unwrap())
            .collect();
        assert_eq!(actions, ["token_created", "token_revoked", "token_created"]);
        assert!(
            events
                .iter()
                .all(|it| it["actor"] == "user" && it["request_id"] != Value::Null)
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_change_leaves_the_rest_as_it_is() {
    with_user(json!({}), async |user| {
        let wanted = TokenSettings {
            models: Some(BTreeSet::from(["openai/*".to_owned()])),
            tag: Some("a".to_owned()),
            budgets: vec![budget(BudgetPeriod::Day, "1", "UTC")],
            ..settings("first")
        };
        let (made, digest) = user.token(&wanted).await;
        user.token(&settings("second")).await;
        assert_eq!(
            refused(user.edit(made.id, named("second")).await),
            TokenRefusal::NameTaken
        );
        assert_eq!(user.edit(made.id, named("first")).await.unwrap(), made);
        let renamed = user.edit(made.id, named("third")).await.unwrap();
        assert_eq!(
            renamed,
            TokenDescription {
                name: "third".to_owned(),
                ..made.clone()
            }
        );

        // `None` takes a limit away.
        let change = TokenChange {
            models: Some(None),
            tag: Some(None),
            expires_at: Some(None),
            ..TokenChange::default()
        };
        let changed = user.edit(made.id, change).await.unwrap();
        assert_eq!(
            changed,
            TokenDescription {
                models: None,
                tag: None,
                expires_at: None,
                ..renamed
            }
        );
        // The last bound stays, and what was refused has changed nothing.
        let unbounded = TokenChange {
            budgets: Some(Vec::new()),
            tag: Some(Some("b".to_owned())),
            ..TokenChange::default()
        };
        assert_eq!(
            refused(user.edit(made.id, unbounded).await),
            TokenRefusal::Unbounded
        );
        assert_eq!(user.tokens(false).await.last(), Some(&changed));

        let disabled = |disabled| TokenChange {
            disabled: Some(disabled),
            ..TokenChange::default()
        };
        assert_eq!(
            user.edit(made.id, disabled(true)).await.unwrap().state,
            TokenState::Disabled
        );
        for begin in [user.by_token(digest, "0"), looking_up(user, digest)] {
            assert_eq!(refused(user.begin(&begin).await), TokenRefusal::Disabled);
        }
        assert_eq!(
            user.edit(made.id, disabled(false)).await.unwrap().state,
            TokenState::Live
        );
        user.begin(&user.by_token(digest, "0")).await.unwrap();

        // Repeated, the same call changes nothing, whatever has changed meanwhile.
        let caller_request = user.caller_request();
        let edit = async |change: TokenChange| {
            user.storage
                .edit_token(&caller_request, made.id, &change, soon())
                .await
                .unwrap()
        };
        edit(named("fourth")).await;
        user.edit(made.id, named("fifth")).await.unwrap();
        assert_eq!(edit(named("fourth")).await.name, "fifth");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_token_ends_by_itself() {
    with_user(json!({}), async |user| {
        let now = Clock::system().now();
        let ends = Timestamp::from_millisecond(now.as_millisecond() + 60_000).unwrap();
        let (made, digest) = user
            .token(&TokenSettings {
                expires_at: Some(ends),
                ..settings("short")
            })
            .await;
        let at = |time: Timestamp| Begin {
            request_time: time,
            ..user.by_token(digest, "0")
        };
        user.begin(&at(ends - SignedDuration::from_millis(1)))
            .await
            .unwrap();
        for later in [ends, ends + SignedDuration::from_hours(1)] {
            assert_eq!(refused(user.begin(&at(later)).await), TokenRefusal::Expired);
            let described = user
                .storage
                .describe_token(&presenting(digest, later), soon())
                .await;
            assert_eq!(refused(described), TokenRefusal::Expired);
        }
        // It takes no name any more, and takes it again if its expiry is changed.
        let later = ends + SignedDuration::from_secs(1);
        let asked = user.asking_at(later);
        let listed = user
            .storage
            .list_tokens(&asked, true, soon())
            .await
            .unwrap();
        assert_eq!(listed[0].state, TokenState::Expired);
        assert_eq!(
            user.storage
                .list_tokens(&user.asking_at(later), false, soon())
                .await
                .unwrap(),
            []
        );
        let secret = secret();
        let new = NewToken {
            digest: secret.digest(),
            label: &secret.label(),
            settings: &settings("short"),
        };
        user.storage
            .create_token(&user.asking_at(later), &new, soon())
            .await
            .unwrap();
        let forever = TokenChange {
            expires_at: Some(Some(far())),
            ..TokenChange::default()
        };
        let extended = user
            .storage
            .edit_token(&user.asking_at(later), made.id, &forever, soon())
            .await;
        assert_eq!(refused(extended), TokenRefusal::NameTaken);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_did_has_a_hundred_live_tokens() {
    with_user(json!({}), async |user| {
        let mut last = None;
        for number in 0..100 {
            last = Some(user.token(&settings(&format!("token {number}"))).await.0.id);
        }
        let one_more = settings("one more");
        let TokenRefusal::TooMany(count) = refused(user.try_token(&one_more).await) else {
            panic!()
        };
        assert_eq!(count.max_tokens, 100);
        user.end_token(last.unwrap()).await;
        user.token(&one_more).await;
        assert!(matches!(
            refused(user.try_token(&settings("another")).await),
            TokenRefusal::TooMany(_)
        ));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn tokens_are_made_by_those_who_have_a_key() {
    with_user(json!({}), async |user| {
        user.change_account(json!({"disabled": true})).await;
        assert_eq!(
            refusal(user.try_token(&settings("a")).await),
            Refusal::KeyDisabled
        );
        user.delete("user_api_keys").await;
        assert_eq!(
            refusal(user.try_token(&settings("a")).await),
            Refusal::NoKeyForDid
        );
        assert_eq!(user.rows("access_tokens", "id").await, Vec::<Value>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn another_dids_token_is_not_found() {
    with_user(json!({}), async |owner| {
        with_user(json!({}), async |user| {
            let (made, digest) = owner.token(&settings("theirs")).await;
            let id = made.id;
            let show = user
                .storage
                .show_token(&user.caller_request(), id, soon())
                .await;
            assert_eq!(refused(show), TokenRefusal::NotFound);
            assert_eq!(
                refused(user.edit(id, named("mine")).await),
                TokenRefusal::NotFound
            );
            assert_eq!(refused(user.rotate(id, 0).await), TokenRefusal::NotFound);
            let revoke = user
                .storage
                .revoke_token(&user.caller_request(), id, soon())
                .await;
            assert_eq!(refused(revoke), TokenRefusal::NotFound);
            assert_eq!(user.tokens(true).await, []);
            assert_eq!(owner.tokens(true).await, [made]);
            // Whoever has it spends from its owner's account.
            let begin = user.by_token(digest, "0");
            assert_eq!(owner.begin(&begin).await.unwrap().did, owner.did);
            assert_eq!(user.requests().await, Vec::<Value>::new());
        })
        .await;
    })
    .await;
}
