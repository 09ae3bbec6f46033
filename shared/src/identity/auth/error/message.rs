//! Reasons to refuse a message signature before it is verified.

use jiff::Timestamp;

use crate::identity::{
    did::KeyType,
    signing::rfc9421::{TAG, algorithm},
};

/// Why a signature of RFC 9421 cannot be checked. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A header over the cap.
    #[error("the header {0} is longer than 4096 bytes")]
    TooLong(&'static str),
    /// Not a dictionary of inner lists of strings.
    #[error(
        "signature-input is not a dictionary of covered components, such as sig=(\"@method\" \"@target-uri\");created=1735689600;keyid=\"did:key:…\" (RFC 9421 §4.1)"
    )]
    NotADictionary,
    /// More than one that could count.
    #[error("there are several signatures; give exactly one of them the parameter tag=\"{TAG}\"")]
    SeveralSignatures,
    /// Made for another application.
    #[error("the signature is for another application: its tag is {0:?}, not \"{TAG}\"")]
    AnotherTag(String),
    /// A parameter that is required.
    #[error(
        "the signature has no parameter {0}; keyid (the DID) and created are required, and nonce unless the method is GET or HEAD"
    )]
    MissingParameter(&'static str),
    /// A parameter of another type, or a time beyond all clocks.
    #[error(
        "the signature's parameter {0} has a wrong type; created and expires are integers, keyid, alg, nonce and tag are strings"
    )]
    Parameter(&'static str),
    /// No nonce.
    #[error("the signature's nonce is empty or longer than 256 characters")]
    Nonce,
    /// An algorithm that no key of ours has.
    #[error(
        "the signature's alg {0:?} is not supported; leave it out, or send {ed25519} or {p256}",
        ed25519 = algorithm(KeyType::Ed25519),
        p256 = algorithm(KeyType::P256)
    )]
    UnknownAlgorithm(String),
    /// An algorithm that is not the key's.
    #[error("the signature's alg is {given}, but the DID's key is {}, which signs with {}", key.name(), algorithm(*key))]
    AnotherAlgorithm {
        /// The algorithm that was given.
        given: &'static str,
        /// The type of the DID's key.
        key: KeyType,
    },
    /// The parameter `expires` lies in the past.
    #[error("the signature expired at {expires_at}; the server's time is {server_time}")]
    Expired {
        /// The end of the signature's validity.
        expires_at: Timestamp,
        /// The server's time.
        server_time: Timestamp,
    },
    /// A required component that is not covered.
    #[error(
        "the signature does not cover {0}; cover \"@method\", \"@target-uri\" (or \"@authority\", \"@path\" and the query), and \"content-digest\" where there is a body"
    )]
    NotCovered(&'static str),
    /// An identifier that is listed twice.
    #[error("the signature covers {0} twice")]
    CoveredTwice(String),
    /// A component that cannot be reproduced.
    #[error("the signature covers {component}, which the gateway cannot check: {why}")]
    NotSupported {
        /// The component's identifier.
        component: String,
        /// The obstacle.
        why: &'static str,
    },
    /// A component that the request does not have.
    #[error("the signature covers {0}, which did not arrive")]
    NotSent(String),
    /// Not a dictionary of byte sequences.
    #[error("content-digest is not of the form sha-256=:…: (RFC 9530)")]
    MalformedDigest,
    /// No digest of an algorithm that is known.
    #[error("content-digest has neither sha-256 nor sha-512")]
    UnknownDigest,
    /// The digest of other bytes.
    #[error("content-digest is not that of the body which arrived ({0})")]
    AnotherDigest(&'static str),
}

impl MessageError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLong(_)
            | Self::NotADictionary
            | Self::SeveralSignatures
            | Self::AnotherTag(_)
            | Self::MissingParameter(_)
            | Self::Parameter(_)
            | Self::UnknownAlgorithm(_)
            | Self::AnotherAlgorithm { .. } => "malformed_signature_input",
            Self::Nonce => "malformed_nonce",
            Self::Expired { .. } => "signature_expired",
            Self::NotCovered(_) => "component_not_covered",
            Self::CoveredTwice(_) | Self::NotSupported { .. } | Self::NotSent(_) => {
                "component_not_supported"
            }
            Self::MalformedDigest | Self::UnknownDigest => "malformed_digest",
            Self::AnotherDigest(_) => "digest_mismatch",
        }
    }
}
