//! Lambda at its strictest: environments of a built function, each a process with a Runtime API of
//! its own, which can be killed at any moment.
//!
//! Unlike `cargo lambda watch`, and like the real Lambda:
//!
//! - one invocation at a time in each environment, with a deadline after which it is killed;
//! - the process is *frozen* (SIGSTOP) from its request for the next invocation until it gets one, so
//!   that spawned work stops;
//! - an environment may [end](Invocation::last) while it is frozen, and then the work that its function
//!   left for after the answer is lost;
//! - the function is not told when its client leaves;
//! - [limits](Limits) of an event's length, and of a streamed answer's length and speed.
//!
//! Behaviour that the real Lambda tolerates or leaves undocumented is a [violation](Pool::violations):
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
    /// The name.
    pub name: &'static str,
    /// The built executable.
    pub binary: PathBuf,
    /// All variables of its environment.
    pub env: Env,
    /// The mode in which it answers.
    pub mode: Mode,
    /// The limits of its events and answers.
    pub limits: Limits,
}

/// The mode in which a function answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// With a prelude and a streamed body, as `response-streaming-invocations` expects.
    Streaming,
    /// With one JSON text.
    Buffered,
}

/// An invocation of a function.
#[derive(Debug)]
pub struct Invocation {
    /// The platform's id of it; unique.
    pub id: Uuid,
    /// The event, as JSON.
    pub event: Vec<u8>,
    /// The time after which the environment is killed.
    pub timeout: Duration,
    /// The fate of the rest of the answer if its client leaves.
    pub abandoned: Abandoned,
    /// Whether the environment ends after it, frozen, as Lambda may end it at any time.
    pub last: bool,
}

/// The fate of the rest of an answer whose client has left.
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
    /// The answer has failed.
    Failed(Failure),
}

/// The reason why there is no answer, or only a part of it.
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

/// The start of an environment.
#[derive(Debug, Clone, Copy)]
pub struct Birth {
    /// The process.
    pub process: Pid,
    /// The time at which the process was started.
    pub spawned: Instant,
    /// The time at which it first asked for an invocation.
    pub ready: Instant,
}

/// Takes each line that a function logs.
pub type LogSink = Arc<dyn Fn(&str) + Send + Sync>;
