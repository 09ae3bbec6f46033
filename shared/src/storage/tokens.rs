//! Access tokens, as the storage keeps them.

mod refusal;

use std::{collections::BTreeSet, num::NonZeroU32};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

pub use self::refusal::{DisallowedEndpoint, DisallowedModel, TokenCount, TokenRefusal};
use super::{
    ATTEMPTS_IN_FRONT, Argument, Budget, BudgetState, CallerRequest, Protocol, Storage,
    StorageError, keys::CallerRequestJson,
};
use crate::identity::{access::AllowedDids, access_token::TokenDigest};

/// A token that is to be made. The storage never sees its text.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// Its digest.
    pub digest: TokenDigest,
    /// The beginning and the end of its text, to recognise it by.
    pub label: &'a str,
    /// Its name and scope.
    pub settings: &'a TokenSettings,
}

/// The scope of a token. `None` stands for no limit of that kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenSettings {
    /// Its purpose; no two live tokens of a DID have the same.
    pub name: String,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Patterns of the models that it may use.
    pub models: Option<BTreeSet<String>>,
    /// The endpoints that it may use.
    pub endpoints: Option<BTreeSet<String>>,
    /// Its own rate, beside that of the DID.
    pub requests_per_minute: Option<u32>,
    /// Whether it may read the usage of its own requests.
    pub read_usage: bool,
    /// Written into each of its requests.
    pub tag: Option<String>,
    /// At most one for each period.
    pub budgets: Vec<Budget>,
}

/// A change of a token's scope: `None` leaves a setting as it is, `Some(None)` takes the limit away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `TokenSettings`")]
pub struct TokenChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Option<Timestamp>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Option<BTreeSet<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Option<BTreeSet<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<Option<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_usage: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<Budget>>,
    /// Whether its requests are refused for the time being.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// A token, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenDescription {
    /// Its id.
    pub id: Uuid,
    /// The beginning and the end of its text.
    pub label: String,
    /// Its purpose.
    pub name: String,
    /// Whether it passes.
    pub state: TokenState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When a request last came with it, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Patterns of the models that it may use; `None`: all.
    pub models: Option<Vec<String>>,
    /// The endpoints that it may use; `None`: all.
    pub endpoints: Option<Vec<String>>,
    /// Its own rate.
    pub requests_per_minute: Option<u32>,
    /// Whether it may read the usage of its own requests.
    pub read_usage: bool,
    /// Written into each of its requests.
    pub tag: Option<String>,
    /// Its budgets, the shortest period first.
    pub budgets: Vec<BudgetState>,
    /// The number of its finished requests.
    pub requests: String,
    /// Their cost, US dollars.
    pub cost: String,
}

/// Whether a token passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// It passes.
    Live,
    /// Its owner refuses its requests for the time being.
    Disabled,
    /// Its time is over.
    Expired,
    /// Its owner or the operator has ended it.
    Revoked,
}

/// A request for what a token may read of itself.
#[derive(Debug)]
pub struct Presenting<'a> {
    /// The token.
    pub digest: TokenDigest,
    /// When the request arrived.
    pub request_time: Timestamp,
    /// The DIDs of which its owner must be one.
    pub owners: &'a AllowedDids,
    /// The rate of such requests, of each token.
    pub requests_per_minute: Option<NonZeroU32>,
}

/// A token, as the one who presents it sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PresentedToken {
    /// Its owner.
    pub did: String,
    /// The token.
    pub token: TokenDescription,
    /// Its cost since the last midnight, UTC.
    pub usage_daily: String,
    /// Its cost since the last Monday, UTC.
    pub usage_weekly: String,
    /// Its cost since the first of the month, UTC.
    pub usage_monthly: String,
}

impl Storage {
    /// Makes a token.
    pub async fn create_token(
        &self,
        caller_request: &CallerRequest<'_>,
        token: &NewToken<'_>,
        deadline: Instant,
    ) -> Result<TokenDescription, StorageError> {
        self.token_call(
            "create_token",
            caller_request,
            SecretJson {
                digest: token.digest.to_string(),
                label: token.label,
                settings: token.settings,
            },
            deadline,
        )
        .await
    }

