//! The keys that sign: in memory, or held by a program.

use std::{
    fmt,
    io::{self, Write},
    process::{Command, Stdio},
};

use ed25519_dalek::SigningKey;
use p256::ecdsa::signature::Signer;
use shared::identity::{
    did::{DidError, DidUrl, KeySource, KeyType, PublicKey, Signature},
    signing::parse_signature,
};
use zeroize::Zeroizing;

/// Whether a key may be a DID's. A document that has the keys is for the gateway to read.
pub(crate) fn may_be_of(did: &DidUrl, key: &PublicKey) -> Result<bool, DidError> {
    match did.key_source()? {
        KeySource::Identifier(contained) => Ok(contained == *key),
        KeySource::Document(reference) => {
            reference.fragment()?;
            reference.document_url()?;
            Ok(true)
        }
    }
}

/// A private key, or a way to use one. Keys in memory are wiped when they are dropped.
pub(crate) enum Key {
    Ed25519(SigningKey),
    P256(p256::ecdsa::SigningKey),
    /// A shell command that reads what is to be signed on stdin, and writes the signature to stdout: for keys in
    /// hardware.
    External {
        command: String,
        public: PublicKey,
    },
}

impl Key {
    /// Reads the secret of a P-256 key: a number from 1 to n − 1.
    pub(super) fn p256(secret: &[u8]) -> Option<Self> {
        p256::ecdsa::SigningKey::from_slice(secret)
            .ok()
            .map(Self::P256)
    }

    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => key.verifying_key().into(),
            Self::P256(key) => (*key.verifying_key()).into(),
            Self::External { public, .. } => *public,
        }
    }

    /// The 32 bytes of the secret, unless a program holds it.
    pub(crate) fn secret(&self) -> Option<Zeroizing<[u8; 32]>> {
        match self {
            Self::Ed25519(key) => Some(Zeroizing::new(key.to_bytes())),
            Self::P256(key) => Some(Zeroizing::new(key.to_bytes().into())),
            Self::External { .. } => None,
        }
    }

    pub(crate) fn sign(&self, text: &[u8]) -> Result<Signature, KeyError> {
        match self {
            Self::Ed25519(key) => Ok(Signature::from_bytes(key.sign(text).to_bytes())),
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(text);
                Ok(Signature::from_bytes(signature.to_bytes().into()))
            }
            Self::External { command, public } => {
                let output = run(command, text)?;
                let signature = read_signature(&output, public.key_type());
                let signature = signature.ok_or(KeyError::NotASignature)?;
                // Here the cause is known; a gateway could only say that the signature is wrong.
                if public.verifies(text, &signature) {
                    Ok(signature)
                } else {
                    Err(KeyError::AnotherKey)
                }
            }
        }
    }
}

fn run(command: &str, text: &[u8]) -> Result<Vec<u8>, KeyError> {
    // stderr stays the terminal's: programs ask there for a PIN or a touch.
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(KeyError::Run)?;
    // The text is shorter than a pipe's buffer unless its path is; a program that reads nothing closes it.
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(text));
    let output = child.wait_with_output().map_err(KeyError::Run)?;
    if !output.status.success() {
        return Err(KeyError::Failed(output.status.to_string()));
    }
    written.transpose().map_err(KeyError::Run)?;
    Ok(output.stdout)
}

/// Reads the output of a signing program: 64 bytes, an ECDSA signature in DER, or either as text.
fn read_signature(output: &[u8], key_type: KeyType) -> Option<Signature> {
    let from_der = |der: &[u8]| {
        let signature = p256::ecdsa::Signature::from_der(der).ok()?;
        Some(Signature::from_bytes(signature.to_bytes().into()))
    };
    if let Ok(bytes) = output.try_into() {
        return Some(Signature::from_bytes(bytes));
    }
    if let (KeyType::P256, Some(signature)) = (key_type, from_der(output)) {
        return Some(signature);
    }
    let text = str::from_utf8(output).ok()?.trim();
    parse_signature(text).ok().or_else(|| {
        let der = hex::decode(text).ok();
        der.and_then(|der| from_der(&der))
    })
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

/// The reason why a key did not sign.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The command could not be started, or not be talked to.
    #[error("the command that holds the key cannot be run")]
    Run(#[source] io::Error),
    /// The command failed.
    #[error("the command that holds the key failed ({0})")]
    Failed(String),
    /// The output is no signature.
    #[error(
        "the command that holds the key did not write a signature: 64 bytes (for P-256 also DER), or those in \
         base64 or hex"
    )]
    NotASignature,
    /// The signature of something else, or by another key.
    #[error(
        "the command signs with another key than the DID's, or not what it reads: with P-256 it has to hash its \
         input with SHA-256"
    )]
    AnotherKey,
}

#[cfg(test)]
mod tests;
