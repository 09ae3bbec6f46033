//! A proxy in front of the storage that injects faults: a [`FaultPolicy`] decides on each call.
//! [`SwitchedProxy`] is one whose fault a test changes while the gateway runs.

mod switch;

use std::{
    fmt::Debug,
    net::SocketAddr,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    serve::ListenerExt,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use shared::http_client;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

pub use self::switch::{Mode, OneCall, Switch, SwitchedProxy};

/// More bytes than any call has.
const LONGEST_CALL: usize = 1 << 20;

/// The fault that a call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None: the call is executed and answered.
    None,
    /// The call is not executed, and answered with a status that `PostgREST` did not write.
    Refuse(u16),
    /// The call is executed, and answered with such a status.
    RefuseAfterwards(u16),
    /// The call is not executed, and the connection is reset.
    Reset,
    /// The call is executed, and the connection is reset, so that the response is lost.
    ResetAfterwards,
    /// The call is executed after a delay, even if nobody waits for it any more.
    Delay(Duration),
    /// The call is executed, and answered after a delay.
    DelayResponse(Duration),
    /// The call is not executed, and stays unanswered until the policy releases it.
    Hold,
    /// The call is executed, and stays unanswered until the policy releases it.
    HoldResponse,
}

/// A call of a database function.
#[derive(Debug, Clone)]
pub struct Call {
    /// The name of the function, the last segment of the path.
    pub function: String,
    /// The arguments.
    pub body: Bytes,
}

/// The storage's response to a call.
#[derive(Debug, Clone)]
pub struct StorageResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
    content_type: Option<HeaderValue>,
}

/// The decisions on calls.
pub trait FaultPolicy: Debug + Send + Sync + 'static {
    /// The policy's own data about a call.
    type Context: Clone + Send + Sync;

    /// Decides on a call that has arrived.
    fn decide(&self, call: &Call) -> (Fault, Self::Context);

    /// The arguments with which the call is executed.
    fn arguments(&self, call: &Call) -> Bytes {
        call.body.clone()
    }

    /// Is told that a call was executed, from `since` on; `response` is `None` if the storage did not
    /// answer.
    fn executed(
        &self,
        _call: &Call,
        _context: &Self::Context,
        _response: Option<&StorageResponse>,
        _since: Instant,
    ) {
    }

    /// Returns when the connections of unanswered calls are to be reset.
    fn release(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// A running proxy. Once it is dropped, it accepts no more connections.
#[derive(Debug)]
pub struct ChaosProxy<P> {
    /// The policy that decides on each call.
    pub policy: Arc<P>,
    address: SocketAddr,
    shared: Arc<Shared<P>>,
    listening: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared<P> {
    policy: Arc<P>,
    client: reqwest::Client,
    target: String,
    /// The calls that the storage has not answered.
    under_way: AtomicUsize,
}

impl<P: FaultPolicy> ChaosProxy<P> {
    /// Starts a proxy of `target`, a base URL like `http://127.0.0.1:54321`, on a free port.
    pub async fn start(target: &str, policy: P) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let policy = Arc::new(policy);
        let proxy = Self {
            address: listener.local_addr()?,
            shared: Arc::new(Shared {
                policy: Arc::clone(&policy),
                client: http_client::without_tls(Duration::from_secs(5))?,
                target: target.trim_end_matches('/').to_owned(),
                under_way: AtomicUsize::new(0),
            }),
            policy,
            listening: Mutex::default(),
        };
        proxy.listen(listener);
        Ok(proxy)
    }

    /// The value of `SUPABASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether the storage has answered every call, delayed ones included.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.shared.under_way.load(Ordering::SeqCst) == 0
    }

    fn listen(&self, listener: TcpListener) {
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
            // A connection that is dropped is reset.
            let _ = stream.set_zero_linger();
        });
        let router = Router::new()
            .fallback(receive::<P>)
            .with_state(Arc::clone(&self.shared));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        *lock(&self.listening) = Some(task);
    }

    /// Stops listening.
    async fn close(&self) {
        let listening = lock(&self.listening).take();
        if let Some(task) = listening {
            task.abort();
            // Once it has ended, so has the listener.
            let _ = task.await;
        }
    }
}

impl<P> Drop for ChaosProxy<P> {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.listening).take() {
            task.abort();
        }
    }
}

async fn receive<P: FaultPolicy>(
    State(shared): State<Arc<Shared<P>>>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LONGEST_CALL).await else {
        return refusal(400);
    };
    let function = head.uri.path().rsplit('/').next().unwrap_or_default();
    let call = Call {
        function: function.to_owned(),
        body,
    };
    let (fault, context) = shared.policy.decide(&call);
    let execute = |pause| shared.execute(head, call, context, pause);
    match fault {
        Fault::None => respond(execute(Duration::ZERO).await),
        Fault::Delay(pause) => respond(execute(pause).await),
        Fault::DelayResponse(pause) => {
            let response = execute(Duration::ZERO).await;
            sleep(pause).await;
            respond(response)
        }
        Fault::Refuse(status) => refusal(status),
        Fault::RefuseAfterwards(status) => {
            execute(Duration::ZERO).await;
            refusal(status)
        }
        Fault::Reset => reset(),
        Fault::ResetAfterwards => {
            execute(Duration::ZERO).await;
            reset()
        }
        Fault::Hold => {
            shared.policy.release().await;
            reset()
        }
        Fault::HoldResponse => {
            execute(Duration::ZERO).await;
            shared.policy.release().await;
            reset()
        }
    }
}

impl<P: FaultPolicy> Shared<P> {
    /// Executes the call, even if nobody waits for it any more.
    async fn execute(
        self: &Arc<Self>,
        head: Parts,
        call: Call,
        context: P::Context,
        pause: Duration,
    ) -> Option<StorageResponse> {
        let under_way = UnderWay::count(self);
        let executing = async move {
            sleep(pause).await;
            let since = Instant::now();
            let shared = &under_way.0;
            let response = shared.forward(&head, shared.policy.arguments(&call)).await;
            shared
                .policy
                .executed(&call, &context, response.as_ref(), since);
            response
        };
        tokio::spawn(executing).await.ok().flatten()
    }

    async fn forward(&self, head: &Parts, body: Bytes) -> Option<StorageResponse> {
        let mut headers = HeaderMap::new();
        for (name, value) in &head.headers {
            if name != header::HOST && name != header::CONTENT_LENGTH {
                headers.insert(name.clone(), value.clone());
            }
        }
        let url = format!("{}{}", self.target, head.uri);
        let request = self.client.request(head.method.clone(), url);
        let response = request.headers(headers).body(body).send().await.ok()?;
        Some(StorageResponse {
            status: response.status(),
            content_type: response.headers().get(header::CONTENT_TYPE).cloned(),
            body: response.bytes().await.ok()?,
        })
    }
}

/// Counts a call as under way until it is dropped.
struct UnderWay<P>(Arc<Shared<P>>);

impl<P> UnderWay<P> {
    fn count(shared: &Arc<Shared<P>>) -> Self {
        shared.under_way.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl<P> Drop for UnderWay<P> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

fn respond(storage: Option<StorageResponse>) -> Response {
    let Some(storage) = storage else {
        return refusal(502);
    };
    let mut response = Response::new(Body::from(storage.body));
    *response.status_mut() = storage.status;
    if let Some(value) = storage.content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

fn refusal(status: u16) -> Response {
    let mut response = Response::new(Body::from("oops"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response
}

/// Resets the connection: hyper drops that of a service that panics.
fn reset() -> Response {
    resume_unwind(Box::new("scripted"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
