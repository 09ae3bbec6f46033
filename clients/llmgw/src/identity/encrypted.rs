//! The encrypted identity file, which the console reads and writes, too.
//!
//! ```json
//! {
//!   "format": "llm-gateway-identity",
//!   "version": 1,
//!   "did": "did:key:…",
//!   "algorithm": "Ed25519",
//!   "kdf": { "name": "PBKDF2", "hash": "SHA-256", "iterations": 600000, "salt": "16 bytes" },
//!   "cipher": { "name": "AES-256-GCM", "iv": "12 bytes" },
//!   "ciphertext": "…, with the 16-byte tag at its end"
//! }
//! ```
//!
//! Bytes are in base64url without padding. The plaintext is the private key as PKCS #8 in DER (RFC 8410 §7; RFC 5915
//! for P-256). The encryption key is PBKDF2-HMAC-SHA-256 of the passphrase in UTF-8 and NFC. The additional data is
//! `llm-gateway-identity:1:{did}`.

use std::{num::NonZeroU32, ops::RangeInclusive};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::SigningKey;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ring::{aead, pbkdf2};
use serde::{Deserialize, Serialize};
use shared::identity::did::{DidUrl, KeyType};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::key::{Key, may_be_of};

const FORMAT: &str = "llm-gateway-identity";
const VERSION: u32 = 1;
const KDF: &str = "PBKDF2";
const HASH: &str = "SHA-256";
const CIPHER: &str = "AES-256-GCM";
/// The number of rounds that are written; readers accept them up to [`MAX_ITERATIONS`].
const ITERATIONS: u32 = 600_000;
const MAX_ITERATIONS: u32 = 10_000_000;
/// The shortest passphrase that a file is written with, in characters.
const MIN_PASSPHRASE: usize = 8;
/// A private key of RFC 8410 §7, up to the seed.
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    version: u32,
    did: String,
    algorithm: String,
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    hash: String,
    iterations: u32,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    iv: String,
}

/// Whether a text is meant to be an encrypted identity.
pub(crate) fn is_encrypted(text: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Format {
        format: String,
    }
    serde_json::from_slice(text).is_ok_and(|it: Format| it.format == FORMAT)
}

/// Encrypts a key and its DID. `salt` and `iv` have to be random.
pub(super) fn encrypt(
    private: &Key,
    did: &DidUrl,
    passphrase: &str,
    salt: [u8; 16],
    iv: [u8; 12],
) -> Result<String, EncryptedError> {
    encrypt_with(private, did, passphrase, salt, iv, ITERATIONS)
}

fn encrypt_with(
    private: &Key,
    did: &DidUrl,
    passphrase: &str,
    salt: [u8; 16],
    iv: [u8; 12],
    iterations: u32,
) -> Result<String, EncryptedError> {
    if passphrase.chars().count() < MIN_PASSPHRASE {
        return Err(EncryptedError::ShortPassphrase);
    }
    let did = did.to_string();
    let mut text = pkcs8(private).ok_or(EncryptedError::External)?;
    let key = derive(passphrase, &salt, iterations)?;
    let nonce = aead::Nonce::assume_unique_for_key(iv);
    let tag = key
        .seal_in_place_separate_tag(nonce, additional_data(&did), &mut text)
        .map_err(|_| EncryptedError::Refused)?;
    let file = File {
        format: FORMAT.to_owned(),
        version: VERSION,
        algorithm: private.public().key_type().name().to_owned(),
        kdf: Kdf {
            name: KDF.to_owned(),
            hash: HASH.to_owned(),
            iterations,
            salt: BASE64_URL_SAFE_NO_PAD.encode(salt),
        },
        cipher: Cipher {
            name: CIPHER.to_owned(),
            iv: BASE64_URL_SAFE_NO_PAD.encode(iv),
        },
        ciphertext: BASE64_URL_SAFE_NO_PAD.encode([&text[..], tag.as_ref()].concat()),
        did,
    };
    let mut json = serde_json::to_string_pretty(&file).map_err(|_| EncryptedError::Malformed)?;
    json.push('\n');
    Ok(json)
}

/// Decrypts a key and its DID, and checks that they belong together.
pub(super) fn decrypt(text: &[u8], passphrase: &str) -> Result<(Key, DidUrl), EncryptedError> {
    decrypt_within(text, passphrase, ITERATIONS..=MAX_ITERATIONS)
}

