//! Answers that are sent, billed and broken step by step.

use std::{collections::VecDeque, io, panic::resume_unwind, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::{Stream, stream};
use http::{StatusCode, header};
use tokio::time::sleep;

use crate::{
    answer::COMMENT,
    response::{error_body, json_response, set},
};

/// Longer than any timeout of the gateway.
const FOREVER: Duration = Duration::from_mins(5);
/// The time between two comments while a stream has no token.
const COMMENTS: Duration = Duration::from_millis(150);

/// The stub's treatment of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers.
    Answer,
    /// Answers from its cache, at no cost.
    CacheHit,
    /// Answers with an error status.
    Refuse {
        /// The status.
        status: u16,
        /// The seconds in `Retry-After`.
        retry_after: Option<u8>,
    },
    /// Answers 200 with an error.
    ErrorBody {
        /// Whether the head names a generation, which cost nothing.
        named: bool,
    },
    /// Sends an error event in the middle of a stream; billed.
    ErrorEvent,
    /// Breaks the connection in the middle of the answer; billed.
    Cut {
        /// The place of the break.
        at: Position,
    },
    /// Ends a stream in the middle, with a valid end of the HTTP message; billed.
    PoliteCut {
        /// The place of the end.
        at: Position,
    },
    /// Breaks the connection between the head and the first token; not billed.
    CutBeforeToken,
    /// Sends nothing more from the middle of the answer on; billed.
    Stall {
        /// The place of the stall.
        at: Position,
    },
    /// Sends nothing more after the head; not billed.
    StallBeforeToken,
    /// Closes the connection without an answer; not billed.
    HangUp,
    /// Never answers; not billed.
    Silent,
}

/// A place in an answer, counted from its first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// After so many hundredths: at least one byte, at most all but one.
    Percent(u8),
    /// After so many bytes.
    Byte(usize),
}

impl Behaviour {
    /// Whether nothing is sent after the head.
    #[must_use]
    pub fn has_only_a_head(self) -> bool {
        matches!(self, Self::CutBeforeToken | Self::StallBeforeToken)
    }

    /// Whether the stub sends everything that the answer has.
    #[must_use]
    pub fn completes(self) -> bool {
        match self {
            Self::Answer
            | Self::CacheHit
            | Self::Refuse { .. }
            | Self::ErrorBody { .. }
            | Self::ErrorEvent => true,
            Self::Cut { .. }
            | Self::PoliteCut { .. }
            | Self::CutBeforeToken
            | Self::Stall { .. }
            | Self::StallBeforeToken
            | Self::HangUp
            | Self::Silent => false,
        }
    }
}

/// An answer that is an error, and costs nothing.
#[derive(Debug)]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Vec<u8>,
    retry_after: Option<u8>,
}

impl Refused {
    /// The response.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut response = json_response(self.status, self.body);
        if let Some(seconds) = self.retry_after {
            set(&mut response, header::RETRY_AFTER, &seconds.to_string());
        }
        response
    }
}

/// The error with which a behaviour answers at once; `None` if it answers otherwise. Does not return
/// if it never answers.
///
/// # Panics
///
/// If it hangs up: hyper closes the connection of a service that panics, without an answer.
pub async fn refused(behaviour: Behaviour) -> Option<Refused> {
    match behaviour {
        Behaviour::Silent => std::future::pending().await,
        Behaviour::HangUp => resume_unwind(Box::new("scripted")),
        Behaviour::Refuse {
            status,
            retry_after,
        } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            Some(Refused {
                status,
                body: error_body(status, "scripted refusal"),
                retry_after,
            })
        }
        Behaviour::ErrorBody { .. } => Some(Refused {
            status: StatusCode::OK,
            body: error_body(StatusCode::BAD_GATEWAY, "Provider returned error"),
            retry_after: None,
        }),
        Behaviour::Answer
        | Behaviour::CacheHit
        | Behaviour::ErrorEvent
        | Behaviour::Cut { .. }
        | Behaviour::PoliteCut { .. }
        | Behaviour::CutBeforeToken
        | Behaviour::Stall { .. }
        | Behaviour::StallBeforeToken => None,
    }
}

