//! A door in front of the storage: it knows each call, and does with it what a [`Porter`] says.
//! [`StorageDoor`] is one that a test opens, closes and spoils while the gateway runs.

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
    sync::watch,
    time::{Instant, sleep},
};

/// Larger than any call.
const LONGEST_CALL: usize = 1 << 20;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It is executed and answered.
    Pass,
    /// It is not executed; a status answers that `PostgREST` did not write.
    Refuse(u16),
    /// It is executed; such a status answers.
    RefuseAfterwards(u16),
    /// It is not executed; the connection is reset.
    Reset,
    /// It is executed; the connection is reset, so that the answer is lost.
    ResetAfterwards,
    /// It is executed after a pause, whether or not anyone still waits.
    Late(Duration),
    /// It is executed, and answered after a pause.
    AnswerLate(Duration),
    /// It is not executed; the connection stays, until the porter loses patience.
    Hold,
    /// It is executed; the connection stays, until the porter loses patience.
    Swallow,
}

/// A call of the storage.
#[derive(Debug, Clone)]
pub struct Call {
    /// The last segment of the path: the database function.
    pub function: String,
    /// Its arguments.
    pub body: Bytes,
}

/// What the storage said.
#[derive(Debug, Clone)]
pub struct Said {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
    content_type: Option<HeaderValue>,
}

/// Decides what happens to calls.
pub trait Porter: Debug + Send + Sync + 'static {
    /// What goes with a call from its coming to its end.
    type Ticket: Clone + Send + Sync;

    /// Sees a call come.
    fn admit(&self, call: &Call) -> (Treatment, Self::Ticket);

    /// Hears what the storage said; `None` if it did not answer. It began at `since`.
    fn executed(
        &self,
        _call: &Call,
        _ticket: &Self::Ticket,
        _said: Option<&Said>,
        _since: Instant,
    ) {
    }

    /// Ends when calls that nobody answers are to be reset.
    fn loses_patience(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// An open door. Dropping it closes it for those who come.
#[derive(Debug)]
pub struct Door<P> {
    /// Who decides.
    pub porter: Arc<P>,
    address: SocketAddr,
    hall: Arc<Hall<P>>,
    listening: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

#[derive(Debug)]
struct Hall<P> {
    porter: Arc<P>,
    client: reqwest::Client,
    target: String,
    under_way: AtomicUsize,
}

impl<P: Porter> Door<P> {
    /// A door to `target`, a base URL like `http://127.0.0.1:54321`, on a free port.
    pub async fn with(target: &str, porter: P) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let porter = Arc::new(porter);
        let door = Self {
            address: listener.local_addr()?,
            hall: Arc::new(Hall {
                porter: Arc::clone(&porter),
                client: http_client::without_tls(Duration::from_secs(5))?,
                target: target.trim_end_matches('/').to_owned(),
                under_way: AtomicUsize::new(0),
            }),
            porter,
            listening: Mutex::default(),
        };
        door.listen(listener);
        Ok(door)
    }

    /// What `SUPABASE_URL` must be.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether no call is on its way to the storage, late ones included.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.hall.under_way.load(Ordering::SeqCst) == 0
    }

    fn listen(&self, listener: TcpListener) {
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
            // A connection that is dropped is reset.
            let _ = stream.set_zero_linger();
        });
        let router = Router::new()
            .fallback(enter::<P>)
            .with_state(Arc::clone(&self.hall));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        *lock(&self.listening) = Some(task);
    }

    /// From now on nobody listens.
    async fn close(&self) {
        let listening = lock(&self.listening).take();
        if let Some(task) = listening {
            task.abort();
            // Once it has ended, so has the listener.
            let _ = task.await;
        }
    }
}

impl<P> Drop for Door<P> {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.listening).take() {
            task.abort();
        }
    }
}

async fn enter<P: Porter>(State(hall): State<Arc<Hall<P>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LONGEST_CALL).await else {
        return refusal(400);
    };
    let function = head.uri.path().rsplit('/').next().unwrap_or_default();
    let call = Call {
        function: function.to_owned(),
        body,
    };
    let (treatment, ticket) = hall.porter.admit(&call);
    let execute = |pause| hall.execute(head, call, ticket, pause);
    match treatment {
        Treatment::Pass => respond(execute(Duration::ZERO).await),
        Treatment::Late(pause) => respond(execute(pause).await),
        Treatment::AnswerLate(pause) => {
            let said = execute(Duration::ZERO).await;
            sleep(pause).await;
            respond(said)
        }
        Treatment::Refuse(status) => refusal(status),
        Treatment::RefuseAfterwards(status) => {
            execute(Duration::ZERO).await;
            refusal(status)
        }
        Treatment::Reset => reset(),
        Treatment::ResetAfterwards => {
            execute(Duration::ZERO).await;
            reset()
        }
        Treatment::Hold => {
            hall.porter.loses_patience().await;
            reset()
        }
        Treatment::Swallow => {
            execute(Duration::ZERO).await;
            hall.porter.loses_patience().await;
            reset()
        }
    }
}

