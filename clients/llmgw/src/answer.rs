//! A gateway's answer, on its way to the user.

use std::{
    fmt,
    io::{self, Write},
};

use http::{HeaderMap, StatusCode};
use reqwest::Response;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::terminal::printable;

/// On answers of the upstream that the gateway passed on.
const UPSTREAM: &str = "x-gateway-upstream";
/// How much of a refusal is kept to be explained. Its body is short, or it is not ours.
const MAX_EXPLAINED: usize = 64 * 1024;

/// Writes the body to `out` as it arrives, flushing after each piece; the status line and the
/// headers before it, if they are wanted. Tells what to say about an answer of 400 and above.
///
/// Nobody reading `out` any more is no error: the answer has then been read as far as it was wanted.
pub async fn relay(
    mut response: Response,
    with_head: bool,
    out: &mut dyn Write,
) -> Result<Option<Refusal>, RelayError> {
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    let mut kept = Vec::new();
    let mut out = Pipe { out, closed: false };
    if with_head {
        out.write(&head(&response))?;
    }
    while let Some(chunk) = response.chunk().await? {
        out.write(&chunk)?;
        if refused {
            let room = MAX_EXPLAINED.saturating_sub(kept.len());
            kept.extend(chunk.iter().take(room));
        }
        if out.closed && !refused {
            break;
        }
    }
    Ok(refused.then(|| Refusal::new(status, response.headers(), &kept)))
}

/// Why an answer did not arrive as a whole.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The connection ended before the answer did.
    #[error("the answer broke off; what came of it is incomplete")]
    Interrupted(#[from] reqwest::Error),
    /// It has nowhere to go.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
}

/// An answer of 400 and above, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    by_upstream: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Refusal {
    /// Reads the gateway's error body; the upstream's has its message in the same place.
    #[must_use]
    pub fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let error = serde_json::from_slice(body).map(|ErrorBody { error }| error);
        let (message, metadata) = match error {
            Ok(ErrorMembers { message, metadata }) => (message, metadata),
            Err(_) => (None, None),
        };
        let reason = metadata.and_then(|raw| serde_json::from_str(raw.get()).ok());
        Self {
            status,
            by_upstream: headers.contains_key(UPSTREAM),
            reason: reason.map(|Metadata { reason }| printable(&reason)),
            message: message.as_deref().map(printable),
        }
    }
}

impl Refusal {
    /// The same, of an answer that came from OpenRouter without the gateway.
    #[must_use]
    pub fn of_openrouter(self) -> Self {
        let by_upstream = true;
        Self {
            by_upstream,
            ..self
        }
    }

    /// The gateway's stable name for it.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| !self.by_upstream)
    }

    /// What to do next with this program, where that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self.reason()? {
            "no_key_for_did" => "`llmgw connect` gives the gateway a key",
            "timestamp_out_of_window" => {
                "set this machine's clock; `llmgw doctor` tells how far off it is"
            }
            "invalid_signature" => {
                "if the gateway knows itself by another name, give that with --audience; \
                 `llmgw doctor` checks the rest"
            }
            "credit_limit_reached" => {
                "`llmgw usage` shows what was spent; ask the operator for more"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.by_upstream {
            "OpenRouter"
        } else {
            "the gateway"
        };
        write!(f, "{who} answered {}", self.status)?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorMembers,
}

/// A member of another type than ours does not hide the others.
#[derive(Deserialize)]
struct ErrorMembers {
    message: Option<String>,
    metadata: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Metadata {
    reason: String,
}

/// An output that may be closed by its reader at any time.
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

/// As on the wire (RFC 9112 §2.1).
fn head(response: &Response) -> Vec<u8> {
    let mut head = format!("{:?} {}\r\n", response.version(), response.status()).into_bytes();
    for (name, value) in response.headers() {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, response};

    use super::*;

    fn explained(status: u16, headers: &[&'static str], body: &str) -> String {
        let headers = headers
            .iter()
            .map(|name| {
                (
                    name.parse().unwrap(),
                    HeaderValue::from_static("openrouter"),
                )
            })
            .collect();
        let status = StatusCode::from_u16(status).unwrap();
        Refusal::new(status, &headers, body.as_bytes()).to_string()
    }

    #[test]
    fn refusals_in_words() {
        for (status, body, text) in [
            (
                401,
                r#"{"success":false,"error":{"code":401,"message":"Sign again.","metadata":{"reason":"replayed_request","at":1}},"request_id":"r"}"#,
                "the gateway answered 401 Unauthorized (replayed_request): Sign again.",
            ),
            (
                403,
                r#"{"error":{"message":"no","metadata":"odd"}}"#,
                "the gateway answered 403 Forbidden: no",
            ),
            (
                500,
                r#"{"error":{"message":"a\u001b[2Jb\r\nc","metadata":{"reason":"x\u0007"}}}"#,
                "the gateway answered 500 Internal Server Error (x ): a [2Jb  c",
            ),
            (502, "<html>", "the gateway answered 502 Bad Gateway"),
            (502, "", "the gateway answered 502 Bad Gateway"),
            (
                404,
                r#"{"message":"Not Found"}"#,
                "the gateway answered 404 Not Found",
            ),
        ] {
            assert_eq!(explained(status, &[], body), text);
        }
    }

    #[test]
    fn refusals_of_the_upstream_are_not_blamed_on_the_gateway() {
        let body = r#"{"error":{"code":402,"message":"Insufficient credits"}}"#;
        assert_eq!(
            explained(402, &[UPSTREAM], body),
            "OpenRouter answered 402 Payment Required: Insufficient credits"
        );
    }

    /// Fails when written to, as the given kind.
    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn relayed(
        status: u16,
        with_head: bool,
        out: &mut dyn Write,
    ) -> Result<Option<Refusal>, RelayError> {
        let response = response::Builder::new()
            .status(status)
            .header("x-a", "1")
            .body(r#"{"error":{"message":"m"}}"#)
            .unwrap();
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(relay(response.into(), with_head, out))
    }

    #[test]
    fn the_head_is_written_only_on_request() {
        let mut out = Vec::new();
        assert_eq!(relayed(200, true, &mut out).unwrap(), None);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\nx-a: 1\r\n\r\n{\"error\":{\"message\":\"m\"}}"
        );
        let mut out = Vec::new();
        assert_eq!(relayed(302, false, &mut out).unwrap(), None);
        assert_eq!(out, br#"{"error":{"message":"m"}}"#);
    }

    #[test]
    fn a_closed_pipe_is_no_error_and_a_full_disk_is_one() {
        let mut closed = Broken(io::ErrorKind::BrokenPipe);
        assert_eq!(relayed(200, false, &mut closed).unwrap(), None);
        let refusal = relayed(400, false, &mut closed).unwrap().unwrap();
        assert_eq!(
            refusal.to_string(),
            "the gateway answered 400 Bad Request: m"
        );
        let mut full = Broken(io::ErrorKind::StorageFull);
        let error = relayed(200, false, &mut full).unwrap_err();
        assert!(matches!(error, RelayError::Output(_)));
    }
}
