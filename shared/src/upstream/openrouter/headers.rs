//! The headers that pass through the gateway, and those that do not.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of a connection, not of a message (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
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

/// Request headers that are never forwarded: the client's proof of identity and credentials, the
/// description of the hop that ends here, and headers that the HTTP client writes itself.
pub const NOT_FORWARDED: [&str; 23] = [
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
/// The prefixes of further ones.
pub const NOT_FORWARDED_PREFIXES: [&str; 6] = [
    "x-did",
    "signature",
    "x-forwarded-",
    "x-amz",
    "cloudfront-",
    "cf-",
];

/// Response headers that are never passed back, because they concern the origin that answered: cookies, and
/// policies of transport.
pub const NOT_RETURNED: [&str; 3] = ["alt-svc", "set-cookie", "strict-transport-security"];
/// The prefix of further ones: the policy for web pages.
pub const NOT_RETURNED_PREFIX: &str = "access-control-";
/// Response headers that are not passed back by the gateway: Lambda frames the stream itself, and
/// `x-gateway-` marks the gateway's own.
const NOT_OPENROUTERS: [&str; 1] = ["content-length"];
const NOT_OPENROUTERS_PREFIX: &str = "x-gateway-";

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
    let mut kept = without(headers, &[&NOT_FORWARDED], &[&NOT_FORWARDED_PREFIXES]);
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
    let kept = without(
        headers,
        &[&NOT_RETURNED, &NOT_OPENROUTERS],
        &[&[NOT_RETURNED_PREFIX, NOT_OPENROUTERS_PREFIX]],
    );
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

/// `headers` without those of the connection, those that `Connection` lists, and those with one of the names
/// or prefixes.
#[must_use]
pub fn without(headers: &HeaderMap, names: &[&[&str]], prefixes: &[&[&str]]) -> HeaderMap {
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
            && !names.iter().any(|names| names.contains(&name))
            && !prefixes
                .iter()
                .flat_map(|prefixes| prefixes.iter())
                .any(|prefix| name.starts_with(prefix))
            && !listed.contains(name)
    };
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| goes(name)) {
        kept.append(name, value.clone());
    }
    kept
}

#[cfg(test)]
mod tests;
