//! The headers that pass through the gateway, and those that do not.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use shared::upstream::openrouter::{forwarded_headers, returned_headers};

use crate::{input::text, planted};

/// RFC 9110, section 7.6.1.
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
/// Never forwarded.
const KEPT: [&str; 10] = [
    "content-length",
    "authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "x-access-token",
    "host",
    "forwarded",
];

/// Credentials and a connection's headers stay here, whatever the client lists; what returns has each name once.
pub(crate) fn credentials_stay(data: &[u8]) {
    let (lines, headers) = read(data);
    let listed = listed(&headers);
    let is_hop = |name: &str| HOP_BY_HOP.contains(&name) || listed.iter().any(|it| it == name);

    let mut forwarded = forwarded_headers(&headers);
    if planted() && headers.contains_key(header::COOKIE) {
        forwarded.insert(header::COOKIE, HeaderValue::from_static("planted"));
    }
    for (name, value) in &forwarded {
        let name = name.as_str();
        if name == "accept-encoding" {
            assert_eq!(value, "identity");
            continue;
        }
        assert!(!is_hop(name) && !KEPT.contains(&name), "{name}");
        let is_ours = ["x-did", "x-amz", "x-forwarded-"];
        assert!(!is_ours.iter().any(|it| name.starts_with(it)), "{name}");
    }
    let encodings = forwarded.get_all(header::ACCEPT_ENCODING);
    assert_eq!(encodings.iter().count(), 1);

    let returned = returned_headers(&headers);
    let length: usize = returned
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    assert!(length < 10_000, "more than API Gateway takes");
    for (name, value) in &returned {
        if name == "x-gateway-omitted-headers" {
            continue;
        }
        assert_eq!(returned.get_all(name).iter().count(), 1);
        assert!(value.to_str().is_ok());
        let text = name.as_str();
        let is_ours = text.starts_with("access-control-") || text.starts_with("x-gateway-");
        let is_dropped = ["set-cookie", "content-length"].contains(&text);
        assert!(!is_hop(text) && !is_ours && !is_dropped, "{name}");
        let values: Vec<&[u8]> = lines
            .iter()
            .filter(|(it, _)| it == name)
            .map(|(_, value)| value.as_bytes())
            .collect();
        assert_eq!(value.as_bytes(), values.join(&b", "[..]));
    }
}

/// Lines of `name: value`, as far as they are headers, and the map of them.
pub(crate) fn read(data: &[u8]) -> (Vec<(HeaderName, HeaderValue)>, HeaderMap) {
    let lines: Vec<_> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at(colon);
            let name = HeaderName::from_bytes(name).ok()?;
            Some((name, HeaderValue::from_bytes(value.get(1..)?).ok()?))
        })
        .take(1000)
        .collect();
    let mut headers = HeaderMap::new();
    for (name, value) in &lines {
        headers.append(name, value.clone());
    }
    (lines, headers)
}

/// The names that `Connection` lists.
pub(crate) fn listed(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| text(name.trim().as_bytes()).to_ascii_lowercase())
        .collect()
}
