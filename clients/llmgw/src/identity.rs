//! The user's identity: an Ed25519 key and the DID that it controls, kept in a file.
//!
//! ```json
//! {
//!   "did": "did:key:z6Mk…",
//!   "secret_key_seed": "43 characters of base64url: the 32 bytes of RFC 8032 §5.1.5"
//! }
//! ```
//!
//! Whoever reads the file can spend its owner's credit, so it is written with mode 0600 from the
//! first byte on, and is not used while others may read it.

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
use shared::identity::did::{Did, DidError, DidUrl};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::private_file;
pub use crate::private_file::Existing;

/// Far more than an identity needs, and little enough to read whatever the path names.
const MAX_FILE: u64 = 4096;
/// Without padding.
const SEED_BASE64_LEN: usize = 43;
/// The bits that let anyone but the owner in.
const GROUP_AND_OTHERS: u32 = 0o077;

/// A key and its DID. The key is wiped from memory when the identity is dropped.
pub struct Identity {
    key: SigningKey,
    did: DidUrl,
}

impl Identity {
    /// The `did:key` identity of a seed, which has to be random and secret.
    #[must_use]
    pub fn from_seed(seed: &[u8; SECRET_KEY_LENGTH]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let did = Did::from_public_key(&key.verifying_key().into()).into();
        Self { key, did }
    }

    /// A new identity. `fill_random` is the system's generator (`getrandom::fill`); its failure is
    /// passed on.
    pub fn generate<E>(fill_random: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut seed = Zeroizing::new([0; SECRET_KEY_LENGTH]);
        fill_random(seed.as_mut_slice())?;
        Ok(Self::from_seed(&seed))
    }

    /// Reads an identity file, unless its permissions let others read it too.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        Self::parse(&read_private(path)?, path)
    }

    /// Reads the content of an identity file; `path` is where it comes from, for errors.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, IdentityError> {
        // Its errors quote the text, so only their place is kept.
        let stored: Stored =
            serde_json::from_slice(text).map_err(|error| IdentityError::NotAnIdentity {
                path: path.to_owned(),
                line: error.line(),
                column: error.column(),
            })?;
        let seed = stored.seed().ok_or_else(|| IdentityError::Seed {
            path: path.to_owned(),
        })?;
        let did_error = |source| IdentityError::Did {
            path: path.to_owned(),
            source,
        };
        let did = DidUrl::parse(&stored.did).map_err(did_error)?;
        let key = SigningKey::from_bytes(&seed);
        if did.public_key().map_err(did_error)? != key.verifying_key().into() {
            return Err(IdentityError::AnotherKey {
                path: path.to_owned(),
            });
        }
        Ok(Self { key, did })
    }

    /// Writes the identity file: readable by its owner alone, at once or not at all. A missing
    /// directory is made, with mode 0700.
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

    /// The DID as it is sent.
    #[must_use]
    pub fn did_url(&self) -> &DidUrl {
        &self.did
    }

    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The file's content. Whoever sees it can be this user.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        // Enough for no reallocation to leave a copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(1024));
        // Text into memory: neither can fail.
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

/// Why an identity cannot be read or written. Nothing of the file's content is in it.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the messages say it, and the fields are the place"
)]
pub enum IdentityError {
    #[error("there is no identity at {}; make one with `llmgw identity new`", path.display())]
    Missing { path: PathBuf },
    #[error("cannot read the identity {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "others may read the identity {0} (mode {mode:04o}); if nobody did, run `chmod 600 {0}`, \
         otherwise make a new one",
        path.display()
    )]
    ReadableByOthers { path: PathBuf, mode: u32 },
    #[error(
        "{} is not an identity file (line {line}, column {column}); it is JSON with the members \
         did and secret_key_seed, as `llmgw identity new` writes it",
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
    #[error("the did in {} belongs to another key than secret_key_seed", path.display())]
    AnotherKey { path: PathBuf },
    #[error(
        "there already is an identity at {}; --force replaces it, and nobody can bring it back",
        path.display()
    )]
    Exists { path: PathBuf },
    #[error("cannot write the identity {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// The file's content.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Stored {
    did: String,
    secret_key_seed: String,
}

impl Stored {
    fn seed(&self) -> Option<Zeroizing<[u8; SECRET_KEY_LENGTH]>> {
        if self.secret_key_seed.len() != SEED_BASE64_LEN {
            return None;
        }
        // The decoder asks for room for whole groups of three bytes.
        let mut decoded = Zeroizing::new([0; SECRET_KEY_LENGTH + 1]);
        let written = BASE64_URL_SAFE_NO_PAD
            .decode_slice(&self.secret_key_seed, decoded.as_mut_slice())
            .ok()?;
        let seed = decoded.get(..written)?.try_into().ok()?;
        Some(Zeroizing::new(seed))
    }
}

impl From<&Identity> for Stored {
    fn from(identity: &Identity) -> Self {
        Self {
            did: identity.did.to_string(),
            secret_key_seed: BASE64_URL_SAFE_NO_PAD.encode(identity.key.as_bytes()),
        }
    }
}

/// The permissions are those of the file that is open, not of whatever has its name later.
fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let read_error = |source: io::Error| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => IdentityError::Missing { path },
            _ => IdentityError::Read { path, source },
        }
    };
    let file = File::open(path).map_err(read_error)?;
    let mode = file.metadata().map_err(read_error)?.permissions().mode() & 0o7777;
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
mod tests {
    use std::{convert::Infallible, fs};

