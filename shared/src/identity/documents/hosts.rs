//! The hosts whose documents are fetched.

use crate::identity::did::WebHost;

/// The hosts whose documents are fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DocumentHosts {
    /// None: DIDs with documents are refused.
    #[default]
    None,
    /// These, each with its port.
    Listed(Vec<WebHost>),
    /// All that have public addresses.
    Any,
}

/// A text that names no hosts. It is not quoted, because a misplaced secret could stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be empty, or *, or a list, separated by commas, of DNS names in lower case, each with its port unless that \
     is 443, such as example.com,id.example.com:8443"
)]
pub struct MalformedHosts;

impl DocumentHosts {
    /// Reads nothing, `*`, or a list.
    pub fn parse(text: &str) -> Result<Self, MalformedHosts> {
        match text {
            "" => Ok(Self::None),
            "*" => Ok(Self::Any),
            list => list
                .split(',')
                .map(|host| WebHost::parse(host.trim()).ok_or(MalformedHosts))
                .collect::<Result<_, _>>()
                .map(Self::Listed),
        }
    }

    /// Whether documents are fetched from `host`.
    #[must_use]
    pub fn allow(&self, host: &WebHost) -> bool {
        match self {
            Self::None => false,
            Self::Listed(hosts) => hosts.contains(host),
            Self::Any => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_listed_with_its_port() {
        let listed = DocumentHosts::parse("example.com, id.example.com:8443").unwrap();
        for (host, allowed) in [
            ("example.com", true),
            ("example.com:8443", false),
            ("id.example.com:8443", true),
            ("id.example.com", false),
            ("www.example.com", false),
            ("example.com.evil.example", false),
        ] {
            let host = WebHost::parse(host).unwrap();
            assert_eq!(listed.allow(&host), allowed, "{host}");
            assert!(DocumentHosts::Any.allow(&host));
            assert!(!DocumentHosts::None.allow(&host));
        }
        assert_eq!(DocumentHosts::parse(""), Ok(DocumentHosts::None));
        assert_eq!(DocumentHosts::parse("*"), Ok(DocumentHosts::Any));
    }

    #[test]
    fn a_list_has_dns_names_only() {
        for text in [
            ",",
            "example.com,",
            "*,example.com",
            "*.example.com",
            "Example.com",
            "https://example.com",
            "example.com/path",
            "example.com:443",
            "example.com:0",
            "example.com:08443",
            "localhost",
            "127.0.0.1",
            "127.1",
            "0x7f.0x1",
            "[::1]",
            "example.com.",
            "planted secret",
        ] {
            assert_eq!(DocumentHosts::parse(text), Err(MalformedHosts), "{text}");
        }
    }
}
