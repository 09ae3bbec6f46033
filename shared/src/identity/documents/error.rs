//! Reasons to refuse a DID because of its document.

use url::Url;

use crate::identity::did::{DidError, KeyError, MalformedDocument, WebHost};

/// The longest document that is read, in bytes.
pub const MAX_DOCUMENT: usize = 64 * 1024;

/// Why the key of a DID with a document is not known. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The DID names no place of a document, or documents are not fetched.
    #[error(transparent)]
    Did(#[from] DidError),
    /// The operator does not let documents be fetched from the host.
    #[error(
        "this gateway accepts did:web of certain hosts only, and {0} is not among them; ask the operator"
    )]
    HostNotAllowed(WebHost),
    /// The document could not be fetched. Later it may be.
    #[error("the DID document at {url} could not be fetched; try again later")]
    Unavailable {
        /// Its place.
        url: Url,
        /// The cause, for the log only: it could tell strangers about the gateway's network.
        #[source]
        cause: FetchError,
    },
    /// The host answered, but not with the DID's document.
    #[error("the DID document at {url} is not usable: {fault}")]
    Unusable {
        /// Its place.
        url: Url,
        /// The fault.
        fault: DocumentFault,
    },
    /// The document has no such key to check a signature with.
    #[error("the key #{fragment} {error}")]
    Key {
        /// The key's name.
        fragment: String,
        /// The reason.
        error: KeyError,
    },
}

/// Why a document could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No connection, or it broke.
    #[error("the request failed: {0}")]
    Connection(String),
    /// It took too long.
    #[error("the host took too long")]
    Timeout,
    /// The host says that it cannot answer now.
    #[error("the host answered with status {0}")]
    Status(u16),
}

/// Why a response is not a DID's document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentFault {
    /// Not 200.
    #[error("the host answered with status {0}")]
    Status(u16),
    /// A redirect to another host, or too many.
    #[error("the host redirects to another place")]
    Redirect,
    /// Longer than [`MAX_DOCUMENT`].
    #[error("it is longer than {MAX_DOCUMENT} bytes")]
    TooLong,
    /// Compressed, though nobody asked for that.
    #[error("it has a Content-Encoding")]
    Encoded,
    /// Something else than the DID's document.
    #[error(transparent)]
    Malformed(#[from] MalformedDocument),
}

impl DocumentError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Did(error) => error.reason(),
            Self::HostNotAllowed(_) => "did_host_not_allowed",
            Self::Unavailable { .. } => "did_document_unavailable",
            Self::Unusable { .. } => "malformed_did_document",
            Self::Key { error, .. } => match error {
                KeyError::Missing | KeyError::Ended => "key_not_in_did_document",
                KeyError::Unusable(DidError::UnsupportedKeyType(_)) => "unsupported_key_type",
                KeyError::Unusable(_) => "malformed_did_document",
            },
        }
    }
}
