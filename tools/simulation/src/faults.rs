//! The faults of a run, and their frequency.

use std::time::Duration;

use e2e::chaos_proxy::Fault;
use fastrand::Rng;
use stub::{
    Endpoint,
    script::{Behaviour, KillPoint, Position},
};

/// Draws OpenRouter's treatment of a request.
pub(crate) fn draw_behaviour(rng: &mut Rng, endpoint: Endpoint, streamed: bool) -> Behaviour {
    let at = Position::Percent(rng.u8(1..100));
    let drawn = match rng.u32(0..1000) {
        0..40 => Behaviour::CacheHit,
        40..80 => {
            let (status, retry_after) = *rng
                .choice(&[
                    (400, false),
                    (402, false),
                    (403, false),
                    (413, false),
                    (429, true),
                    (429, false),
                    (500, false),
                    (502, false),
                    (503, true),
                    (529, false),
                ])
                .unwrap_or(&(500, false));
            Behaviour::Refuse {
                status,
                retry_after: retry_after.then_some(1),
            }
        }
        80..95 => Behaviour::ErrorBody { named: rng.bool() },
        95..120 => Behaviour::ErrorEvent,
        120..165 => Behaviour::Cut { at },
        165..180 => Behaviour::PoliteCut { at },
        180..190 => Behaviour::CutBeforeToken,
        190..200 => Behaviour::Stall { at },
        200..204 => Behaviour::StallBeforeToken,
        204..214 => Behaviour::HangUp,
        214..218 => Behaviour::Silent,
        _ => Behaviour::Answer,
    };
    if is_possible(drawn, endpoint, streamed) {
        drawn
    } else {
        Behaviour::Answer
    }
}

/// Whether a request to this endpoint can meet a behaviour.
fn is_possible(behaviour: Behaviour, endpoint: Endpoint, streamed: bool) -> bool {
    let is_speech = endpoint == Endpoint::Speech;
    match behaviour {
        Behaviour::CacheHit => !endpoint.is_job() && !is_speech,
        Behaviour::ErrorBody { .. } => !streamed && !endpoint.is_job() && !is_speech,
        Behaviour::ErrorEvent | Behaviour::PoliteCut { .. } => {
            streamed && endpoint != Endpoint::Images
        }
        // A job is accepted as a whole.
        Behaviour::Cut { .. }
        | Behaviour::CutBeforeToken
        | Behaviour::Stall { .. }
        | Behaviour::StallBeforeToken => !endpoint.is_job(),
        Behaviour::Answer | Behaviour::Refuse { .. } | Behaviour::HangUp | Behaviour::Silent => {
            true
        }
    }
}

/// The name of a behaviour in tables; `None` if it is no fault.
pub(crate) fn name(behaviour: Behaviour) -> Option<&'static str> {
    Some(match behaviour {
        Behaviour::Answer => return None,
        Behaviour::CacheHit => "answer from the cache, free",
        Behaviour::Refuse { .. } => "error status",
        Behaviour::ErrorBody { .. } => "200 with an error",
        Behaviour::ErrorEvent => "error event",
        Behaviour::Cut { .. } => "cut in the answer",
        Behaviour::PoliteCut { .. } => "polite cut in the answer",
        Behaviour::CutBeforeToken => "cut before the first token",
        Behaviour::Stall { .. } => "stall in the answer",
        Behaviour::StallBeforeToken => "stall before the first token",
        Behaviour::HangUp => "hang-up before the answer",
        Behaviour::Silent => "no answer",
    })
}

/// The point at which the function's process is killed (SIGKILL).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// `begin_request` has been sent, and is not executed.
    Beginning,
    /// `begin_request` was executed, and its response is not sent.
    Begun,
    /// OpenRouter has the request and has not answered.
    BeforeHead,
    /// OpenRouter has sent the answer's head and billed nothing yet.
    AfterHead,
    /// OpenRouter has sent and billed the first token.
    AfterToken,
    /// `finish_request` has been sent, and is not executed.
    Finishing,
    /// `finish_request` was executed, and its response is not sent.
    Finished,
}

impl Kill {
    pub(crate) fn draw(rng: &mut Rng, endpoint: Endpoint) -> Option<Self> {
        let drawn = match rng.u32(0..1000) {
            0..6 => Self::Beginning,
            6..12 => Self::Begun,
            12..20 => Self::BeforeHead,
            20..30 => Self::AfterHead,
            30..45 => Self::AfterToken,
            45..58 => Self::Finishing,
            58..64 => Self::Finished,
            _ => return None,
        };
        // Until finish_request tells a job's id, only the function knows it.
        let is_recoverable = !endpoint.is_job() || matches!(drawn, Self::Beginning | Self::Begun);
        is_recoverable.then_some(drawn)
    }

    /// The stub's name of this point, if the stub reaches it.
    pub(crate) fn point(self) -> Option<KillPoint> {
        match self {
            Self::AfterHead => Some(KillPoint::AfterHead),
            Self::AfterToken => Some(KillPoint::AfterToken),
            Self::Beginning | Self::Begun | Self::BeforeHead | Self::Finishing | Self::Finished => {
                None
            }
        }
    }

    /// The point that the stub has reached.
    pub(crate) fn at(point: KillPoint) -> Self {
        match point {
            KillPoint::AfterHead => Self::AfterHead,
            KillPoint::AfterToken => Self::AfterToken,
        }
    }

