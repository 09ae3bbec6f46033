//! The headers that pass through the gateway, and those that do not.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of a connection, not of a message (RFC 9110, section 7.6.1).
pub const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Never sent upstream: the client's proof of identity and credentials, what describes the hop to
/// the gateway, and what the HTTP client writes itself.
const NOT_FORWARDED: [&str; 24] = [
    "accept-encoding",
    "api-key",
    "apikey",
    "authorization",
    "content-digest",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "ocp-apim-subscription-key",
    "x-access-token",
    "x-api-key",
    "x-auth-token",
    "x-goog-api-key",
    "x-real-ip",
    "true-client-ip",
    "via",
    // These could make OpenRouter take the request for another than the one that was checked.
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "cdn-loop",
];
const NOT_FORWARDED_PREFIXES: [&str; 6] = [
    "x-did",
    "signature",
    "x-forwarded-",
    "x-amz",
    "cloudfront-",
    "cf-",
];

/// Never passed back: cookies are for another domain, the length describes another hop (Lambda
/// frames the stream itself), and cross-origin policy is the gateway's own.
const NOT_RETURNED: [&str; 4] = [
    "content-length",
    "set-cookie",
    "alt-svc",
    "strict-transport-security",
];
const NOT_RETURNED_PREFIXES: [&str; 2] = ["access-control-", "x-gateway-"];

/// The number of bytes of OpenRouter's headers that are returned: API Gateway fails an answer with 10,240 bytes of
/// headers or more, and adds some of its own.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>
const RETURNED_BYTES: usize = 8 * 1024;
/// Returned before all others, as far as they fit: clients act on them.
const RETURNED_FIRST: [&str; 6] = [
    "content-type",
    "content-encoding",
    "retry-after",
    "x-generation-id",
    "content-disposition",
    "x-openrouter-cache-status",
];
/// The number of headers that did not fit.
const OMITTED: HeaderName = HeaderName::from_static("x-gateway-omitted-headers");

/// The client's headers that go upstream. `accept-encoding` becomes `identity`, so that the answer
/// can be read and passed on unchanged.
#[must_use]
pub fn forwarded_headers(headers: &HeaderMap) -> HeaderMap {
    let mut kept = without(headers, &NOT_FORWARDED, &NOT_FORWARDED_PREFIXES);
    kept.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    kept
}

/// OpenRouter's headers that go back to the client, each name once: how Lambda's streaming prelude
/// treats repeated ones is not documented. Values that are not visible ASCII have no place in it. Those that
/// do not fit into `RETURNED_BYTES` are left out, and counted in `x-gateway-omitted-headers`.
#[must_use]
pub fn returned_headers(headers: &HeaderMap) -> HeaderMap {
    let kept = without(headers, &NOT_RETURNED, &NOT_RETURNED_PREFIXES);
    let mut joined = HeaderMap::with_capacity(kept.keys_len());
    let (mut room, mut omitted) = (RETURNED_BYTES, 0_u32);
    let (first, others): (Vec<_>, Vec<_>) = kept
        .keys()
        .partition(|name| RETURNED_FIRST.contains(&name.as_str()));
    for name in first.into_iter().chain(others) {
        let values: Vec<&[u8]> = kept
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let value = HeaderValue::from_bytes(&values.join(&b", "[..]));
        let Some(value) = value.ok().filter(|value| value.to_str().is_ok()) else {
            continue;
        };
        // As a line of HTTP/1.1, `name: value` and its end.
        let length = name.as_str().len() + value.len() + 4;
        if length <= room {
            room -= length;
            joined.insert(name.clone(), value);
        } else {
            omitted += 1;
        }
    }
    if omitted > 0 {
        joined.insert(OMITTED, HeaderValue::from(omitted));
    }
    joined
}

fn without(headers: &HeaderMap, names: &[&str], prefixes: &[&str]) -> HeaderMap {
    let listed: HashSet<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let goes = |name: &HeaderName| {
        let name = name.as_str();
        !HOP_BY_HOP.contains(&name)
            && !names.contains(&name)
            && !prefixes.iter().any(|prefix| name.starts_with(prefix))
            && !listed.contains(name)
    };
    headers
        .iter()
        .filter(|(name, _)| goes(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .fold(HeaderMap::new(), |mut kept, (name, value)| {
            kept.append(name, value);
            kept
        })
}

#[cfg(test)]
mod tests;
