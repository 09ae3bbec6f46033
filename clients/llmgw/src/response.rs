//! Responses of the gateway: passing them on, and explaining errors.

use std::{
    borrow::Cow,
    fmt,
    io::{self, Write},
};

use http::{HeaderMap, StatusCode, header::DATE};
use jiff::{Timestamp, fmt::rfc2822};
use reqwest::Response;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{gateway::base_url, terminal::printable};

/// A header of responses that come from OpenRouter.
pub(crate) const UPSTREAM: &str = "x-gateway-upstream";
/// The header with the request's id in the books.
pub(crate) const REQUEST_ID: &str = "x-gateway-request-id";
/// The most of an error body that is kept for its explanation. The gateway's own are shorter.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// The time in a response's `Date`.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get(DATE)?.to_str().ok()?;
    Some(rfc2822::parse(date).ok()?.timestamp())
}

/// Writes the body to `out` as it arrives, flushing after each chunk; with `with_head` the status line
/// and the headers before it. Returns the explanation of a response of 400 or above.
///
/// A closed `out` is not an error: its reader has seen enough.
pub(crate) async fn relay(
    mut response: Response,
    with_head: bool,
    out: &mut dyn Write,
) -> Result<Option<ErrorResponse>, RelayError> {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let mut kept = Vec::new();
    let mut out = Pipe { out, closed: false };
    if with_head {
        out.write(&head(&response))?;
    }
    while let Some(chunk) = response.chunk().await? {
        out.write(&chunk)?;
        if is_error {
            let room = MAX_ERROR_BODY.saturating_sub(kept.len());
            kept.extend(chunk.iter().take(room));
        }
        if out.closed && !is_error {
            break;
        }
    }
    Ok(is_error.then(|| ErrorResponse::new(status, response.headers(), &kept)))
}

/// The reason why a response was not relayed whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    /// The connection ended before the response did.
    #[error("the response broke off; what arrived is incomplete")]
    Interrupted(#[from] reqwest::Error),
    /// The output failed.
    #[error("cannot write the response")]
    Output(#[from] io::Error),
}

/// A response of 400 or above. `Display` explains it, on a second line with advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorResponse {
    status: StatusCode,
    by_upstream: bool,
    reason: Option<String>,
    message: Option<String>,
    /// The base URL that the gateway expects signatures for, if it refused one.
    audience: Option<String>,
}

impl ErrorResponse {
    /// Reads the gateway's error body. OpenRouter's has its message in the same place.
    #[must_use]
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let error = serde_json::from_slice(body).map(|ErrorBody { error }| error);
        let (message, metadata) = match error {
            Ok(ErrorFields { message, metadata }) => (message, metadata),
            Err(_) => (None, None),
        };
        let metadata: Option<Metadata> =
            metadata.and_then(|raw| serde_json::from_str(raw.get()).ok());
        Self {
            status,
            by_upstream: headers.contains_key(UPSTREAM),
            audience: metadata.as_ref().and_then(Metadata::audience),
            reason: metadata.map(|Metadata { reason, .. }| printable(&reason)),
            message: message.as_deref().map(printable),
        }
    }

    /// Marks a response that came from OpenRouter directly.
    #[must_use]
    pub(crate) fn of_openrouter(self) -> Self {
        let by_upstream = true;
        Self {
            by_upstream,
            ..self
        }
    }

    /// The gateway's stable name for the error.
    #[must_use]
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| !self.by_upstream)
    }

    /// The next step with this program, for errors that have one.
    fn advice(&self) -> Option<Cow<'static, str>> {
        Some(match (self.reason()?, &self.audience) {
            ("invalid_signature", Some(audience)) => format!(
                "the gateway checks signatures for {audience}; if you use another base URL, name that \
                 one with --audience, or in the profile with `llmgw profile add`; `llmgw doctor` checks \
                 the rest"
            )
            .into(),
            (reason, _) => Self::advice_on(reason)?.into(),
        })
    }

    fn advice_on(reason: &str) -> Option<&'static str> {
        Some(match reason {
            "no_key_for_did" => "`llmgw connect` stores a key at the gateway",
            "timestamp_out_of_window" => {
                "set this machine's clock; `llmgw doctor` shows its difference"
            }
            "invalid_signature" => {
                "if the gateway is configured with another base URL, name it with --audience; \
                 `llmgw doctor` checks the rest"
            }
            "credit_limit_reached" => {
                "`llmgw usage` shows what was spent; ask the operator for more"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sender = if self.by_upstream {
            "OpenRouter"
        } else {
            "the gateway"
        };
        write!(f, "{sender} answered {}", self.status)?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        if let Some(advice) = self.advice() {
            write!(f, "\nllmgw: {advice}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ErrorResponse {}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorFields,
}

/// `metadata` is read separately: one of an unknown form does not hide the message.
#[derive(Deserialize)]
struct ErrorFields {
    message: Option<String>,
    metadata: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Metadata {
    reason: String,
    signing_string: Option<String>,
}

impl Metadata {
    /// The audience in the text that should have been signed: its second line.
    fn audience(&self) -> Option<String> {
        let audience = self.signing_string.as_ref()?.lines().nth(1)?;
        Some(base_url(audience).ok()?.to_string())
    }
}

/// An output that its reader may close at any time.
struct Pipe<'a> {
    out: &'a mut dyn Write,
    closed: bool,
}

impl Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match self.out.write_all(bytes).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            result => result,
        }
    }
}

/// The status line and the headers as on the wire (RFC 9112 §2.1).
fn head(response: &Response) -> Vec<u8> {
    let mut head = format!("{:?} {}\r\n", response.version(), response.status()).into_bytes();
    for (name, value) in response.headers() {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    head
}

#[cfg(test)]
mod tests;
