//! Who may use `llmgw serve`, beside a browser's reading of URLs.

use http::{HeaderMap, HeaderName, HeaderValue, Request, header, request::Parts};
use llmgw::{
    fuzzing::serve::{self, Rules},
    target::Target,
};
use shared::upstream::endpoint::PROXY_PREFIX;
use url::{Host, Url};

use crate::{
    headers::{listed, read},
    input::Fields,
    planted,
};

const TOKEN: &str = "0123456789abcdef";
const ORIGIN: &str = "https://app.example.com";
const CONTAINER: &str = "host.docker.internal";

/// A page is let in only from an allowed origin and to a host that is this machine for its browser, and none of the
/// caller's credentials go on.
pub(crate) fn pages_stay_out(data: &[u8]) {
    let fields = Fields::of(data);
    let flags = fields.bytes(0).first().copied().unwrap_or_default();
    let (needs_token, any_address) = (flags & 1 == 0, flags & 2 == 2);
    let rules = Rules::new(
        needs_token.then(|| TOKEN.parse().unwrap()),
        any_address,
        vec![CONTAINER.to_owned()],
        vec![ORIGIN.parse().unwrap()],
    );
    let Some(head) = head(&fields) else {
        return;
    };
    let mut admitted = rules.admit(&head);
    if planted() && head.headers.contains_key("sec-fetch-site") {
        admitted = Ok(None);
    }
    match admitted {
        Ok(page) => is_at_home(&head, page, any_address),
        Err(part) => {
            let host = head.headers.get(header::HOST).map(HeaderValue::as_bytes);
            let is_plain = [&b"localhost:4117"[..], b"127.0.0.1:4117", b"[::1]:4117"];
            let is_known = host.is_some_and(|host| is_plain.contains(&host));
            let has_one = head.headers.get_all(header::HOST).iter().count() == 1;
            let is_refused = part == "Host" && head.uri.authority().is_none();
            assert!(!(is_refused && is_known && has_one), "{host:?}");
        }
    }
    let shows_token = shows_token(&head.headers);
    assert_eq!(rules.authorize(&head.headers), !needs_token || shows_token);
    credentials_stay(&head.headers);
    if let Some(target) = serve::target(head.uri.path(), head.uri.query()) {
        let path = target.path().as_str();
        let own = ["/api/v1/health", "/api/v1/usage", "/api/v1/usage/requests"];
        let is_proxied = path
            .strip_prefix(PROXY_PREFIX)
            .is_some_and(|it| it.len() > 1);
        assert!(is_proxied || own.contains(&path), "{path}");
        assert_eq!(target.to_string().parse::<Target>(), Ok(target));
    }
}

fn head(fields: &Fields<'_>) -> Option<Parts> {
    let uri = fields.text(1);
    let uri = if uri.is_empty() { "/v1/models" } else { &uri };
    let mut request = Request::builder().method("POST").uri(uri).body(()).ok()?;
    for line in fields.bytes(2).split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            request.headers_mut().append(header::HOST, value);
        }
    }
    let (lines, _) = read(fields.bytes(3));
    for (name, value) in lines {
        if name != header::HOST {
            request.headers_mut().append(name, value);
        }
    }
    Some(request.into_parts().0)
}

fn is_at_home(head: &Parts, page: Option<&HeaderValue>, any_address: bool) {
    let hosts: Vec<_> = head.headers.get_all(header::HOST).iter().collect();
    let [host] = hosts[..] else {
        panic!("{hosts:?}");
    };
    let host = host.to_str().unwrap();
    assert!(is_this_machine(host, any_address), "{host:?} is let in");
    if let Some(authority) = head.uri.authority() {
        assert!(
            is_this_machine(authority.as_str(), any_address),
            "{authority}"
        );
    }
    let origins = head.headers.get_all(header::ORIGIN).iter().count();
    let site = head.headers.get("sec-fetch-site");
    match page {
        Some(page) => assert_eq!((origins, page.as_bytes()), (1, ORIGIN.as_bytes())),
        None => assert!(origins == 0 && site.is_none_or(|site| site == "none")),
    }
}

/// Whether a browser that sends this host has asked this machine.
fn is_this_machine(host: &str, any_address: bool) -> bool {
    let url = Url::parse(&format!("http://{host}/"));
    url.is_ok_and(|url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name == CONTAINER,
        Some(Host::Ipv4(address)) => any_address || address.is_loopback(),
        Some(Host::Ipv6(address)) => any_address || address.is_loopback(),
        None => false,
    })
}

fn shows_token(headers: &HeaderMap) -> bool {
    let bearers = headers.get_all(header::AUTHORIZATION).iter();
    let has_bearer = bearers.map(HeaderValue::as_bytes).any(|value| {
        let Some((scheme, token)) = value.split_at_checked(7) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer ") && token.trim_ascii() == TOKEN.as_bytes()
    });
    has_bearer || headers.get_all("x-api-key").iter().any(|it| it == TOKEN)
}

fn credentials_stay(headers: &HeaderMap) {
    let listed = listed(headers);
    let sent = serve::sent(headers);
    for name in sent.keys().map(HeaderName::as_str) {
        let never = [
            "host",
            "origin",
            "cookie",
            "authorization",
            "x-api-key",
            "connection",
            "te",
            "transfer-encoding",
            "content-length",
            "upgrade",
        ];
        let ours = ["x-did", "sec-", "access-control-"];
        assert!(!never.contains(&name), "{name}");
        assert!(
            !ours.iter().any(|prefix| name.starts_with(prefix)),
            "{name}"
        );
        assert!(!listed.iter().any(|it| it == name), "{name}");
    }
    for name in ["accept", "content-type", "x-title", "anthropic-version"] {
        if !listed.iter().any(|it| it == name) {
            assert_eq!(sent.get(name), headers.get(name), "{name} is lost");
        }
    }
}
