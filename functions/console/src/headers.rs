//! The headers of the console's responses.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::files::{Coding, File};

/// Scripts and styles come from the function alone, and the style sheet in the page is known by its digest. Requests
/// go to the gateway and, for connecting an account, to OpenRouter. No text becomes markup.
const POLICY: &str = concat!(
    "default-src 'none'; script-src 'self'; style-src ",
    env!("STYLE_SOURCES"),
    "; img-src 'self' data:; font-src 'self'; connect-src 'self' https://openrouter.ai; base-uri 'none'; ",
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
);

/// The features that a page could ask a browser for, all refused.
const PERMISSIONS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=()";

const ON_EVERY_RESPONSE: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=63072000"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("permissions-policy"), PERMISSIONS),
];

/// Adds what every response carries.
pub(crate) fn protect(headers: &mut HeaderMap) {
    for (name, value) in ON_EVERY_RESPONSE {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Other origins have no use for the page.
    headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
}

/// Adds what describes a file: how long it may be kept, and which variant it is.
pub(crate) fn describe(headers: &mut HeaderMap, file: &File, coding: Coding, etag: &str) {
    let kept = if file.is_hashed() {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(name) = coding.name() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
}
