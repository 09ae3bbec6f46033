//! The client, and the encodings that its functions share.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de, de::DeserializeOwned};
use shared::{
    storage::{
        ATTEMPTS_IN_FRONT, Argument, RollupCheck, RollupQuery, Schema, Storage, StorageError,
        StorageKey,
    },
    vault::secret::KeyId,
};
use tokio::time::Instant;
use url::Url;

/// A client of the database functions for operators.
#[derive(Debug)]
pub struct AdminStorage(pub(super) Storage);

impl AdminStorage {
    /// A client of the `PostgREST` at `rest_url`. `attempt_timeout` is the timeout of each attempt.
    #[must_use]
    pub fn new(
        client: reqwest::Client,
        rest_url: &Url,
        key: StorageKey,
        attempt_timeout: Duration,
    ) -> Self {
        Self(Storage::new(client, rest_url, key).with_attempt_timeout(attempt_timeout))
    }

    /// Compares the sums of usage with their requests.
    pub async fn check_rollup(
        &self,
        query: &RollupQuery<'_>,
        deadline: Instant,
    ) -> Result<RollupCheck, StorageError> {
        self.0.check_rollup(query, deadline).await
    }

    /// The schema.
    pub async fn schema(&self, deadline: Instant) -> Result<Schema, StorageError> {
        self.0.schema(deadline).await
    }

    pub(super) async fn request<T: DeserializeOwned>(
        &self,
        function: &'static str,
        request: impl Serialize,
        deadline: Instant,
    ) -> Result<T, StorageError> {
        let argument = Argument::Request(request);
        self.0
            .call(function, &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }
}

/// A key's id as text, or null.
pub(super) fn key_id<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<KeyId>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| text.parse().map(KeyId).map_err(de::Error::custom))
        .transpose()
}

/// A count as text.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Cow::<'de, str>::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}
