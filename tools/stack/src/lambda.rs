//! Lambda, as strict as it may be: environments of a built function, each a process with a Runtime
//! API of its own, that can be killed at any moment.
//!
//! What the real Lambda does and `cargo lambda watch` does not:
//!
//! - one invocation at a time in each environment, with a deadline after which it is killed;
//! - the process is *frozen* (SIGSTOP) from the moment it asks for the next invocation until it gets
//!   one, so that nothing that was merely spawned goes on;
//! - an environment may [end](Invocation::last) while it is frozen, and what its function left to do
//!   after its answer is lost then;
//! - no word to the function when its client leaves;
//! - [limits](Limits) of an event's length, and of a streamed answer's length and speed.
//!
//! And what the real one tolerates or leaves undocumented is a [violation](Pool::violations) here:
//! two answers, none, one after the deadline, another content type or response mode, a malformed
//! prelude.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

mod api;
mod environment;
pub mod event;
mod limits;
mod pool;
mod prelude;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use rustix::process::Pid;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Env;

pub use api::lock;
pub use limits::{Bandwidth, Limits};
pub use pool::Pool;

/// A deployed function.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The built executable.
    pub binary: PathBuf,
    /// Its environment, and nothing else.
    pub env: Env,
    /// How it answers.
    pub mode: Mode,
    /// What it may be sent and may send.
    pub limits: Limits,
}

/// How a function answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// With a prelude and a streamed body, as `response-streaming-invocations` expects.
    Streaming,
    /// With one JSON text.
    Buffered,
}

/// What a function is asked.
#[derive(Debug)]
pub struct Invocation {
    /// The platform's id of it; unique.
    pub id: Uuid,
    /// The event, as JSON.
    pub event: Vec<u8>,
    /// The time after which the environment is killed.
    pub timeout: Duration,
    /// What becomes of the rest of the answer when nobody wants it any more.
    pub abandoned: Abandoned,
    /// Whether the environment ends after it, frozen. Lambda does so when it likes.
    pub last: bool,
}

/// What becomes of the rest of an answer whose client has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// Lambda takes it and throws it away: the function notices nothing.
    Drained,
    /// The connection to the Runtime API breaks.
    Broken,
}

/// A piece of an answer.
#[derive(Debug)]
pub enum Part {
    /// Status and headers. Comes first; buffered functions have none.
    Head(StatusCode, HeaderMap),
    /// Bytes of the body.
    Data(Bytes),
    /// The body is complete.
    End,
    /// It will not be.
    Failed(Failure),
}

/// Why there is no answer, or not all of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The environment was killed on purpose.
    Killed,
    /// The environment was killed at the deadline.
    TimedOut,
    /// The process ended by itself.
    Crashed(String),
    /// The function reported an error.
    Reported(Value),
    /// The function broke off its answer.
    BrokenOff,
    /// The function asked for the next invocation without having answered.
    NotAnswered,
    /// The event is longer than it may be; the function has not seen it.
    EventTooLarge,
    /// The answer was longer than it may be, and ended there.
    AnswerTooLarge,
}

/// How an environment came to life.
#[derive(Debug, Clone, Copy)]
pub struct Birth {
    /// Its process.
    pub process: Pid,
    /// When that was started.
    pub spawned: Instant,
    /// When it first asked for an invocation.
    pub ready: Instant,
}

/// Takes each line that a function logs.
pub type LogSink = Arc<dyn Fn(&str) + Send + Sync>;
