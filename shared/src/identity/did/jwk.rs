//! JSON Web Keys (RFC 7517) that hold a public key, such as `{"kty":"OKP","crv":"Ed25519","x":…}` (RFC 8037 §2) or
//! `{"kty":"EC","crv":"P-256","x":…,"y":…}` (RFC 7518 §6.2.1).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};

use super::{DidError, KeyType, PublicKey, UnsupportedKey, key::P256Key};
use crate::strict_json;

/// The members of a JWK that decide. Duplicates are refused; members that are not here (`alg`,
/// `kid`, …) change nothing.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
    #[serde(rename = "use")]
    usage: Option<String>,
}

impl Jwk {
    /// Reads one object, which is all of `json`.
    pub(super) fn read(json: &str) -> Result<Self, DidError> {
        strict_json::from_str(json).map_err(|_| DidError::Jwk)
    }

    /// The key, which has to be public and for signatures.
    pub(super) fn public_key(&self) -> Result<PublicKey, DidError> {
        if self.d.is_some() {
            return Err(DidError::PrivateKey);
        }
        let key_type = self.key_type()?;
        // The specification of did:jwk gives a key with `use: enc` to key agreement only.
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err(DidError::JwkNotForSignatures);
        }
        match key_type {
            KeyType::Ed25519 => key_type.read(&coordinate(self.x.as_deref())?),
            KeyType::P256 => {
                let (x, y) = (
                    coordinate(self.x.as_deref())?,
                    coordinate(self.y.as_deref())?,
                );
                P256Key::from_coordinates(&x, &y).map(PublicKey::P256)
            }
        }
    }

    fn key_type(&self) -> Result<KeyType, DidError> {
        let crv = self.crv.as_deref();
        let named =
            |it: &KeyType| (self.kty.as_str(), crv) == (it.jwk_names().0, Some(it.jwk_names().1));
        KeyType::ALL
            .into_iter()
            .find(named)
            .ok_or_else(|| DidError::UnsupportedKeyType(UnsupportedKey::from_jwk(&self.kty, crv)))
    }
}

fn coordinate(text: Option<&str>) -> Result<Vec<u8>, DidError> {
    let text = text.ok_or(DidError::Jwk)?;
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| DidError::Jwk)
}
