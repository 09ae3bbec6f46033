//! Whatever answers the same request: the stub itself, a proxy before it, a function before it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::signer::Signer;
use http::{HeaderValue, Method, StatusCode, header};
use shared::identity::signing::Nonce;
use stack::{
    Env,
    lambda::{Abandoned, Birth, Function, Invocation, Limits, Mode, Part, Pool, event},
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{answers::Answer, stubs::until_quiet};

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json");
/// More than any measurement takes.
const TIME: Duration = Duration::from_mins(5);

/// Something that answers.
#[derive(Debug)]
pub enum Subject {
    /// By plain HTTP: the stub itself, or a proxy.
    Http {
        /// What stands before the paths.
        base: String,
        /// With connections of its own.
        client: reqwest::Client,
    },
    /// An environment of a function.
    Function(Environment),
}

/// One environment that is invoked again and again.
#[derive(Debug)]
pub struct Environment {
    pool: Pool,
    user: Arc<Signer>,
}

/// Whether it costs something: a `POST` of a chat, or a `GET` that has no books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Metered, and written into the books.
    Billed,
    /// Passed on without a look at it.
    Free,
}

/// A request that only has to be sent.
#[derive(Debug)]
pub enum Prepared {
    /// To be sent by HTTP.
    Http(Box<reqwest::Request>),
    /// To be invoked.
    Event(Uuid, Vec<u8>),
}

/// How an answer came.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// From the request to the body's first byte.
    pub first_byte: Duration,
    /// From the request to its end.
    pub whole: Duration,
}

impl Subject {
    /// Whatever speaks HTTP at `base`.
    pub fn http(base: impl Into<String>) -> Result<Self> {
        Ok(Self::Http {
            base: base.into(),
            client: shared::http_client::without_tls(Duration::from_secs(5))?,
        })
    }

    /// A function, in an environment that starts with its first request.
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
            // Its log is read, as Lambda does, and thrown away.
            pool: Pool::start(function, 1, folder, Arc::new(|_| {})),
            user: Arc::clone(user),
        })
    }

    /// Makes a request, signed where that counts.
    pub fn prepare(&self, answer: Answer, kind: Kind) -> Result<Prepared> {
        let (method, path, body) = match kind {
            Kind::Billed => (
                Method::POST,
                "chat/completions".to_owned(),
                answer.request(),
            ),
            Kind::Free => (
                Method::GET,
                format!("models/bench/{}/endpoints", answer.name()),
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

    /// Sends it, and gives each piece of the answer's body to `take` as it comes.
    pub async fn send(
        &self,
        prepared: Prepared,
        mut take: impl FnMut(Instant, &[u8]),
    ) -> Result<Timing> {
        match (self, prepared) {
            (Self::Http { client, .. }, Prepared::Http(request)) => {
                let began = Instant::now();
                let mut answer = client.execute(*request).await?.error_for_status()?;
                let mut first = None;
                while let Some(chunk) = answer.chunk().await? {
                    let now = Instant::now();
                    first.get_or_insert(now);
                    take(now, &chunk);
                }
                timing(began, first)
            }
            (Self::Function(environment), Prepared::Event(id, event)) => {
                environment.send(id, event, take).await
            }
            _ => bail!("prepared for another subject"),
        }
    }

    /// The same with the answer's body thrown away.
    pub async fn ask(&self, answer: Answer, kind: Kind) -> Result<Timing> {
        let timing = self.send(self.prepare(answer, kind)?, |_, _| ()).await?;
        self.rest().await;
        Ok(timing)
    }

    /// Waits until it is done with what follows an answer.
    pub async fn rest(&self) {
        if let Self::Function(environment) = self {
            until_quiet(|| environment.pool.unfinished() == 0).await;
        }
    }

    /// How its process came to life, where it is a function's, after the first request.
    #[must_use]
    pub fn birth(&self) -> Option<Birth> {
        match self {
            Self::Http { .. } => None,
            Self::Function(environment) => environment.pool.births().first().copied(),
        }
    }

    /// What it did that a function must not do.
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
        let began = Instant::now();
        let mut parts = self.pool.invoke(Invocation {
            id,
            event,
            time: TIME,
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
                Part::End => return timing(began, first),
                Part::Failed(failure) => bail!("no answer: {failure:?}"),
            }
        }
        bail!("no answer: {:?}", self.pool.violations())
    }
}

fn timing(began: Instant, first: Option<Instant>) -> Result<Timing> {
    Ok(Timing {
        first_byte: first
            .context("an answer without a body")?
            .duration_since(began),
        whole: began.elapsed(),
    })
}

/// A request to the gateway's route as API Gateway hands it on, and its id.
pub fn signed_event(
    user: &Signer,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Result<(Uuid, Vec<u8>)> {
    let path = format!("/api/v1/openrouter/{path}");
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let mut headers = user.signed(method, &path, body, &Nonce::from_random(random))?;
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bench"));
    let id = uuid::Builder::from_random_bytes(random).into_uuid();
    Ok((id, event::rest(id, method, &path, &headers, body)))
}
