//! The steps of an answer, and their execution.

use std::{collections::VecDeque, io, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::{Stream, stream};
use tokio::time::sleep;

use super::{Behaviour, KillPoint, Prepared, Script, Split};
use crate::answer::COMMENT;

/// Longer than any timeout of the gateway.
const FOREVER: Duration = Duration::from_mins(5);
/// The time between two comments while a stream has no token.
const COMMENTS: Duration = Duration::from_millis(150);

/// An observer of an answer on its way.
pub trait Observer: Send + Sync + 'static {
    /// The request is billed from here on.
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

/// No observer.
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
    if let (Some(_), Split::Every { pause, .. } | Split::Events { pause }) = (&last, script.split) {
        // The server drops what it has not written when the connection breaks.
        steps.push_back(Step::Wait(pause));
    }
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
