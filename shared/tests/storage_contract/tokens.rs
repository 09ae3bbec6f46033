//! Access tokens: made, changed, rotated and ended by their DID, and the requests that come with them.

use std::{collections::BTreeSet, slice};

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    identity::{
        access::AllowedDids,
        access_token::{AccessToken, TokenDigest},
    },
    storage::{
        Begin, BeginSender, BudgetPeriod, CallerRequest, Dimension, NamedModel, NewToken, Period,
        Refusal, ReportQuery, RequestFilter, RequestsQuery, StorageError, TokenChange,
        TokenDescription, TokenRefusal, TokenSettings, TokenState, UnreadableModels, UsageLabels,
        UsageReport,
    },
};
use uuid::Uuid;

use crate::{
    budgets::budget,
    usage::{keys, question, sums},
    user::{User, books, completed, cut, fingerprint, refusal, soon, unknown, with_user},
};

/// Any owner.
static ANYONE: AllowedDids = AllowedDids::ANYONE;

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
            let described = user.storage.describe_token(digest, later, soon()).await;
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
            TokenRefusal::Unknown
        );
        for digest in [second, third] {
            user.begin(&at(digest, 0)).await.unwrap();
        }
        let (_, fourth) = user.rotate(made.id, 0).await.unwrap();
        for digest in [first, second, third] {
            assert_eq!(
                refused(user.begin(&at(digest, 0)).await),
                TokenRefusal::Unknown
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
            .describe_token(digest, Clock::system().now(), soon())
            .await;
        assert_eq!(refused(described), TokenRefusal::Unknown);
        assert_eq!(user.requests().await, Vec::<Value>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_token_reaches_its_endpoints_only() {
    with_user(json!({}), async |user| {
        let chat = BTreeSet::from(["chat".to_owned(), "responses".to_owned()]);
        let (_, digest) = user
            .token(&TokenSettings {
                endpoints: Some(chat),
                ..settings("a")
            })
            .await;
        let to = |endpoint| {
            let mut begin = user.by_token(digest, "0");
            begin.books.as_mut().unwrap().endpoint = endpoint;
            begin
        };
        user.begin(&to("chat")).await.unwrap();
        let TokenRefusal::EndpointNotAllowed(refused) =
            refused(user.begin(&to("embeddings")).await)
        else {
            panic!()
        };
        assert_eq!(
            (&*refused.endpoint, refused.endpoints),
            (
                "embeddings",
                vec!["chat".to_owned(), "responses".to_owned()]
            )
        );
        // What costs nothing is at no endpoint of the books.
        user.begin(&looking_up(user, digest)).await.unwrap();
        assert_eq!(user.requests().await.len(), 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn every_model_of_a_request_is_in_its_tokens_list() {
    let listed = [
        "openai/gpt-5",
        "meta/*",
        "*:free",
        "a_b%c\\d/*e",
        "openrouter/auto",
        "x*y*z",
    ];
    let cases: [(&[&str], Option<&str>); 16] = [
        (&["openai/gpt-5"], None),
        (&["openai/gpt-5", "meta/llama", "x/y:free"], None),
        (&["meta/"], None),
        (&["a_b%c\\d/1e"], None),
        (&["xyz"], None),
        (&["x1y2z"], None),
        (&["openai/gpt-5-mini"], Some("openai/gpt-5-mini")),
        (&["openai/gpt-5", "openai/gpt-4"], Some("openai/gpt-4")),
        (&["OPENAI/gpt-5"], Some("OPENAI/gpt-5")),
        (&[" openai/gpt-5"], Some(" openai/gpt-5")),
        (&["x/meta/llama"], Some("x/meta/llama")),
        (&["x/y:free "], Some("x/y:free ")),
        (&["axbyc\\d/1e"], Some("axbyc\\d/1e")),
        (&["a_b%cd/1e"], Some("a_b%cd/1e")),
        (&["xzy"], Some("xzy")),
        (&[""], Some("")),
    ];
    with_user(json!({}), async |user| {
        let models = BTreeSet::from(listed.map(str::to_owned));
        let (_, digest) = user
            .token(&TokenSettings {
                models: Some(models),
                ..settings("a")
            })
            .await;
        for (models, refused_model) in cases {
            let named = models
                .iter()
                .enumerate()
                .map(|(index, model)| model_at(model, &format!("/models/{index}"), false));
            let answer = user.begin(&naming(user, digest, Ok(named.collect()))).await;
            match refused_model {
                None => drop(answer.unwrap()),
                Some(model) => {
                    let TokenRefusal::ModelNotAllowed(refused) = refused(answer) else {
                        panic!("{models:?}")
                    };
                    assert_eq!(refused.model.as_deref(), Some(model));
                    let index = models.iter().position(|it| *it == model).unwrap();
                    assert_eq!(
                        (refused.pointer, refused.problem),
                        (Some(format!("/models/{index}")), None)
                    );
                }
            }
        }

        // What stands for other models is allowed by its own name only.
        for (model, passes) in [
            ("openrouter/auto", true),
            ("meta/auto", false),
            ("meta/*", false),
        ] {
            let begin = naming(user, digest, Ok(vec![model_at(model, "/model", true)]));
            assert_eq!(user.begin(&begin).await.is_ok(), passes, "{model}");
        }
        let unreadable = UnreadableModels {
            problem: "is twice".to_owned(),
            pointer: Some("/model".to_owned()),
        };
        for (models, problem, pointer) in [
            (Err(unreadable.clone()), "is twice", Some("/model")),
            (Ok(Vec::new()), "names no model", None),
        ] {
            let answer = user.begin(&naming(user, digest, models)).await;
            let TokenRefusal::ModelNotAllowed(refused) = refused(answer) else {
                panic!()
            };
            assert_eq!(
                (
                    refused.model,
                    refused.problem.as_deref(),
                    refused.pointer.as_deref()
                ),
                (None, Some(problem), pointer)
            );
        }
        user.begin(&looking_up(user, digest)).await.unwrap();

        // Without a list none of it matters.
        let (_, unlimited) = user.token(&settings("b")).await;
        for models in [
            Err(unreadable),
            Ok(Vec::new()),
            Ok(vec![model_at("x", "/model", true)]),
        ] {
            user.begin(&naming(user, unlimited, models)).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_token_has_a_rate_beside_its_dids() {
    with_user(json!({}), async |user| {
        let rate = |per_minute, name| TokenSettings {
            requests_per_minute: Some(per_minute),
            ..settings(name)
        };
        let (_, slow) = user.token(&rate(2, "slow")).await;
        let (_, other) = user.token(&rate(2, "other")).await;
        user.begin(&user.by_token(slow, "0")).await.unwrap();
        user.begin(&looking_up(user, slow)).await.unwrap();
        for begin in [user.by_token(slow, "0"), looking_up(user, slow)] {
            assert!(matches!(
                refusal(user.begin(&begin).await),
                Refusal::RateLimited {
                    requests_per_minute: 2,
                    retry_after: 1..=30
                }
            ));
        }
        user.begin(&user.by_token(other, "0")).await.unwrap();
        user.begin(&user.billable("0")).await.unwrap();
        // The DID's own counts them all.
        user.change_account(json!({"requests_per_minute": 1, "rate_tat": null}))
            .await;
        user.begin(&user.by_token(other, "0")).await.unwrap();
        let (_, third) = user.token(&settings("third")).await;
        assert!(matches!(
            refusal(user.begin(&user.by_token(third, "0")).await),
            Refusal::RateLimited {
                requests_per_minute: 1,
                ..
            }
        ));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_owner_of_a_token_may_use_the_gateway() {
    with_user(json!({}), async |user| {
        let (_, digest) = user.token(&settings("a")).await;
        let listed = |list: &str| AllowedDids::parse(list).unwrap();
        let own = user.did.replace("contract", "other");
        for (list, passes) in [
            ("anyone".to_owned(), true),
            (user.did.clone(), true),
            ("did:key:*".to_owned(), true),
            (format!("{own},{}", user.did), true),
            (own.clone(), false),
            (format!("{}:*", user.did), false),
            ("did:web:*".to_owned(), false),
            ("approved".to_owned(), false),
            (format!("{own},approved"), false),
        ] {
            let owners = listed(&list);
            for begin in [user.by_token(digest, "0"), looking_up(user, digest)] {
                let sender = BeginSender::Token {
                    digest,
                    owners: &owners,
                    models: Ok(Vec::new()),
                };
                let answer = user.begin(&Begin { sender, ..begin }).await;
                if passes {
                    answer.unwrap();
                } else {
                    assert_eq!(refusal(answer), Refusal::DidNotAllowed, "{list}");
                }
            }
        }
        user.change_account(json!({"approved": true})).await;
        let owners = listed("approved");
        let sender = BeginSender::Token {
            digest,
            owners: &owners,
            models: Ok(Vec::new()),
        };
        user.begin(&Begin {
            sender,
            ..user.by_token(digest, "0")
        })
        .await
        .unwrap();
        user.change_account(json!({"disabled": true})).await;
        assert_eq!(
            refusal(user.begin(&user.by_token(digest, "0")).await),
            Refusal::KeyDisabled
        );
    })
    .await;
}

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
async fn a_token_describes_itself() {
    with_user(json!({}), async |user| {
        let (made, digest) = user.token(&settings("a")).await;
        let now: Timestamp = "2026-04-01T12:00:00Z".parse().unwrap();
        // A Wednesday.
        for (time, cost) in [
            ("2026-04-01T00:00:00Z", "0.001"),
            ("2026-03-31T23:59:59Z", "0.01"),
            ("2026-03-29T23:59:59Z", "0.1"),
            ("2026-02-28T00:00:00Z", "1"),
        ] {
            let begin = Begin {
                request_time: time.parse().unwrap(),
                ..user.by_token(digest, "0")
            };
            user.begin(&begin).await.unwrap();
            user.finish(&completed(begin.id, cost)).await.unwrap();
        }
        let signed = user.billable("0");
        user.begin(&signed).await.unwrap();
        user.finish(&completed(signed.id, "50")).await.unwrap();
        let told = user
            .storage
            .describe_token(digest, now, soon())
            .await
            .unwrap();
        assert_eq!((told.did, told.token.id), (user.did.clone(), made.id));
        assert_eq!(
            (
                &*told.usage_daily,
                &*told.usage_weekly,
                &*told.usage_monthly
            ),
            ("0.001", "0.011", "0.001")
        );
        assert_eq!((&*told.token.requests, &*told.token.cost), ("4", "1.111"));
        assert_eq!(
            told.token.last_used_at,
            Some("2026-04-01T00:00:00Z".parse().unwrap())
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn usage_is_told_apart_by_token_app_and_tag() {
    with_user(json!({}), async |user| {
        let (first, digest) = user.token(&settings("a")).await;
        let tagged = TokenSettings {
            tag: Some("own".to_owned()),
            ..settings("b")
        };
        let (second, tagged) = user.token(&tagged).await;
        let requests = [
            (Some(digest), Some("My App"), Some("x"), "1"),
            (Some(digest), None, None, "2"),
            (Some(tagged), Some("My App"), Some("x"), "4"),
            (None, Some("My App"), Some("x"), "8"),
            (None, None, None, "16"),
        ];
        for (digest, app, tag, cost) in requests {
            let mut begin = digest.map_or_else(|| user.billable("0"), |it| user.by_token(it, "0"));
            let books = begin.books.as_mut().unwrap();
            (books.app, books.tag) = (app, tag);
            user.begin(&begin).await.unwrap();
            user.finish(&completed(begin.id, cost)).await.unwrap();
        }
        let (a, b) = (first.id.to_string(), second.id.to_string());
        let any = UsageLabels::default();
        let report = user.by_labels(&[Dimension::Token], &any).await;
        let by_token: BTreeSet<_> = keys(&report).into_iter().collect();
        assert_eq!(
            by_token,
            BTreeSet::from([format!("{a} 2"), format!("{b} 1"), "- 2".to_owned()])
        );
        assert_eq!(
            report.token_names.get(&first.id).map(String::as_str),
            Some("a")
        );
        assert_eq!(
            keys(&user.by_labels(&[Dimension::App], &any).await),
            ["My App 3", "- 2"]
        );
        assert_eq!(
            keys(&user.by_labels(&[Dimension::Tag], &any).await),
            ["own 1", "x 2", "- 2"]
        );
        let app_and_tag = user
            .by_labels(&[Dimension::App, Dimension::Tag], &any)
            .await;
        assert_eq!(keys(&app_and_tag), ["My App own 1", "My App x 2", "- - 2"]);

        let only = |token: Option<Uuid>, app: Option<&str>, tag: Option<&str>| UsageLabels {
            token_id: token,
            app: app.map(str::to_owned),
            tag: tag.map(str::to_owned),
        };
        for (labels, cost, count) in [
            (only(Some(first.id), None, None), "3", 2),
            (only(Some(second.id), None, None), "4", 1),
            (only(None, Some("My App"), None), "13", 3),
            (only(None, None, Some("x")), "9", 2),
            (only(Some(first.id), Some("My App"), Some("x")), "1", 1),
            (only(Some(second.id), None, Some("x")), "0", 0),
        ] {
            let report = user.by_labels(&[], &labels).await;
            assert_eq!(
                (&*report.total_cost.to_string(), report.total_requests),
                (cost, count),
                "{labels:?}"
            );
            let filter = RequestFilter {
                labels: labels.clone(),
                ..RequestFilter::default()
            };
            let query = RequestsQuery {
                asked: question(&user.did, Period::default(), None),
                filter: &filter,
                limit: 100,
                before: None,
            };
            let page = user.storage.usage_requests(&query, soon()).await.unwrap();
            assert_eq!(page.requests.len() as u64, count, "{labels:?}");
            assert!(
                page.requests
                    .iter()
                    .all(|it| labels.token_id.is_none_or(|id| it.token_id == Some(id)))
            );
        }
        user.agrees().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn beyond_a_thousand_series_apps_and_tags_are_others() {
    with_user(json!({}), async |user| {
        let rows: Vec<_> = (0..998)
            .map(|number| json!({"app": format!("app {number}"), "tag": null}))
            .collect();
        for rows in rows.chunks(200) {
            user.log(rows).await;
        }
        // Also those who call themselves so, and others whose one label is empty.
        user.log(&[
            json!({"app": "(other)", "tag": null}),
            json!({"app": null, "tag": "first"}),
        ])
        .await;
        let late = [
            json!({"app": "late", "tag": null, "total_cost": "1"}),
            json!({"app": "late", "tag": "late", "total_cost": "2"}),
            json!({"app": null, "tag": "late", "total_cost": "4"}),
            json!({"app": "app 7", "tag": null, "total_cost": "8"}),
            json!({"app": "app 7", "tag": "late", "total_cost": "16"}),
            json!({"app": "(other)", "tag": "late", "total_cost": "32"}),
            json!({"app": null, "tag": null, "total_cost": "64"}),
        ];
        let ids = user.log(&late).await;
        let beyond = user.rows("usage_series", "id&order=id&offset=1000").await;
        assert_eq!(beyond.len(), 3);
        let apps = user
            .by_labels(&[Dimension::App], &UsageLabels::default())
            .await;
        let others = apps
            .groups
            .iter()
            .find(|it| it.keys == [Some("(other)".to_owned())])
            .unwrap();
        assert_eq!((others.requests, &*others.cost.to_string()), (5, "51"));
        user.agrees().await;
        // What is settled later leaves the sums that it is in, and only those.
        for id in &ids {
            let changed = json!({"total_cost": "0.5"});
            user.rest(
                Method::PATCH,
                &format!("request_logs?id=eq.{id}"),
                Some(&changed),
            )
            .await;
        }
        user.agrees().await;
        let apps = user
            .by_labels(&[Dimension::App], &UsageLabels::default())
            .await;
        let others = apps
            .groups
            .iter()
            .find(|it| it.keys == [Some("(other)".to_owned())])
            .unwrap();
        assert_eq!((others.requests, &*others.cost.to_string()), (5, "2"));
        let series = "usage_hours?select=requests,cost::text&cost=lt.0";
        assert_eq!(user.rest(Method::GET, series, None).await, "[]");
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

impl User {
    pub(crate) async fn try_token(
        &self,
        settings: &TokenSettings,
    ) -> Result<(TokenDescription, TokenDigest), StorageError> {
        self.try_token_at(settings, Clock::system().now()).await
    }

    async fn try_token_at(
        &self,
        settings: &TokenSettings,
        time: Timestamp,
    ) -> Result<(TokenDescription, TokenDigest), StorageError> {
        let secret = secret();
        let new = NewToken {
            digest: secret.digest(),
            label: &secret.label(),
            settings,
        };
        let made = self
            .storage
            .create_token(&self.asking_at(time), &new, soon())
            .await?;
        Ok((made, new.digest))
    }

    pub(crate) async fn token(&self, settings: &TokenSettings) -> (TokenDescription, TokenDigest) {
        self.try_token(settings).await.unwrap()
    }

    /// A token that was made at a time.
    pub(crate) async fn token_at(
        &self,
        settings: &TokenSettings,
        time: Timestamp,
    ) -> (TokenDescription, TokenDigest) {
        self.try_token_at(settings, time).await.unwrap()
    }

    /// A signed request of a time.
    pub(crate) fn asking_at(&self, time: Timestamp) -> CallerRequest<'_> {
        CallerRequest {
            id: self.id(),
            did: &self.did,
            request_time: time,
            fingerprint: Some(fingerprint(time)),
        }
    }

    async fn tokens(&self, all: bool) -> Vec<TokenDescription> {
        self.storage
            .list_tokens(&self.caller_request(), all, soon())
            .await
            .unwrap()
    }

    pub(crate) async fn edit(
        &self,
        id: Uuid,
        change: TokenChange,
    ) -> Result<TokenDescription, StorageError> {
        self.storage
            .edit_token(&self.caller_request(), id, &change, soon())
            .await
    }

    async fn rotate(
        &self,
        id: Uuid,
        overlap: u32,
    ) -> Result<(TokenDescription, TokenDigest), StorageError> {
        let secret = secret();
        let digest = secret.digest();
        let secret = (digest, secret.label());
        let caller_request = self.caller_request();
        let rotated = self
            .storage
            .rotate_token(&caller_request, id, &secret, overlap, soon());
        Ok((rotated.await?, digest))
    }

    async fn end_token(&self, id: Uuid) -> TokenDescription {
        self.storage
            .revoke_token(&self.caller_request(), id, soon())
            .await
            .unwrap()
    }

    /// A billable request that comes with a token.
    pub(crate) fn by_token(&self, digest: TokenDigest, hold: &'static str) -> Begin<'_> {
        Begin {
            books: Some(books(hold)),
            ..looking_up(self, digest)
        }
    }

    async fn by_labels(&self, group_by: &[Dimension], labels: &UsageLabels) -> UsageReport {
        let query = ReportQuery {
            group_by,
            labels,
            max_groups: 2000,
            ..sums(question(&self.did, Period::default(), None))
        };
        self.storage.usage_report(&query, soon()).await.unwrap()
    }
}

/// A request with a token that costs nothing.
fn looking_up(user: &User, digest: TokenDigest) -> Begin<'_> {
    naming_none(user, digest, Ok(Vec::new()))
}

fn naming_none<'a>(
    user: &'a User,
    digest: TokenDigest,
    models: Result<Vec<NamedModel<'a>>, UnreadableModels>,
) -> Begin<'a> {
    Begin {
        sender: BeginSender::Token {
            digest,
            owners: &ANYONE,
            models,
        },
        ..user.look_up()
    }
}

/// A billable request that names models.
fn naming<'a>(
    user: &'a User,
    digest: TokenDigest,
    models: Result<Vec<NamedModel<'a>>, UnreadableModels>,
) -> Begin<'a> {
    Begin {
        books: Some(books("0")),
        ..naming_none(user, digest, models)
    }
}

fn model_at<'a>(value: &'a str, pointer: &str, literal: bool) -> NamedModel<'a> {
    NamedModel {
        value: value.into(),
        pointer: pointer.to_owned(),
        literal,
    }
}

fn secret() -> AccessToken {
    let mut random = [0; 32];
    getrandom::fill(&mut random).unwrap();
    AccessToken::from_randomness(random)
}

/// A token without limits that lives long.
pub(crate) fn settings(name: &str) -> TokenSettings {
    TokenSettings {
        name: name.to_owned(),
        expires_at: Some(far()),
        models: None,
        endpoints: None,
        requests_per_minute: None,
        read_usage: true,
        tag: None,
        budgets: Vec::new(),
    }
}

fn named(name: &str) -> TokenChange {
    TokenChange {
        name: Some(name.to_owned()),
        ..TokenChange::default()
    }
}

fn far() -> Timestamp {
    "2199-01-01T00:00:00Z".parse().unwrap()
}

fn refused<T: std::fmt::Debug>(answer: Result<T, StorageError>) -> TokenRefusal {
    match refusal(answer) {
        Refusal::Token(refusal) => refusal,
        other => panic!("not a token's: {other:?}"),
    }
}