impl Position {
    fn of(self, length: usize) -> usize {
        match self {
            Self::Percent(at) => {
                (length * usize::from(at) / 100).clamp(1, length.saturating_sub(1).max(1))
            }
            Self::Byte(at) => at.min(length),
        }
    }
}

/// A point in an answer at which the process that asked is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillPoint {
    /// The head is sent, and nothing is billed.
    AfterHead,
    /// The first token is sent and billed.
    AfterToken,
}

/// The way in which an answer's bytes are divided into writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// So many bytes each, after a pause.
    Every {
        /// The bytes of a write.
        bytes: usize,
        /// The pause before it.
        pause: Duration,
    },
    /// An event each, after a pause.
    Events {
        /// The pause before it.
        pause: Duration,
    },
    /// Anywhere, mostly small, with short pauses here and there, as a seed says.
    Seeded(u64),
}

/// Everything that decides how an answer is sent.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// The fault, if any.
    pub behaviour: Behaviour,
    /// The point at which the caller is killed.
    pub kill: Option<KillPoint>,
    /// The time from the head to the first token.
    pub first_token: Duration,
    /// Whether comments are sent meanwhile.
    pub comments: bool,
    /// The division into writes.
    pub split: Split,
}

/// An answer before it is sent.
#[derive(Debug, Default)]
pub struct Prepared {
    /// All bytes.
    pub bytes: Bytes,
    /// The offset of the first token.
    pub token_at: usize,
}

impl Prepared {
    /// An answer that is sent as a whole.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: bytes.into(),
            token_at: 0,
        }
    }

    /// A stream of events: those before the first token, those with tokens, and the end.
    #[must_use]
    pub fn stream(head: &str, tokens: &str, end: &str) -> Self {
        Self {
            token_at: head.len(),
            bytes: [head, tokens, end].concat().into(),
        }
    }
}

/// An observer of an answer on its way.
pub trait Observer: Send + Sync + 'static {
    /// From here on the request is billed.
    fn bills(&self) {}
    /// Bytes are written.
    fn sends(&self, _bytes: &[u8]) {}
    /// The process that asked has to be killed.
    fn kills(&self, _point: KillPoint) {}
    /// The connection is about to be broken.
    fn breaks(&self) {}
    /// The answer has ended; it is not `complete` if the other side closed the connection.
    fn ends(&self, _complete: bool) {}
}

/// Nobody observes.
impl Observer for () {}

#[derive(Debug)]
enum Step {
    Send(Bytes),
    Wait(Duration),
    Bill,
    Kill(KillPoint),
    Break,
}

