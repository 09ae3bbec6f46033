//! Reasons to refuse a DID.

use ed25519_dalek::PUBLIC_KEY_LENGTH;

use super::{MAX_LEN, UnsupportedKey};

/// Why a DID cannot identify a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DidError {
    /// Longer than [`MAX_LEN`].
    #[error("the DID is longer than {MAX_LEN} bytes")]
    TooLong,
    /// Not `did:[a-z0-9]+:[A-Za-z0-9._:%-]+` with, where it is allowed, a `#fragment`.
    #[error("the DID is not of the form did:method:identifier")]
    Grammar,
    /// A method whose key the gateway cannot find, or not without a look-up that is off.
    #[error(
        "the DID method {method:?} is not supported; use did:key or did:jwk with Ed25519 or P-256"
    )]
    UnsupportedMethod {
        /// The method's name, of the alphabet `[a-z0-9]`.
        method: String,
    },
    /// A key of a type that is none of [`KeyType`](super::KeyType).
    #[error("{0} keys are not supported; use an Ed25519 or P-256 key")]
    UnsupportedKeyType(UnsupportedKey),
    /// A `did:key` or Multikey without base58btc, or without a multicodec in it.
    #[error("the key is not base58btc (z…) of a multicodec key")]
    Multibase,
    /// A `did:jwk` without canonical base64url of a JWK, or a JWK without canonical base64url of coordinates.
    #[error("the key is not a JSON Web Key in canonical base64url")]
    Jwk,
    /// The JWK says that it encrypts.
    #[error("the JSON Web Key is not for signatures: its `use` is not `sig`")]
    JwkNotForSignatures,
    /// The JWK holds its private part, which everyone can now read.
    #[error("the JSON Web Key contains the private key; it is compromised, make a new one")]
    PrivateKey,
    /// A key in a document that is encoded in no way that is read, or in two.
    #[error("the key has to be either publicKeyMultibase or publicKeyJwk")]
    KeyEncoding,
    /// `did:web` with something else than a host, a port and a path, in their one spelling.
    #[error(
        "the did:web is not of the form did:web:host, did:web:host%3Aport or did:web:host:path, with the host's DNS \
         name in lower case"
    )]
    WebIdentifier,
    /// A DID with a document, without the name of a key in it.
    #[error(
        "name the key after the DID, as in did:web:example.com#key-1: its document can have several"
    )]
    FragmentRequired,
    /// Not of the length of its type.
    #[error(
        "the DID's key has a wrong length: {PUBLIC_KEY_LENGTH} bytes with Ed25519; with P-256 33 \
         (a compressed point), and 32 for each coordinate of a JWK"
    )]
    KeyLength,
    /// Not the canonical encoding of a point on the curve (RFC 8032 §5.1.3, SEC 1 §2.3.4).
    #[error("the DID's key is not a canonically encoded point on its curve")]
    NotAPoint,
    /// A point of small order: its signatures hold for many messages.
    #[error("the DID's Ed25519 key is weak")]
    WeakKey,
    /// A fragment that names something else than the DID's key.
    #[error("the DID's fragment does not name its key")]
    FragmentNamesAnotherKey,
}

impl DidError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnsupportedMethod { .. } => "unsupported_did_method",
            Self::UnsupportedKeyType(_) => "unsupported_key_type",
            Self::TooLong
            | Self::Grammar
            | Self::Multibase
            | Self::Jwk
            | Self::JwkNotForSignatures
            | Self::PrivateKey
            | Self::KeyEncoding
            | Self::WebIdentifier
            | Self::FragmentRequired
            | Self::KeyLength
            | Self::NotAPoint
            | Self::WeakKey
            | Self::FragmentNamesAnotherKey => "malformed_did",
        }
    }
}
