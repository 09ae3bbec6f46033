//! The subjects of a comparison: the stub itself, a proxy before it, a function before it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::signer::Signer;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use shared::identity::signing::Nonce;
use stack::{
    Env,
    lambda::{Abandoned, Birth, Function, Invocation, Limits, Mode, Part, Pool, event},
};
use stub::load::Load;
use tokio::time::Instant;
use uuid::Uuid;

use crate::stubs::until_quiet;

/// The path of OpenRouter's API at the gateway.
pub const PROXY: &str = "/api/v1/openrouter";
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json");
/// More time than any measurement takes.
const TIMEOUT: Duration = Duration::from_mins(5);

/// A subject, which answers requests.
#[derive(Debug)]
pub enum Subject {
    /// The stub itself, or a proxy, over plain HTTP.
    Http {
        /// The base URL of all paths.
        base: String,
        /// A client with connections of its own.
        client: reqwest::Client,
    },
    /// An environment of a function.
    Function(Environment),
}

/// One environment of a function, which serves all invocations.
#[derive(Debug)]
pub struct Environment {
    pool: Pool,
    user: Arc<Signer>,
}

/// The kind of a request: a `POST` of a chat, or a `GET` that costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Metered, and recorded in the books.
    Billed,
    /// Forwarded unread.
    Free,
}

/// A request that is ready to be sent.
#[derive(Debug)]
pub enum Prepared {
    /// An HTTP request.
    Http(Box<reqwest::Request>),
    /// An invocation.
    Event(Uuid, Vec<u8>),
}

/// The times of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The time from the request to the body's first byte.
    pub first_byte: Duration,
    /// The time from the request to the body's end.
    pub whole: Duration,
}

impl Subject {
    /// The HTTP server at `base`.
    pub fn http(base: impl Into<String>) -> Result<Self> {
        Ok(Self::Http {
            base: base.into(),
            client: shared::http_client::without_tls(Duration::from_secs(5))?,
        })
    }

    /// A function, whose environment starts with its first request.
    #[must_use]
    pub fn function(
        name: &'static str,
        binary: &Path,
        env: Env,
        folder: &Path,
        user: &Arc<Signer>,
    ) -> Self {
        let function = Function {
            name,
            binary: PathBuf::from(binary),
            env,
            mode: Mode::Streaming,
            limits: Limits::NONE,
        };
        Self::Function(Environment {
            // Its log is read, as by Lambda, and dropped.
            pool: Pool::start(function, 1, folder, Arc::new(|_| {})),
            user: Arc::clone(user),
        })
    }

    /// Makes a request, signed for a function.
    pub fn prepare(&self, load: Load, kind: Kind) -> Result<Prepared> {
        let (method, path, body) = match kind {
            Kind::Billed => (Method::POST, "chat/completions".to_owned(), load.request()),
            Kind::Free => (
                Method::GET,
                format!("models/bench/{}/endpoints", load.name()),
                Vec::new(),
            ),
        };
        match self {
            Self::Http { base, client } => Ok(Prepared::Http(Box::new(
                client
                    .request(method, format!("{base}/{path}"))
                    .header(header::CONTENT_TYPE, CONTENT_TYPE)
                    .body(body)
                    .build()?,
            ))),
            Self::Function(environment) => environment.prepare(&method, &path, &body),
        }
    }

