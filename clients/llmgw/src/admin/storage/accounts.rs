//! Accounts.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::{
    metering::money::Usd,
    storage::{Budget, BudgetState, StorageError, TokenDescription},
    vault::secret::KeyId,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::client::{AdminStorage, key_id};

/// An account. Amounts are US dollars as decimal text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the columns of user_api_keys and accounts")]
pub struct Account {
    pub did: String,
    pub key_name: String,
    pub key_hash: String,
    pub credit_limit: Option<String>,
    pub spent: String,
    pub held: String,
    pub requests_per_minute: Option<u32>,
    pub disabled: bool,
    pub approved: bool,
    pub budgets: Vec<BudgetState>,
    #[serde(deserialize_with = "key_id")]
    pub seal_key_id: Option<KeyId>,
    pub created_at: Option<String>,
    pub updated_at: Option<String>,
}

/// The settings of a DID without a key. Amounts as in [`Account`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the columns of accounts")]
pub struct Settings {
    pub did: String,
    pub credit_limit: Option<String>,
    pub requests_per_minute: Option<u32>,
    pub disabled: bool,
    pub approved: bool,
    pub spent: String,
    pub budgets: Vec<BudgetState>,
}

/// The result of an [`AccountChange`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Changed {
    /// The DID has a key.
    Account(Account),
    /// The DID has no key.
    Settings(Settings),
}

/// An account and the history of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountHistory {
    /// `None` if no key is stored.
    pub account: Option<Account>,
    /// The settings of a DID without a key, if it has any.
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
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountChange {
    /// US dollars; `None` for no limit.
    CreditLimit(Option<Usd>),
    /// `None` for the gateway's default.
    RequestsPerMinute(Option<NonZeroU32>),
    /// Whether requests are refused.
    Disabled(bool),
    /// Whether the DID may use a gateway that is for approved DIDs.
    Approved(bool),
    /// The DID's budgets, in place of those that it has.
    Budgets(Vec<Budget>),
}

impl AdminStorage {
    /// A page of accounts, in the order of their DIDs.
    pub async fn accounts(
        &self,
        after: Option<&str>,
        limit: u16,
        deadline: Instant,
    ) -> Result<Vec<Account>, StorageError> {
        self.request("list_accounts", AccountsJson { after, limit }, deadline)
            .await
    }

    /// One account.
    pub async fn account(
        &self,
        did: &str,
        deadline: Instant,
    ) -> Result<AccountHistory, StorageError> {
        self.request("show_account", Of { did }, deadline).await
    }

    /// Changes an account, or the settings of a DID without a key.
    pub async fn set_account(
        &self,
        did: &str,
        change: AccountChange,
        deadline: Instant,
    ) -> Result<Changed, StorageError> {
        self.request("set_account", SetAccountJson { did, change }, deadline)
            .await
    }

    /// The tokens of a DID, the newest first; the ended ones, too, if `all`.
    pub async fn tokens(
        &self,
        did: &str,
        all: bool,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Vec<TokenDescription>, StorageError> {
        let request_time = now.as_millisecond();
        let request = TokensJson {
            did,
            request_time,
            all,
        };
        self.request("list_tokens", request, deadline).await
    }

    /// Ends a live token of a DID, or all of them. Returns those that it ended.
    pub async fn end_tokens(
        &self,
        did: &str,
        token_id: Option<Uuid>,
        deadline: Instant,
    ) -> Result<Vec<TokenDescription>, StorageError> {
        let request = EndTokensJson { did, token_id };
        self.request("end_tokens", request, deadline).await
    }

    /// Deletes a DID's key, its retired keys and its settings; its requests stay in the database. Returns
    /// whether there was anything to delete, which is unreliable if the response of an attempt was lost.
    pub async fn delete_account(&self, did: &str, deadline: Instant) -> Result<bool, StorageError> {
        let deleted: Deleted = self.request("delete_account", Of { did }, deadline).await?;
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
struct TokensJson<'a> {
    did: &'a str,
    request_time: i64,
    all: bool,
}

#[derive(Serialize)]
struct EndTokensJson<'a> {
    did: &'a str,
    token_id: Option<Uuid>,
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
mod tests;
