//! The version of the database's schema, as the database tells it.

use serde::Deserialize;
use tokio::time::Instant;

use super::{ATTEMPTS_IN_FRONT, Argument, Storage, StorageError};

/// The schema's version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SchemaVersion {
    /// The date of the last migration: `YYYYMMDDhhmmss`.
    pub version: String,
    /// Tables and functions of that migration which do not exist, or which the gateway may not use.
    pub missing: Vec<String>,
}

impl Storage {
    /// Asks the database for its schema's version.
    pub async fn schema_version(&self, deadline: Instant) -> Result<SchemaVersion, StorageError> {
        self.call(
            "gateway_schema_version",
            &Argument::Request(()),
            ATTEMPTS_IN_FRONT,
            deadline,
        )
        .await
    }
}
