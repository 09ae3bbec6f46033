//! Changing the secret that holds the keyset. Needs `secretsmanager:PutSecretValue` beside
//! `GetSecretValue`, and `CreateSecret` for a new one.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{FetchError, KeysetSource};

/// The secret's current version.
pub struct StoredKeyset {
    /// Its text.
    pub text: Zeroizing<String>,
    /// Secrets Manager's id of it.
    pub version_id: String,
    /// When it was written.
    pub changed_at: Timestamp,
}

impl std::fmt::Debug for StoredKeyset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredKeyset")
            .field("version_id", &self.version_id)
            .field("changed_at", &self.changed_at)
            .finish_non_exhaustive()
    }
}

/// Why the secret was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// Somebody else changed it since it was read. Nothing was written.
    #[error("the secret has been changed by somebody else meanwhile")]
    Conflict,
    /// It exists already, so that it cannot be made.
    #[error("the secret exists already")]
    Exists,
    /// It could not be written, or it is not known whether it was.
    #[error("the secret could not be written")]
    Failed(#[from] FetchError),
}

impl KeysetSource {
    /// Reads the secret with what identifies its version.
    pub async fn read(&self) -> Result<StoredKeyset, FetchError> {
        let request = self.client.get_secret_value().secret_id(&self.secret_id);
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

    /// Puts `text` in the place of `old`, unless another version has taken that place already.
    ///
    /// Secrets Manager knows no condition on writing, but it keeps a version's content for good:
    /// the new version's id is derived from the old one's, so of two who change the same version
    /// the second is refused, whatever happened between its reading and its writing. (After a
    /// version was made current again by hand, its successor exists: then every change is refused,
    /// until the value is put once more under a new id.)
    /// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>
    pub async fn replace(&self, old: &StoredKeyset, text: &str) -> Result<(), ReplaceError> {
        // Says sooner what the id would say, and to services that do not keep that promise, too.
        if self.read().await?.version_id != old.version_id {
            return Err(ReplaceError::Conflict);
        }
        let request = self
            .client
            .put_secret_value()
            .secret_id(&self.secret_id)
            .client_request_token(successor(&old.version_id))
            .secret_string(text);
        match Box::pin(request.send()).await.map_err(FetchError::from) {
            Ok(_) => Ok(()),
            Err(error) if already_exists(&error) => Err(ReplaceError::Conflict),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the secret with `text` as its first version.
    pub async fn create(&self, text: &str) -> Result<(), ReplaceError> {
        let request = self
            .client
            .create_secret()
            .name(&self.secret_id)
            .description("LLM Gateway: the Tink keyset that seals users' keys")
            .secret_string(text);
        match Box::pin(request.send()).await.map_err(FetchError::from) {
            Ok(_) => Ok(()),
            Err(error) if already_exists(&error) => Err(ReplaceError::Exists),
            Err(error) => Err(error.into()),
        }
    }
}

/// The id of the version that follows. 32 to 64 characters are allowed; this has 64.
fn successor(version_id: &str) -> String {
    hex::encode(Sha256::digest(format!(
        "llm-gateway keyset after {version_id}"
    )))
}

fn already_exists(error: &FetchError) -> bool {
    matches!(error, FetchError::Refused { code, .. } if code == "ResourceExistsException")
}
