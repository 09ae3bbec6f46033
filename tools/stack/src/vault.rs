//! A master keyset of its own for each stack, and users' keys sealed with it.

use serde_json::json;
use shared::identity::did::Did;
use shared::vault::keyset::{KeyMaterial, Keyset, KeysetFault};
use shared::vault::secret::{ApiKey, KeyId};

use crate::database::{Database, DatabaseError};
use crate::moto::{Moto, MotoError};

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the system has no randomness to give: {0}")]
    Randomness(#[from] getrandom::Error),
    #[error(transparent)]
    Keyset(#[from] KeysetFault),
    #[error(transparent)]
    Secret(#[from] MotoError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// A keyset that Secrets Manager's stand-in holds.
#[derive(Debug)]
pub struct Vault {
    keyset: Keyset,
    json: zeroize::Zeroizing<String>,
}

impl Vault {
    /// Makes a keyset and stores it as the secret `name`.
    pub fn create(secrets: &Moto, name: &str) -> Result<Self, VaultError> {
        let mut material = KeyMaterial::new([0; 64]);
        getrandom::fill(&mut material[..])?;
        let json = Keyset::generate(&material, KeyId(1));
        secrets.create_secret(name, &json)?;
        let keyset = Keyset::parse(&json)?;
        Ok(Self { keyset, json })
    }

    /// Stores the keyset as the secret `name` of a Secrets Manager that has lost it.
    pub fn restore(&self, secrets: &Moto, name: &str) -> Result<(), VaultError> {
        Ok(secrets.create_secret(name, &self.json)?)
    }

    /// The keyset's text, for tests that look for it where it must not be.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Seals `key` for `did` and stores it.
    pub fn store_key(
        &self,
        database: &Database,
        did: &Did,
        key: &ApiKey,
    ) -> Result<(), VaultError> {
        let sealed = self.keyset.seal(did.as_str(), key);
        let row = json!({
            "did": did.as_str(),
            "openrouter_key_hash": key.hash(),
            "encrypted_api_key": sealed.to_column(),
            "seal_key_id": sealed.key_id().0,
            "key_name": "local",
        });
        Ok(database.insert("user_api_keys", &row)?)
    }
}