    /// Whether it lies between the upstream's head and the end of the books.
    pub(crate) fn is_in_answer(self) -> bool {
        matches!(self, Self::AfterHead | Self::AfterToken | Self::Finishing)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Beginning => "SIGKILL before begin_request is executed",
            Self::Begun => "SIGKILL after begin_request was executed",
            Self::BeforeHead => "SIGKILL before the upstream's head",
            Self::AfterHead => "SIGKILL between head and first token",
            Self::AfterToken => "SIGKILL after the first token",
            Self::Finishing => "SIGKILL before finish_request is executed",
            Self::Finished => "SIGKILL after finish_request was executed",
        }
    }
}

/// The time at which the same signed request arrives again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    AtOnce,
    Afterwards,
}

impl Replay {
    pub(crate) fn draw(rng: &mut Rng) -> Option<Self> {
        match rng.u32(0..100) {
            0..3 => Some(Self::AtOnce),
            3..5 => Some(Self::Afterwards),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AtOnce => "replay at once",
            Self::Afterwards => "replay afterwards",
        }
    }
}

/// The client's way of reading the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientBehaviour {
    Reads,
    /// With pauses.
    ReadsSlowly,
    /// Closes the connection after so many bytes; the platform reads the rest.
    Leaves {
        after: usize,
    },
    /// Closes the connection after so many bytes, and the platform breaks the function's.
    Breaks {
        after: usize,
    },
}

impl ClientBehaviour {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let after = rng.usize(0..400);
        match rng.u32(0..100) {
            0..4 => Self::Leaves { after },
            4..6 => Self::Breaks { after },
            6..9 => Self::ReadsSlowly,
            _ => Self::Reads,
        }
    }

    pub(crate) fn reads_all(self) -> bool {
        matches!(self, Self::Reads | Self::ReadsSlowly)
    }

    pub(crate) fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Reads => return None,
            Self::ReadsSlowly => "slow client",
            Self::Leaves { .. } => "client that leaves",
            Self::Breaks { .. } => "connection to the Runtime API broken",
        })
    }
}

/// Draws the fault of a storage call that meets one.
pub(crate) fn draw_fault(rng: &mut Rng) -> Fault {
    let status = *rng.choice(&[502, 503, 504]).unwrap_or(&503);
    // Within the 3 s of an attempt, or beyond.
    let pause = Duration::from_millis(if rng.u32(0..10) < 7 {
        rng.u64(20..400)
    } else {
        rng.u64(3050..3600)
    });
    match rng.u32(0..10) {
        0 | 1 => Fault::Refuse(status),
        2 => Fault::RefuseAfterwards(status),
        3 | 4 => Fault::Reset,
        5..=7 => Fault::ResetAfterwards,
        8 => Fault::Delay(pause),
        _ => Fault::DelayResponse(pause),
    }
}

/// The name of a storage fault in tables.
pub(crate) fn storage_name(fault: Fault) -> Option<&'static str> {
    Some(match fault {
        Fault::Refuse(_) => "5xx, not executed",
        Fault::RefuseAfterwards(_) => "5xx, executed",
        Fault::Reset => "connection reset, not executed",
        Fault::ResetAfterwards => "connection reset, executed",
        Fault::Delay(_) => "executed late",
        Fault::DelayResponse(_) => "answered late",
        // No fault, or part of a kill.
        Fault::None | Fault::Hold | Fault::HoldResponse => return None,
    })
}

/// The storage's faults in the calls for one request: each list is for the first attempts of a call;
/// later ones succeed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageFaults {
    pub begin: Vec<Fault>,
    pub note: Vec<Fault>,
    pub finish: Vec<Fault>,
    pub settle: Vec<Fault>,
    /// No `finish_request` succeeds until an operator steps in.
    pub finish_never_succeeds: bool,
}

impl StorageFaults {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut storage = Self::default();
        let some = |rng: &mut Rng| -> Vec<Fault> {
            (0..rng.usize(1..4)).map(|_| draw_fault(rng)).collect()
        };
        match rng.u32(0..1000) {
            0..50 => storage.begin = some(rng),
            50..110 => storage.finish = some(rng),
            110..140 => {
                storage.begin = some(rng);
                storage.finish = some(rng);
            }
            // Arrives long after the gateway has given up.
            140..143 => {
                let late = Duration::from_millis(rng.u64(7000..11000));
                storage.begin = vec![Fault::Delay(late); 3];
            }
            143..150 => storage.finish_never_succeeds = true,
            _ => {}
        }
        if rng.u32(0..10) == 0 {
            storage.note = some(rng);
        }
        if rng.u32(0..4) == 0 {
            storage.settle = some(rng);
        }
        storage
    }

    /// Whether the gateway may give up writing the end: because no write succeeds, or because it is in
    /// doubt whether the request began, which it does not retry for long.
    pub(crate) fn may_be_given_up(&self) -> bool {
        self.finish_never_succeeds || !self.begin.is_empty()
    }

    pub(crate) fn is_faulty(&self) -> bool {
        *self != Self::default()
    }

    /// The fault of the attempt `attempt`, counted from zero, of a call.
    #[must_use]
    pub fn fault(&self, function: &str, attempt: usize) -> Fault {
        let faults: &[Fault] = match function {
            "begin_request" => &self.begin,
            "note_generation" => &self.note,
            "finish_request" if self.finish_never_succeeds => return Fault::Refuse(503),
            "finish_request" => &self.finish,
            "settle_request" => &self.settle,
            _ => &[],
        };
        faults.get(attempt).copied().unwrap_or(Fault::None)
    }
}
