//! Keys that their owners bring, see and revoke.

use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    storage::{
        CallerRequest, KeyDescription, KeySource, NewKey, Refusal, RevokedKey, StorageError,
        StoredKey,
    },
    vault::secret::SealedKey,
};
use uuid::Uuid;

use crate::{
    access::{Door, door_of_function, doors_of_table, refused_at, try_all},
    user::{User, fingerprint, refusal, soon, with_newcomer},
};

pub(crate) const SEALED: &str = "v1.AQIDBAUAAQIDBAUGBwgJCgsMDQ4PEA";
pub(crate) const OTHER_SEALED: &str = "v1.AQIDBAUBAQIDBAUGBwgJCgsMDQ4PEA";
/// The key id in both.
const SEAL_KEY_ID: &str = "33752069";

// --------------------------------------------------------------------------- bring, see, revoke

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_key_is_stored_described_replaced_and_revoked() {
    with_newcomer(async |user| {
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

        user.change_account(json!({"credit_limit": "2.50", "spent": "0.75", "held": "0.5"}))
            .await;
        let caller_request = user.caller_request();
        let replaced = user
            .storage
            .store_key(
                &caller_request,
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
            refusal(user.begin(&user.look_up()).await),
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
        assert_eq!(events[1]["request_id"], caller_request.id.to_string());
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
    with_newcomer(async |user| {
        let (sealed, caller_request) = (SEALED.parse().unwrap(), user.caller_request());
        let store = async |caller_request: &CallerRequest<'_>| {
            let key = new_key("hash", &sealed, None);
            user.storage.store_key(caller_request, &key, soon()).await
        };
        let first = store(&caller_request).await.unwrap();
        // The client repeats a call whose answer was lost.
        assert_eq!(store(&caller_request).await.unwrap().key, first.key);
        let same = CallerRequest {
            id: user.id(),
            ..caller_request
        };
        let replays = join_all((0..5).map(|_| store(&same))).await;
        assert!(
            replays
                .into_iter()
                .all(|it| refusal(it) == Refusal::Replayed)
        );
        let unsigned = CallerRequest {
            fingerprint: None,
            ..user.caller_request()
        };
        assert!(matches!(
            store(&unsigned).await,
            Err(StorageError::Protocol(_))
        ));

        let caller_request = user.caller_request();
        let first = user
            .storage
            .revoke_key(&caller_request, soon())
            .await
            .unwrap();
        assert_eq!(
            user.storage
                .revoke_key(&caller_request, soon())
                .await
                .unwrap(),
            first
        );
        user.store("hash", None).await.unwrap();
        let same = CallerRequest {
            id: user.id(),
            ..caller_request
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
    with_newcomer(async |user| {
        user.store("hash-1", None).await.unwrap();
        user.change_account(json!({"credit_limit": "3", "requests_per_minute": 7, "spent": "2"}))
            .await;
        user.revoke().await.unwrap();
        let key = user.store("hash-2", None).await.unwrap().key;
        assert_eq!((key.limit.as_deref(), key.spent.as_str()), (Some("3"), "2"));
        let row = &user.rows("accounts", "requests_per_minute").await[0];
        assert_eq!(row["requests_per_minute"], 7);

        user.change_account(json!({"disabled": true})).await;
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
    with_newcomer(async |user| {
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

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_public_is_refused_at_the_door() {
    with_newcomer(async |user| {
        user.store("hash", None).await.unwrap();
        refused_at(user, doors_of_keys(user)).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_public_neither_sees_nor_changes_keys() {
    with_newcomer(async |user| {
        user.store("hash", None).await.unwrap();
        user.open().await;
        user.revoke().await.unwrap();
        let id = user.reserved().await;
        user.activate(id, "up-public").await.unwrap();
        let before = (user.describe().await.unwrap(), user.events().await);
        try_all(user, doors_of_keys(user), |text| {
            !text.contains("up-public") && !text.contains(SEALED)
        })
        .await;
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
fn doors_of_keys(user: &User) -> Vec<Door> {
    let tables = [
        ("key_provisionings", json!({"state": "deleted"})),
        ("accounts", json!({"disabled": false})),
        ("recent_costs", json!({"costs": []})),
        ("key_events", json!({"action": "forged"})),
        ("retired_keys", json!({"key_hash": "forged"})),
    ];
    let request = json!({"request": {
        "id": Uuid::nil().to_string(), "did": user.did, "request_time": 0, "now": 4_000_000_000_000_u64,
        "limit": 9, "leases": [60], "lease": 60, "upstream_hash": "x", "made": true,
        "fingerprint": "00".repeat(32), "fingerprint_expires_at": 0,
        "key_hash": "x", "sealed_key": SEALED, "seal_key_id": 1,
    }});
    let functions = [
        "describe_key",
        "store_key",
        "revoke_key",
        "reserve_provisioning",
        "activate_provisioning",
        "abandon_provisioning",
        "claim_provisionings",
        "finish_provisioning",
    ];
    let parts = [
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
    ];
    let filter = format!("did=eq.{}", user.did);
    let mut doors: Vec<_> = tables
        .iter()
        .flat_map(|(table, change)| doors_of_table(table, &filter, change))
        .collect();
    doors.extend(functions.map(|name| door_of_function(name, request.clone())));
    doors.extend(parts.map(|(name, arguments)| door_of_function(name, arguments)));
    doors
}

impl User {
    pub(crate) async fn describe(&self) -> Result<KeyDescription, StorageError> {
        let caller_request = CallerRequest {
            fingerprint: None,
            ..self.caller_request()
        };
        self.storage.describe_key(&caller_request, soon()).await
    }

    pub(crate) async fn store(
        &self,
        hash: &str,
        name: Option<&str>,
    ) -> Result<StoredKey, StorageError> {
        let sealed = SEALED.parse().unwrap();
        let key = new_key(hash, &sealed, name);
        self.storage
            .store_key(&self.caller_request(), &key, soon())
            .await
    }

    pub(crate) async fn revoke(&self) -> Result<RevokedKey, StorageError> {
        self.storage
            .revoke_key(&self.caller_request(), soon())
            .await
    }

    /// A request, signed anew.
    pub(crate) fn caller_request(&self) -> CallerRequest<'_> {
        let request_time = Clock::system().now();
        CallerRequest {
            id: self.id(),
            did: &self.did,
            request_time,
            fingerprint: Some(fingerprint(request_time)),
        }
    }

    async fn sealed_key(&self) -> String {
        let rows = self.rows("user_api_keys", "encrypted_api_key").await;
        rows[0]["encrypted_api_key"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn events(&self) -> Vec<Value> {
        let select = "actor,action,key_hash,request_id,details&order=id";
        self.rows("key_events", select).await
    }
}

pub(crate) fn new_key<'a>(
    hash: &'a str,
    sealed: &'a SealedKey,
    name: Option<&'a str>,
) -> NewKey<'a> {
    NewKey { hash, sealed, name }
}
