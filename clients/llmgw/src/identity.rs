//! The user's identity: a key and the DID that it controls, kept in a file.
//!
//! ```json
//! {
//!   "did": "did:key:z6Mk…",
//!   "secret_key_seed": "43 characters of base64url: the 32 bytes of RFC 8032 §5.1.5"
//! }
//! ```
//!
//! A P-256 key has `p256_secret_key` in its place, 32 bytes in base64url, too, and a key in hardware `sign_command`,
//! with its `did:key` in `public_key` where the DID is a `did:web`, which does not contain it.
//!
//! Anyone who reads the file can spend its owner's credit. It is written with mode 0600 from the first
//! byte on, and refused while others may read it.

mod encrypted;
mod key;
mod public_key;

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{SECRET_KEY_LENGTH, SigningKey};
use serde::{Deserialize, Serialize};
use shared::identity::did::{Did, DidError, DidUrl, KeySource, PublicKey, Signature};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use self::key::Key;
pub use self::{encrypted::EncryptedError, key::KeyError};
pub(crate) use self::{encrypted::is_encrypted, key::may_be_of, public_key::from_pem};

use crate::private_file;
pub use crate::private_file::Existing;

/// The most that is read of a file. An identity is far smaller.
const MAX_FILE: u64 = 4096;
/// The length without padding.
const SEED_BASE64_LEN: usize = 43;
/// The permission bits of everyone but the owner.
const GROUP_AND_OTHERS: u32 = 0o077;

/// A key and its DID. The key is wiped from memory when the identity is dropped.
pub struct Identity {
    key: Key,
    did: DidUrl,
}

impl Identity {
    /// The `did:key` identity of a seed, which must be random and secret.
    #[must_use]
    pub fn from_seed(seed: &[u8; SECRET_KEY_LENGTH]) -> Self {
        Self::of_key(Key::Ed25519(SigningKey::from_bytes(seed)))
    }

    /// The `did:key` identity of a P-256 key, whose secret must be random. Nothing for the few secrets that are no
    /// key: zero, and what is not below the curve's order.
    #[must_use]
    pub fn from_p256(secret: &[u8; SECRET_KEY_LENGTH]) -> Option<Self> {
        Key::p256(secret).map(Self::of_key)
    }

    /// The identity of a key that a program holds. The command is run once, so that an unusable one is not stored.
    pub fn external(
        command: String,
        did: Option<DidUrl>,
        public: PublicKey,
    ) -> Result<Self, KeyError> {
        let did = did.unwrap_or_else(|| Did::from_public_key(&public).into());
        let key = Key::External { command, public };
        key.sign(b"llm-gateway: a test of the command that holds this key")?;
        Ok(Self { key, did })
    }

    fn of_key(key: Key) -> Self {
        let did = Did::from_public_key(&key.public()).into();
        Self { key, did }
    }

    /// Generates an identity with the system's random number generator (`getrandom::fill`).
    pub fn generate<E>(fill_random: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut seed = Zeroizing::new([0; SECRET_KEY_LENGTH]);
        fill_random(seed.as_mut_slice())?;
        Ok(Self::from_seed(&seed))
    }

    /// Whether a program holds the key.
    #[must_use]
    pub fn is_external(&self) -> bool {
        matches!(self.key, Key::External { .. })
    }

    /// Reads an identity file. Refuses one that others may read.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        Self::parse(&read_private(path)?, path)
    }

    /// Parses the content of an identity file. `path` is its origin, for errors.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, IdentityError> {
        if is_encrypted(text) {
            return Err(IdentityError::Encrypted {
                path: path.to_owned(),
            });
        }
        let not_an_identity = |line, column| IdentityError::NotAnIdentity {
            path: path.to_owned(),
            line,
            column,
        };
        // The parser's errors quote the text, so only their position is kept.
        let stored: Stored = serde_json::from_slice(text)
            .map_err(|error| not_an_identity(error.line(), error.column()))?;
        let did_error = |source| IdentityError::Did {
            path: path.to_owned(),
            source,
        };
        let did = DidUrl::parse(&stored.did).map_err(did_error)?;
        let key = stored.key(&did, path)?;
        let key = key.ok_or_else(|| not_an_identity(1, 1))?;
        if !may_be_of(&did, &key.public()).map_err(did_error)? {
            return Err(IdentityError::AnotherKey {
                path: path.to_owned(),
            });
        }
        Ok(Self { key, did })
    }

    /// Writes the identity file atomically, with mode 0600. A missing directory is created with mode
    /// 0700.
    pub fn save(&self, path: &Path, existing: Existing) -> Result<(), IdentityError> {
        private_file::write(path, &self.to_json(), existing).map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::AlreadyExists => IdentityError::Exists { path },
                _ => IdentityError::Write { path, source },
            }
        })
    }

    /// The DID.
    #[must_use]
    pub fn did(&self) -> &Did {
        self.did.did()
    }

    /// The DID in the form that is sent.
    #[must_use]
    pub fn did_url(&self) -> &DidUrl {
        &self.did
    }

    /// Signs a text.
    pub fn sign(&self, text: &[u8]) -> Result<Signature, KeyError> {
        self.key.sign(text)
    }

    /// The public half of the key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    /// Encrypts it for a file. `salt` and `iv` have to be random.
    pub(crate) fn encrypt(
        &self,
        passphrase: &str,
        salt: [u8; 16],
        iv: [u8; 12],
    ) -> Result<String, EncryptedError> {
        encrypted::encrypt(&self.key, &self.did, passphrase, salt, iv)
    }

    /// Decrypts the text of a file, and checks that the key belongs to the DID.
    pub(crate) fn decrypt(text: &[u8], passphrase: &str) -> Result<Self, EncryptedError> {
        let (key, did) = encrypted::decrypt(text, passphrase)?;
        Ok(Self { key, did })
    }

    /// The file's content, which is the secret.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        // The full capacity at once: a reallocation would leave a copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(1024));
        // Writing text to memory cannot fail.
        let _ = serde_json::to_writer_pretty(&mut *text, &Stored::from(self));
        text.push(b'\n');
        text
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("did", &self.did.to_string())
            .finish_non_exhaustive()
    }
}

