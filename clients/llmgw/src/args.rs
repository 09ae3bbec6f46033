//! Arguments that several commands share.

use std::{convert::Infallible, path::PathBuf, str::FromStr};

use clap::Args;
use http::{HeaderName, HeaderValue, Method};
use shared::identity::{auth::Scheme, signing::Audience};

use crate::{gateway::base_url, target::Target};

const GATEWAY_HELP: &str =
    "The gateway's base URL, like https://gw.example.com [default: the profile's]";

/// The gateway that requests go to.
#[derive(Debug, Clone, Default, Args)]
pub struct GatewayArgs {
    /// The base URL.
    #[arg(long, env = "LLMGW_GATEWAY", value_name = "URL", value_parser = base_url, help = GATEWAY_HELP)]
    pub gateway: Option<Audience>,
    /// The base URL that signatures are made for, if the gateway is configured with another one
    #[arg(long, env = "LLMGW_AUDIENCE", value_name = "URL", value_parser = base_url)]
    pub audience: Option<Audience>,
    /// The way to sign requests
    #[arg(long, env = "LLMGW_SCHEME", value_name = "SCHEME", default_value = "x-did-v1", value_parser = scheme)]
    pub scheme: Scheme,
}

/// Reads the name of a scheme.
fn scheme(text: &str) -> Result<Scheme, String> {
    let mut all = Scheme::ALL.into_iter();
    let names = Scheme::ALL.map(Scheme::name).join(" or ");
    all.find(|it| it.name() == text)
        .ok_or_else(|| format!("a scheme is {names}"))
}

/// A request and its gateway.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// The method [default: GET, or POST with a body]
    #[arg(short = 'X', long = "request", value_name = "METHOD", value_parser = method)]
    pub method: Option<Method>,
    /// The body: text, @FILE, or @- for stdin; sent unchanged, as JSON unless -H says otherwise
    #[arg(short, long, value_name = "BODY", allow_hyphen_values = true)]
    pub data: Option<Data>,
    /// A header, like 'X-Title: My app'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<Header>,
    /// The path with its query: /api/v1/usage, or relative to /api/v1/: openrouter/chat/completions
    pub path: Target,
}

/// The source of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// The argument itself.
    Text(String),
    /// `@FILE`.
    File(PathBuf),
    /// `@-`.
    Stdin,
}

impl FromStr for Data {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix('@') {
            Some("-") => Self::Stdin,
            Some(path) => Self::File(path.into()),
            None => Self::Text(text.to_owned()),
        })
    }
}

/// A header that the user adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}

impl FromStr for Header {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let (name, value) = text.split_once(':').ok_or(HeaderError::Form)?;
        let name: HeaderName = name.parse().map_err(|_| HeaderError::Form)?;
        let is_ours = |it: Scheme| it.headers().contains(&name.as_str());
        if name.as_str().starts_with("x-did") || Scheme::ALL.into_iter().any(is_ours) {
            return Err(HeaderError::SetBySigning);
        }
        // UTF-8 too: app titles are sent in headers.
        let value =
            HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| HeaderError::Form)?;
        Ok(Self { name, value })
    }
}

/// The reason why a text is not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No colon, or characters that a header cannot hold.
    #[error("a header has the form 'Name: value'")]
    Form,
    /// One of the signature's own headers.
    #[error("the headers of signatures are set by signing")]
    SetBySigning,
}

/// Methods in use are upper case, and a signature is case-sensitive.
fn method(text: &str) -> Result<Method, &'static str> {
    let upper_case = text.to_ascii_uppercase();
    Method::from_bytes(upper_case.as_bytes()).map_err(|_| "a method is a word like GET")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let parsed = |text: &str| text.parse::<Data>().unwrap();
        assert_eq!(parsed("@-"), Data::Stdin);
        assert_eq!(parsed("@a b.json"), Data::File("a b.json".into()));
        assert_eq!(parsed("{}"), Data::Text("{}".to_owned()));
        assert_eq!(parsed(""), Data::Text(String::new()));
    }

    #[test]
    fn headers() {
        for (text, name, value) in [
            ("X-Title: My app", "x-title", "My app"),
            ("x-title:a:b", "x-title", "a:b"),
            ("x-title:", "x-title", ""),
            ("x-title: 你好", "x-title", "你好"),
        ] {
            let header: Header = text.parse().unwrap();
            assert_eq!(header.name, name);
            assert_eq!(header.value.as_bytes(), value.as_bytes());
        }
        for text in ["", "x-title", ": a", "a b: c", "x: a\nb"] {
            assert_eq!(text.parse::<Header>(), Err(HeaderError::Form), "{text}");
        }
        for text in [
            "X-DID: did:key:z",
            "x-did-nonce: 0123456789abcdef",
            "Signature-Input: sig=()",
            "signature: sig=:AA==:",
            "Content-Digest: sha-256=:AA==:",
        ] {
            assert_eq!(text.parse::<Header>(), Err(HeaderError::SetBySigning));
        }
    }

    #[test]
    fn methods() {
        assert_eq!(method("patch"), Ok(Method::PATCH));
        assert!(method("GET /").is_err());
        assert!(method("").is_err());
    }
}
