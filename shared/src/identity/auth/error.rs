//! Reasons to refuse a request's credentials.

mod message;

use std::fmt;

use http::HeaderMap;
use jiff::Timestamp;

pub use self::message::MessageError;
use super::TIMESTAMP_WINDOW;
use crate::identity::{
    access_token::{AccessToken, MalformedToken},
    canonical::{PathError, QueryError},
    did::DidError,
    documents::DocumentError,
    signing::{
        self, MalformedNonce, MalformedSignature, MalformedTimestamp, SigningString, rfc9421,
    },
};

/// One of the headers that carry the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the headers of `signing`")]
pub enum Credential {
    Did,
    Timestamp,
    Signature,
    Nonce,
    SignatureInput,
    MessageSignature,
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
            Self::SignatureInput => rfc9421::SIGNATURE_INPUT,
            Self::MessageSignature => rfc9421::SIGNATURE,
        }
    }

    fn malformed(self) -> &'static str {
        match self {
            Self::Did => "malformed_did",
            Self::Timestamp => "malformed_timestamp",
            Self::Signature | Self::MessageSignature => "malformed_signature",
            Self::Nonce => "malformed_nonce",
            Self::SignatureInput => "malformed_signature_input",
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.header())
    }
}

/// Why a request has no caller. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Required headers that were not sent.
    #[error("sign the request: missing {}{}", list(missing), hint(unread))]
    MissingCredentials {
        /// The missing headers, at least one.
        missing: Vec<Credential>,
        /// The headers with other credentials that were sent, and are not read.
        unread: Vec<&'static str>,
    },
    /// Neither an access token nor any header of a signature.
    #[error(
        "send an access token in Authorization: Bearer … or x-api-key, or sign the request: missing {}; {}",
        list(missing),
        form_of_tokens(unread)
    )]
    Anonymous {
        /// The headers that a signature would need.
        missing: Vec<Credential>,
        /// The headers with something else, such as a key of OpenRouter.
        unread: Vec<&'static str>,
    },
    /// An access token beside another one or beside a signature.
    #[error(
        "send either one access token or one signature: beside an access token there is a second one, another key or a signature"
    )]
    AmbiguousCredentials,
    /// Headers of two schemes.
    #[error(
        "sign the request with one scheme: it has x-did headers and signature or signature-input"
    )]
    SeveralSchemes,
    /// A message signature that cannot be checked.
    #[error(transparent)]
    Message(#[from] MessageError),
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
    /// A DID whose key is not known from its document.
    #[error(transparent)]
    Document(#[from] DocumentError),
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
    /// The message signature is not the DID's over this request.
    #[error(
        "the signature does not match the request; compare your signature base with this one. The authority is the \
         gateway's configured base URL, and its path is a part of @path. A REST API loses the order and the spelling \
         of a query: sign it sorted and percent-encoded by RFC 3986 (name=value), or cover @query-param of each \
         parameter"
    )]
    InvalidMessageSignature {
        /// The signature base for the server's first audience.
        signature_base: SigningString,
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
            Self::AmbiguousCredentials | Self::SeveralSchemes => "ambiguous_credentials",
            Self::Message(error) => error.reason(),
            Self::Token(error) => error.reason(),
            Self::SignatureRequired => "signature_required",
            Self::Repeated(header) | Self::NotAscii(header) => header.malformed(),
            Self::Did(error) => error.reason(),
            Self::Document(error) => error.reason(),
            Self::Timestamp(MalformedTimestamp) => Credential::Timestamp.malformed(),
            Self::Signature(_) => Credential::Signature.malformed(),
            Self::Nonce(MalformedNonce) => Credential::Nonce.malformed(),
            Self::TimestampOutOfWindow { .. } => "timestamp_out_of_window",
            Self::ContentEncoding => "content_encoding_not_supported",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::Path(error) => error.reason(),
            Self::Query(error) => error.reason(),
            Self::InvalidSignature { .. } | Self::InvalidMessageSignature { .. } => {
                "invalid_signature"
            }
        }
    }
}

/// The headers that other services read credentials from. Their values are secrets of others.
pub(super) const FOREIGN: [&str; 2] = ["authorization", "x-api-key"];

/// The headers of a request with credentials that are not read here.
pub(super) fn unread(headers: &HeaderMap) -> Vec<&'static str> {
    let sent = |name: &&str| headers.contains_key(*name);
    FOREIGN.into_iter().filter(sent).collect()
}

/// The way on for those who send other credentials.
fn hint(unread: &[&str]) -> String {
    if unread.is_empty() {
        return String::new();
    }
    format!(
        "; {} sent, but no key or token is read here: docs/use/signing.md says how to sign, and \
         `llmgw serve` signs for programs that know only an API key",
        were(unread)
    )
}

/// The form of access tokens, for those who may have sent something else.
fn form_of_tokens(unread: &[&str]) -> String {
    let form = format!(
        "an access token begins with sk-lgw- and has {} characters",
        AccessToken::LEN
    );
    if unread.is_empty() {
        return form;
    }
    format!(
        "{} sent, but holds none: {form}; keys of OpenRouter and of other services are not read here",
        were(unread)
    )
}

fn were(headers: &[&str]) -> String {
    match headers {
        [one] => format!("{one} was"),
        several => format!("{} were", several.join(" and ")),
    }
}

fn list(credentials: &[Credential]) -> String {
    let names: Vec<_> = credentials.iter().map(|c| c.header()).collect();
    names.join(", ")
}
