//! HTTP message signatures (RFC 9421): the signature base of both sides, and the headers of ours.
//!
//! A request of ours covers `@method`, `@target-uri` and, where there is a body, `content-digest` (RFC 9530). Its
//! target is in canonical form, which every event of API Gateway preserves.

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use super::{MalformedSignature, SignedParts, SigningString};
use crate::identity::did::{KeyType, Signature};

/// The header with what signatures cover.
pub const SIGNATURE_INPUT: &str = "signature-input";
/// The header with signatures.
pub const SIGNATURE: &str = "signature";
/// The header with the body's digests.
pub const CONTENT_DIGEST: &str = "content-digest";
/// The tag of signatures that are for this gateway.
pub const TAG: &str = "llm-gateway";

/// The label of a signature of ours.
const LABEL: &str = "sig";

/// The name of the algorithm that keys of a type sign with (RFC 9421 §6.2.2).
#[must_use]
pub fn algorithm(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Ed25519 => "ed25519",
        KeyType::P256 => "ecdsa-p256-sha256",
    }
}

/// The signature base (RFC 9421 §2.5): a line for each component, and the last for the parameters. No value has
/// a line feed.
pub(in crate::identity) fn base<'a>(
    values: impl Iterator<Item = (&'a str, String)>,
    params: &str,
) -> SigningString {
    let mut text = String::with_capacity(512);
    for (id, value) in values {
        text.push_str(id);
        text.push_str(": ");
        text.push_str(&value);
        text.push('\n');
    }
    text.push_str("\"@signature-params\": ");
    text.push_str(params);
    SigningString(text)
}

/// Takes the bytes of a signature.
pub(in crate::identity) fn signature(bytes: &[u8]) -> Result<Signature, MalformedSignature> {
    match bytes.try_into() {
        Ok(bytes) => Ok(Signature::from_bytes(bytes)),
        Err(_) if super::is_der(bytes) => Err(MalformedSignature::Der),
        Err(_) => Err(MalformedSignature::Encoding),
    }
}

/// A request that is about to be signed.
#[derive(Debug, Clone)]
pub struct Draft {
    base: SigningString,
    params: String,
    digest: Option<String>,
}

impl Draft {
    /// Prepares a request. The time is signed in whole seconds.
    #[must_use]
    pub fn new(parts: &SignedParts<'_>, body: &[u8], key_type: KeyType) -> Self {
        let digest = (!body.is_empty()).then(|| content_digest(body));
        let question_mark = if parts.query.is_empty() { "" } else { "?" };
        let target = format!(
            "{}{}{question_mark}{}",
            parts.audience, parts.path, parts.query
        );
        let mut values = vec![
            ("\"@method\"", parts.method.as_str().to_owned()),
            ("\"@target-uri\"", target),
        ];
        values.extend(digest.clone().map(|digest| ("\"content-digest\"", digest)));
        let ids: Vec<_> = values.iter().map(|(id, _)| *id).collect();
        let nonce = parts.nonce.map(|it| format!(";nonce=\"{}\"", it.as_str()));
        // The alphabets of nonces and DIDs have no quotation mark and no backslash.
        let params = format!(
            "({});created={}{};keyid=\"{}\";alg=\"{}\";tag=\"{TAG}\"",
            ids.join(" "),
            parts.signed_at.at().as_second(),
            nonce.unwrap_or_default(),
            parts.did,
            algorithm(key_type),
        );
        Self {
            base: base(values.into_iter(), &params),
            params,
            digest,
        }
    }

    /// The text to sign.
    #[must_use]
    pub fn base(&self) -> &SigningString {
        &self.base
    }

    /// The headers to send, as name and value.
    pub fn headers(self, signature: &Signature) -> impl Iterator<Item = (&'static str, String)> {
        let signature = BASE64_STANDARD.encode(signature.to_bytes());
        [
            (SIGNATURE_INPUT, format!("{LABEL}={}", self.params)),
            (SIGNATURE, format!("{LABEL}=:{signature}:")),
        ]
        .into_iter()
        .chain(self.digest.map(|digest| (CONTENT_DIGEST, digest)))
    }
}

/// The value of `Content-Digest` for a body.
#[must_use]
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)))
}
