//! A keyset in Secrets Manager. Needs the permissions `secretsmanager:GetSecretValue` and
//! `PutSecretValue`, and `CreateSecret` for a new secret.

use std::fmt;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use shared::vault::secrets_manager::{FetchError, SecretSource};
use zeroize::Zeroizing;

/// The current version of the secret.
pub(super) struct StoredKeyset {
    /// The content.
    pub(super) text: Zeroizing<String>,
    /// The version's id.
    pub(super) version_id: String,
    /// The time of its creation.
    pub(super) changed_at: Timestamp,
}

impl fmt::Debug for StoredKeyset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKeyset")
            .field("version_id", &self.version_id)
            .field("changed_at", &self.changed_at)
            .finish_non_exhaustive()
    }
}

/// The reason why the secret was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplaceError {
    /// Somebody else has changed it since it was read. Nothing was written.
    #[error("somebody else has changed the secret since it was read")]
    Conflict,
    /// It cannot be created because it exists.
    #[error("the secret exists already")]
    Exists,
    /// It could not be written, or the result is unknown.
    #[error("the secret could not be written")]
    Failed(#[from] FetchError),
}

/// Reads the current version.
pub(super) async fn read(source: &SecretSource) -> Result<StoredKeyset, FetchError> {
    let (client, secret_id) = source.client();
    let request = client.get_secret_value().secret_id(secret_id);
    let secret = Box::pin(request.send()).await.map_err(FetchError::from)?;
    let unreadable = FetchError::Unreadable { status: 200 };
    let (Some(version_id), Some(created)) = (secret.version_id, secret.created_date) else {
        return Err(unreadable);
    };
    Ok(StoredKeyset {
        text: secret
            .secret_string
            .map(Zeroizing::new)
            .ok_or(FetchError::NotText)?,
        version_id,
        changed_at: Timestamp::from_second(created.secs()).map_err(|_| unreadable)?,
    })
}

/// Replaces `old` by `text`, unless another version has replaced it.
///
/// Secrets Manager has no conditional writes, but the content of a version never changes. The new
/// version's id is derived from the old one's, so of two concurrent changes the second is refused.
/// (After a version was made current again by hand, its successor exists: every change is refused
/// until the value is stored once more under a new id.)
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>
pub(super) async fn replace(
    source: &SecretSource,
    old: &StoredKeyset,
    text: &str,
) -> Result<(), ReplaceError> {
    // Reports most conflicts earlier, also on services that let a version's content change.
    if read(source).await?.version_id != old.version_id {
        return Err(ReplaceError::Conflict);
    }
    put(source, &old.version_id, text).await
}

/// Creates the secret with `text` as its first version. A secret without a value, as templates create
/// it, gets its first version.
pub(super) async fn create(source: &SecretSource, text: &str) -> Result<(), ReplaceError> {
    let (client, secret_id) = source.client();
    let request = client
        .create_secret()
        .name(secret_id)
        .description("LLM Gateway: the Tink keyset that seals users' keys")
        .secret_string(text);
    match Box::pin(request.send()).await.map_err(FetchError::from) {
        Ok(_) => Ok(()),
        Err(error) if already_exists(&error) => fill(source, text).await,
        Err(error) => Err(error.into()),
    }
}

async fn fill(source: &SecretSource, text: &str) -> Result<(), ReplaceError> {
    match read(source).await {
        Ok(_) => Err(ReplaceError::Exists),
        Err(error) if is_missing(&error) => put(source, "nothing", text).await,
        Err(error) => Err(error.into()),
    }
}

/// Writes the successor of `version_id`, which can exist only once.
async fn put(source: &SecretSource, version_id: &str, text: &str) -> Result<(), ReplaceError> {
    let (client, secret_id) = source.client();
    let request = client
        .put_secret_value()
        .secret_id(secret_id)
        .client_request_token(successor(version_id))
        .secret_string(text);
    match Box::pin(request.send()).await.map_err(FetchError::from) {
        Ok(_) => Ok(()),
        Err(error) if already_exists(&error) => Err(ReplaceError::Conflict),
        Err(error) => Err(error.into()),
    }
}

/// The id of the successor: 64 characters, of which 32 to 64 are allowed.
fn successor(version_id: &str) -> String {
    hex::encode(Sha256::digest(format!(
        "llm-gateway keyset after {version_id}"
    )))
}

fn already_exists(error: &FetchError) -> bool {
    matches!(error, FetchError::Refused { code, .. } if code == "ResourceExistsException")
}

/// Whether the secret does not exist or has no value.
pub(super) fn is_missing(error: &FetchError) -> bool {
    matches!(error, FetchError::Refused { code, .. } if code == "ResourceNotFoundException")
}

#[cfg(test)]
mod tests;
