//! What the operator's command line asks of the storage: which master key sealed which row, sealing
//! anew, accounts. No function calls any of it.

use std::{fmt, num::NonZeroU32, time::Duration};

use http::{StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de};
use tokio::time::Instant;
use url::Url;

use super::{
    ATTEMPTS_IN_FRONT, Storage, StorageError, StorageKey, Unavailable, records, transport,
};
use crate::{money::Usd, secret::KeyId};

/// How many keys one call seals anew at most.
pub const MOST_RESEALED: usize = 500;

/// Rows of one master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealCount {
    /// The master key; `None` where the row holds no sealed key.
    #[serde(deserialize_with = "key_id")]
    pub seal_key_id: Option<KeyId>,
    /// How many rows it seals.
    #[serde(deserialize_with = "records::count")]
    pub rows: u64,
}

/// A stored key as it stands in its row.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct StoredKey {
    /// Whose it is.
    pub did: String,
    /// The column, whatever it holds.
    pub sealed_key: String,
    /// Whether its owner has replaced or revoked it, and it is kept for reconciliation only.
    #[serde(default)]
    pub retired: bool,
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey")
            .field("did", &self.did)
            .field("retired", &self.retired)
            .finish_non_exhaustive()
    }
}

/// Which stored keys to list.
#[derive(Debug, Clone, Copy)]
pub struct SealedPage<'a> {
    /// Only those that another master key sealed, or none.
    pub other_than: Option<KeyId>,
    /// Those after this DID.
    pub after: Option<&'a str>,
    /// Those of at most so many DIDs, from 1 to 1000.
    pub limit: u16,
}

/// Why keys are sealed anew; what the record of events calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResealAction {
    /// With another master key.
    Rewrapped,
    /// They come from the original system.
    Imported,
}

/// A key that was sealed anew.
#[derive(Clone, Serialize)]
pub struct Reseal {
    /// Whose it is.
    pub did: String,
    /// The column as it was read: what stands in a place of the DID's by then is replaced only if it is
    /// this.
    pub old: String,
    /// The column as it shall be.
    pub new: String,
    /// For a DID without a row.
    #[serde(flatten)]
    pub insert: Option<Insert>,
}

impl fmt::Debug for Reseal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reseal")
            .field("did", &self.did)
            .field("insert", &self.insert)
            .finish_non_exhaustive()
    }
}

/// The rest of a row that is made by an import.
#[derive(Debug, Clone, Serialize)]
pub struct Insert {
    /// The key's name.
    pub key_name: String,
    /// `openrouter_key_hash`.
    pub key_hash: String,
    /// US dollars.
    pub credit_limit: Option<Usd>,
}

/// What became of a [`Reseal`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Resealed {
    /// Whose key.
    pub did: String,
    /// What was done with it.
    pub outcome: ResealOutcome,
}

/// What was done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResealOutcome {
    /// The new one is in its place.
    Resealed,
    /// A row was made for it.
    Inserted,
    /// The new one was there already.
    Already,
    /// Another one is there by now, and stays.
    Replaced,
    /// There is no row, and for an import: its owner or an operator has given this key up.
    Gone,
}

/// An account as the operator sees it. Amounts are US dollars as decimal text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the columns of user_api_keys, which say it")]
pub struct Account {
    pub did: String,
    pub key_name: String,
    pub key_hash: String,
    pub credit_limit: Option<String>,
    pub spent: String,
    pub reserved: String,
    pub requests_per_minute: Option<u32>,
    pub disabled: bool,
    #[serde(deserialize_with = "key_id")]
    pub seal_key_id: Option<KeyId>,
    pub created_at: Option<String>,
    pub updated_at: Option<String>,
}

/// What was set for a DID that has no key; its next one will have it. Amounts as in [`Account`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the columns of key_settings, which say it")]
pub struct Settings {
    pub did: String,
    pub credit_limit: Option<String>,
    pub requests_per_minute: Option<u32>,
    pub disabled: bool,
    pub spent: String,
}

/// What an [`AccountChange`] led to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Changed {
    /// The DID has a key.
    Account(Account),
    /// It has none now.
    Settings(Settings),
}

/// An account, and what happened to its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountHistory {
    /// `None` where no key is stored.
    pub account: Option<Account>,
    /// What is set for the next key, where none is stored; `None` where nothing is.
    #[serde(default)]
    pub settings: Option<Settings>,
    /// The last 50, newest first.
    pub events: Vec<KeyEvent>,
}

