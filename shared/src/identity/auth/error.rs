//! Reasons to refuse a request's credentials.

use std::fmt;

use jiff::Timestamp;

use super::TIMESTAMP_WINDOW;
use crate::identity::{
    access_token::{AccessToken, MalformedToken},
    canonical::{PathError, QueryError},
    did::DidError,
    signing::{self, MalformedNonce, MalformedSignature, MalformedTimestamp, SigningString},
};

/// One of the headers that carry the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the headers of `signing`")]
pub enum Credential {
    Did,
    Timestamp,
    Signature,
    Nonce,
}

impl Credential {
    /// The header's name.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Self::Did => signing::DID,
            Self::Timestamp => signing::TIMESTAMP,
            Self::Signature => signing::SIGNATURE,
            Self::Nonce => signing::NONCE,
        }
    }

    fn malformed(self) -> &'static str {
        match self {
            Self::Did => "malformed_did",
            Self::Timestamp => "malformed_timestamp",
            Self::Signature => "malformed_signature",
            Self::Nonce => "malformed_nonce",
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.header())
    }
}

/// A header that may carry an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenHeader {
    /// `Authorization`, with the scheme `Bearer`.
    Authorization,
    /// `x-api-key`, as Anthropic's clients send it.
    ApiKey,
}

impl TokenHeader {
    pub(super) const ALL: [Self; 2] = [Self::Authorization, Self::ApiKey];

    /// The header's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::ApiKey => "x-api-key",
        }
    }
}

impl fmt::Display for TokenHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request has no caller. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Required headers that were not sent.
    #[error("sign the request: missing {}", list(missing))]
    MissingCredentials {
        /// The missing headers, at least one.
        missing: Vec<Credential>,
    },
    /// Neither an access token nor any header of a signature.
    #[error("{}: missing {}", invitation(*seen), list(missing))]
    Anonymous {
        /// The headers that a signature would need.
        missing: Vec<Credential>,
        /// The header that holds something else, such as a key of OpenRouter.
        seen: Option<TokenHeader>,
    },
    /// An access token beside another one or beside a signature.
    #[error(
        "send either one access token or one signature: beside an access token there is a second one, another key or an x-did header"
    )]
    AmbiguousCredentials,
    /// Something that begins like an access token and is none.
    #[error(transparent)]
    Token(#[from] MalformedToken),
    /// An access token where only the DID itself may act.
    #[error("sign this request: an access token spends, it manages neither keys nor tokens")]
    SignatureRequired,
    /// A header that was sent more than once.
    #[error("send the header {0} exactly once")]
    Repeated(Credential),
    /// A header with bytes outside visible ASCII.
    #[error("the header {0} contains something other than visible ASCII")]
    NotAscii(Credential),
    /// A DID that is malformed or not supported.
    #[error(transparent)]
    Did(#[from] DidError),
    /// A timestamp outside the grammar.
    #[error(transparent)]
    Timestamp(#[from] MalformedTimestamp),
    /// A signature outside the grammar.
    #[error(transparent)]
    Signature(#[from] MalformedSignature),
    /// A nonce outside the grammar.
    #[error(transparent)]
    Nonce(#[from] MalformedNonce),
    /// Signed too long ago, or too far in the future.
    #[error(
        "the request was signed at {signed_at}, more than {} seconds from the server's time {server_time}",
        TIMESTAMP_WINDOW.as_secs()
    )]
    TimestampOutOfWindow {
        /// The request's timestamp.
        signed_at: Timestamp,
        /// The server's time.
        server_time: Timestamp,
    },
    /// A compressed body: what is signed, metered and forwarded would be three different things.
    #[error("send the body without Content-Encoding")]
    ContentEncoding,
    /// A body over the cap.
    #[error("the body has {size} bytes; at most {max} are accepted")]
    BodyTooLarge {
        /// The body's size, in bytes.
        size: usize,
        /// The cap, in bytes.
        max: usize,
    },
    /// A path without canonical form.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A query without canonical form.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The signature is not the DID's over this request.
    #[error("the signature does not match the request; compare your signing string with this one")]
    InvalidSignature {
        /// The text that has to be signed for the server's first audience. It holds nothing but
        /// request data.
        signing_string: SigningString,
        /// The number of audiences that were tried.
        audiences_tried: usize,
    },
}

impl AuthError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MissingCredentials { .. } | Self::Anonymous { .. } => "missing_credentials",
            Self::AmbiguousCredentials => "ambiguous_credentials",
            Self::Token(error) => error.reason(),
            Self::SignatureRequired => "signature_required",
            Self::Repeated(header) | Self::NotAscii(header) => header.malformed(),
            Self::Did(error) => error.reason(),
            Self::Timestamp(MalformedTimestamp) => Credential::Timestamp.malformed(),
            Self::Signature(MalformedSignature) => Credential::Signature.malformed(),
            Self::Nonce(MalformedNonce) => Credential::Nonce.malformed(),
            Self::TimestampOutOfWindow { .. } => "timestamp_out_of_window",
            Self::ContentEncoding => "content_encoding_not_supported",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::Path(error) => error.reason(),
            Self::Query(error) => error.reason(),
            Self::InvalidSignature { .. } => "invalid_signature",
        }
    }
}

/// What to send, by way of what was sent.
fn invitation(seen: Option<TokenHeader>) -> String {
    let form = format!(
        "an access token begins with sk-lgw- and has {} characters",
        AccessToken::LEN
    );
    match seen {
        None => format!(
            "send an access token as Authorization: Bearer … or x-api-key ({form}), or sign the request"
        ),
        Some(header) => format!(
            "the header {header} was seen, but holds no access token of this gateway ({form}); keys of OpenRouter and of other services are not read there. Send an access token, or sign the request"
        ),
    }
}

fn list(credentials: &[Credential]) -> String {
    let names: Vec<_> = credentials.iter().map(|c| c.header()).collect();
    names.join(", ")
}
