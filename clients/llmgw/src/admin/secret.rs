//! Reading and changing the secret that holds the keyset. Needs the rights
//! `secretsmanager:GetSecretValue` and `PutSecretValue`, and `CreateSecret` for a new one.

use std::fmt;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use shared::vault::secrets_manager::{FetchError, KeysetSource};
use zeroize::Zeroizing;

/// The secret's current version.
pub(super) struct StoredKeyset {
    /// Its text.
    pub(super) text: Zeroizing<String>,
    /// Secrets Manager's id of it.
    pub(super) version_id: String,
    /// When it was written.
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

/// Why the secret was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplaceError {
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

/// Reads the secret with what identifies its version.
pub(super) async fn read(source: &KeysetSource) -> Result<StoredKeyset, FetchError> {
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

/// Puts `text` in the place of `old`, unless another version has taken that place already.
///
/// Secrets Manager knows no condition on writing, but it keeps a version's content for good:
/// the new version's id is derived from the old one's, so of two who change the same version
/// the second is refused, whatever happened between its reading and its writing. (After a
/// version was made current again by hand, its successor exists: then every change is refused,
/// until the value is put once more under a new id.)
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>
pub(super) async fn replace(
    source: &KeysetSource,
    old: &StoredKeyset,
    text: &str,
) -> Result<(), ReplaceError> {
    // Says sooner what the id would say, and to services that do not keep that promise, too.
    if read(source).await?.version_id != old.version_id {
        return Err(ReplaceError::Conflict);
    }
    put(source, &old.version_id, text).await
}

/// Makes the secret with `text` as its first version, or gives one that has no value yet (templates
/// make such) its first.
pub(super) async fn create(source: &KeysetSource, text: &str) -> Result<(), ReplaceError> {
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

async fn fill(source: &KeysetSource, text: &str) -> Result<(), ReplaceError> {
    match read(source).await {
        Ok(_) => Err(ReplaceError::Exists),
        Err(error) if is_missing(&error) => put(source, "nothing", text).await,
        Err(error) => Err(error.into()),
    }
}

/// Writes the version that follows `version_id`, which exists once at most.
async fn put(source: &KeysetSource, version_id: &str, text: &str) -> Result<(), ReplaceError> {
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

/// The id of the version that follows. 32 to 64 characters are allowed; this has 64.
fn successor(version_id: &str) -> String {
    hex::encode(Sha256::digest(format!(
        "llm-gateway keyset after {version_id}"
    )))
}

fn already_exists(error: &FetchError) -> bool {
    matches!(error, FetchError::Refused { code, .. } if code == "ResourceExistsException")
}

/// There is no such secret, or it has no value.
pub(super) fn is_missing(error: &FetchError) -> bool {
    matches!(error, FetchError::Refused { code, .. } if code == "ResourceNotFoundException")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use shared::{
        http_client,
        vault::secrets_manager::{AwsCredentials, KEYSET_LIFETIME, KeysetLocation},
    };
    use stack::{Moto, Port, RunDir, Tools, Workspace};

    use super::*;

    /// All of them look before any of them writes, so only the derived id keeps them apart.
    #[tokio::test]
    #[ignore = "needs TOOLS"]
    async fn of_writers_at_the_same_time_one_is_let_through() {
        let workspace = Workspace::locate();
        let tools = Tools::install(&workspace).unwrap();
        let run = RunDir::unique(&workspace, "admin-secret").unwrap();
        let moto = Moto::start(&tools, &run, Port::free().unwrap()).unwrap();
        let location = KeysetLocation {
            secret_id: "admin/race".to_owned(),
            region: "us-east-1".to_owned(),
            endpoint_url: Some(moto.url()),
            lifetime: KEYSET_LIFETIME,
        };
        let credentials = AwsCredentials {
            access_key_id: "local".to_owned(),
            secret_access_key: Zeroizing::new("local".to_owned()),
            session_token: None,
        };
        let http = http_client::without_tls(Duration::from_secs(5)).unwrap();
        let source = KeysetSource::new(http, location, &credentials);

        let missing = read(&source).await.unwrap_err();
        assert!(is_missing(&missing), "{missing:?}");
        let (client, name) = source.client();
        client.create_secret().name(name).send().await.unwrap();
        let empty = read(&source).await.unwrap_err();
        assert!(is_missing(&empty), "{empty:?}");
        create(&source, "first").await.unwrap();
        let again = create(&source, "again").await;
        assert!(matches!(again, Err(ReplaceError::Exists)), "{again:?}");
        let first = read(&source).await.unwrap();
        let texts = ["a", "b", "c", "d", "e", "f"];
        let outcomes = join_all(texts.map(|text| replace(&source, &first, text))).await;
        let conflicts = outcomes
            .iter()
            .filter(|it| matches!(it, Err(ReplaceError::Conflict)));
        assert_eq!(conflicts.count(), texts.len() - 1, "{outcomes:?}");
        let winner = outcomes.iter().position(Result::is_ok).unwrap();
        let second = read(&source).await.unwrap();
        assert_eq!(second.text.as_str(), texts[winner]);
        replace(&source, &second, "third").await.unwrap();
    }

    #[test]
    fn a_version_has_one_successor_that_secrets_manager_accepts() {
        let successor = successor("4b1c8a7e-5f0e-4f7e-9f6d-0d6c3f1f8a11");
        assert_eq!(successor.len(), 64);
        assert_eq!(
            successor,
            super::successor("4b1c8a7e-5f0e-4f7e-9f6d-0d6c3f1f8a11")
        );
        assert_ne!(successor, super::successor(&successor));
    }
}