impl<P: Porter> Hall<P> {
    /// Executes the call whether or not anyone waits for it.
    async fn execute(
        self: &Arc<Self>,
        head: Parts,
        call: Call,
        ticket: P::Ticket,
        pause: Duration,
    ) -> Option<Said> {
        let under_way = UnderWay::in_hall(self);
        let executing = async move {
            sleep(pause).await;
            let since = Instant::now();
            let said = under_way.0.forward(&head, call.body.clone()).await;
            let porter = &under_way.0.porter;
            porter.executed(&call, &ticket, said.as_ref(), since);
            said
        };
        tokio::spawn(executing).await.ok().flatten()
    }

    async fn forward(&self, head: &Parts, body: Bytes) -> Option<Said> {
        let mut headers = HeaderMap::new();
        for (name, value) in &head.headers {
            if name != header::HOST && name != header::CONTENT_LENGTH {
                headers.insert(name.clone(), value.clone());
            }
        }
        let url = format!("{}{}", self.target, head.uri);
        let asking = self.client.request(head.method.clone(), url);
        let answer = asking.headers(headers).body(body).send().await.ok()?;
        Some(Said {
            status: answer.status(),
            content_type: answer.headers().get(header::CONTENT_TYPE).cloned(),
            body: answer.bytes().await.ok()?,
        })
    }
}

/// Counts a call as under way.
struct UnderWay<P>(Arc<Hall<P>>);

impl<P> UnderWay<P> {
    fn in_hall(hall: &Arc<Hall<P>>) -> Self {
        hall.under_way.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(hall))
    }
}

impl<P> Drop for UnderWay<P> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

fn respond(said: Option<Said>) -> Response {
    let Some(said) = said else {
        return refusal(502);
    };
    let mut response = Response::new(Body::from(said.body));
    *response.status_mut() = said.status;
    if let Some(value) = said.content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

fn refusal(status: u16) -> Response {
    let mut response = Response::new(Body::from("oops"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response
}

/// hyper drops the connection of a service that panics.
fn reset() -> Response {
    resume_unwind(Box::new("scripted"))
}

/// Treats the calls of one database function its way, and lets all others pass.
#[derive(Debug, Clone, Copy)]
pub struct OneCall {
    /// The function.
    pub function: &'static str,
    /// What happens to its calls.
    pub treatment: Treatment,
}

impl Porter for OneCall {
    type Ticket = ();

    fn admit(&self, call: &Call) -> (Treatment, ()) {
        let treatment = if call.function == self.function {
            self.treatment
        } else {
            Treatment::Pass
        };
        (treatment, ())
    }
}

/// What happens to those who come to a [`StorageDoor`], and to those whom nobody answered when the
/// mode changes: their connections break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All calls pass.
    Pass,
    /// Nobody listens.
    Refuse,
    /// Connections are accepted and reset.
    Reset,
    /// All calls pass, but each waits first.
    Slow(Duration),
    /// Each call is answered with a plain 500 that `PostgREST` did not write.
    Answer500,
    /// The storage gets each call and does what it says, but its answers never arrive.
    SwallowAnswers,
}

/// Treats all calls alike, and remembers those that passed.
#[derive(Debug)]
pub struct Modes {
    mode: watch::Sender<Mode>,
    calls: Mutex<Vec<String>>,
}

impl Porter for Modes {
    type Ticket = ();

    fn admit(&self, call: &Call) -> (Treatment, ()) {
        let treatment = match *self.mode.borrow() {
            Mode::Pass => {
                lock(&self.calls).push(call.function.clone());
                Treatment::Pass
            }
            Mode::Refuse | Mode::Reset => Treatment::Reset,
            Mode::Slow(wait) => Treatment::Late(wait),
            Mode::Answer500 => Treatment::Refuse(500),
            Mode::SwallowAnswers => Treatment::Swallow,
        };
        (treatment, ())
    }

    async fn loses_patience(&self) {
        let _ = self.mode.subscribe().changed().await;
    }
}

/// A door with one mode for all.
pub type StorageDoor = Door<Modes>;

impl StorageDoor {
    /// A door to `target`. It is open.
    pub async fn open(target: &str) -> Result<Self> {
        let modes = Modes {
            mode: watch::Sender::new(Mode::Pass),
            calls: Mutex::default(),
        };
        Self::with(target, modes).await
    }

    /// The database functions that were called through it while it was open, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        lock(&self.porter.calls).clone()
    }

    /// Changes the mode, for those who come and those whom nobody has answered.
    pub async fn set(&self, mode: Mode) -> Result<()> {
        let before = self.porter.mode.send_replace(mode);
        match (before == Mode::Refuse, mode == Mode::Refuse) {
            (false, true) => self.close().await,
            (true, false) => self.listen(TcpListener::bind(self.address).await?),
            _ => {}
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