    /// Lists the caller's tokens, the newest first; the ended ones, too, if `all`.
    pub async fn list_tokens(
        &self,
        caller_request: &CallerRequest<'_>,
        all: bool,
        deadline: Instant,
    ) -> Result<Vec<TokenDescription>, StorageError> {
        #[derive(Serialize)]
        struct ListJson {
            all: bool,
        }
        self.token_call("list_tokens", caller_request, ListJson { all }, deadline)
            .await
    }

    /// Describes one of the caller's tokens, ended or not.
    pub async fn show_token(
        &self,
        caller_request: &CallerRequest<'_>,
        token_id: Uuid,
        deadline: Instant,
    ) -> Result<TokenDescription, StorageError> {
        let function = "list_tokens";
        let found: Vec<_> = self
            .token_call(
                function,
                caller_request,
                TokenJson::only(token_id),
                deadline,
            )
            .await?;
        let found = found.into_iter().next();
        Ok(found.ok_or(Protocol::UnexpectedBody { function })?)
    }

    /// Changes one of the caller's tokens.
    pub async fn edit_token(
        &self,
        caller_request: &CallerRequest<'_>,
        token_id: Uuid,
        change: &TokenChange,
        deadline: Instant,
    ) -> Result<TokenDescription, StorageError> {
        let fields = TokenJson {
            token_id,
            fields: change,
        };
        self.token_call("edit_token", caller_request, fields, deadline)
            .await
    }

    /// Gives one of the caller's tokens a new secret; the old one passes for `overlap_seconds` more.
    pub async fn rotate_token(
        &self,
        caller_request: &CallerRequest<'_>,
        token_id: Uuid,
        (digest, label): &(TokenDigest, String),
        overlap_seconds: u32,
        deadline: Instant,
    ) -> Result<TokenDescription, StorageError> {
        #[derive(Serialize)]
        struct OverlapJson {
            overlap_seconds: u32,
        }
        let fields = TokenJson {
            token_id,
            fields: SecretJson {
                digest: digest.to_string(),
                label,
                settings: OverlapJson { overlap_seconds },
            },
        };
        self.token_call("rotate_token", caller_request, fields, deadline)
            .await
    }

    /// Ends one of the caller's tokens.
    pub async fn revoke_token(
        &self,
        caller_request: &CallerRequest<'_>,
        token_id: Uuid,
        deadline: Instant,
    ) -> Result<TokenDescription, StorageError> {
        self.token_call(
            "revoke_token",
            caller_request,
            TokenJson::only(token_id),
            deadline,
        )
        .await
    }

    /// Describes a token to the one who presents it, and counts the request. A repeated call counts twice.
    pub async fn describe_token(
        &self,
        presenting: &Presenting<'_>,
        deadline: Instant,
    ) -> Result<PresentedToken, StorageError> {
        #[derive(Serialize)]
        struct PresentedJson<'a> {
            token_digest: String,
            request_time: i64,
            owners: &'a AllowedDids,
            requests_per_minute: Option<NonZeroU32>,
        }
        let argument = Argument::Request(PresentedJson {
            token_digest: presenting.digest.to_string(),
            request_time: presenting.request_time.as_millisecond(),
            owners: presenting.owners,
            requests_per_minute: presenting.requests_per_minute,
        });
        self.call("describe_token", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }

    async fn token_call<T: serde::de::DeserializeOwned>(
        &self,
        function: &'static str,
        caller_request: &CallerRequest<'_>,
        fields: impl Serialize,
        deadline: Instant,
    ) -> Result<T, StorageError> {
        let argument = Argument::Request(CallJson {
            caller_request: caller_request.into(),
            fields,
        });
        self.call(function, &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }
}

#[derive(Serialize)]
struct CallJson<'a, T> {
    #[serde(flatten)]
    caller_request: CallerRequestJson<'a>,
    #[serde(flatten)]
    fields: T,
}

#[derive(Serialize)]
struct TokenJson<T> {
    token_id: Uuid,
    #[serde(flatten)]
    fields: T,
}

/// No further fields.
#[derive(Serialize)]
struct Nothing {}

impl TokenJson<Nothing> {
    fn only(token_id: Uuid) -> Self {
        Self {
            token_id,
            fields: Nothing {},
        }
    }
}

#[derive(Serialize)]
struct SecretJson<'a, T> {
    digest: String,
    label: &'a str,
    #[serde(flatten)]
    settings: T,
}