fn decrypt_within(
    text: &[u8],
    passphrase: &str,
    iterations: RangeInclusive<u32>,
) -> Result<(Key, DidUrl), EncryptedError> {
    let file: File = serde_json::from_slice(text).map_err(|_| EncryptedError::Malformed)?;
    let File { kdf, cipher, .. } = &file;
    let is_known = file.format == FORMAT
        && file.version == VERSION
        && (&*kdf.name, &*kdf.hash, &*cipher.name) == (KDF, HASH, CIPHER);
    if !is_known {
        return Err(EncryptedError::Unknown);
    }
    if !iterations.contains(&kdf.iterations) {
        return Err(EncryptedError::Iterations(kdf.iterations));
    }
    let key_type = KeyType::ALL
        .into_iter()
        .find(|it| it.name() == file.algorithm)
        .ok_or(EncryptedError::Unknown)?;
    let salt: [u8; 16] = bytes(&kdf.salt)?;
    let iv: [u8; 12] = bytes(&cipher.iv)?;
    let mut sealed = BASE64_URL_SAFE_NO_PAD
        .decode(&file.ciphertext)
        .map(Zeroizing::new)
        .map_err(|_| EncryptedError::Malformed)?;
    let key = derive(passphrase, &salt, kdf.iterations)?;
    let nonce = aead::Nonce::assume_unique_for_key(iv);
    let pkcs8 = key
        .open_in_place(nonce, additional_data(&file.did), &mut sealed)
        .map_err(|_| EncryptedError::Refused)?;
    let key = from_pkcs8(pkcs8, key_type).ok_or(EncryptedError::Key)?;
    let did = DidUrl::parse(&file.did).map_err(|_| EncryptedError::Malformed)?;
    if may_be_of(&did, &key.public()).is_ok_and(|it| it) {
        Ok((key, did))
    } else {
        Err(EncryptedError::AnotherKey)
    }
}

fn derive(
    passphrase: &str,
    salt: &[u8],
    iterations: u32,
) -> Result<aead::LessSafeKey, EncryptedError> {
    let iterations = NonZeroU32::new(iterations).ok_or(EncryptedError::Iterations(0))?;
    let passphrase = Zeroizing::new(passphrase.nfc().collect::<String>());
    let mut key = Zeroizing::new([0; 32]);
    let secret = passphrase.as_bytes();
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        secret,
        &mut *key,
    );
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, &*key);
    key.map(aead::LessSafeKey::new)
        .map_err(|_| EncryptedError::Refused)
}

fn additional_data(did: &str) -> aead::Aad<String> {
    aead::Aad::from(format!("{FORMAT}:{VERSION}:{did}"))
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], EncryptedError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(EncryptedError::Malformed)
}

fn pkcs8(key: &Key) -> Option<Zeroizing<Vec<u8>>> {
    match key {
        Key::Ed25519(key) => Some(Zeroizing::new(
            [&ED25519_PKCS8[..], key.as_bytes()].concat(),
        )),
        Key::P256(key) => {
            let der = p256::SecretKey::from(key).to_pkcs8_der().ok()?;
            Some(Zeroizing::new(der.as_bytes().to_vec()))
        }
        Key::External { .. } => None,
    }
}

fn from_pkcs8(der: &[u8], key_type: KeyType) -> Option<Key> {
    match key_type {
        KeyType::Ed25519 => {
            let seed = der.strip_prefix(&ED25519_PKCS8)?.try_into().ok()?;
            Some(Key::Ed25519(SigningKey::from_bytes(seed)))
        }
        KeyType::P256 => {
            let secret = p256::SecretKey::from_pkcs8_der(der).ok()?;
            Some(Key::P256(secret.into()))
        }
    }
}

/// The reason why an identity cannot be encrypted or decrypted. It contains nothing of either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncryptedError {
    /// Too easy to guess.
    #[error(
        "a passphrase has at least {MIN_PASSPHRASE} characters; several random words are a good one"
    )]
    ShortPassphrase,
    /// The key is in hardware.
    #[error(
        "the key is held by a command and cannot be exported; export it with the tools of its hardware"
    )]
    External,
    /// Not the JSON of the format.
    #[error("the file is not an encrypted identity, or damaged")]
    Malformed,
    /// Another version or algorithm.
    #[error(
        "the file was written by a newer version: its version or one of its algorithms is unknown"
    )]
    Unknown,
    /// So few that guessing is cheap, or so many that reading never ends.
    #[error("the file asks for {0} rounds of PBKDF2; 600000 to 10000000 are accepted")]
    Iterations(u32),
    /// The tag does not match.
    #[error("the passphrase is wrong, or the file was changed")]
    Refused,
    /// The plaintext is no key of the algorithm.
    #[error("the file does not contain a private key of its algorithm")]
    Key,
    /// The DID is that of another key.
    #[error("the did in the file belongs to another key")]
    AnotherKey,
}

#[cfg(test)]
mod tests;