/// The reason why an identity cannot be read or written. It contains nothing of the file's content.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum IdentityError {
    #[error("there is no identity at {}; create one with `llmgw identity new`", path.display())]
    Missing { path: PathBuf },
    #[error("cannot read the identity {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a file; an identity is one, like `llmgw identity new` writes it", path.display())]
    NotAFile { path: PathBuf },
    #[error(
        "others may read the identity {0} (mode {mode:04o}); if nobody has, run `chmod 600 {0}`, \
         otherwise create a new one",
        path.display()
    )]
    ReadableByOthers { path: PathBuf, mode: u32 },
    #[error(
        "{} is not an identity file (line {line}, column {column}); an identity is JSON with the \
         fields did and secret_key_seed, as `llmgw identity new` writes it",
        path.display()
    )]
    NotAnIdentity {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    #[error(
        "secret_key_seed in {} is not 32 bytes in base64url without padding ({SEED_BASE64_LEN} characters)",
        path.display()
    )]
    Seed { path: PathBuf },
    #[error("the did in {} cannot be used", path.display())]
    Did { path: PathBuf, source: DidError },
    #[error("p256_secret_key in {} is not a private key on P-256", path.display())]
    P256 { path: PathBuf },
    #[error(
        "{} is an encrypted identity; `llmgw identity import` reads it with its passphrase",
        path.display()
    )]
    Encrypted { path: PathBuf },
    #[error("the did in {} belongs to another key than secret_key_seed", path.display())]
    AnotherKey { path: PathBuf },
    #[error(
        "an identity exists already at {}; --force replaces it, and it cannot be recovered",
        path.display()
    )]
    Exists { path: PathBuf },
    #[error("cannot write the identity {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// The file's content, with one of the three kinds of keys.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Stored {
    did: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_key_seed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p256_secret_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
}

impl Stored {
    /// The key, unless there is none or more than one.
    fn key(&self, did: &DidUrl, path: &Path) -> Result<Option<Key>, IdentityError> {
        let path = || path.to_owned();
        let kinds = (
            &self.secret_key_seed,
            &self.p256_secret_key,
            &self.sign_command,
        );
        Ok(match kinds {
            (Some(seed), None, None) => {
                let seed = secret(seed).ok_or_else(|| IdentityError::Seed { path: path() })?;
                Some(Key::Ed25519(SigningKey::from_bytes(&seed)))
            }
            (None, Some(text), None) => {
                let key = secret(text).and_then(|it| Key::p256(it.as_slice()));
                Some(key.ok_or_else(|| IdentityError::P256 { path: path() })?)
            }
            (None, None, Some(command)) => {
                let public = match (did.key_source(), &self.public_key) {
                    (Ok(KeySource::Document(_)), Some(public)) => {
                        Did::parse(public).and_then(|it| it.public_key())
                    }
                    _ => did.public_key(),
                };
                let public = public.map_err(|source| IdentityError::Did {
                    path: path(),
                    source,
                })?;
                Some(Key::External {
                    command: command.clone(),
                    public,
                })
            }
            _ => None,
        })
    }
}

fn secret(text: &str) -> Option<Zeroizing<[u8; SECRET_KEY_LENGTH]>> {
    if text.len() != SEED_BASE64_LEN {
        return None;
    }
    // The decoder needs room for whole groups of three bytes.
    let mut decoded = Zeroizing::new([0; SECRET_KEY_LENGTH + 1]);
    let written = BASE64_URL_SAFE_NO_PAD
        .decode_slice(text, decoded.as_mut_slice())
        .ok()?;
    let secret = decoded.get(..written)?.try_into().ok()?;
    Some(Zeroizing::new(secret))
}

impl From<&Identity> for Stored {
    fn from(identity: &Identity) -> Self {
        let encode = |it: Zeroizing<[u8; 32]>| BASE64_URL_SAFE_NO_PAD.encode(it.as_slice());
        let secret = identity.key.secret().map(encode);
        let mut stored = Self {
            did: identity.did.to_string(),
            secret_key_seed: None,
            p256_secret_key: None,
            sign_command: None,
            public_key: None,
        };
        match &identity.key {
            Key::Ed25519(_) => stored.secret_key_seed = secret,
            Key::P256(_) => stored.p256_secret_key = secret,
            Key::External { command, public } => {
                stored.sign_command = Some(command.clone());
                if identity.did.public_key().is_err() {
                    stored.public_key = Some(Did::from_public_key(public).to_string());
                }
            }
        }
        stored
    }
}

/// Reads a file after checking the permissions of the open file, which no renaming can change.
fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let read_error = |source: io::Error| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => IdentityError::Missing { path },
            _ => IdentityError::Read { path, source },
        }
    };
    let file = File::open(path).map_err(read_error)?;
    let metadata = file.metadata().map_err(read_error)?;
    if metadata.is_dir() {
        return Err(IdentityError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & GROUP_AND_OTHERS != 0 {
        return Err(IdentityError::ReadableByOthers {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_FILE).unwrap_or(0)));
    file.take(MAX_FILE)
        .read_to_end(&mut text)
        .map_err(read_error)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
