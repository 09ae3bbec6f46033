//! The address of the local gateway: it forwards to `cargo lambda watch`, and refuses requests for which no instance
//! would be free, where that would let them wait in silence.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use stack::Port;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Headers that belong to a connection (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// The chunks of a response that wait for a slow reader.
const CHUNKS: usize = 16;

/// The forwarder. Clones are one.
#[derive(Clone)]
pub(super) struct Front(Arc<Inner>);

struct Inner {
    client: Client<HttpConnector, Body>,
    target: Mutex<Arc<Target>>,
    instances: Arc<Semaphore>,
    limit: usize,
}

/// A `cargo lambda watch`, as `127.0.0.1:port`. Each request that it has holds a reference.
struct Target(String);

/// A target that gets no more requests.
pub(super) struct Former(Weak<Target>);

impl Former {
    /// Whether all its requests have been answered to their ends.
    pub(super) fn is_idle(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl Front {
    /// Forwards up to `limit` requests at once to a port of this machine.
    pub(super) fn new(target: u16, limit: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Arc::new(Inner {
            client: Client::builder(TokioExecutor::new()).build(connector),
            target: Mutex::new(Target::of(target)),
            instances: Arc::new(Semaphore::new(limit)),
            limit,
        }))
    }

    /// Sends the requests that come from now on to another port.
    pub(super) fn redirect(&self, target: u16) -> Former {
        let mut current = self.0.target.lock().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *current, Target::of(target));
        Former(Arc::downgrade(&former))
    }
}

impl Inner {
    fn target(&self) -> Arc<Target> {
        let current = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

impl Target {
    fn of(port: u16) -> Arc<Self> {
        Arc::new(Self(format!("127.0.0.1:{port}")))
    }
}

/// Listens on `port` for as long as the runtime lives, and forwards up to `limit` requests at once to `target`. As at
/// Lambda, the limit is for all functions together.
pub(super) async fn listen(port: &Port, target: &Port, limit: usize) -> Result<Front> {
    let address = (Ipv4Addr::LOCALHOST, port.number());
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("can't listen on {}", port.url()))?;
    let front = Front::new(target.number(), limit);
    tokio::spawn(serve(listener, front.clone()));
    Ok(front)
}

async fn serve(listener: TcpListener, front: Front) -> std::io::Result<()> {
    let listener = listener.tap_io(|stream| {
        // A failure means that the connection is closed already.
        let _ = stream.set_nodelay(true);
    });
    let router = Router::new().fallback(handle).with_state(front);
    axum::serve(listener, router).await
}

async fn handle(State(Front(front)): State<Front>, request: Request) -> Response {
    let Ok(instance) = front.instances.clone().try_acquire_owned() else {
        let limit = front.limit;
        return refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            "over_capacity",
            &format!(
                "All {limit} instances of this local gateway are busy; try again in a second. On AWS there are as \
                 many as the account's quota, 1,000 by default."
            ),
            true,
        );
    };
    let (sender, head) = oneshot::channel();
    tokio::spawn(exchange(front, request, instance, sender));
    head.await.unwrap_or_else(|_| unreachable(false))
}

/// Sends the request and passes the response on. It reads the response to its end even if the client leaves, because
/// the function works until then.
async fn exchange(
    front: Arc<Inner>,
    mut request: Request,
    instance: OwnedSemaphorePermit,
    head: oneshot::Sender<Response>,
) {
    let target = front.target();
    let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
    let Ok(uri) = format!("http://{}{path}", target.0).parse::<Uri>() else {
        return;
    };
    *request.uri_mut() = uri;
    strip(request.headers_mut());
    let response = match front.client.request(request).await {
        Ok(response) => response,
        Err(error) => {
            let _ = head.send(unreachable(error.is_connect()));
            return;
        }
    };
    let (mut parts, body) = response.into_parts();
    strip(&mut parts.headers);
    let (chunks, received) = mpsc::channel::<Result<Bytes, axum::Error>>(CHUNKS);
    let body_for_client = Body::from_stream(stream::unfold(received, async |mut received| {
        let chunk = received.recv().await?;
        Some((chunk, received))
    }));
    let _ = head.send(Response::from_parts(parts, body_for_client));
    let mut body = Body::new(body).into_data_stream();
    while let Some(chunk) = body.next().await {
        // The client may have left.
        let _ = chunks.send(chunk).await;
    }
    drop((instance, target));
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// A request that was sent may be billed, and must not be sent again.
fn unreachable(is_unsent: bool) -> Response {
    refusal(
        StatusCode::BAD_GATEWAY,
        "api_error",
        "gateway_unreachable",
        "The functions do not answer: cargo lambda watch has ended, or is being started again. Try again in some \
         seconds.",
        is_unsent,
    )
}

/// An error in all dialects at once, as API Gateway's own errors are.
fn refusal(
    status: StatusCode,
    kind: &str,
    reason: &str,
    message: &str,
    may_retry: bool,
) -> Response {
    let body = json!({
        "success": false,
        "type": "error",
        "error": {
            "type": kind,
            "code": status.as_u16(),
            "message": message,
            "metadata": {"reason": reason},
        },
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-type", "application/json"),
        ("access-control-allow-origin", "*"),
        (
            "access-control-expose-headers",
            "retry-after,x-should-retry",
        ),
        ("retry-after", "1"),
        ("x-should-retry", if may_retry { "true" } else { "false" }),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    response
}

#[cfg(test)]
mod tests;
