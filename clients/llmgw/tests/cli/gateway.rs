//! A gateway that checks each request as the real one does, and answers as the path says.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
    serve::ListenerExt,
};
use futures_util::stream;
use http::{HeaderValue, Method, StatusCode};
use jiff::{SignedDuration, fmt::rfc2822, tz::TimeZone};
use shared::{
    clock::Clock,
    identity::auth::{Audiences, AuthError, authenticate},
    request::{Incoming, MAX_BODY, RawQuery},
};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// Its audience, which is not its address.
pub(crate) const AUDIENCE: &str = "https://gw.example.com/Prod";
/// The body of the response to `/refused`.
pub(crate) const REFUSAL: &str = r#"{"success":false,  "error":{"code":429,"message":"Wait.","metadata":{"reason":"rate_limited"}},"request_id":"r-1"}"#;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running gateway.
pub(crate) struct Gateway {
    address: SocketAddr,
    inner: Arc<Inner>,
    streams: mpsc::Receiver<Stream>,
    _runtime: Runtime,
}

/// A request that was signed well, for the first time.
#[derive(Clone)]
pub(crate) struct Received {
    pub(crate) did: String,
    pub(crate) raw: Incoming,
}

struct Inner {
    received: Mutex<Vec<Received>>,
    seen: Mutex<HashSet<String>>,
    answers: Mutex<HashMap<String, (u16, String)>>,
    connections: AtomicUsize,
    /// The seconds by which its clock is ahead.
    ahead: AtomicI64,
    /// The number of requests that it refused for their timestamp.
    out_of_window: AtomicUsize,
    streams: mpsc::Sender<Stream>,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (sender, streams) = mpsc::channel();
        let inner = Arc::new(Inner {
            received: Mutex::default(),
            seen: Mutex::default(),
            answers: Mutex::default(),
            connections: AtomicUsize::new(0),
            ahead: AtomicI64::new(0),
            out_of_window: AtomicUsize::new(0),
            streams: sender,
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let counted = inner.clone();
        let listener = listener.tap_io(move |_| {
            counted.connections.fetch_add(1, Ordering::SeqCst);
        });
        let router = Router::new().fallback(answer).with_state(inner.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            inner,
            streams,
            _runtime: runtime,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        lock(&self.inner.received).clone()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget(&self) {
        lock(&self.inner.received).clear();
    }

    pub(crate) fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::SeqCst)
    }

    /// Sets its clock, and forgets what it refused.
    pub(crate) fn set_ahead(&self, seconds: i64) {
        self.inner.ahead.store(seconds, Ordering::SeqCst);
        self.inner.out_of_window.store(0, Ordering::SeqCst);
    }

    pub(crate) fn out_of_window(&self) -> usize {
        self.inner.out_of_window.load(Ordering::SeqCst)
    }

    /// Sets the response to a request line from now on, e.g. to `GET /api/v1/keys`. There is none with status 0.
    pub(crate) fn answer(&self, line: &str, status: u16, body: impl Into<String>) {
        lock(&self.inner.answers).insert(line.to_owned(), (status, body.into()));
    }

    /// The next answer that waits for a test to give it.
    pub(crate) fn stream(&self) -> Stream {
        self.streams.recv_timeout(PATIENCE).unwrap()
    }
}

/// The test's end of an answer.
pub(crate) struct Stream {
    pieces: UnboundedSender<Option<String>>,
    left: mpsc::Receiver<()>,
}

impl Stream {
    pub(crate) fn send(&self, piece: &str) {
        self.pieces.send(Some(piece.to_owned())).unwrap();
    }

    pub(crate) fn end(self) {
        drop(self.pieces);
    }

    pub(crate) fn break_off(&self) {
        self.pieces.send(None).unwrap();
    }

