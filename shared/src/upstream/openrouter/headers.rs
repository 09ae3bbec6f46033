//! The headers that pass through the gateway, and those that do not.

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
const NOT_FORWARDED: [&str; 18] = [
    "accept-encoding",
    "authorization",
    "content-digest",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "x-api-key",
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
/// treats repeated ones is not documented. Values that are not visible ASCII have no place in it.
#[must_use]
pub fn returned_headers(headers: &HeaderMap) -> HeaderMap {
    let kept = without(headers, &NOT_RETURNED, &NOT_RETURNED_PREFIXES);
    let mut joined = HeaderMap::with_capacity(kept.keys_len());
    for name in kept.keys() {
        let values: Vec<&[u8]> = kept
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let value = HeaderValue::from_bytes(&values.join(&b", "[..]));
        if let Some(value) = value.ok().filter(|value| value.to_str().is_ok()) {
            joined.insert(name.clone(), value);
        }
    }
    joined
}

fn without(headers: &HeaderMap, names: &[&str], prefixes: &[&str]) -> HeaderMap {
    let listed: Vec<String> = headers
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
            && !listed.iter().any(|listed| listed == name)
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
