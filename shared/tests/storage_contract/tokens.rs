//! Access tokens: made, changed, rotated and ended by their DID, and the requests that come with them.

mod lifecycle;
mod reading;
mod requests;
mod scope;
mod secrets;

use jiff::Timestamp;
use shared::{
    clock::Clock,
    identity::{
        access::AllowedDids,
        access_token::{AccessToken, TokenDigest},
    },
    storage::{
        Begin, BeginSender, CallerRequest, Dimension, NamedModel, NewToken, Period, Presenting,
        Refusal, ReportQuery, StorageError, TokenChange, TokenDescription, TokenRefusal,
        TokenSettings, UnreadableModels, UsageLabels, UsageReport,
    },
};
use uuid::Uuid;

use crate::{
    usage::{question, sums},
    user::{User, books, fingerprint, refusal, soon},
};

/// Any owner.
static ANYONE: AllowedDids = AllowedDids::ANYONE;

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

/// Reads what the token may read, at a time, as often as one likes.
fn presenting(digest: TokenDigest, request_time: Timestamp) -> Presenting<'static> {
    Presenting {
        digest,
        request_time,
        owners: &ANYONE,
        requests_per_minute: None,
    }
}