/// A row of `key_events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the columns of key_events, which say it")]
pub struct KeyEvent {
    pub time: String,
    pub actor: String,
    pub action: String,
    pub key_hash: Option<String>,
    #[serde(deserialize_with = "key_id")]
    pub seal_key_id: Option<KeyId>,
    pub details: Option<serde_json::Value>,
}

/// One change of an account.
#[derive(Debug, Clone, Copy)]
pub enum AccountChange {
    /// US dollars; `None` for no limit.
    CreditLimit(Option<Usd>),
    /// `None` for the gateway's default.
    RequestsPerMinute(Option<NonZeroU32>),
    /// Whether requests are refused.
    Disabled(bool),
}

impl Storage {
    /// How many rows each master key seals.
    pub async fn keys_by_seal(&self, until: Instant) -> Result<Vec<SealCount>, StorageError> {
        self.call("keys_by_seal", &request(()), ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// A page of stored keys, in the order of their DIDs, retired ones after the present one.
    pub async fn sealed_keys(
        &self,
        page: &SealedPage<'_>,
        until: Instant,
    ) -> Result<Vec<StoredKey>, StorageError> {
        let arguments = request(SealedPageJson {
            other_than: page.other_than.map(|id| id.to_string()),
            after: page.after,
            limit: page.limit,
        });
        self.call("sealed_keys", &arguments, ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// Puts keys that were sealed anew in their places: all of them in one transaction, each only
    /// where its DID still has what it was made of, be it retired. At most [`MOST_RESEALED`]. Retries
    /// until `until`.
    pub async fn reseal(
        &self,
        action: ResealAction,
        keys: &[Reseal],
        until: Instant,
    ) -> Result<Vec<Resealed>, StorageError> {
        let arguments = request(ResealJson { action, keys });
        self.call("reseal_keys", &arguments, u32::MAX, until).await
    }

    /// A page of accounts, in the order of their DIDs.
    pub async fn accounts(
        &self,
        after: Option<&str>,
        limit: u16,
        until: Instant,
    ) -> Result<Vec<Account>, StorageError> {
        let arguments = request(AccountsJson { after, limit });
        self.call("list_accounts", &arguments, ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// One account.
    pub async fn account(&self, did: &str, until: Instant) -> Result<AccountHistory, StorageError> {
        self.call(
            "show_account",
            &request(Of { did }),
            ATTEMPTS_IN_FRONT,
            until,
        )
        .await
    }

    /// Changes one account; where no key is stored, what the next one will have.
    pub async fn set_account(
        &self,
        did: &str,
        change: AccountChange,
        until: Instant,
    ) -> Result<Changed, StorageError> {
        let arguments = request(SetAccountJson {
            did,
            change: change.into(),
        });
        self.call("set_account", &arguments, ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// Deletes a DID's key, those that were kept for reconciliation, and what was set for the DID; its
    /// requests stay in the books. Whether there was anything: not to be relied upon after an attempt
    /// whose answer was lost.
    pub async fn delete_account(&self, did: &str, until: Instant) -> Result<bool, StorageError> {
        let deleted: Deleted = self
            .call(
                "delete_account",
                &request(Of { did }),
                ATTEMPTS_IN_FRONT,
                until,
            )
            .await?;
        Ok(deleted.deleted)
    }
}

/// Something that a migration made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feature {
    /// A column of a table.
    Column {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A function that takes one jsonb.
    Function {
        /// Its name.
        name: String,
        /// Its argument's.
        argument: String,
    },
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column { table, column } => write!(f, "{table}.{column}"),
            Self::Function { name, .. } => write!(f, "{name}()"),
        }
    }
}

/// What somebody with a certain key may do with a [`Feature`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Use it.
    Granted,
    /// It is not for them.
    Refused,
    /// There is no such thing, as far as they can see.
    Missing,
}

/// Asks for a feature with `key`, or with none at all, without changing or reading anything: no
/// row, or a call that lacks its arguments. Also the time on the storage's clock, where it tells it.
pub async fn probe(
    client: &reqwest::Client,
    rest_url: &Url,
    key: Option<&StorageKey>,
    feature: &Feature,
    timeout: Duration,
) -> Result<(Access, Option<Timestamp>), Unavailable> {
    let answer = transport::probe(client, rest_url, key, feature, timeout).await?;
    let date = answer
        .headers
        .get(header::DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .map(|date| date.timestamp());
    let access = match (answer.status.as_u16(), answer.code.as_deref()) {
        // The function itself refuses, for lack of arguments: it ran.
        (_, Some(code)) if code.starts_with("PT") => Access::Granted,
        // Undefined column, table or function, in PostgreSQL's words and PostgREST's.
        (_, Some("42703" | "42P01" | "42883" | "PGRST202" | "PGRST204" | "PGRST205"))
        | (404, _) => Access::Missing,
        (200..=299, _) => Access::Granted,
        (401 | 403, _) => Access::Refused,
        _ => {
            return Err(Unavailable::Status {
                status: answer.status,
                code: answer.code,
            });
        }
    };
    Ok((access, date))
}

/// An answer to [`probe`], without its body.
pub(super) struct Probed {
    pub(super) status: StatusCode,
    pub(super) code: Option<String>,
    pub(super) headers: http::HeaderMap,
}

/// The one named argument of every function here.
#[derive(Serialize)]
struct Arguments<T> {
    request: T,
}

fn request<T>(request: T) -> Arguments<T> {
    Arguments { request }
}

#[derive(Serialize)]
struct SealedPageJson<'a> {
    other_than: Option<String>,
    after: Option<&'a str>,
    limit: u16,
}

#[derive(Serialize)]
struct ResealJson<'a> {
    action: ResealAction,
    keys: &'a [Reseal],
}

#[derive(Serialize)]
struct AccountsJson<'a> {
    after: Option<&'a str>,
    limit: u16,
}

#[derive(Serialize)]
struct Of<'a> {
    did: &'a str,
}

#[derive(Serialize)]
struct SetAccountJson<'a> {
    did: &'a str,
    #[serde(flatten)]
    change: ChangeJson,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ChangeJson {
    CreditLimit(Option<Usd>),
    RequestsPerMinute(Option<NonZeroU32>),
    Disabled(bool),
}

impl From<AccountChange> for ChangeJson {
    fn from(change: AccountChange) -> Self {
        match change {
            AccountChange::CreditLimit(limit) => Self::CreditLimit(limit),
            AccountChange::RequestsPerMinute(rate) => Self::RequestsPerMinute(rate),
            AccountChange::Disabled(disabled) => Self::Disabled(disabled),
        }
    }
}

#[derive(Deserialize)]
struct Deleted {
    deleted: bool,
}

fn key_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<KeyId>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| text.parse().map(KeyId).map_err(de::Error::custom))
        .transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_what_the_migration_says() {
        let page = request(SealedPageJson {
            other_than: Some(KeyId(u32::MAX).to_string()),
            after: None,
            limit: 100,
        });
        assert_eq!(
            serde_json::to_value(page).unwrap(),
            json!({"request": {"other_than": "4294967295", "after": null, "limit": 100}})
        );
        let reseal = ResealJson {
            action: ResealAction::Rewrapped,
            keys: &[Reseal {
                did: "did:a".to_owned(),
                old: "v1.old".to_owned(),
                new: "v1.new".to_owned(),
                insert: None,
            }],
        };
        assert_eq!(
            serde_json::to_value(reseal).unwrap(),
            json!({"action": "rewrapped", "keys": [{"did": "did:a", "old": "v1.old", "new": "v1.new"}]})
        );
        for (change, member) in [
            (
                AccountChange::CreditLimit(Some("1.5".parse().unwrap())),
                json!({"did": "did:a", "credit_limit": "1.5"}),
            ),
            (
                AccountChange::CreditLimit(None),
                json!({"did": "did:a", "credit_limit": null}),
            ),
            (
                AccountChange::RequestsPerMinute(NonZeroU32::new(6)),
                json!({"did": "did:a", "requests_per_minute": 6}),
            ),
            (
                AccountChange::Disabled(true),
                json!({"did": "did:a", "disabled": true}),
            ),
        ] {
            let arguments = SetAccountJson {
                did: "did:a",
                change: change.into(),
            };
            assert_eq!(serde_json::to_value(arguments).unwrap(), member);
        }
    }

    #[test]
    fn ids_are_read_from_text_and_nothing_sealed_prints() {
        let counts: Vec<SealCount> = serde_json::from_str(
            r#"[{"seal_key_id":"4294967295","rows":"9"},{"seal_key_id":null,"rows":"1"}]"#,
        )
        .unwrap();
        assert_eq!(counts[0].seal_key_id, Some(KeyId(u32::MAX)));
        assert_eq!((counts[1].seal_key_id, counts[1].rows), (None, 1));

        let key: StoredKey =
            serde_json::from_str(r#"{"did":"did:a","sealed_key":"v1.planted","retired":true}"#)
                .unwrap();
        assert!(key.retired);
        let reseal = Reseal {
            did: "did:a".to_owned(),
            old: "v1.planted".to_owned(),
            new: "v1.planted".to_owned(),
            insert: None,
        };
        assert!(!format!("{key:?} {reseal:?}").contains("planted"));
    }
}
