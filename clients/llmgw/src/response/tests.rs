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
    ErrorResponse::new(status, &headers, body.as_bytes()).to_string()
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
) -> Result<Option<ErrorResponse>, RelayError> {
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

#[test]
fn dates_are_those_of_http() {
    let mut headers = HeaderMap::new();
    assert_eq!(date(&headers), None);
    headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
    assert_eq!(date(&headers), Some(Timestamp::constant(784_111_777, 0)));
}
