//! Requests to one gateway, signed with `x-did-v1` or by RFC 9421.
//!
//! A signature is valid for one request at one time: a request that is sent again is signed again, with
//! another nonce.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{CONTENT_TYPE, InvalidHeaderValue},
    uri::InvalidUri,
};
use jiff::Timestamp;
use shared::identity::{
    auth::Scheme,
    signing::{
        Audience, AudienceError, BodyDigest, MalformedTimestamp, Nonce, SignedAt, SignedHeaders,
        SignedParts, SigningString, rfc9421,
    },
};

use crate::{
    identity::{Identity, KeyError},
    target::Target,
};

/// A gateway: the base URL where it is reached, and the audience that it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    base: Audience,
    audience: Audience,
    scheme: Scheme,
}

impl Gateway {
    /// A gateway whose base URL is also its audience.
    #[must_use]
    pub fn new(base: Audience) -> Self {
        let audience = base.clone();
        Self {
            base,
            audience,
            scheme: Scheme::XDidV1,
        }
    }

    /// The same gateway with requests signed by another scheme.
    #[must_use]
    pub fn with_scheme(self, scheme: Scheme) -> Self {
        Self { scheme, ..self }
    }

    /// The same gateway with another audience, for requests that reach it at another address than it
    /// is configured with (a tunnel, a local process).
    #[must_use]
    pub fn with_audience(self, audience: Audience) -> Self {
        Self { audience, ..self }
    }

    /// The base URL that requests are sent to.
    #[must_use]
    pub fn base(&self) -> &Audience {
        &self.base
    }

    /// The base URL that signatures are made for.
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// Signs `draft` for sending once. Fails for times before 1970 and after 2286.
    pub fn sign(
        &self,
        identity: &Identity,
        draft: &Draft,
        now: Timestamp,
        nonce: &Nonce,
    ) -> Result<Vec<(&'static str, String)>, SignError> {
        let parts = SignedParts {
            audience: &self.audience,
            did: identity.did_url(),
            signed_at: &SignedAt::seconds(now)?,
            nonce: Some(nonce),
            method: &draft.method,
            path: draft.target.path(),
            query: draft.target.query(),
            body: BodyDigest::of(&draft.body),
        };
        match self.scheme {
            Scheme::XDidV1 => {
                let signature = identity.sign(SigningString::new(&parts).as_bytes())?;
                let headers = SignedHeaders::new(&parts, &signature);
                let headers = headers.iter();
                Ok(headers
                    .map(|(name, value)| (name, value.to_owned()))
                    .collect())
            }
            Scheme::Rfc9421 => {
                let key_type = identity.public_key().key_type();
                let message = rfc9421::Draft::new(&parts, &draft.body, key_type);
                let signature = identity.sign(message.base().as_bytes())?;
                Ok(message.headers(&signature).collect())
            }
        }
    }

    /// Builds the request to send: the base URL, and the signature's headers.
    pub fn signed(
        &self,
        identity: &Identity,
        draft: Draft,
        now: Timestamp,
        nonce: &Nonce,
    ) -> Result<Request<Bytes>, SignError> {
        let signed = self.sign(identity, &draft, now, nonce)?;
        let uri: Uri = format!("{}{}", self.base, draft.target).parse()?;
        let mut request = Request::new(draft.body);
        *request.method_mut() = draft.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = draft.headers;
        for (name, value) in signed {
            let name = HeaderName::from_static(name);
            request.headers_mut().insert(name, value.parse()?);
        }
        Ok(request)
    }
}

/// Parses a gateway's base URL: the address that requests are sent to, or the one that they are signed for.
pub fn base_url(text: &str) -> Result<Audience, BaseUrlError> {
    Ok(Audience::parse(text)?)
}

/// The reason why a text is not a gateway's base URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a gateway's base URL is {}", self.form())]
pub struct BaseUrlError(#[from] AudienceError);

impl BaseUrlError {
    fn form(&self) -> &'static str {
        match self.0 {
            AudienceError::NotAUrl(_) => "like https://gw.example.com",
            AudienceError::Scheme => "one of https (or http, on this machine)",
            AudienceError::MoreThanABase => "without user, password, query and fragment",
            AudienceError::Path => "without escapes and empty segments in its path",
        }
    }
}

/// An unsigned request, without the gateway that it goes to.
#[derive(Debug, Clone)]
pub struct Draft {
    method: Method,
    target: Target,
    headers: HeaderMap,
    body: Bytes,
}

impl Draft {
    /// A request. A body without a `content-type` is sent as JSON.
    #[must_use]
    pub fn new(
        method: Method,
        target: Target,
        mut headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Self {
        let body = body.into();
        if !body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Self {
            method,
            target,
            headers,
            body,
        }
    }

    /// A `GET` request.
    #[must_use]
    pub fn get(target: Target) -> Self {
        Self::new(Method::GET, target, HeaderMap::new(), Bytes::new())
    }

    /// A `POST` request with a JSON body.
    #[must_use]
    pub fn post(target: Target, json: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, target, HeaderMap::new(), json)
    }
}

/// The reason why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The clock is decades off.
    #[error("the clock shows a time that cannot be signed; set it")]
    Clock(#[from] MalformedTimestamp),
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The URL is longer than 64 KiB.
    #[error("the path and the query are too long for a URL")]
    Url(#[from] InvalidUri),
    /// The signature is not a header value. Signing never produces such.
    #[error("the signature is not a header value")]
    Header(#[from] InvalidHeaderValue),
}

#[cfg(test)]
mod tests;
