//! The credentials of `x-did-v1`, and the text that they are of.

use http::HeaderMap;

use super::{AuthError, Credential, Credentials, Request, single, unread};
use crate::identity::{
    canonical::CanonicalPath,
    did::DidUrl,
    signing::{self, Audience, BodyDigest, Nonce, SignedAt, SignedParts, SigningString},
};

pub(super) const HEADERS: [&str; 4] = [
    signing::DID,
    signing::TIMESTAMP,
    signing::NONCE,
    signing::SIGNATURE,
];

pub(super) struct Cover {
    signed_at: SignedAt,
    nonce: Option<Nonce>,
}

pub(super) fn credentials(headers: &HeaderMap) -> Result<Credentials, AuthError> {
    let did = single(headers, Credential::Did)?;
    let signed_at = single(headers, Credential::Timestamp)?;
    let signature = single(headers, Credential::Signature)?;
    let (Some(did), Some(signed_at), Some(signature)) = (did, signed_at, signature) else {
        let missing = [
            did.is_none().then_some(Credential::Did),
            signed_at.is_none().then_some(Credential::Timestamp),
            signature.is_none().then_some(Credential::Signature),
        ];
        return Err(AuthError::MissingCredentials {
            missing: missing.into_iter().flatten().collect(),
            unread: unread(headers),
        });
    };
    let nonce = single(headers, Credential::Nonce)?;
    let did = DidUrl::parse(did)?;
    let signed_at = SignedAt::parse(signed_at)?;
    let signature = signing::parse_signature(signature)?;
    let nonce = nonce.map(Nonce::parse).transpose()?;
    Ok(Credentials {
        did,
        signed_at: signed_at.at(),
        expires_at: None,
        has_nonce: nonce.is_some(),
        signature,
        cover: super::Cover::XDidV1(Cover { signed_at, nonce }),
    })
}

impl Cover {
    pub(super) fn of<'a>(&'a self, did: &'a DidUrl, request: &Request<'a>) -> Signed<'a> {
        Signed {
            cover: self,
            did,
            request: *request,
            body: BodyDigest::of(request.body),
        }
    }
}

pub(in crate::identity::auth) struct Signed<'a> {
    cover: &'a Cover,
    did: &'a DidUrl,
    request: Request<'a>,
    body: BodyDigest,
}

impl Signed<'_> {
    pub(super) fn text(&self, audience: &Audience, path: &CanonicalPath) -> SigningString {
        SigningString::new(&SignedParts {
            audience,
            did: self.did,
            signed_at: &self.cover.signed_at,
            nonce: self.cover.nonce.as_ref(),
            method: self.request.method,
            path,
            query: self.request.query,
            body: self.body,
        })
    }
}
