//! The HTTP client of the command line: rustls with ring, and the roots that are compiled in.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use webpki_roots::TLS_SERVER_ROOTS;

/// Makes a client. It follows no redirect, because a signature holds for one address only, and sets
/// no limit to how long an answer takes: models think for minutes.
pub fn new() -> Result<Client, ClientError> {
    let roots = RootCertStore {
        roots: TLS_SERVER_ROOTS.to_vec(),
    };
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .tcp_nodelay(true)
        .user_agent(concat!("llmgw/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(client)
}

/// Why there is no client. Both mean a build with the wrong features.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The provider knows no version of TLS.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The client refused its configuration.
    #[error("cannot set up the HTTP client")]
    Http(#[from] reqwest::Error),
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_build_has_what_the_client_needs() {
        super::new().unwrap();
    }
}
