//! The head of a streamed answer: JSON, then eight NULs, then the body.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

const DELIMITER: [u8; 8] = [0; 8];
/// API Gateway looks no further for the end of the head.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html>
const LONGEST: usize = 16 * 1024;

/// Looks for the end of the prelude in bytes that arrive piecemeal.
#[derive(Debug, Default)]
pub(super) struct Splitter(Vec<u8>);

/// Status, headers, and the first bytes of the body.
pub(super) type Head = (StatusCode, HeaderMap, Vec<u8>);

impl Splitter {
    /// The head once it is complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Option<Head>, String> {
        self.0.extend_from_slice(bytes);
        let Some(end) = self
            .0
            .windows(DELIMITER.len())
            .position(|window| window == DELIMITER)
        else {
            return if self.0.len() > LONGEST {
                Err("no delimiter after the prelude".to_owned())
            } else {
                Ok(None)
            };
        };
        if end + DELIMITER.len() > LONGEST {
            return Err("the prelude is too long".to_owned());
        }
        let body = self.0.split_off(end + DELIMITER.len());
        self.0.truncate(end);
        let (status, headers) = parse(&self.0)?;
        Ok(Some((status, headers, body)))
    }
}

fn parse(prelude: &[u8]) -> Result<(StatusCode, HeaderMap), String> {
    let prelude: Value =
        serde_json::from_slice(prelude).map_err(|error| format!("the prelude: {error}"))?;
    let members = prelude.as_object().ok_or("the prelude is no object")?;
    if let Some(unknown) = members
        .keys()
        .find(|name| !["statusCode", "headers", "cookies"].contains(&name.as_str()))
    {
        return Err(format!("the prelude has a member {unknown}"));
    }
    let status = members
        .get("statusCode")
        .and_then(Value::as_u64)
        .and_then(|status| StatusCode::from_u16(status.try_into().ok()?).ok())
        .ok_or("the prelude has no statusCode")?;
    let mut headers = HeaderMap::new();
    let named = members.get("headers").and_then(Value::as_object);
    for (name, value) in named.into_iter().flatten() {
        // An array, as for repeated headers, is not documented for API Gateway.
        let value = value.as_str().ok_or_else(|| format!("{name} is no text"))?;
        headers.insert(
            HeaderName::try_from(name).map_err(|error| error.to_string())?,
            HeaderValue::from_str(value).map_err(|error| error.to_string())?,
        );
    }
    Ok((status, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_ends_at_eight_nuls_however_the_bytes_are_cut() {
        let sent = b"{\"statusCode\":418,\"headers\":{\"retry-after\":\"7\"},\"cookies\":[]}\0\0\0\0\0\0\0\0{}";
        for split in 0..sent.len() {
            let mut splitter = Splitter::default();
            let mut body = Vec::new();
            let mut head = None;
            for part in [&sent[..split], &sent[split..]] {
                match &head {
                    None => head = splitter.feed(part).unwrap(),
                    Some(_) => body.extend_from_slice(part),
                }
            }
            let (status, headers, first) = head.unwrap();
            assert_eq!(
                (status.as_u16(), &headers["retry-after"]),
                (418, &HeaderValue::from_static("7"))
            );
            assert_eq!([first, body].concat(), b"{}", "{split}");
        }
    }

    #[test]
    fn the_head_is_not_longer_than_api_gateway_reads() {
        let around = r#"{"statusCode":200,"headers":{"x-long":""}}"#.len() + DELIMITER.len();
        for (length, is_read) in [(LONGEST, true), (LONGEST + 1, false)] {
            let value = "x".repeat(length - around);
            let head = format!(
                r#"{{"statusCode":200,"headers":{{"x-long":"{value}"}}}}{}"#,
                "\0".repeat(8)
            );
            assert_eq!(head.len(), length);
            let read = Splitter::default().feed(head.as_bytes());
            assert_eq!(read.is_ok(), is_read, "{length}");
        }
    }

    #[test]
    fn what_api_gateway_would_not_understand_is_refused() {
        for bad in [
            "{}",
            "[]",
            "{\"statusCode\":\"200\"}",
            "{\"statusCode\":200,\"body\":\"x\"}",
            "{\"statusCode\":200,\"headers\":{\"vary\":[\"a\",\"b\"]}}",
        ] {
            assert!(
                Splitter::default()
                    .feed(format!("{bad}\0\0\0\0\0\0\0\0").as_bytes())
                    .is_err(),
                "{bad}"
            );
        }
    }
}
