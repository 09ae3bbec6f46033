//! The proven sender of a request.

use std::fmt;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::{TIMESTAMP_WINDOW, scheme::Credentials};
use crate::identity::{did::Did, signing::SigningString};

/// The time for which a fingerprint is kept after its request can no longer pass: more than the
/// clocks of two instances, or of an instance and the database, can be apart.
const FINGERPRINT_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// Someone who has proved to own a DID, and the request that proved it.
#[derive(Debug, Clone)]
pub struct Caller {
    did: Did,
    fingerprint: Fingerprint,
    fingerprint_expires_at: Timestamp,
    nonce_present: bool,
}

impl Caller {
    pub(super) fn new(credentials: &Credentials, signed: &SigningString) -> Self {
        let kept = TIMESTAMP_WINDOW.saturating_add(FINGERPRINT_MARGIN);
        Self {
            did: credentials.did.did().clone(),
            fingerprint: Fingerprint(Sha256::digest(signed.as_bytes()).into()),
            fingerprint_expires_at: credentials
                .signed_at
                .checked_add(kept)
                .unwrap_or(Timestamp::MAX),
            nonce_present: credentials.has_nonce,
        }
    }

    /// The DID, without fragment.
    #[must_use]
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// The digest of the signed request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The end of the fingerprint's use: the request is then too old to pass.
    #[must_use]
    pub fn fingerprint_expires_at(&self) -> Timestamp {
        self.fingerprint_expires_at
    }

    /// The fingerprint that the database must not have seen before. There is one for every request
    /// that bills or changes something, and for a safe one whose sender asked for it with a nonce.
    #[must_use]
    pub fn replay_guard(&self, method: &Method) -> Option<ReplayGuard> {
        (!method.is_safe() || self.nonce_present).then_some(ReplayGuard {
            digest: self.fingerprint.0,
            expires_at: self.fingerprint_expires_at,
        })
    }
}

/// The digest of what the caller signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayGuard {
    /// SHA-256 of the signed bytes (not of the signature, whose encoding can vary).
    pub digest: [u8; 32],
    /// From then on the timestamp check refuses the request by itself.
    pub expires_at: Timestamp,
}

/// SHA-256 of the signed bytes, in lower-case hex. Not of the signature, which has several
/// encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
