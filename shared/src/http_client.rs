//! The gateway's one HTTP client: `OpenRouter`, storage and Secrets Manager share its pool, its TLS
//! stack and its rules.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// The time for which an unused connection is kept.
///
/// Shorter than the 60 s after which common load balancers close idle connections. A Lambda
/// environment may be frozen between two requests for longer than that: the clock goes on
/// meanwhile, so that after a thaw old connections are dropped unused instead of failing the first
/// request.
pub const POOL_IDLE: Duration = Duration::from_secs(50);

/// Mozilla's root certificates, compiled in: reading the system's costs a cold start 3 ms.
#[must_use]
pub fn web_roots() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

/// Builds a client that trusts `roots` ([`web_roots`], unless in tests) and gives up on a
/// connection that is not established, TLS included, within `connect_timeout`.
///
/// It speaks HTTP/1.1 and does what it is told and nothing more: no redirects (an upstream's
/// redirect is the caller's to see), no proxies from the environment, no `Referer`, `User-Agent`,
/// cookies, compression or retries of its own. The only header it adds is `accept: */*`, where the
/// request has no `Accept`. There is no overall timeout: an answer may stream for minutes, so each
/// caller sets its own.
///
/// # Errors
///
/// Only if the TLS configuration does not fit: never, with the versions in `Cargo.lock`.
pub fn build(
    roots: RootCertStore,
    connect_timeout: Duration,
) -> Result<reqwest::Client, HttpClientError> {
    Ok(builder(roots, connect_timeout)?.build()?)
}

/// The settings of [`build`], for a client with stricter ones.
pub(crate) fn builder(
    roots: RootCertStore,
    connect_timeout: Duration,
) -> Result<reqwest::ClientBuilder, HttpClientError> {
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // reqwest leaves a configuration that it was handed as it is.
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];

    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_nodelay(true))
}

/// Builds a client for plain HTTP on this machine: it trusts nobody, so it reaches nothing by TLS.
///
/// # Errors
///
/// As [`build`].
pub fn without_tls(connect_timeout: Duration) -> Result<reqwest::Client, HttpClientError> {
    build(RootCertStore::empty(), connect_timeout)
}

/// Why no client could be built.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The TLS provider lacks the default protocol versions.
    #[error("the TLS configuration is inconsistent")]
    Tls(#[from] rustls::Error),
    /// The client refused its configuration.
    #[error("the HTTP client refused its configuration")]
    Client(#[from] reqwest::Error),
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        thread::JoinHandle,
    };

    use super::*;

    fn client() -> reqwest::Client {
        build(web_roots(), Duration::from_secs(5)).unwrap()
    }

    /// A server that hands each of `connections` connections to `serve`.
    fn serve<T: Send + 'static>(
        connections: usize,
        serve: impl Fn(TcpStream) -> T + Send + 'static,
    ) -> (u16, JoinHandle<Vec<T>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            (0..connections)
                .map(|_| serve(listener.accept().unwrap().0))
                .collect()
        });
        (port, thread)
    }

    /// The request's head, and what stands after it so far.
    fn head(stream: &mut TcpStream) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            seen.extend(byte);
        }
        String::from_utf8(seen).unwrap()
    }

    #[tokio::test]
    async fn redirects_are_handed_back_and_no_headers_are_invented() {
        let (port, server) = serve(1, |mut stream| {
            let head = head(&mut stream);
            stream
                .write_all(b"HTTP/1.1 302 Found\r\nlocation: /else\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
            head
        });
        let answer = client()
            .get(format!("http://127.0.0.1:{port}/a?b=c%20d"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 302);
        let head = server.join().unwrap().remove(0);
        assert_eq!(
            head,
            format!("GET /a?b=c%20d HTTP/1.1\r\naccept: */*\r\nhost: 127.0.0.1:{port}\r\n\r\n")
        );
    }

    /// After a thaw from a long freeze the pooled connection is gone.
    #[tokio::test]
    async fn a_connection_that_the_server_closed_is_replaced() {
        let (port, server) = serve(2, |mut stream| {
            head(&mut stream);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .unwrap();
        });
        let client = client();
        for _ in 0..2 {
            let answer = client
                .get(format!("http://127.0.0.1:{port}/"))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.text().await.unwrap(), "ok");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server.join().unwrap();
    }

    #[tokio::test]
    async fn a_live_connection_is_used_again() {
        let (port, server) = serve(1, |mut stream| {
            for _ in 0..2 {
                head(&mut stream);
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .unwrap();
            }
        });
        let client = client();
        for _ in 0..2 {
            let answer = client
                .get(format!("http://127.0.0.1:{port}/"))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.text().await.unwrap(), "ok");
        }
        server.join().unwrap();
    }

    /// The client's first TLS message offers HTTP/1.1 alone and names the host.
    #[tokio::test]
    async fn tls_offers_http11_only() {
        let (port, server) = serve(1, |mut stream| {
            let mut record = [0; 5];
            stream.read_exact(&mut record).unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([record[3], record[4]]))];
            stream.read_exact(&mut hello).unwrap();
            (record[0], hello)
        });
        let refused = client()
            .get(format!("https://localhost:{port}/"))
            .send()
            .await;
        assert!(refused.unwrap_err().is_connect());
        let (kind, hello) = server.join().unwrap().remove(0);
        let offers = |needle: &[u8]| hello.windows(needle.len()).any(|part| part == needle);
        assert_eq!(kind, 0x16, "a handshake record");
        assert!(
            offers(b"\x00\x09\x08http/1.1"),
            "the one protocol in the list"
        );
        assert!(offers(b"localhost"));
    }

    #[tokio::test]
    async fn a_connection_that_is_not_established_times_out() {
        // It accepts (the kernel does), but never answers the TLS handshake.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = build(web_roots(), Duration::from_millis(50))
            .unwrap()
            .get(format!("https://localhost:{port}/"))
            .send()
            .await
            .unwrap_err();
        assert!(error.is_connect() && error.is_timeout(), "{error:?}");
    }

    #[test]
    fn the_roots_are_compiled_in() {
        assert!(web_roots().len() > 100);
    }
}
