//! The steps of an answer's body.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::{Stream, stream};
use tokio::time::sleep;

use super::{Stub, answer::Answer};
use crate::{
    faults::{Behaviour, Kill},
    plan::Plan,
};

/// Longer than any timeout of the gateway's.
const FOR_EVER: Duration = Duration::from_mins(5);
/// Between two signs of life while the first token is waited for.
const COMMENTS: Duration = Duration::from_millis(150);
const COMMENT: &[u8] = b": OPENROUTER PROCESSING\n\n";

#[derive(Debug)]
enum Step {
    Send(Bytes),
    Wait(Duration),
    /// From here on the request costs what it costs.
    Bill,
    /// The function that asks is killed.
    Kill(Kill),
    Break,
}

/// The body of an answer, as it is planned.
pub(super) fn body(
    stub: &Arc<Stub>,
    plan: &Plan,
    answer: Answer,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + use<> {
    let playing = Playing {
        steps: steps(plan, answer),
        stub: Arc::clone(stub),
        number: plan.number,
    };
    stream::unfold(playing, |mut playing| async move {
        let item = playing.next().await?;
        Some((item, playing))
    })
}

fn steps(plan: &Plan, answer: Answer) -> VecDeque<Step> {
    let mut rng = Rng::with_seed(plan.split_seed);
    let mut steps = VecDeque::new();
    let rest = Bytes::from(answer.bytes);
    let before = rest.slice(..answer.token_at);
    if !before.is_empty() {
        split(&mut rng, &before, &mut steps);
    }
    match plan.behaviour {
        Behaviour::CutBeforeToken => {
            steps.extend([Step::Wait(plan.first_token), Step::Break]);
            return steps;
        }
        Behaviour::StallBeforeToken => {
            steps.push_back(Step::Wait(FOR_EVER));
            return steps;
        }
        _ => {}
    }
    if plan.kill == Some(Kill::AfterHead) {
        steps.extend([
            Step::Wait(plan.first_token / 4),
            Step::Kill(Kill::AfterHead),
            Step::Wait(plan.first_token * 3 / 4),
        ]);
    } else {
        wait_for_token(plan, &mut steps);
    }
    steps.push_back(Step::Bill);
    let tokens = rest.slice(answer.token_at..);
    let end = match plan.behaviour {
        Behaviour::Cut { at } | Behaviour::Stall { at } | Behaviour::PoliteCut { at } => {
            // At least one byte, at most all but one.
            (tokens.len() * usize::from(at) / 100).clamp(1, tokens.len().saturating_sub(1).max(1))
        }
        _ => tokens.len(),
    };
    let mut chunks = VecDeque::new();
    split(&mut rng, &tokens.slice(..end), &mut chunks);
    if plan.kill == Some(Kill::AfterToken) {
        steps.extend(chunks.pop_front());
        let pause = Duration::from_millis(rng.u64(1..60));
        steps.extend([
            Step::Wait(pause),
            Step::Kill(Kill::AfterToken),
            Step::Wait(FOR_EVER),
        ]);
        return steps;
    }
    steps.append(&mut chunks);
    match plan.behaviour {
        Behaviour::Cut { .. } => steps.push_back(Step::Break),
        Behaviour::Stall { .. } => steps.push_back(Step::Wait(FOR_EVER)),
        _ => {}
    }
    steps
}

fn wait_for_token(plan: &Plan, steps: &mut VecDeque<Step>) {
    let mut left = plan.first_token;
    while plan.streamed && left > COMMENTS {
        steps.extend([
            Step::Wait(COMMENTS),
            Step::Send(Bytes::from_static(COMMENT)),
        ]);
        left = left.saturating_sub(COMMENTS);
    }
    steps.push_back(Step::Wait(left));
}

/// Cuts bytes anywhere, mostly small, with short pauses here and there.
fn split(rng: &mut Rng, bytes: &Bytes, steps: &mut VecDeque<Step>) {
    let mut at = 0;
    let most = *rng.choice(&[7, 60, 300, 5000]).unwrap_or(&60);
    while at < bytes.len() {
        let end = (at + rng.usize(1..=most)).min(bytes.len());
        steps.push_back(Step::Send(bytes.slice(at..end)));
        if rng.u32(0..6) == 0 {
            steps.push_back(Step::Wait(Duration::from_micros(rng.u64(100..3000))));
        }
        at = end;
    }
}

/// An answer on its way. Dropped before its last step, the connection was closed by the other side.
struct Playing {
    steps: VecDeque<Step>,
    stub: Arc<Stub>,
    number: usize,
}

impl Playing {
    async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        // The step stays in the queue while it lasts, for `drop` to know that it did not end.
        while let Some(step) = self.steps.front() {
            match step {
                Step::Wait(pause) => sleep(*pause).await,
                Step::Bill => self.stub.books.bill(self.number),
                Step::Kill(kill) => self.stub.kill(self.number, *kill),
                Step::Break => {
                    self.steps.clear();
                    self.stub.note(self.number, "breaks the connection");
                    return Some(Err(io::Error::other("planned")));
                }
                Step::Send(_) => {}
            }
            if let Some(Step::Send(bytes)) = self.steps.pop_front() {
                self.stub.books.sent(self.number, &bytes);
                return Some(Ok(bytes));
            }
        }
        None
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let how = if self.steps.is_empty() {
            "the answer is over"
        } else {
            "the gateway closed the connection before the answer was over"
        };
        self.stub.note(self.number, how);
        self.stub.books.ended(self.number);
    }
}
