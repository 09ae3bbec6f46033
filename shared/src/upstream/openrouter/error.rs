//! What can go wrong before an answer is there.

/// Why there is no answer to pass on.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be made: OpenRouter has not seen the request.
    #[error("no connection to OpenRouter")]
    Unreachable(#[source] reqwest::Error),
    /// The connection broke after the request may have been received.
    #[error("OpenRouter closed the connection before it answered")]
    Broken(#[source] reqwest::Error),
    /// The answer is not HTTP.
    #[error("OpenRouter's answer is not valid HTTP")]
    Protocol(#[source] reqwest::Error),
    /// It is HTTP, but no answer that can be passed on.
    #[error("OpenRouter's answer has {0}")]
    Unusable(&'static str),
    /// No byte of an answer came in time.
    #[error("OpenRouter did not answer in time")]
    FirstByteTimeout,
    /// The path or query cannot be written as a URL that reads back the same.
    #[error("the path does not survive being made a URL")]
    UnrepresentableUrl,
}

impl UpstreamError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Broken(_) => "upstream_unreachable",
            Self::Protocol(_) | Self::Unusable(_) => "upstream_protocol",
            Self::FirstByteTimeout => "upstream_timeout",
            Self::UnrepresentableUrl => "malformed_path",
        }
    }

    /// Whether OpenRouter may have received, and so billed, the request.
    #[must_use]
    pub fn may_have_been_billed(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::UnrepresentableUrl => false,
            Self::Broken(_) | Self::Protocol(_) | Self::Unusable(_) | Self::FirstByteTimeout => {
                true
            }
        }
    }
}

/// Why [`OpenRouter::ping`](super::OpenRouter::ping) failed.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// No usable connection.
    #[error("OpenRouter cannot be reached")]
    Unreachable(#[from] reqwest::Error),
    /// A 5xx.
    #[error("OpenRouter answered {0}")]
    Status(http::StatusCode),
    /// The configured base URL is unusable.
    #[error(transparent)]
    Url(#[from] UpstreamError),
}

pub(super) fn classify(error: reqwest::Error) -> UpstreamError {
    // The URL may hold the client's query; keep it out of logs.
    let error = error.without_url();
    if error.is_connect() {
        UpstreamError::Unreachable(error)
    } else if is_parse_error(&error) {
        UpstreamError::Protocol(error)
    } else {
        UpstreamError::Broken(error)
    }
}

fn is_parse_error(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<hyper::Error>() {
            return cause.is_parse();
        }
        source = cause.source();
    }
    false
}
