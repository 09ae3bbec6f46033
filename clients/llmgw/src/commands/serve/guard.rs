//! Access control of the proxy.
//!
//! Every request spends its user's credit, so access has to be deliberate:
//!
//! * **The token**, if there is one, keeps out other users of the machine, and everyone else if the
//!   proxy listens beyond loopback.
//! * **`Host`** keeps out pages whose name resolves to this machine (DNS rebinding): the browser
//!   sends the page's name. Addresses cannot be rebound.
//! * **`Origin`** and **`Sec-Fetch-Site`** keep out all other pages, also for requests whose response
//!   the page could not read (cross-site request forgery). Programs other than browsers send neither.

use std::{ffi::OsStr, fmt, net::IpAddr, str::FromStr};

use clap::{Arg, Command, builder::TypedValueParser, error::ErrorKind};
use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, HOST, ORIGIN},
    request::Parts,
    uri::Authority,
};
use subtle::{Choice, ConstantTimeEq};
use url::Url;
use zeroize::Zeroizing;

const API_KEY: &str = "x-api-key";
const FETCH_SITE: &str = "sec-fetch-site";

/// The access rules of a proxy.
#[derive(Debug)]
pub(super) struct Guard {
    /// The token that callers send as their API key.
    pub token: Option<Token>,
    /// Whether `Host` may be any address, for a proxy that listens beyond loopback.
    pub any_address: bool,
    /// The allowed names in `Host` besides `localhost`.
    pub hosts: Vec<String>,
    /// The allowed origins.
    pub origins: Vec<Origin>,
}

impl Guard {
    /// Checks `Host` and `Origin`. Returns the origin of the allowed page that sent the request, if one
    /// did.
    pub(super) fn admit<'a>(
        &self,
        head: &'a Parts,
    ) -> Result<Option<&'a HeaderValue>, AccessDenied> {
        self.check_host(head)?;
        self.check_origin(&head.headers)
    }

    /// Checks the token.
    pub(super) fn authorize(&self, headers: &HeaderMap) -> Result<(), AccessDenied> {
        match &self.token {
            Some(token) if !token.is_shown(headers) => Err(AccessDenied::Token),
            Some(_) | None => Ok(()),
        }
    }

    fn check_host(&self, head: &Parts) -> Result<(), AccessDenied> {
        let mut hosts = head.headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let host = host.ok_or(AccessDenied::Host)?;
        let allowed = hosts.next().is_none() && self.is_host(host);
        // A target in absolute form names the host a second time (RFC 9112 §3.2.2).
        let same = |target: &Authority| self.is_host(target.as_str());
        if allowed && head.uri.authority().is_none_or(same) {
            Ok(())
        } else {
            Err(AccessDenied::Host)
        }
    }

    fn is_host(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        // HTTP's authorities include some that no URL has, and so no browser sends: `[127.0.0.1]`, `localhost:abc`.
        if Url::parse(&format!("http://{host}/")).is_err() {
            return false;
        }
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
    ) -> Result<Option<&'a HeaderValue>, AccessDenied> {
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) if self.origins.iter().any(|it| it.is(origin)) => Ok(Some(origin)),
            (Some(_), _) => Err(AccessDenied::Origin),
            // Browsers omit `Origin` in simple requests that only read.
            (None, _) => match headers.get(FETCH_SITE).map(HeaderValue::as_bytes) {
                None | Some(b"none") => Ok(None),
                Some(_) => Err(AccessDenied::Origin),
            },
        }
    }
}

/// The reason why access is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessDenied {
    /// The name in `Host` is not allowed.
    Host,
    /// The page's origin is not allowed.
    Origin,
    /// The token is missing or wrong.
    Token,
}

/// A secret between the proxy and its callers: 16 to 256 visible ASCII characters.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    const LENGTH: std::ops::RangeInclusive<usize> = 16..=256;

    /// The text, for the user who started the proxy.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }

    /// Whether one of the headers for API keys contains it. The comparison takes constant time.
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

/// Parses the argument. Unlike clap's own parsers, its error does not show the value.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenParser;

impl TypedValueParser for TokenParser {
    type Value = Token;

    fn parse_ref(
        &self,
        command: &Command,
        _argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Token, clap::Error> {
        value
            .to_str()
            .ok_or(MalformedToken)
            .and_then(str::parse)
            .map_err(|error| {
                let message = format!("--token or LLMGW_SERVE_TOKEN: {error}\n");
                clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
            })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A token that is too short, too long, or not a header value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is 16 to 256 visible ASCII characters")]
pub struct MalformedToken;

/// The origin of a page, exactly as browsers send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    fn is(&self, value: &HeaderValue) -> bool {
        value.as_bytes() == self.0.as_bytes()
    }
}

impl FromStr for Origin {
    type Err = MalformedOrigin;

    /// Other schemes than http belong to desktop programs with a browser inside. `null` is refused: any
    /// sandboxed page sends it.
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

/// A text that is not an origin as browsers send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an origin is a scheme, a host and an optional port, without a slash at the end: https://app.example.com"
)]
pub struct MalformedOrigin;

#[cfg(test)]
mod tests;
