//! Servers of documents with TLS, and the names that lead to them.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::Value;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }

    fn server(&self, host: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.unwrap())
    }
}

/// A server, of pages by their paths; every other is not found.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    pages: Mutex<HashMap<String, Page>>,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Server {
    /// A server at an address of this machine, with a certificate for `host`.
    pub(crate) fn start(authority: &Authority, address: &str, host: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let (config, state) = (authority.server(host), Arc::<State>::default());
        let server = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::clone(&state),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                state.connections.fetch_add(1, Ordering::SeqCst);
                let (config, state) = (Arc::clone(&config), Arc::clone(&state));
                // A client that goes away is part of the tests.
                thread::spawn(move || stream.and_then(|stream| state.answer(config, stream)));
            }
        });
        server
    }

    pub(crate) fn serve(&self, path: &str, page: Page) {
        self.state
            .pages
            .lock()
            .unwrap()
            .insert(path.to_owned(), page);
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

impl State {
    fn answer(&self, config: Arc<ServerConfig>, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let path = head.split(' ').nth(1).ok_or(ErrorKind::InvalidData)?;
        let page = self.pages.lock().unwrap().get(path).cloned();
        page.unwrap_or_else(|| Page::status(404))
            .write(&mut stream)?;
        stream.conn.send_close_notify();
        stream.flush()
    }
}

/// A response.
#[derive(Clone, Default)]
pub(crate) struct Page {
    head: String,
    body: Vec<u8>,
    chunked: bool,
    pause: Duration,
    at_request: usize,
    end: End,
    rebinding: Option<(Names, String, SocketAddr)>,
}

/// The way in which a response goes on after its body.
#[derive(Clone, Copy, Default, PartialEq)]
enum End {
    #[default]
    Clean,
    /// Byte by byte.
    Drip,
    /// Without end: the body, or the headers.
    Endless(&'static str),
    /// So many bytes early.
    Cut(usize),
    /// The head is all of it.
    Raw,
}

impl Page {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            head: "HTTP/1.1 200 OK\r\n".to_owned(),
            body: body.into(),
            ..Self::default()
        }
    }

    pub(crate) fn json(body: &Value) -> Self {
        Self::ok(body.to_string()).with("content-type: application/did+json")
    }

    pub(crate) fn status(status: u16) -> Self {
        Self {
            head: format!("HTTP/1.1 {status} x\r\n"),
            ..Self::default()
        }
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::status(302).with(&format!("location: {location}"))
    }

    pub(crate) fn raw(bytes: &str) -> Self {
        Self {
            head: bytes.to_owned(),
            end: End::Raw,
            ..Self::default()
        }
    }

    pub(crate) fn endless() -> Self {
        let mut page = Self::ok(Vec::new());
        page.end = End::Endless("                ");
        page
    }

    pub(crate) fn endless_headers() -> Self {
        let mut page = Self::raw("HTTP/1.1 200 OK\r\n");
        page.end = End::Endless("x-padding: xxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n");
        page
    }

    pub(crate) fn with(mut self, header: &str) -> Self {
        self.head.push_str(header);
        self.head.push_str("\r\n");
        self
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    pub(crate) fn after(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Not before the server's request of that number.
    pub(crate) fn at_request(mut self, number: usize) -> Self {
        self.at_request = number;
        self
    }

    pub(crate) fn dripping(mut self) -> Self {
        self.end = End::Drip;
        self
    }

    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.end = End::Cut(bytes);
        self
    }

    /// Lets a name lead to another address as soon as the page is asked for.
    pub(crate) fn rebinding(mut self, names: &Names, host: &str, address: SocketAddr) -> Self {
        self.rebinding = Some((names.clone(), host.to_owned(), address));
        self
    }

    fn write(self, to: &mut impl Write) -> io::Result<()> {
        if let Some((names, host, address)) = &self.rebinding {
            names.set(host, &[*address]);
        }
        thread::sleep(self.pause);
        let mut head = self.head;
        match self.end {
            End::Raw => return to.write_all(head.as_bytes()),
            End::Endless(piece) => {
                if !piece.contains(':') {
                    head.push_str("\r\n");
                }
                to.write_all(head.as_bytes())?;
                loop {
                    to.write_all(piece.repeat(64).as_bytes())?;
                }
            }
            End::Clean | End::Drip | End::Cut(_) => {}
        }
        if self.chunked {
            head.push_str("transfer-encoding: chunked\r\n\r\n");
            to.write_all(head.as_bytes())?;
            for chunk in self.body.chunks(1000) {
                write!(to, "{:x}\r\n", chunk.len())?;
                to.write_all(chunk)?;
                to.write_all(b"\r\n")?;
            }
            return to.write_all(b"0\r\n\r\n");
        }
        let length = self.body.len();
        let _ = write!(head, "content-length: {length}\r\n\r\n");
        to.write_all(head.as_bytes())?;
        match self.end {
            End::Drip => self.body.chunks(1).try_for_each(|byte| {
                to.write_all(byte)?;
                to.flush()?;
                thread::sleep(Duration::from_millis(100));
                Ok(())
            }),
            End::Cut(bytes) => to.write_all(&self.body[..length - bytes]),
            End::Clean | End::Endless(_) | End::Raw => to.write_all(&self.body),
        }
    }
}

/// The addresses of names.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    addresses: HashMap<String, Vec<SocketAddr>>,
    asked: Vec<String>,
    stalled: Vec<String>,
}

impl Names {
    pub(crate) fn set(&self, host: &str, addresses: &[SocketAddr]) {
        let mut known = self.0.lock().unwrap();
        known.addresses.insert(host.to_owned(), addresses.to_vec());
    }

    /// Never answers for a name.
    pub(crate) fn stall(&self, host: &str) {
        self.0.lock().unwrap().stalled.push(host.to_owned());
    }

    /// The names that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().asked.clone()
    }

    pub(crate) fn resolver(&self) -> Arc<dyn Resolve> {
        Arc::new(self.clone())
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            let (stalled, found) = {
                let mut known = names.0.lock().unwrap();
                known.asked.push(host.to_owned());
                let stalled = known.stalled.iter().any(|it| it == host);
                (stalled, known.addresses.get(host).cloned())
            };
            if stalled {
                std::future::pending::<()>().await;
            }
            let found = found.ok_or("no such name")?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