    /// Whether nobody waits for the answer any more, at the latest after some time.
    pub(crate) fn is_left(&self, patience: Duration) -> bool {
        self.left.recv_timeout(patience).is_ok()
    }
}

/// The gateway's end of an answer.
struct Answering {
    pieces: UnboundedReceiver<Option<String>>,
    left: mpsc::Sender<()>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        // The test may not want to know.
        let _ = self.left.send(());
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await.unwrap();
    let incoming = Incoming {
        method: head.method,
        raw_path: head.uri.path().to_owned(),
        stage: None,
        query: RawQuery::Encoded(head.uri.query().unwrap_or_default().to_owned()),
        headers: head.headers,
        body: body.clone(),
    };
    let audiences = Audiences::new(vec![AUDIENCE.parse().unwrap()]).unwrap();
    let ahead = SignedDuration::from_secs(inner.ahead.load(Ordering::SeqCst));
    let now = Clock::system().now() + ahead;
    let verified = match authenticate(&incoming, &audiences, MAX_BODY, now) {
        Ok(verified) => verified,
        Err(error) => {
            if matches!(error, AuthError::TimestampOutOfWindow { .. }) {
                inner.out_of_window.fetch_add(1, Ordering::SeqCst);
            }
            let mut response = plain(StatusCode::UNAUTHORIZED, error.to_string());
            let date = rfc2822::to_string(&now.to_zoned(TimeZone::UTC)).unwrap();
            let date = date.replace("+0000", "GMT").parse().unwrap();
            response.headers_mut().insert("date", date);
            return response;
        }
    };
    let fingerprint = format!("{:?}", verified.caller.fingerprint());
    if !lock(&inner.seen).insert(fingerprint) {
        return plain(StatusCode::UNAUTHORIZED, "replayed");
    }
    let line = format!("{} {}", incoming.method, verified.path);
    let content_type = incoming.headers.get("content-type").cloned();
    lock(&inner.received).push(Received {
        did: verified.caller.did().to_string(),
        raw: incoming,
    });
    let answer = lock(&inner.answers).get(&line).cloned();
    match answer {
        Some((0, _)) => std::future::pending().await,
        Some((status, body)) => return plain(StatusCode::from_u16(status).unwrap(), body),
        None => {}
    }
    let path = verified.path.as_str();
    match path.strip_prefix("/api/v1/openrouter/").unwrap_or(path) {
        "echo" => {
            let mut response = Response::new(Body::from(body));
            let headers = response.headers_mut();
            headers.extend(content_type.map(|it| (http::header::CONTENT_TYPE, it)));
            for (name, value) in [
                ("x-gateway-request-id", "r-1"),
                ("set-cookie", "a=b"),
                ("strict-transport-security", "max-age=1"),
                ("access-control-allow-origin", "*"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            response
        }
        "stream" => {
            let body = Body::from_stream(stream::unfold(
                open(&inner),
                async |mut answering: Answering| {
                    let piece = answering.pieces.recv().await?;
                    let piece = piece.map(Bytes::from);
                    Some((piece.ok_or("it breaks"), answering))
                },
            ));
            let mut response = Response::new(body);
            let kind = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert("content-type", kind);
            response
        }
        "silent" => {
            let _answering = open(&inner);
            std::future::pending().await
        }
        // hyper closes a connection whose service panics, without an answer.
        "hangup" => std::panic::resume_unwind(Box::new("scripted")),
        "moved" => redirect("http://127.0.0.1:9/elsewhere", None),
        "found" => redirect("https://cdn.example.com/video", Some("openrouter")),
        "refused" => {
            let mut response = plain(StatusCode::TOO_MANY_REQUESTS, REFUSAL);
            let seconds = HeaderValue::from_static("17");
            response.headers_mut().insert("retry-after", seconds);
            response
        }
        _ => plain(StatusCode::OK, Method::GET.as_str()),
    }
}

fn open(inner: &Inner) -> Answering {
    let (pieces, coming) = unbounded_channel();
    let (sender, left) = mpsc::channel();
    inner.streams.send(Stream { pieces, left }).unwrap();
    Answering {
        pieces: coming,
        left: sender,
    }
}

fn plain(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
}

fn redirect(location: &'static str, upstream: Option<&'static str>) -> Response {
    let mut response = plain(StatusCode::FOUND, "");
    let headers = response.headers_mut();
    headers.insert("location", HeaderValue::from_static(location));
    headers.extend(upstream.map(|it| {
        (
            http::HeaderName::from_static("x-gateway-upstream"),
            HeaderValue::from_static(it),
        )
    }));
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
