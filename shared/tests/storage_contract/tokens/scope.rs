//! What a token may be used for, how often, and whose it may be.

use std::collections::BTreeSet;

use serde_json::json;
use shared::{
    identity::access::AllowedDids,
    storage::{Begin, BeginSender, Refusal, TokenRefusal, TokenSettings, UnreadableModels},
};

use super::{looking_up, model_at, naming, refused, settings};
use crate::user::{refusal, with_user};

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
