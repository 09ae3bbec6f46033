//! Accounts, as their operator sees and changes them.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    super::{ATTEMPTS_IN_FRONT, Argument, Storage, StorageError},
    key_id,
};
use crate::{metering::money::Usd, vault::secret::KeyId};

/// An account as the operator sees it. Amounts are US dollars as decimal text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns of user_api_keys and accounts, which say it"
)]
pub struct Account {
    pub did: String,
    pub key_name: String,
    pub key_hash: String,
    pub credit_limit: Option<String>,
    pub spent: String,
    pub held: String,
    pub requests_per_minute: Option<u32>,
    pub disabled: bool,
    #[serde(deserialize_with = "key_id")]
    pub seal_key_id: Option<KeyId>,
    pub created_at: Option<String>,
    pub updated_at: Option<String>,
}

/// What was set for a DID that has no key; its next one will have it. Amounts as in [`Account`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the columns of accounts, which say it")]
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
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountChange {
    /// US dollars; `None` for no limit.
    CreditLimit(Option<Usd>),
    /// `None` for the gateway's default.
    RequestsPerMinute(Option<NonZeroU32>),
    /// Whether requests are refused.
    Disabled(bool),
}

impl Storage {
    /// A page of accounts, in the order of their DIDs.
    pub async fn accounts(
        &self,
        after: Option<&str>,
        limit: u16,
        deadline: Instant,
    ) -> Result<Vec<Account>, StorageError> {
        let argument = Argument::Request(AccountsJson { after, limit });
        self.call("list_accounts", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }

    /// One account.
    pub async fn account(
        &self,
        did: &str,
        deadline: Instant,
    ) -> Result<AccountHistory, StorageError> {
        self.call(
            "show_account",
            &Argument::Request(Of { did }),
            ATTEMPTS_IN_FRONT,
            deadline,
        )
        .await
    }

    /// Changes one account; where no key is stored, what the next one will have.
    pub async fn set_account(
        &self,
        did: &str,
        change: AccountChange,
        deadline: Instant,
    ) -> Result<Changed, StorageError> {
        let argument = Argument::Request(SetAccountJson { did, change });
        self.call("set_account", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }

    /// Deletes a DID's key, those that were kept for reconciliation, and what was set for the DID; its
    /// requests stay in the books. Whether there was anything: not to be relied upon after an attempt
    /// whose answer was lost.
    pub async fn delete_account(&self, did: &str, deadline: Instant) -> Result<bool, StorageError> {
        let deleted: Deleted = self
            .call(
                "delete_account",
                &Argument::Request(Of { did }),
                ATTEMPTS_IN_FRONT,
                deadline,
            )
            .await?;
        Ok(deleted.deleted)
    }
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
    change: AccountChange,
}

#[derive(Deserialize)]
struct Deleted {
    deleted: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_one_member() {
        for (change, argument) in [
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
            let json = SetAccountJson {
                did: "did:a",
                change,
            };
            assert_eq!(serde_json::to_value(json).unwrap(), argument);
        }
    }
}
