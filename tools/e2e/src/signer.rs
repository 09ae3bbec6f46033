//! A caller of the gateway: a DID, the key that signs for it, and an OpenRouter key.

use anyhow::Result;
use ed25519_dalek::SigningKey;
use http::{HeaderMap, Method};
use shared::{
    clock::Clock,
    identity::{
        canonical::{CanonicalPath, CanonicalQuery},
        did::{Did, DidUrl},
        signing::{Audience, BodyDigest, Nonce, SignedAt, SignedParts, sign},
    },
    request::RawQuery,
    vault::secret::ApiKey,
};

/// The gateway's audience in these tests; nothing is ever sent there.
pub const AUDIENCE: &str = "https://gw.example.com";

/// A caller of the gateway.
#[derive(Debug)]
pub struct Signer {
    /// The caller's DID.
    pub did: Did,
    /// The OpenRouter key that only the gateway may use.
    pub api_key: ApiKey,
    /// The seed of the signing key.
    pub seed: [u8; 32],
}

impl Signer {
    /// A new caller.
    pub fn random() -> Result<Self> {
        let (mut seed, mut tail) = ([0; 32], [0; 24]);
        getrandom::fill(&mut seed)?;
        getrandom::fill(&mut tail)?;
        Self::new(seed, tail)
    }

    /// The caller of these arguments; the second becomes part of the OpenRouter key.
    pub fn new(seed: [u8; 32], tail: [u8; 24]) -> Result<Self> {
        Ok(Self {
            did: Did::from_public_key(&SigningKey::from_bytes(&seed).verifying_key().into()),
            api_key: ApiKey::new(format!("sk-or-v1-planted-{}", hex::encode(tail)))?,
            seed,
        })
    }

    /// The headers that sign this request, now.
    pub fn headers(&self, method: &Method, path_and_query: &str, body: &[u8]) -> Result<HeaderMap> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        self.signed(method, path_and_query, body, &Nonce::from_random(nonce))
    }

    /// The headers that sign this request, now, with a given nonce.
    pub fn signed(
        &self,
        method: &Method,
        path_and_query: &str,
        body: &[u8],
        nonce: &Nonce,
    ) -> Result<HeaderMap> {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let signed = sign(
            &SigningKey::from_bytes(&self.seed),
            &SignedParts {
                audience: &Audience::parse(AUDIENCE)?,
                did: &DidUrl::from(self.did.clone()),
                signed_at: &SignedAt::seconds(Clock::system().now())?,
                nonce: Some(nonce),
                method,
                path: &CanonicalPath::from_raw(path)?,
                query: &CanonicalQuery::from_raw(&RawQuery::Encoded(query.to_owned()))?,
                body: BodyDigest::of(body),
            },
        );
        let mut headers = HeaderMap::new();
        signed.apply(&mut headers)?;
        Ok(headers)
    }
}