    /// Makes a request of a browser for the console's page.
    pub fn prepare_page() -> Result<Prepared> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let id = uuid::Builder::from_random_bytes(random).into_uuid();
        let headers = HeaderMap::from_iter([
            (
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("gzip, br"),
            ),
            (header::USER_AGENT, HeaderValue::from_static("bench")),
        ]);
        let event = event::rest(id, &Method::GET, "/console", &headers, &[]);
        Ok(Prepared::Event(id, event))
    }

    /// Sends a request, and calls `take` with each piece of the answer's body as it arrives.
    pub async fn send(
        &self,
        prepared: Prepared,
        mut take: impl FnMut(Instant, &[u8]),
    ) -> Result<Timing> {
        match (self, prepared) {
            (Self::Http { client, .. }, Prepared::Http(request)) => {
                let started = Instant::now();
                let mut answer = client.execute(*request).await?.error_for_status()?;
                let mut first = None;
                while let Some(chunk) = answer.chunk().await? {
                    let now = Instant::now();
                    first.get_or_insert(now);
                    take(now, &chunk);
                }
                timing(started, first)
            }
            (Self::Function(environment), Prepared::Event(id, event)) => {
                environment.send(id, event, take).await
            }
            (Self::Http { .. }, Prepared::Event(..)) | (Self::Function(_), Prepared::Http(_)) => {
                bail!("prepared for another subject")
            }
        }
    }

    /// Makes and sends a request, and drops the answer's body.
    pub async fn ask(&self, load: Load, kind: Kind) -> Result<Timing> {
        let timing = self.send(self.prepare(load, kind)?, |_, _| ()).await?;
        self.rest().await;
        Ok(timing)
    }

    /// Waits until it has finished its work after an answer.
    pub async fn rest(&self) {
        if let Self::Function(environment) = self {
            until_quiet(|| environment.pool.unfinished() == 0).await;
        }
    }

    /// The start of a function's process, after the first request.
    #[must_use]
    pub fn birth(&self) -> Option<Birth> {
        match self {
            Self::Http { .. } => None,
            Self::Function(environment) => environment.pool.births().first().copied(),
        }
    }

    /// The rules of the platform that it broke.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        match self {
            Self::Http { .. } => Vec::new(),
            Self::Function(environment) => environment.pool.violations(),
        }
    }
}

impl Environment {
    fn prepare(&self, method: &Method, path: &str, body: &[u8]) -> Result<Prepared> {
        let (id, event) = signed_event(&self.user, method, path, body)?;
        Ok(Prepared::Event(id, event))
    }

    async fn send(
        &self,
        id: Uuid,
        event: Vec<u8>,
        mut take: impl FnMut(Instant, &[u8]),
    ) -> Result<Timing> {
        let started = Instant::now();
        let mut parts = self.pool.invoke(Invocation {
            id,
            event,
            timeout: TIMEOUT,
            abandoned: Abandoned::Drained,
            last: false,
        });
        let mut first = None;
        while let Some(part) = parts.recv().await {
            let now = Instant::now();
            match part {
                Part::Head(status, _) => {
                    ensure!(status == StatusCode::OK, "it answered with {status}");
                }
                Part::Data(bytes) if bytes.is_empty() => {}
                Part::Data(bytes) => {
                    first.get_or_insert(now);
                    take(now, &bytes);
                }
                Part::End => return timing(started, first),
                Part::Failed(failure) => bail!("no answer: {failure:?}"),
            }
        }
        bail!("no answer: {:?}", self.pool.violations())
    }
}

fn timing(started: Instant, first: Option<Instant>) -> Result<Timing> {
    Ok(Timing {
        first_byte: first
            .context("an answer without a body")?
            .duration_since(started),
        whole: started.elapsed(),
    })
}

/// API Gateway's event of a request to the gateway, and its id.
pub fn signed_event(
    user: &Signer,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Result<(Uuid, Vec<u8>)> {
    let path = format!("{PROXY}/{path}");
    let random = random()?;
    let headers = user.signed(method, &path, body, &Nonce::from_random(random))?;
    Ok(event_of(random, method, &path, headers, body))
}

/// API Gateway's event of a request whose sender is told by `headers`, and its id.
pub fn event_of(
    random: [u8; 16],
    method: &Method,
    path: &str,
    mut headers: HeaderMap,
    body: &[u8],
) -> (Uuid, Vec<u8>) {
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bench"));
    let id = uuid::Builder::from_random_bytes(random).into_uuid();
    (id, event::rest(id, method, path, &headers, body))
}

/// Random bytes, for an id or a nonce.
pub fn random<const LENGTH: usize>() -> Result<[u8; LENGTH]> {
    let mut random = [0; LENGTH];
    getrandom::fill(&mut random)?;
    Ok(random)
}
