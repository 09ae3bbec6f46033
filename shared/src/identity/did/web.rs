//! The identifiers of `did:web` (<https://w3c-ccg.github.io/did-method-web/#method-specific-identifier>).

use std::fmt;

use url::Url;

use super::DidError;

/// The longest name of a host, in bytes (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;
/// The longest label of a name, in bytes.
const MAX_LABEL: usize = 63;

/// A host with a DNS name, and its port unless that is 443.
///
/// There is one spelling: lower case, names beyond ASCII in Punycode, no dot at the end. An IP address is
/// no name, however it is written: a resolver's check would not see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebHost {
    name: String,
    port: Option<u16>,
}

impl WebHost {
    /// Reads `name` or `name:port`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(other_port(port)?)),
            None => (text, None),
        };
        // The last label of every form of an IP address begins with a digit.
        let top = name.rsplit('.').next()?;
        let is_name = name.len() <= MAX_HOST
            && name.contains('.')
            && name.split('.').all(is_label)
            && top.starts_with(|first: char| first.is_ascii_lowercase());
        is_name.then(|| Self {
            name: name.to_owned(),
            port,
        })
    }
}

impl fmt::Display for WebHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The place of a `did:web`'s document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentUrl {
    host: WebHost,
    url: Url,
}

impl DocumentUrl {
    /// Reads what follows `did:web:`. Each place has one identifier: what a URL's parser would change is refused.
    pub(super) fn of(identifier: &str) -> Result<Self, DidError> {
        Self::read(identifier).ok_or(DidError::WebIdentifier)
    }

    fn read(identifier: &str) -> Option<Self> {
        let (authority, path) = match identifier.split_once(':') {
            Some((authority, path)) => (authority, Some(path)),
            None => (identifier, None),
        };
        let host = WebHost::parse(&authority.replacen("%3A", ":", 1))?;
        let path = match path {
            Some(path) if path.split(':').all(is_segment) => {
                format!("/{}/did.json", path.replace(':', "/"))
            }
            Some(_) => return None,
            None => "/.well-known/did.json".to_owned(),
        };
        let url = Url::parse(&format!("https://{host}{path}")).ok()?;
        let is_as_written = matches!(url.host(), Some(url::Host::Domain(name)) if name == host.name)
            && url.port() == host.port
            && url.path() == path;
        is_as_written.then_some(Self { host, url })
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &WebHost {
        &self.host
    }

    /// The URL, of the scheme `https`.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// A port that is not the scheme's own, without leading zeros.
fn other_port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port != 0 && port != 443 && port.to_string() == text).then_some(port)
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether a text can be a segment of a path: neither empty nor a step upwards. Escapes are of two upper-case
/// hexadecimal digits, and of nothing that means something in a path.
fn is_segment(segment: &str) -> bool {
    let mut pieces = segment.split('%');
    let plain = pieces.next().unwrap_or_default();
    let escapes_are_plain = pieces.all(|piece| {
        let escape = piece.get(..2);
        escape.is_some_and(|hex| {
            hex.bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
                && u8::from_str_radix(hex, 16)
                    .is_ok_and(|byte| !byte.is_ascii_control() && !b"./\\%:".contains(&byte))
        })
    });
    !segment.is_empty() && !matches!(plain, "." | "..") && escapes_are_plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_documents() {
        for (identifier, url) in [
            // The method's own examples.
            (
                "w3c-ccg.github.io",
                "https://w3c-ccg.github.io/.well-known/did.json",
            ),
            (
                "w3c-ccg.github.io:user:alice",
                "https://w3c-ccg.github.io/user/alice/did.json",
            ),
            (
                "example.com%3A3000:user:alice",
                "https://example.com:3000/user/alice/did.json",
            ),
            (
                "example.com%3A8443",
                "https://example.com:8443/.well-known/did.json",
            ),
            (
                "xn--bcher-kva.example",
                "https://xn--bcher-kva.example/.well-known/did.json",
            ),
            ("example.com:a%20b", "https://example.com/a%20b/did.json"),
            (
                "example.com:User:..a",
                "https://example.com/User/..a/did.json",
            ),
            (
                "1.example.com",
                "https://1.example.com/.well-known/did.json",
            ),
        ] {
            let place = DocumentUrl::of(identifier).unwrap();
            assert_eq!(place.url().as_str(), url);
        }
    }

    #[test]
    fn one_place_has_one_identifier() {
        for identifier in [
            // Not a DNS name, or in another spelling.
            "localhost",
            "metadata",
            "Example.com",
            "example.COM",
            "example.com.",
            "-example.com",
            "example-.com",
            "ex_ample.com",
            "example..com",
            "b%C3%BCcher.example",
            "xn--a.example",
            // IP addresses, in all the forms that URLs and resolvers know.
            "127.0.0.1",
            "127.0.0.1%3A8443",
            "127.1",
            "0x7f.1",
            "0x7f.0x1",
            "017700000001",
            "2130706433",
            "0x7f000001",
            "169.254.169.254",
            "%5B::1%5D",
            "%5B%3A%3A1%5D",
            "example.0x7f",
            // Ports.
            "example.com%3A",
            "example.com%3A443",
            "example.com%3A0",
            "example.com%3A08443",
            "example.com%3A65536",
            "example.com%3a8443",
            "example.com%3A80%3A80",
            // Another part of a URL.
            "user%40example.com",
            "example.com%2Fpath",
            "example.com%23",
            "example.com%00",
            // Paths.
            "example.com:",
            "example.com::a",
            "example.com:a:",
            "example.com:.",
            "example.com:..",
            "example.com:..:..:admin",
            "example.com:%2E%2E",
            "example.com:%2e%2e",
            "example.com:a%2Fb",
            "example.com:a%5Cb",
            "example.com:a%3Ab",
            "example.com:a%",
            "example.com:a%2",
            "example.com:a%zz",
            "example.com:a%0Ab",
        ] {
            let refusal = DocumentUrl::of(identifier);
            assert_eq!(refusal, Err(DidError::WebIdentifier), "{identifier}");
        }
        let long = format!("{}.example", vec!["a".repeat(63); 4].join("."));
        assert_eq!(DocumentUrl::of(&long), Err(DidError::WebIdentifier));
    }
}
