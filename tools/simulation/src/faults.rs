//! What goes wrong on purpose, and how often.

use std::time::Duration;

use e2e::storage_door::Treatment;
use fastrand::Rng;

use crate::kind::Kind;

/// What OpenRouter's stub does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Answer,
    /// Answers from its cache, for nothing.
    CacheHit,
    /// Refuses.
    Refuse {
        status: u16,
        retry_after: bool,
    },
    /// A 200 with an error; with a generation that cost nothing, or without one.
    ErrorBody {
        named: bool,
    },
    /// A stream with an error event in the middle; billed.
    ErrorEvent,
    /// Breaks the connection after some hundredths of the answer; billed.
    Cut {
        at: u8,
    },
    /// Ends a stream as HTTP wants it, in the middle; billed.
    PoliteCut {
        at: u8,
    },
    /// Breaks the connection between head and first token; not billed.
    CutBeforeToken,
    /// Says nothing more after some hundredths; billed.
    Stall {
        at: u8,
    },
    /// Says nothing more after the head; not billed.
    StallBeforeToken,
    /// Closes the connection without an answer; not billed.
    HangUp,
    /// Never answers; not billed.
    Silent,
}

impl Behaviour {
    pub(crate) fn draw(rng: &mut Rng, kind: Kind, streamed: bool) -> Self {
        let at = rng.u8(1..100);
        let drawn = match rng.u32(0..1000) {
            0..40 => Self::CacheHit,
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
                Self::Refuse {
                    status,
                    retry_after,
                }
            }
            80..95 => Self::ErrorBody { named: rng.bool() },
            95..120 => Self::ErrorEvent,
            120..165 => Self::Cut { at },
            165..180 => Self::PoliteCut { at },
            180..190 => Self::CutBeforeToken,
            190..200 => Self::Stall { at },
            200..204 => Self::StallBeforeToken,
            204..214 => Self::HangUp,
            214..218 => Self::Silent,
            _ => Self::Answer,
        };
        drawn.suited(kind, streamed)
    }

    /// Itself, where this kind of request can meet it.
    fn suited(self, kind: Kind, streamed: bool) -> Self {
        let fits = match self {
            Self::CacheHit => !kind.is_job() && kind != Kind::Speech,
            Self::ErrorBody { .. } => !streamed && !kind.is_job() && kind != Kind::Speech,
            Self::ErrorEvent | Self::PoliteCut { .. } => streamed && kind != Kind::Images,
            // A job is accepted or not.
            Self::Cut { .. }
            | Self::CutBeforeToken
            | Self::Stall { .. }
            | Self::StallBeforeToken => !kind.is_job(),
            _ => true,
        };
        if fits { self } else { Self::Answer }
    }

    /// Whether the stub sends all that it means to send.
    pub(crate) fn ends_well(self) -> bool {
        matches!(
            self,
            Self::Answer
                | Self::CacheHit
                | Self::Refuse { .. }
                | Self::ErrorBody { .. }
                | Self::ErrorEvent
        )
    }

    pub(crate) fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Answer => return None,
            Self::CacheHit => "answer from the cache, free",
            Self::Refuse { .. } => "error status",
            Self::ErrorBody { .. } => "200 with an error",
            Self::ErrorEvent => "error event",
            Self::Cut { .. } => "cut in the answer",
            Self::PoliteCut { .. } => "polite cut in the answer",
            Self::CutBeforeToken => "cut before the first token",
            Self::Stall { .. } => "stall in the answer",
            Self::StallBeforeToken => "stall before the first token",
            Self::HangUp => "hang-up before the answer",
            Self::Silent => "no answer",
        })
    }
}

/// When the function's process is killed (SIGKILL).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// `begin_request` has been sent, and is not executed.
    Beginning,
    /// `begin_request` was executed, its answer is not sent.
    Begun,
    /// OpenRouter has the request and has not answered.
    BeforeHead,
    /// OpenRouter has sent the answer's head, and bills nothing yet.
    AfterHead,
    /// OpenRouter has sent and billed the first token.
    AfterToken,
    /// `finish_request` has been sent, and is not executed.
    Finishing,
    /// `finish_request` was executed, its answer is not sent.
    Finished,
}

