//! The promise of `migrations/functions/retired_keys.sql`: a cost can be asked for with the key that
//! made the request, whatever its owner does with that key meanwhile.

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    storage::{Begin, Books, Cost, CostState, Finding, Finish, Settle, StorageError, StoredKey},
};
use uuid::Uuid;

use crate::{
    keys::{OTHER_SEALED, SEALED, new_key},
    user::{User, billed, books, cut, far_future, soon, unknown, with_newcomer},
};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_key_is_kept_until_its_costs_are_known() {
    with_newcomer(async |user| {
        user.put("hash-1", SEALED).await.unwrap();
        let first = user.open().await;
        user.put("hash-2", OTHER_SEALED).await.unwrap();
        let second = user.open().await;
        assert_eq!(user.retired().await, ["hash-1"]);
        let handed_out = [(first, SEALED), (second, OTHER_SEALED)];
        assert_eq!(user.asked_with(far_future()).await, sorted(handed_out));

        user.revoke().await.unwrap();
        assert_eq!(user.retired().await, ["hash-1", "hash-2"]);
        let later = far_future() + SignedDuration::from_hours(1);
        assert_eq!(user.asked_with(later).await, sorted(handed_out));

        user.settle_as(first, paid()).await;
        assert_eq!(user.retired().await, ["hash-2"]);
        user.settle_as(second, paid()).await;
        assert_eq!(user.retired().await, Vec::<String>::new());
        // What was found out counts for whichever key comes next.
        let key = user.put("hash-3", SEALED).await.unwrap().key;
        assert_eq!((key.spent.as_str(), key.held.as_str()), ("0.5", "0"));

        let events = user.events().await;
        let told: Vec<_> = events
            .iter()
            .map(|event| {
                let of = |member: &str| event[member].as_str().unwrap().to_owned();
                format!("{} {} {}", of("actor"), of("action"), of("key_hash"))
            })
            .collect();
        assert_eq!(
            told,
            [
                "user stored hash-1",
                "gateway retired hash-1",
                "user replaced hash-2",
                "gateway retired hash-2",
                "user revoked hash-2",
                "gateway forgotten hash-1",
                "gateway forgotten hash-2",
                "user stored hash-3",
            ]
        );
        assert!(!Value::from(events).to_string().contains("v1."));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_request_in_flight_keeps_its_key_until_it_ends() {
    with_newcomer(async |user| {
        user.put("hash-1", SEALED).await.unwrap();
        let (paid, cut) = (user.begun().await.0, user.begun().await.0);
        user.delete("user_api_keys").await;
        user.put("hash-2", OTHER_SEALED).await.unwrap();
        user.end(paid, CostState::Final, None).await;
        assert_eq!(user.retired().await, ["hash-1"]);
        user.end(cut, CostState::Pending, None).await;
        assert_eq!(
            user.asked_with(far_future()).await,
            [(cut, Some(SEALED.to_owned()))]
        );
        user.settle_as(cut, given_up()).await;
        assert_eq!(user.retired().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn nothing_is_kept_that_nobody_needs() {
    with_newcomer(async |user| {
        user.put("hash-1", SEALED).await.unwrap();
        let paid = user.begun().await.0;
        user.end(paid, CostState::Final, None).await;
        user.put("hash-2", OTHER_SEALED).await.unwrap();
        user.revoke().await.unwrap();
        assert_eq!(user.retired().await, Vec::<String>::new());

        // The same key, stored again or sealed anew, goes nowhere.
        user.put("hash-1", SEALED).await.unwrap();
        let open = user.open().await;
        user.put("hash-1", SEALED).await.unwrap();
        user.change_key(json!({"encrypted_api_key": OTHER_SEALED}))
            .await;
        assert_eq!(user.retired().await, Vec::<String>::new());
        assert_eq!(
            user.asked_with(far_future()).await,
            [(open, Some(OTHER_SEALED.to_owned()))]
        );

        // What is no sealed key answers no question.
        user.change_key(json!({"encrypted_api_key": "00ff:00ff"}))
            .await;
        user.revoke().await.unwrap();
        assert_eq!(user.retired().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_key_that_comes_back_retires_into_the_same_place() {
    with_newcomer(async |user| {
        let mut opened = Vec::new();
        for (hash, sealed) in [
            ("hash-1", SEALED),
            ("hash-2", OTHER_SEALED),
            ("hash-1", SEALED),
            ("hash-2", OTHER_SEALED),
        ] {
            user.put(hash, sealed).await.unwrap();
            opened.push((user.open().await, sealed));
        }
        assert_eq!(user.retired().await, ["hash-1", "hash-2"]);
        assert_eq!(
            user.asked_with(far_future()).await,
            sorted(opened.iter().copied())
        );
        for (id, _) in &opened[..3] {
            user.settle_as(*id, paid()).await;
        }
        assert_eq!(user.retired().await, Vec::<String>::new());
    })
    .await;
}

/// Requests and replacements that meet: each cost is asked for with the key that its request got.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn requests_and_replacements_at_once_never_mix_keys_up() {
    with_newcomer(async |user| {
        user.put("hash-1", SEALED).await.unwrap();
        let requests = join_all((0..24).map(|_| async {
            let (id, sealed) = user.begun().await;
            user.end(id, CostState::Pending, None).await;
            (id, Some(sealed))
        }));
        let replacements = join_all((0..12).map(|n| async move {
            let (hash, sealed) = [("hash-1", SEALED), ("hash-2", OTHER_SEALED)][n % 2];
            user.put(hash, sealed).await.unwrap();
        }));
        let (mut made, _) = tokio::join!(requests, replacements);
        user.revoke().await.unwrap();
        made.sort();
        // Claims pass over rows that somebody holds.
        let mut asked = user.asked_with(far_future()).await;
        asked.extend(user.asked_with(far_future()).await);
        asked.sort();
        assert_eq!(asked, made);

        // Nothing serializes those who settle: the key's row is gone.
        join_all(made.iter().map(|(id, _)| user.settle_as(*id, paid()))).await;
        user.claim(far_future(), 100).await;
        assert_eq!(user.retired().await, Vec::<String>::new());
        let key = user.put("hash-3", SEALED).await.unwrap().key;
        assert_eq!((key.spent.as_str(), key.held.as_str()), ("6", "0"));
    })
    .await;
}

/// A row that was given up as abandoned may be taken back by its record from the log.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn an_abandoned_request_keeps_its_key_for_a_day() {
    with_newcomer(async |user| {
        user.put("hash-1", SEALED).await.unwrap();
        let (restored, lost) = (user.begun().await.0, user.begun().await.0);
        user.put("hash-2", OTHER_SEALED).await.unwrap();
        for id in [restored, lost] {
            user.settle_as(id, given_up()).await;
        }
        let now = Clock::system().now();
        assert_eq!(user.claim(now, 100).await, []);
        assert_eq!(user.retired().await, ["hash-1"]);
        user.end(restored, CostState::Pending, None).await;
        assert_eq!(
            user.asked_with(now).await,
            [(restored, Some(SEALED.to_owned()))]
        );
        user.settle_as(restored, paid()).await;
        assert_eq!(user.retired().await, ["hash-1"]);
        user.claim(now + SignedDuration::from_hours(25), 100).await;
        assert_eq!(user.retired().await, Vec::<String>::new());
    })
    .await;
}

/// While its costs are open, but no longer than reconciliation waits for them.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_provisioned_key_is_not_deleted_with_openrouter_before_its_costs_are_known() {
    for (revokes, job, patience) in [
        (true, None, SignedDuration::from_hours(24)),
        (false, None, SignedDuration::from_hours(24)),
        (true, Some("job-1"), SignedDuration::from_hours(7 * 24)),
    ] {
        with_newcomer(async |user| {
            let id = user.reserved().await;
            user.activate(id, "up-1").await.unwrap().unwrap();
            let (open, sealed) = user.begun().await;
            user.end(open, CostState::Pending, job).await;
            let condemned = if revokes {
                user.revoke().await.unwrap().condemned
            } else {
                user.put("brought", OTHER_SEALED).await.unwrap().condemned
            };
            assert_eq!(condemned, None, "not yet");
            assert_eq!(user.states().await, ["to_delete"]);

            let now = Clock::system().now();
            let minute = SignedDuration::from_mins(1);
            assert_eq!(user.condemned(now + patience - minute).await, []);
            // Its lease makes it due once more a minute later.
            assert_eq!(user.condemned(now + patience + minute).await.len(), 1);
            let asked = user.asked_with(now + patience).await;
            assert_eq!(asked, [(open, Some(sealed))]);
            user.settle_as(open, paid()).await;
            assert_eq!(user.retired().await, Vec::<String>::new());
        })
        .await;
    }
    with_newcomer(async |user| {
        let id = user.reserved().await;
        user.activate(id, "up-1").await.unwrap().unwrap();
        let open = user.open().await;
        user.revoke().await.unwrap();
        let now = Clock::system().now();
        assert_eq!(user.condemned(now).await, []);
        user.settle_as(open, paid()).await;
        assert_eq!(user.condemned(now).await.len(), 1, "at once");
    })
    .await;
}

impl User {
    async fn put(&self, hash: &str, sealed: &str) -> Result<StoredKey, StorageError> {
        let sealed = sealed.parse().unwrap();
        let key = new_key(hash, &sealed, None);
        self.storage
            .store_key(&self.caller_request(), &key, soon())
            .await
    }

    /// Begins a billable request; its id, and the key that it got.
    async fn begun(&self) -> (Uuid, String) {
        let begin = Begin {
            books: Some(Books {
                model: None,
                ..books("0.5")
            }),
            ..self.look_up()
        };
        let answer = self.begin(&begin).await.unwrap();
        (begin.id, answer.sealed_key)
    }

    /// Finishes it without success.
    async fn end(&self, id: Uuid, state: CostState, job_id: Option<&str>) {
        let finish = Finish {
            job_id,
            cost: Cost {
                state,
                openrouter: (state == CostState::Final).then_some("0.25"),
                upstream_inference: None,
                is_byok: None,
                server_tool: None,
            },
            ..cut(id)
        };
        let finished = self.finish(&finish).await.unwrap();
        assert!(finished.by_this_call);
    }

    /// A request whose cost is still to be asked for.
    pub(crate) async fn open(&self) -> Uuid {
        let (id, _) = self.begun().await;
        self.end(id, CostState::Pending, None).await;
        id
    }

    async fn settle_as(&self, id: Uuid, finding: Finding<'_>) {
        let settle = Settle {
            finding,
            ..unknown(id)
        };
        assert!(self.settle(&settle).await.by_this_call);
    }

    /// Which rows are claimed, and with which key they are asked for, in the order of their ids.
    async fn asked_with(&self, now: Timestamp) -> Vec<(Uuid, Option<String>)> {
        let rows = self.claim(now, 100).await;
        let mut asked: Vec<_> = rows
            .into_iter()
            .map(|row| (row.id, row.sealed_key))
            .collect();
        asked.sort();
        asked
    }

    /// The hashes of the keys that are kept, sorted.
    pub(crate) async fn retired(&self) -> Vec<String> {
        let rows = self.rows("retired_keys", "key_hash&order=key_hash").await;
        rows.iter()
            .map(|row| row["key_hash"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn sorted<'a>(rows: impl IntoIterator<Item = (Uuid, &'a str)>) -> Vec<(Uuid, Option<String>)> {
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(id, sealed)| (id, Some(sealed.to_owned())))
        .collect();
    rows.sort();
    rows
}

fn paid() -> Finding<'static> {
    billed("0.25", None)
}

fn given_up() -> Finding<'static> {
    unknown(Uuid::nil()).finding
}
