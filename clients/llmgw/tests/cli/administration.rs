//! The contract of the administration's database functions, against a real `PostgREST`-compatible
//! backend. The variables are those of `shared/tests/storage_contract/`. Every test makes DIDs of
//! its own and deletes their keys.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests' environment is not the gateway's"
)]

use std::{
    env,
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use llmgw::admin::storage::{
    Access, AccountChange, AdminStorage, Changed, Insert, Reseal, ResealAction,
    ResealOutcome::{self, Already, Gone, Inserted, Replaced, Resealed},
    SealedPage, probe,
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use shared::{
    http_client,
    storage::{Feature, StorageError, StorageKey},
    vault::{
        keyset::Keyset,
        secret::{ApiKey, KeyId},
    },
};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

const OLD: KeyId = KeyId(7);
/// Larger than any signed number of 32 bits.
const NEW: KeyId = KeyId(4_294_967_290);

fn keyset(id: KeyId) -> Keyset {
    Keyset::parse(&Keyset::generate(&Zeroizing::new([9; 64]), id)).unwrap()
}

fn sealed(id: KeyId, did: &str) -> String {
    let key = ApiKey::new("sk-or-v1-contract".to_owned()).unwrap();
    keyset(id).seal(did, &key).to_column()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

struct Fixture {
    client: Client,
    url: Url,
    key: String,
    storage: AdminStorage,
    dids: [String; 3],
}

/// Runs a test with three DIDs, in their order, without keys; deletes what it stored for them.
async fn with_dids(test: impl AsyncFnOnce(&Fixture)) {
    let client = http_client::without_tls(Duration::from_secs(5)).unwrap();
    let url: Url = env::var("STORAGE_URL").unwrap().parse().unwrap();
    let key = env::var("STORAGE_KEY").unwrap();
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let fixture = Fixture {
        storage: AdminStorage::new(
            client.clone(),
            &url,
            StorageKey::parse(&key).unwrap(),
            Duration::from_secs(15),
        ),
        dids: ["a", "b", "c"].map(|it| format!("did:key:admin-{}-{it}", hex::encode(random))),
        client,
        url,
        key,
    };
    let result = AssertUnwindSafe(test(&fixture)).catch_unwind().await;
    for did in &fixture.dids {
        for table in ["request_logs", "user_api_keys", "retired_keys", "accounts"] {
            let path = format!("{table}?did=eq.{did}");
            fixture.rest(Method::DELETE, &path, None).await;
        }
    }
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

impl Fixture {
    async fn rest(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self
            .client
            .request(method, format!("{}/{path}", self.url))
            .header("apikey", &self.key)
            .header("user-agent", "contract")
            .header("prefer", "return=representation")
            .header("content-type", "application/json");
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn store(&self, did: &str, encrypted_api_key: &str) {
        let row = json!({
            "did": did,
            "key_name": "contract",
            "openrouter_key_hash": "hash",
            "encrypted_api_key": encrypted_api_key,
            // A lie.
            "seal_key_id": 1,
        });
        self.rest(Method::POST, "user_api_keys", Some(row)).await;
    }

    /// Replaces a stored key by another one while a cost of its DID is open; the id of the request.
    async fn retire(&self, did: &str, encrypted_api_key: &str) -> Value {
        let row = json!({
            "did": did, "model": "stub/ok", "status": "failed", "cost_state": "pending",
            "request_time": "2026-01-01T00:00:00Z",
        });
        let rows = self.rest(Method::POST, "request_logs", Some(row)).await;
        let path = format!("user_api_keys?did=eq.{did}");
        let change = json!({
            "openrouter_key_hash": "another hash",
            "encrypted_api_key": encrypted_api_key,
        });
        self.rest(Method::PATCH, &path, Some(change)).await;
        rows[0]["id"].clone()
    }

    async fn rows_sealed_with(&self, id: KeyId) -> u64 {
        let counts = self.storage.keys_by_seal(soon()).await.unwrap();
        let counts = counts.iter().filter(|it| it.seal_key_id == Some(id));
        counts.map(|it| it.rows).sum()
    }

    /// The stored keys of these DIDs, `retired` or not.
    async fn stored(&self, other_than: Option<KeyId>, limit: u16) -> Vec<(String, String, bool)> {
        let first = &self.dids[0];
        let page = SealedPage {
            other_than,
            after: Some(&first[..first.len() - 1]),
            limit,
        };
        let rows = self.storage.sealed_keys(&page, soon()).await.unwrap();
        rows.into_iter()
            .filter(|row| self.dids.contains(&row.did))
            .map(|row| (row.did, row.sealed_key, row.retired))
            .collect()
    }

    async fn seal_key_id(&self, did: &str) -> Option<KeyId> {
        let history = self.storage.account(did, soon()).await.unwrap();
        history.account.unwrap().seal_key_id
    }

    /// Stores a key as the gateway does for a user's signed request.
    async fn call(&self, function: &str, arguments: Value) {
        let status = self.try_call(function, arguments).await;
        assert!(status.is_success(), "{function}: {status}");
    }

    async fn try_call(&self, function: &str, mut arguments: Value) -> StatusCode {
        let mut random = [0; 16];
        getrandom::fill(&mut random).unwrap();
        let random = hex::encode(random);
        let id = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
            .map(|(from, to)| &random[from..to])
            .join("-");
        arguments["id"] = json!(id);
        arguments["request_time"] = json!("1795393819165");
        arguments["fingerprint"] = json!(random.repeat(2));
        arguments["fingerprint_expires_at"] = json!("4102444800000");
        let answer = self
            .client
            .post(format!("{}/rpc/{function}", self.url))
            .header("apikey", &self.key)
            .header("user-agent", "contract")
            .header("content-type", "application/json")
            .body(json!({ "request": arguments }).to_string())
            .send()
            .await;
        answer.unwrap().status()
    }

    async fn actions(&self, did: &str) -> Vec<String> {
        let history = self.storage.account(did, soon()).await.unwrap();
        assert!(history.events.iter().all(|it| it.actor == "operator"));
        history.events.into_iter().map(|it| it.action).collect()
    }

    async fn reseal(&self, action: ResealAction, keys: &[Reseal]) -> Vec<ResealOutcome> {
        let outcomes = self.storage.reseal(action, keys, soon()).await.unwrap();
        let dids: Vec<_> = outcomes.iter().map(|it| it.did.as_str()).collect();
        assert!(dids.is_sorted(), "locks are taken in this order: {dids:?}");
        outcomes.into_iter().map(|it| it.outcome).collect()
    }
}

fn reseal(did: &str, old: String, new: String) -> Reseal {
    Reseal {
        did: did.to_owned(),
        old,
        new,
        insert: None,
    }
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_database_knows_which_key_sealed_a_row() {
    with_dids(async |it| {
        let [a, b, c] = &it.dids;
        for (did, column, expected) in [
            (a, sealed(OLD, a), Some(OLD)),
            (b, sealed(NEW, b), Some(NEW)),
            (c, "00ff00ff:00ff00ff".to_owned(), None),
        ] {
            it.store(did, &column).await;
            assert_eq!(it.seal_key_id(did).await, expected);
        }
        // Neither an update of the key nor of the column itself can make it lie.
        let path = format!("user_api_keys?did=eq.{c}");
        for (change, expected) in [
            (json!({"encrypted_api_key": sealed(OLD, c)}), Some(OLD)),
            (json!({"seal_key_id": 99}), Some(OLD)),
            (
                json!({"encrypted_api_key": sealed(NEW, c), "seal_key_id": 7}),
                Some(NEW),
            ),
            // Another prefix byte, too short, another alphabet: no sealed key.
            (
                json!({"encrypted_api_key": sealed(NEW, c).replacen("v1.A", "v1.B", 1)}),
                None,
            ),
            (json!({"encrypted_api_key": "v1.AQAAAAE"}), None),
            (
                json!({"encrypted_api_key": format!("{}=", sealed(NEW, c))}),
                None,
            ),
        ] {
            it.rest(Method::PATCH, &path, Some(change.clone())).await;
            assert_eq!(it.seal_key_id(c).await, expected, "{change}");
        }
        let counts = it.storage.keys_by_seal(soon()).await.unwrap();
        let rows = |id| {
            counts
                .iter()
                .find(|it| it.seal_key_id == id)
                .map_or(0, |it| it.rows)
        };
        assert!(rows(Some(OLD)) >= 1 && rows(Some(NEW)) >= 1 && rows(None) >= 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn rows_are_listed_in_pages_by_the_key_that_sealed_them() {
    with_dids(async |it| {
        let [a, b, c] = &it.dids;
        it.store(a, &sealed(OLD, a)).await;
        it.store(b, &sealed(NEW, b)).await;
        it.store(c, "not sealed").await;
        let page = async |other_than, after: &str, limit| {
            let page = SealedPage {
                other_than,
                after: Some(after),
                limit,
            };
            let rows = it.storage.sealed_keys(&page, soon()).await.unwrap();
            rows.into_iter()
                .filter(|row| it.dids.contains(&row.did))
                .map(|row| (row.did, row.sealed_key))
                .collect::<Vec<_>>()
        };
        let before = &a[..a.len() - 1];
        let old = (a.clone(), sealed(OLD, a));
        let new = (b.clone(), sealed(NEW, b));
        let none = (c.clone(), "not sealed".to_owned());
        assert_eq!(
            page(None, before, 3).await,
            [old.clone(), new.clone(), none.clone()]
        );
        assert_eq!(page(None, before, 2).await, [old.clone(), new]);
        assert_eq!(page(Some(NEW), before, 2).await, [old, none.clone()]);
        assert_eq!(page(Some(NEW), a, 2).await, [none]);
        assert_eq!(page(Some(NEW), c, 2).await, []);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_key_that_was_replaced_meanwhile_is_never_overwritten() {
    with_dids(async |it| {
        let [a, b, c] = &it.dids;
        it.store(a, &sealed(OLD, a)).await;
        it.store(b, "v1.what its owner has just stored").await;
        let keys = [
            reseal(c, sealed(OLD, c), sealed(NEW, c)),
            reseal(b, sealed(OLD, b), sealed(NEW, b)),
            reseal(a, sealed(OLD, a), sealed(NEW, a)),
        ];
        let rewrap = ResealAction::Rewrapped;
        assert_eq!(it.reseal(rewrap, &keys).await, [Resealed, Replaced, Gone]);
        assert_eq!(it.reseal(rewrap, &keys).await, [Already, Replaced, Gone]);
        assert_eq!(it.seal_key_id(a).await, Some(NEW));
        assert_eq!(it.seal_key_id(b).await, None);
        assert_eq!(it.actions(a).await, ["rewrapped"], "recorded once");
        assert!(it.actions(b).await.is_empty());

        // Nothing but a sealed key is ever written.
        let nonsense = [reseal(a, sealed(NEW, a), "sk-or-v1-open".to_owned())];
        let refused = it.storage.reseal(rewrap, &nonsense, soon()).await;
        assert!(
            matches!(refused, Err(StorageError::Protocol(_))),
            "{refused:?}"
        );
    })
    .await;
}

/// Else a rotation would disable the master key that they need.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn retired_keys_are_counted_listed_and_sealed_anew() {
    // A master key of this test's own: others' rows do not count.
    const SHARED: KeyId = KeyId(4_111_222_333);
    with_dids(async |it| {
        let [a, b, c] = &it.dids;
        let before = it.rows_sealed_with(SHARED).await;
        it.store(a, &sealed(SHARED, a)).await;
        it.retire(a, &sealed(NEW, a)).await;
        it.store(b, &sealed(SHARED, b)).await;
        it.retire(b, &sealed(OLD, b)).await;
        it.rest(Method::DELETE, &format!("user_api_keys?did=eq.{b}"), None)
            .await;
        it.store(c, &sealed(NEW, c)).await;
        assert_eq!(it.rows_sealed_with(SHARED).await - before, 2);

        let row = |id, did: &String, retired| (did.clone(), sealed(id, did), retired);
        let of_a = [row(NEW, a, false), row(SHARED, a, true)];
        let of_b = row(SHARED, b, true);
        assert_eq!(it.stored(None, 1).await, of_a);
        let all = [&of_a[..], &[of_b.clone(), row(NEW, c, false)]].concat();
        assert_eq!(it.stored(None, 3).await, all);
        assert_eq!(it.stored(Some(NEW), 2).await, [of_a[1].clone(), of_b]);

        let keys = [a, b].map(|did| reseal(did, sealed(SHARED, did), sealed(NEW, did)));
        let rewrap = ResealAction::Rewrapped;
        assert_eq!(it.reseal(rewrap, &keys).await, [Resealed, Resealed]);
        assert_eq!(it.reseal(rewrap, &keys).await, [Already, Already]);
        assert_eq!(it.rows_sealed_with(SHARED).await, before);
        let now = [row(NEW, a, false), row(NEW, a, true), row(NEW, b, true)];
        assert_eq!(it.stored(None, 2).await, now);
        let history = it.storage.account(a, soon()).await.unwrap();
        let told: Vec<_> = history.events.iter().map(|it| it.action.as_str()).collect();
        assert_eq!(told, ["rewrapped", "retired"], "the youngest first");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_deleted_account_leaves_no_key_and_no_setting() {
    with_dids(async |it| {
        let [a, b, c] = &it.dids;
        for did in [a, b] {
            it.store(did, &sealed(OLD, did)).await;
            let request = it.retire(did, &sealed(NEW, did)).await;
            assert!(request.is_string(), "{request}");
        }
        // Its owner has revoked the key already.
        it.rest(Method::DELETE, &format!("user_api_keys?did=eq.{b}"), None)
            .await;
        for did in [a, b] {
            assert!(it.storage.delete_account(did, soon()).await.unwrap());
            assert!(!it.storage.delete_account(did, soon()).await.unwrap());
            for table in ["user_api_keys", "retired_keys", "accounts"] {
                let path = format!("{table}?did=eq.{did}");
                let left = it.rest(Method::GET, &path, None).await;
                assert_eq!(left, json!([]), "{table}");
            }
            let path = format!("request_logs?did=eq.{did}&select=cost_state");
            let books = it.rest(Method::GET, &path, None).await;
            assert_eq!(books, json!([{"cost_state": "pending"}]), "they stay");
        }
        assert!(!it.storage.delete_account(c, soon()).await.unwrap());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn two_rewraps_at_once_seal_every_row_once() {
    with_dids(async |it| {
        for did in &it.dids {
            it.store(did, &sealed(OLD, did)).await;
        }
        let keys = it
            .dids
            .each_ref()
            .map(|did| reseal(did, sealed(OLD, did), sealed(NEW, did)));
        let outcomes = join_all((0..6).map(|_| it.reseal(ResealAction::Rewrapped, &keys))).await;
        let resealed = |it: &&ResealOutcome| **it == ResealOutcome::Resealed;
        assert_eq!(
            outcomes.iter().flatten().filter(resealed).count(),
            3,
            "{outcomes:?}"
        );
        for did in &it.dids {
            assert_eq!(it.actions(did).await, ["rewrapped"]);
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn an_import_makes_rows_only_where_there_are_none() {
    with_dids(async |it| {
        let [a, b, c] = &it.dids;
        it.store(a, "aa:bb").await;
        it.store(b, "stored since").await;
        let keys = it.dids.each_ref().map(|did| Reseal {
            insert: Some(Insert {
                key_name: "imported".to_owned(),
                key_hash: "its hash".to_owned(),
                credit_limit: Some("2.50".parse().unwrap()),
            }),
            ..reseal(did, "aa:bb".to_owned(), sealed(NEW, did))
        });
        let import = ResealAction::Imported;
        assert_eq!(
            it.reseal(import, &keys).await,
            [Resealed, Replaced, Inserted]
        );
        assert_eq!(it.reseal(import, &keys).await, [Already, Replaced, Already]);
        let history = it.storage.account(c, soon()).await.unwrap();
        let account = history.account.unwrap();
        assert_eq!(account.credit_limit.as_deref(), Some("2.5"));
        assert_eq!(
            (account.key_name.as_str(), account.key_hash.as_str()),
            ("imported", "its hash")
        );
        assert_eq!(account.seal_key_id, Some(NEW));
        assert_eq!(it.actions(a).await, ["imported"]);
        assert_eq!(it.actions(c).await, ["imported"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn accounts_are_changed_and_what_changed_is_recorded() {
    with_dids(async |it| {
        let [a, _, _] = &it.dids;
        it.store(a, &sealed(OLD, a)).await;
        let set = async |change| match it.storage.set_account(a, change, soon()).await.unwrap() {
            Changed::Account(account) => account,
            Changed::Settings(settings) => panic!("{settings:?}"),
        };
        let limit = AccountChange::CreditLimit(Some("0.000000000000000001".parse().unwrap()));
        for _ in 0..2 {
            let account = set(limit.clone()).await;
            assert_eq!(
                account.credit_limit.as_deref(),
                Some("0.000000000000000001")
            );
        }
        assert_eq!(
            set(AccountChange::CreditLimit(None)).await.credit_limit,
            None
        );
        let rate = AccountChange::RequestsPerMinute(std::num::NonZeroU32::new(6));
        assert_eq!(set(rate).await.requests_per_minute, Some(6));
        assert!(set(AccountChange::Disabled(true)).await.disabled);
        assert!(set(AccountChange::Disabled(true)).await.disabled);
        assert!(!set(AccountChange::Disabled(false)).await.disabled);
        for _ in 0..2 {
            assert!(set(AccountChange::Approved(true)).await.approved);
        }
        assert!(!set(AccountChange::Approved(false)).await.approved);
        assert_eq!(
            it.actions(a).await,
            [
                "approval_withdrawn",
                "approved",
                "enabled",
                "disabled",
                "rate_changed",
                "limit_changed",
                "limit_changed"
            ]
        );
        let history = it.storage.account(a, soon()).await.unwrap();
        let first = history.events.last().unwrap();
        assert_eq!(
            first.details,
            Some(json!({"from": null, "to": "0.000000000000000001"}))
        );

        let listed = it
            .storage
            .accounts(Some(&a[..a.len() - 1]), 1, soon())
            .await;
        assert_eq!(&listed.unwrap()[0].did, a);
        assert!(it.storage.delete_account(a, soon()).await.unwrap());
        assert!(!it.storage.delete_account(a, soon()).await.unwrap());
        assert_eq!(
            it.actions(a).await[0],
            "deleted",
            "the record outlives the key"
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn what_is_there_can_be_told_from_what_is_not() {
    with_dids(async |it| {
        let key = StorageKey::parse(&it.key).unwrap();
        let ask = async |feature: Feature| {
            let patience = Duration::from_secs(10);
            let answer = probe(&it.client, &it.url, Some(&key), &feature, patience).await;
            answer.unwrap().0
        };
        let column = |column: &str| Feature::Column {
            table: "user_api_keys".to_owned(),
            column: column.to_owned(),
        };
        let function = |name: &str| Feature::Function {
            name: name.to_owned(),
            argument: "request".to_owned(),
        };
        assert_eq!(ask(column("did")).await, Access::Granted);
        assert_eq!(ask(column("no_such_column")).await, Access::Missing);
        assert_eq!(ask(function("set_account")).await, Access::Granted);
        assert_eq!(ask(function("no_such_function")).await, Access::Missing);
        let table = Feature::Column {
            table: "no_such_table".to_owned(),
            column: "id".to_owned(),
        };
        assert_eq!(ask(table).await, Access::Missing);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn an_import_repeated_brings_nothing_back_and_keeps_what_was_set() {
    with_dids(async |it| {
        let [a, b, c] = &it.dids;
        let keys = it.dids.each_ref().map(|did| Reseal {
            insert: Some(Insert {
                key_name: "imported".to_owned(),
                key_hash: format!("hash of {did}"),
                credit_limit: Some("2.50".parse().unwrap()),
            }),
            ..reseal(did, "aa:bb".to_owned(), sealed(NEW, did))
        });
        let import = ResealAction::Imported;
        assert_eq!(it.reseal(import, &keys).await, [Inserted; 3]);

        // One is revoked by its owner, one is replaced and then revoked, one is blocked and lost.
        it.call("revoke_key", json!({"did": a})).await;
        it.call(
            "store_key",
            json!({"did": b, "key_hash": "own", "sealed_key": sealed(NEW, b), "seal_key_id": "1"}),
        )
        .await;
        it.call("revoke_key", json!({"did": b})).await;
        for change in [
            AccountChange::Disabled(true),
            AccountChange::CreditLimit(Some("1".parse().unwrap())),
            AccountChange::RequestsPerMinute(std::num::NonZeroU32::new(6)),
        ] {
            it.storage.set_account(c, change, soon()).await.unwrap();
        }
        let row = format!("user_api_keys?did=eq.{c}");
        it.rest(Method::DELETE, &row, None).await;

        assert_eq!(it.reseal(import, &keys).await, [Gone, Gone, Inserted]);
        for did in [a, b] {
            let history = it.storage.account(did, soon()).await.unwrap();
            assert_eq!(history.account, None, "{did}");
        }
        let account = it
            .storage
            .account(c, soon())
            .await
            .unwrap()
            .account
            .unwrap();
        assert!(account.disabled);
        assert_eq!(account.credit_limit.as_deref(), Some("1"));
        assert_eq!(account.requests_per_minute, Some(6));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn what_is_set_for_a_did_without_a_key_holds_for_its_next_one() {
    with_dids(async |it| {
        let [a, b, _] = &it.dids;
        let set = async |did: &str, change| match it
            .storage
            .set_account(did, change, soon())
            .await
            .unwrap()
        {
            Changed::Settings(settings) => settings,
            Changed::Account(account) => panic!("{account:?}"),
        };
        // Setting a value that is already set changes nothing.
        assert!(!set(a, AccountChange::Disabled(false)).await.disabled);
        let history = it.storage.account(a, soon()).await.unwrap();
        assert_eq!((history.settings, history.events), (None, vec![]));

        for _ in 0..2 {
            assert!(set(a, AccountChange::Disabled(true)).await.disabled);
        }
        let limit = AccountChange::CreditLimit(Some("1.50".parse().unwrap()));
        let settings = set(a, limit).await;
        assert_eq!(settings.credit_limit.as_deref(), Some("1.5"));
        let rate = AccountChange::RequestsPerMinute(std::num::NonZeroU32::new(6));
        let settings = set(a, rate).await;
        assert_eq!(settings.requests_per_minute, Some(6));
        assert!(settings.disabled, "one setting leaves the others");
        let settings = set(a, AccountChange::Approved(true)).await;
        assert!(settings.disabled && settings.approved);
        let history = it.storage.account(a, soon()).await.unwrap();
        assert_eq!((history.account, history.settings), (None, Some(settings)));
        assert_eq!(
            it.actions(a).await,
            ["approved", "rate_changed", "limit_changed", "disabled"]
        );

        // A blocked DID stays blocked after an import, too, which has its own limit.
        let import = Reseal {
            insert: Some(Insert {
                key_name: "imported".to_owned(),
                key_hash: "hash".to_owned(),
                credit_limit: Some("9".parse().unwrap()),
            }),
            ..reseal(a, "aa:bb".to_owned(), sealed(NEW, a))
        };
        assert_eq!(
            it.reseal(ResealAction::Imported, &[import]).await,
            [Inserted]
        );
        let history = it.storage.account(a, soon()).await.unwrap();
        assert_eq!(history.settings, None, "the key has them");
        let account = history.account.unwrap();
        assert!(account.disabled && account.approved);
        assert_eq!(account.credit_limit.as_deref(), Some("1.5"));

        // One who revoked the key while blocked can be let in again.
        it.store(b, &sealed(OLD, b)).await;
        it.storage
            .set_account(b, AccountChange::Disabled(true), soon())
            .await
            .unwrap();
        it.call("revoke_key", json!({"did": b})).await;
        assert!(!set(b, AccountChange::Disabled(false)).await.disabled);
        it.call(
            "store_key",
            json!({"did": b, "key_hash": "own", "sealed_key": sealed(NEW, b), "seal_key_id": "1"}),
        )
        .await;
        let account = it
            .storage
            .account(b, soon())
            .await
            .unwrap()
            .account
            .unwrap();
        assert!(!account.disabled);
    })
    .await;
}

/// However a block and the key that its user stores at the same time interleave.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_block_at_the_time_of_storing_is_not_lost() {
    with_dids(async |it| {
        let [a, _, _] = &it.dids;
        for round in 0..20 {
            let key = json!({"did": a, "key_hash": "own", "sealed_key": sealed(NEW, a), "seal_key_id": "1"});
            let block = it
                .storage
                .set_account(a, AccountChange::Disabled(true), soon());
            let (_, blocked) = tokio::join!(it.try_call("store_key", key), block);
            blocked.unwrap();
            let history = it.storage.account(a, soon()).await.unwrap();
            let disabled = match (history.account, history.settings) {
                (Some(account), _) => account.disabled,
                (None, Some(settings)) => settings.disabled,
                (None, None) => false,
            };
            assert!(disabled, "round {round}");
            for table in ["user_api_keys", "accounts"] {
                let path = format!("{table}?did=eq.{a}");
                it.rest(Method::DELETE, &path, None).await;
            }
        }
    })
    .await;
}