    use super::*;

    /// RFC 8032 §7.1, test 1; as base64url, and the DID of `shared/testdata/x_did_v1.json`.
    const SEED_HEX: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    const DID: &str = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw";

    fn identity() -> Identity {
        Identity::from_seed(&hex::decode(SEED_HEX).unwrap().try_into().unwrap())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn file(directory: &Path, text: &str, mode: u32) -> PathBuf {
        let path = directory.join("identity.json");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// The whole chain of messages, as the user sees it, and `Debug`.
    fn load_error(path: &Path) -> (String, String) {
        let error = anyhow::Error::from(Identity::load(path).unwrap_err());
        let printed = (format!("{error:#}"), format!("{error:?}"));
        (printed.0.replace(path.to_str().unwrap(), "PATH"), printed.1)
    }

    #[test]
    fn a_saved_identity_is_private_and_loads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config/llmgw/identity.json");
        identity().save(&path, Existing::Keep).unwrap();

        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&directory.path().join("config/llmgw")), 0o700);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            format!("{{\n  \"did\": \"{DID}\",\n  \"secret_key_seed\": \"{SEED}\"\n}}\n")
        );
        let entries = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(entries, 1, "no temporary file is left");

        let loaded = Identity::load(&path).unwrap();
        assert_eq!(loaded.did().as_str(), DID);
        assert_eq!(loaded.key().to_bytes(), identity().key().to_bytes());
    }

    #[test]
    fn an_identity_is_replaced_only_on_request() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.json");
        identity().save(&path, Existing::Keep).unwrap();

        let other = Identity::from_seed(&[1; 32]);
        let error = other.save(&path, Existing::Keep).unwrap_err();
        assert!(matches!(error, IdentityError::Exists { .. }), "{error}");
        assert!(error.to_string().contains("--force"));
        assert_eq!(Identity::load(&path).unwrap().did().as_str(), DID);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        other.save(&path, Existing::Replace).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(Identity::load(&path).unwrap().did(), other.did());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn generated_identities_use_the_given_randomness() {
        let fill = |byte| {
            move |bytes: &mut [u8]| -> Result<(), Infallible> {
                bytes.fill(byte);
                Ok(())
            }
        };
        let Ok(one) = Identity::generate(fill(1));
        let Ok(two) = Identity::generate(fill(2));
        assert_eq!(one.did(), Identity::from_seed(&[1; 32]).did());
        assert_ne!(one.did(), two.did());
        assert_eq!(
            Identity::generate(|_| Err("no entropy")).err(),
            Some("no entropy")
        );
    }

    #[test]
    fn an_identity_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(r#"{{"did":"{DID}","secret_key_seed":"{SEED}"}}"#);
        for bad in [0o640, 0o604, 0o620, 0o644, 0o660] {
            let path = file(directory.path(), &text, bad);
            assert_eq!(
                load_error(&path).0,
                format!(
                    "others may read the identity PATH (mode {bad:04o}); if nobody did, run \
                     `chmod 600 PATH`, otherwise make a new one"
                )
            );
        }
        for good in [0o600, 0o400] {
            let path = file(directory.path(), &text, good);
            assert_eq!(Identity::load(&path).unwrap().did().as_str(), DID);
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn broken_files_are_explained_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let error = |text: &str| {
            let (message, debug) = load_error(&file(directory.path(), text, 0o600));
            for printed in [&message, &debug] {
                assert!(!printed.contains(SEED), "{printed}");
                assert!(!printed.contains("nWGxne"), "{printed}");
            }
            message
        };
        let not_an_identity = "is not an identity file (line ";
        for text in [
            "",
            "{",
            "[]",
            &format!("\"{SEED}\""),
            &format!(r#"{{"secret_key_seed":"{SEED}"}}"#),
            &format!(r#"{{"did":"{DID}"}}"#),
            &format!(r#"{{"did":"{DID}","secret_key_seed":["{SEED}"]}}"#),
            &format!(r#"{{"did":"{DID}","secret_key_seed":"{SEED}"}}{SEED}"#),
            &format!(r#"{{"{SEED}":"{}","#, "a".repeat(5000)),
        ] {
            assert!(error(text).contains(not_an_identity), "{text}");
        }
        for seed in [
            "",
            &SEED[1..],
            &format!("{SEED}="),
            &format!("{}B", &SEED[..42]),
            "nWGx+e",
        ] {
            let text = format!(r#"{{"did":"{DID}","secret_key_seed":"{seed}"}}"#);
            assert_eq!(
                error(&text),
                "secret_key_seed in PATH is not 32 bytes in base64url without padding (43 characters)"
            );
        }
        let with_did =
            |did: &str| error(&format!(r#"{{"did":"{did}","secret_key_seed":"{SEED}"}}"#));
        assert_eq!(
            with_did("did:web:example.com"),
            "the did in PATH cannot be used: the DID method \"web\" is not supported; use did:key \
             or did:jwk with Ed25519"
        );
        assert_eq!(
            with_did(Identity::from_seed(&[1; 32]).did().as_str()),
            "the did in PATH belongs to another key than secret_key_seed"
        );
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(
            load_error(&directory.path().join("none.json")).0,
            "there is no identity at PATH; make one with `llmgw identity new`"
        );
    }

    #[test]
    fn debug_is_redacted() {
        let identity = identity();
        let debug = format!("{identity:?}");
        assert_eq!(debug, format!("Identity {{ did: \"{DID}\", .. }}"));
    }
}
