//! Who may use the proxy.
//!
//! It spends its user's credit for whoever reaches it, so reaching it has to be deliberate:
//!
//! * **The token**, if there is one, keeps out other users of the machine, and everyone else where
//!   the proxy listens to more than loopback.
//! * **`Host`** keeps out pages whose name resolves to this machine (DNS rebinding): the browser
//!   sends the page's name. Addresses cannot be rebound.
//! * **`Origin`** and **`Sec-Fetch-Site`** keep out all other pages, also for requests whose answer
//!   the page could not read (cross-site request forgery). Programs that are no browsers send neither.

use std::{fmt, net::IpAddr, str::FromStr};

use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, HOST, ORIGIN},
    request::Parts,
    uri::Authority,
};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

const API_KEY: &str = "x-api-key";
const FETCH_SITE: &str = "sec-fetch-site";

/// The rules of one proxy.
#[derive(Debug)]
pub struct Guard {
    /// What callers show as their API key.
    pub token: Option<Token>,
    /// Whether `Host` may be any address: not on loopback alone, where others cannot be meant.
    pub any_address: bool,
    /// Names that `Host` may have besides `localhost`.
    pub hosts: Vec<String>,
    /// Pages that may use the proxy.
    pub origins: Vec<Origin>,
}

impl Guard {
    /// Whether the request comes from where it may come from. Gives the origin of the allowed page
    /// that sent it, if one did.
    pub fn admit<'a>(&self, head: &'a Parts) -> Result<Option<&'a HeaderValue>, Intruder> {
        self.check_host(head)?;
        self.check_origin(&head.headers)
    }

    /// Whether the caller knows the token.
    pub fn authorize(&self, headers: &HeaderMap) -> Result<(), Intruder> {
        match &self.token {
            Some(token) if !token.is_shown(headers) => Err(Intruder::Token),
            Some(_) | None => Ok(()),
        }
    }

    fn check_host(&self, head: &Parts) -> Result<(), Intruder> {
        let mut hosts = head.headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let host = host.ok_or(Intruder::Host)?;
        let allowed = hosts.next().is_none() && self.is_host(host);
        // In absolute form, the target names the host a second time (RFC 9112 §3.2.2).
        let same = |target: &Authority| self.is_host(target.as_str());
        if allowed && head.uri.authority().is_none_or(same) {
            Ok(())
        } else {
            Err(Intruder::Host)
        }
    }

    fn is_host(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = address.parse::<IpAddr>() {
            return self.any_address || address.is_loopback();
        }
        let is_it = |allowed: &str| allowed.eq_ignore_ascii_case(name);
        is_it("localhost") || self.hosts.iter().any(|allowed| is_it(allowed))
    }

    fn check_origin<'a>(
        &self,
        headers: &'a HeaderMap,
    ) -> Result<Option<&'a HeaderValue>, Intruder> {
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) if self.origins.iter().any(|it| it.is(origin)) => Ok(Some(origin)),
            (Some(_), _) => Err(Intruder::Page),
            // Browsers leave `Origin` out of simple requests that only read.
            (None, _) => match headers.get(FETCH_SITE).map(HeaderValue::as_bytes) {
                None | Some(b"none") => Ok(None),
                Some(_) => Err(Intruder::Page),
            },
        }
    }
}

/// Who is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intruder {
    /// Someone to whom this machine has another name.
    Host,
    /// A page that is not allowed.
    Page,
    /// Someone without the token.
    Token,
}

/// A secret between the proxy and its callers: 16 to 256 visible ASCII characters.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    const LENGTH: std::ops::RangeInclusive<usize> = 16..=256;

    /// The text, for the one who started the proxy.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }

    /// Whether one of the places where clients put their API key holds it. Takes as long whichever
    /// part of a wrong one is right.
    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let bearers = headers.get_all(AUTHORIZATION).iter().filter_map(bearer);
        let keys = headers.get_all(API_KEY).iter().map(HeaderValue::as_bytes);
        let shown = bearers.chain(keys).fold(Choice::from(0), |shown, text| {
            shown | text.ct_eq(self.0.as_bytes())
        });
        shown.into()
    }
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked("bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then_some(token.trim_ascii())
}

impl FromStr for Token {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, MalformedToken> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && Self::LENGTH.contains(&text.len()) {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(MalformedToken)
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Too short, too long, or nothing that a header can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is 16 to 256 visible ASCII characters")]
pub struct MalformedToken;

/// Where a page is from, exactly as browsers send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    fn is(&self, value: &HeaderValue) -> bool {
        value.as_bytes() == self.0.as_bytes()
    }
}

impl FromStr for Origin {
    type Err = MalformedOrigin;

    /// Other schemes than http are those of desktop programs that are browsers inside. `null` is
    /// what any sandboxed page sends, so it names nobody.
    fn from_str(text: &str) -> Result<Self, MalformedOrigin> {
        let (scheme, rest) = text.split_once("://").ok_or(MalformedOrigin)?;
        let ascii = text.bytes().all(|byte| byte.is_ascii_graphic());
        if ascii && !scheme.is_empty() && !rest.is_empty() && !rest.contains(['/', '*']) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(MalformedOrigin)
        }
    }
}