/// The body of an answer that `script` sends.
pub fn body<O: Observer>(
    script: &Script,
    answer: &Prepared,
    observer: O,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + use<O> {
    let playing = Playing {
        steps: steps(script, answer),
        observer,
    };
    stream::unfold(playing, |mut playing| async move {
        let item = playing.next().await?;
        Some((item, playing))
    })
}

fn steps(script: &Script, answer: &Prepared) -> VecDeque<Step> {
    let mut splitter = Splitter::new(script.split);
    let mut steps = VecDeque::new();
    splitter.split(&answer.bytes.slice(..answer.token_at), &mut steps);
    match script.behaviour {
        Behaviour::CutBeforeToken => {
            steps.extend([Step::Wait(script.first_token), Step::Break]);
            return steps;
        }
        Behaviour::StallBeforeToken => {
            steps.push_back(Step::Wait(FOREVER));
            return steps;
        }
        Behaviour::Answer
        | Behaviour::CacheHit
        | Behaviour::Refuse { .. }
        | Behaviour::ErrorBody { .. }
        | Behaviour::ErrorEvent
        | Behaviour::Cut { .. }
        | Behaviour::PoliteCut { .. }
        | Behaviour::Stall { .. }
        | Behaviour::HangUp
        | Behaviour::Silent => {}
    }
    if script.kill == Some(KillPoint::AfterHead) {
        steps.extend([
            Step::Wait(script.first_token / 4),
            Step::Kill(KillPoint::AfterHead),
            Step::Wait(script.first_token * 3 / 4),
        ]);
    } else {
        wait_for_token(script, &mut steps);
    }
    steps.push_back(Step::Bill);
    let tokens = answer.bytes.slice(answer.token_at..);
    // The last step of an answer that does not complete.
    let (end, last) = match script.behaviour {
        Behaviour::Cut { at } => (at.of(tokens.len()), Some(Step::Break)),
        Behaviour::Stall { at } => (at.of(tokens.len()), Some(Step::Wait(FOREVER))),
        Behaviour::PoliteCut { at } => (at.of(tokens.len()), None),
        Behaviour::Answer
        | Behaviour::CacheHit
        | Behaviour::Refuse { .. }
        | Behaviour::ErrorBody { .. }
        | Behaviour::ErrorEvent
        | Behaviour::CutBeforeToken
        | Behaviour::StallBeforeToken
        | Behaviour::HangUp
        | Behaviour::Silent => (tokens.len(), None),
    };
    let mut chunks = VecDeque::new();
    splitter.split(&tokens.slice(..end), &mut chunks);
    if script.kill == Some(KillPoint::AfterToken) {
        steps.extend(chunks.pop_front());
        steps.extend([
            Step::Wait(splitter.pause_before_kill()),
            Step::Kill(KillPoint::AfterToken),
            Step::Wait(FOREVER),
        ]);
        return steps;
    }
    steps.append(&mut chunks);
    steps.extend(last);
    steps
}

fn wait_for_token(script: &Script, steps: &mut VecDeque<Step>) {
    let mut left = script.first_token;
    while script.comments && left > COMMENTS {
        let comment = Bytes::from_static(COMMENT.as_bytes());
        steps.extend([Step::Wait(COMMENTS), Step::Send(comment)]);
        left = left.saturating_sub(COMMENTS);
    }
    steps.push_back(Step::Wait(left));
}

struct Splitter {
    split: Split,
    rng: Rng,
}

impl Splitter {
    fn new(split: Split) -> Self {
        let seed = match split {
            Split::Every { .. } | Split::Events { .. } => 0,
            Split::Seeded(seed) => seed,
        };
        Self {
            split,
            rng: Rng::with_seed(seed),
        }
    }

    fn split(&mut self, bytes: &Bytes, steps: &mut VecDeque<Step>) {
        if bytes.is_empty() {
            return;
        }
        let mut at = 0;
        let longest = *self.rng.choice(&[7, 60, 300, 5000]).unwrap_or(&60);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (length, before) = match self.split {
                Split::Every { bytes, pause } => (bytes, pause),
                Split::Events { pause } => (event_length(rest), pause),
                Split::Seeded(_) => (self.rng.usize(1..=longest), Duration::ZERO),
            };
            if !before.is_zero() {
                steps.push_back(Step::Wait(before));
            }
            let end = (at + length).min(bytes.len());
            steps.push_back(Step::Send(bytes.slice(at..end)));
            if matches!(self.split, Split::Seeded(_)) && self.rng.u32(0..6) == 0 {
                let after = Duration::from_micros(self.rng.u64(100..3000));
                steps.push_back(Step::Wait(after));
            }
            at = end;
        }
    }

    fn pause_before_kill(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(1..60))
    }
}

/// The length of the first event, the blank line included.
fn event_length(bytes: &[u8]) -> usize {
    memchr::memmem::find(bytes, b"\n\n").map_or(bytes.len(), |end| end + 2)
}

/// An answer on its way. If it is dropped before its last step, the other side closed the connection.
struct Playing<O: Observer> {
    steps: VecDeque<Step>,
    observer: O,
}

impl<O: Observer> Playing<O> {
    async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        // The step stays in the queue while it lasts, so that `drop` sees that it did not end.
        while let Some(step) = self.steps.front() {
            match step {
                Step::Wait(pause) => sleep(*pause).await,
                Step::Bill => self.observer.bills(),
                Step::Kill(point) => self.observer.kills(*point),
                Step::Break => {
                    self.steps.clear();
                    self.observer.breaks();
                    return Some(Err(io::Error::other("scripted")));
                }
                Step::Send(_) => {}
            }
            if let Some(Step::Send(bytes)) = self.steps.pop_front() {
                self.observer.sends(&bytes);
                return Some(Ok(bytes));
            }
        }
        None
    }
}

impl<O: Observer> Drop for Playing<O> {
    fn drop(&mut self) {
        self.observer.ends(self.steps.is_empty());
    }
}
