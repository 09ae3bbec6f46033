//! A request as it entered the gateway, freed from the event format that carried it, and the
//! invocation it runs in.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

/// The largest body that can reach a function, in bytes: Lambda's invocation payload. API Gateway
/// sends binary bodies as base64, so of those about 4.5 MB fit.
pub const MAX_BODY: usize = 6 * 1024 * 1024;

/// One HTTP request. Nothing in it has been checked, decoded or normalised beyond what the event
/// format itself did.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The HTTP method.
    pub method: Method,
    /// The path exactly as the event holds it, API Gateway's stage included where the event
    /// includes it.
    pub raw_path: String,
    /// The stage's name, unless it is `$default`.
    pub stage: Option<String>,
    /// The query.
    pub query: RawQuery,
    /// All headers, names in lower case.
    pub headers: HeaderMap,
    /// The body, with API Gateway's base64 undone.
    pub body: Bytes,
}

/// The query as the event format delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawQuery {
    /// HTTP API and Function URL events (v2): the string between `?` and the end, still encoded.
    Encoded(String),
    /// REST API events (v1): decoded pairs whose order was lost.
    Decoded(Vec<(String, String)>),
}

/// The platform's facts about one request, besides its content.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Names the request everywhere: in the response header, the log and the books.
    pub id: Uuid,
    /// When the platform kills the invocation.
    pub deadline: Instant,
    /// Work that must be done before the environment may freeze. Tasks spawned anywhere else
    /// are lost.
    pub tasks: Tasks,
}

/// The tasks of one invocation. They belong to its request in the log, too.
#[derive(Debug, Clone, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    /// Runs `task` beside the answer and, if it takes longer, after it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Boxed: the runtime moves a task's future several times, and some have kilobytes.
        self.0.spawn(Box::pin(task.in_current_span()));
    }

    /// Waits until all tasks are done, those that they have spawned themselves included.
    pub async fn done(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

/// Kept free before the deadline, for telling the client and closing the books.
const CLOSING_TIME: Duration = Duration::from_secs(3);

impl Invocation {
    /// When waiting for anyone ends and closing begins.
    #[must_use]
    pub fn closing_time(&self) -> Instant {
        self.deadline
            .checked_sub(CLOSING_TIME)
            .unwrap_or(self.deadline)
    }
}

/// The invocation id that the platform's request id stands for. Lambda's are UUIDs; should one
/// ever not be, it still names the same row each time.
#[must_use]
pub fn invocation_id(request_id: &str) -> Uuid {
    Uuid::parse_str(request_id).unwrap_or_else(|_| {
        let digest: [u8; 32] = Sha256::digest(request_id).into();
        let mut bytes = [0; 16];
        bytes
            .iter_mut()
            .zip(digest)
            .for_each(|(byte, digest)| *byte = digest);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    })
}