/// Not of the form in which browsers name an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an origin is a scheme, a host and perhaps a port, without a slash at the end: https://app.example.com"
)]
pub struct MalformedOrigin;

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn guard() -> Guard {
        Guard {
            token: Some(TOKEN.parse().unwrap()),
            any_address: false,
            hosts: vec!["host.docker.internal".to_owned()],
            origins: vec!["https://app.example.com".parse().unwrap()],
        }
    }

    fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(name.parse::<HeaderName>().unwrap(), *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn hosts() {
        let guard = guard();
        for host in [
            "127.0.0.1",
            "127.0.0.1:4117",
            "127.8.9.1:1",
            "[::1]:4117",
            "[::1]",
            "localhost",
            "LOCALHOST:80",
            "host.docker.internal:4117",
        ] {
            assert_eq!(
                guard.admit(&head("/", &[("host", host)])),
                Ok(None),
                "{host}"
            );
        }
        for host in [
            "evil.example.com",
            "evil.example.com:4117",
            "localhost.evil.example.com",
            "127.0.0.1.evil.example.com",
            "127.0.0.1@evil.example.com",
            "192.168.0.2:4117",
            "0.0.0.0:4117",
            "",
            "a b",
            "[::2]",
        ] {
            let head = head("/", &[("host", host)]);
            assert_eq!(guard.admit(&head), Err(Intruder::Host), "{host}");
        }
        assert_eq!(guard.admit(&head("/", &[])), Err(Intruder::Host));
        let twice = [("host", "localhost"), ("host", "evil.example.com")];
        assert_eq!(guard.admit(&head("/", &twice)), Err(Intruder::Host));
        let localhost = [("host", "localhost")];
        assert_eq!(
            guard.admit(&head("http://127.0.0.1/a", &localhost)),
            Ok(None)
        );
        let other = head("http://evil.example.com/a", &localhost);
        assert_eq!(guard.admit(&other), Err(Intruder::Host));
    }

    #[test]
    fn beyond_loopback_any_address_is_this_machine_and_no_other_name() {
        let guard = Guard {
            any_address: true,
            ..guard()
        };
        for (host, admitted) in [
            ("192.168.0.2:4117", Ok(None)),
            ("[fe80::1]:4117", Ok(None)),
            ("evil.example.com", Err(Intruder::Host)),
        ] {
            assert_eq!(
                guard.admit(&head("/", &[("host", host)])),
                admitted,
                "{host}"
            );
        }
    }

    #[test]
    fn pages() {
        let guard = guard();
        let admitted = |name: &str, value: &str| {
            let head = head("/", &[("host", "localhost"), (name, value)]);
            guard.admit(&head).map(Option::<&HeaderValue>::cloned)
        };
        let allowed = "https://app.example.com";
        let origin = HeaderValue::from_static("https://app.example.com");
        assert_eq!(admitted("origin", allowed), Ok(Some(origin)));
        for other in [
            "https://app.example.com.evil.example.com",
            "http://app.example.com",
            "https://app.example.com:444",
            "null",
            "",
            "http://localhost:4117",
        ] {
            assert_eq!(admitted("origin", other), Err(Intruder::Page), "{other}");
        }
        for site in ["cross-site", "same-site", "same-origin", ""] {
            assert_eq!(
                admitted("sec-fetch-site", site),
                Err(Intruder::Page),
                "{site}"
            );
        }
        // Typed into the address bar.
        assert_eq!(admitted("sec-fetch-site", "none"), Ok(None));
        let twice = head(
            "/",
            &[
                ("host", "localhost"),
                ("origin", allowed),
                ("origin", "null"),
            ],
        );
        assert_eq!(guard.admit(&twice), Err(Intruder::Page));
    }

    #[test]
    fn tokens() {
        let guard = guard();
        let authorized = |headers: &[(&str, &str)]| guard.authorize(&head("/", headers).headers);
        let bearer = format!("Bearer {TOKEN}");
        for shown in [
            vec![("authorization", bearer.as_str())],
            vec![("authorization", "bearer 0123456789abcdef")],
            vec![("x-api-key", TOKEN)],
            // What Anthropic's clients send with both of their variables set.
            vec![("authorization", "Bearer other"), ("x-api-key", TOKEN)],
            vec![("authorization", &bearer), ("x-api-key", "other")],
        ] {
            assert_eq!(authorized(&shown), Ok(()), "{shown:?}");
        }
        for wrong in [
            vec![],
            vec![("authorization", TOKEN)],
            vec![("authorization", "Basic 0123456789abcdef")],
            vec![("authorization", "Bearer ")],
            vec![("authorization", "Bearer 0123456789abcdeF")],
            vec![("x-api-key", "0123456789abcde")],
            vec![("x-api-key", "0123456789abcdef0")],
            vec![("x-api-key", "")],
            vec![("cookie", TOKEN)],
        ] {
            assert_eq!(authorized(&wrong), Err(Intruder::Token), "{wrong:?}");
        }
        let open = Guard {
            token: None,
            ..self::guard()
        };
        assert_eq!(open.authorize(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn what_is_no_token_and_no_origin() {
        for text in [
            "",
            "short",
            "0123456789abcde\n",
            "0123456789 abcdef",
            &"a".repeat(257),
        ] {
            assert_eq!(text.parse::<Token>().err(), Some(MalformedToken), "{text}");
        }
        assert_eq!(format!("{:?}", TOKEN.parse::<Token>()), "Ok(Token(…))");
        for text in [
            "",
            "*",
            "null",
            "app.example.com",
            "https://a/",
            "https://*.example.com",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(MalformedOrigin), "{text}");
        }
        assert!("app://obsidian.md".parse::<Origin>().is_ok());
    }
}