impl Kill {
    pub(crate) fn draw(rng: &mut Rng, kind: Kind) -> Option<Self> {
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
        // Of a job nothing is known outside the function before finish_request tells its id.
        let knowable = !kind.is_job() || matches!(drawn, Self::Beginning | Self::Begun);
        knowable.then_some(drawn)
    }

    /// Whether it happens between the upstream's head and the books' end.
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

/// How the same signed request comes a second time.
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

/// How the client takes the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Reads,
    /// With pauses.
    ReadsSlowly,
    /// Closes after so many bytes; the platform takes the rest.
    Leaves {
        after: usize,
    },
    /// The same, and the platform breaks the function's connection.
    Breaks {
        after: usize,
    },
}

impl Client {
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

/// What the storage does with one call of those that it fails.
pub(crate) fn draw_treatment(rng: &mut Rng) -> Treatment {
    let status = *rng.choice(&[502, 503, 504]).unwrap_or(&503);
    // Both within the 3 s of an attempt and beyond.
    let pause = Duration::from_millis(if rng.u32(0..10) < 7 {
        rng.u64(20..400)
    } else {
        rng.u64(3050..3600)
    });
    match rng.u32(0..10) {
        0 | 1 => Treatment::Refuse(status),
        2 => Treatment::RefuseAfterwards(status),
        3 | 4 => Treatment::Reset,
        5..=7 => Treatment::ResetAfterwards,
        8 => Treatment::Late(pause),
        _ => Treatment::AnswerLate(pause),
    }
}

/// What tables call a fault.
pub(crate) fn name_of(treatment: Treatment) -> Option<&'static str> {
    Some(match treatment {
        Treatment::Refuse(_) => "5xx, not executed",
        Treatment::RefuseAfterwards(_) => "5xx, executed",
        Treatment::Reset => "connection reset, not executed",
        Treatment::ResetAfterwards => "connection reset, executed",
        Treatment::Late(_) => "executed late",
        Treatment::AnswerLate(_) => "answered late",
        // No fault, or one of the function's.
        Treatment::Pass | Treatment::Hold | Treatment::Swallow => return None,
    })
}

/// What the storage does with the calls for one request: each list is for the first attempts of a
/// call, later ones succeed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    pub begin: Vec<Treatment>,
    pub note: Vec<Treatment>,
    pub finish: Vec<Treatment>,
    pub settle: Vec<Treatment>,
    /// No `finish_request` for it succeeds, until an operator steps in.
    pub finish_never_succeeds: bool,
}

impl Storage {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut storage = Self::default();
        let some = |rng: &mut Rng| -> Vec<Treatment> {
            (0..rng.usize(1..4)).map(|_| draw_treatment(rng)).collect()
        };
        match rng.u32(0..1000) {
            0..50 => storage.begin = some(rng),
            50..110 => storage.finish = some(rng),
            110..140 => {
                storage.begin = some(rng);
                storage.finish = some(rng);
            }
            // Arrives when the gateway has long given up.
            140..143 => {
                let late = Duration::from_millis(rng.u64(7000..11000));
                storage.begin = vec![Treatment::Late(late); 3];
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

    /// Whether the gateway may give up writing: for ever, or where it is in doubt that the request
    /// began, which is not tried for long.
    pub(crate) fn may_be_given_up(&self) -> bool {
        self.finish_never_succeeds || !self.begin.is_empty()
    }

    pub(crate) fn is_faulty(&self) -> bool {
        *self != Self::default()
    }

    /// What happens to the attempt `attempt`, counted from zero, of a call.
    #[must_use]
    pub fn treatment(&self, function: &str, attempt: usize) -> Treatment {
        let treatments: &[Treatment] = match function {
            "begin_request" => &self.begin,
            "note_generation" => &self.note,
            "finish_request" if self.finish_never_succeeds => return Treatment::Refuse(503),
            "finish_request" => &self.finish,
            "settle_request" => &self.settle,
            _ => &[],
        };
        treatments.get(attempt).copied().unwrap_or(Treatment::Pass)
    }
}
