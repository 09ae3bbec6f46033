//! Faults, and the answers that are sent, billed and broken as a script says.

mod steps;

use std::{panic::resume_unwind, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use http::{StatusCode, header};

pub use self::steps::{Observer, body};
use crate::response::{error_body, json_response, set};

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
    /// The offset in an answer of this length.
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
    /// An answer that is sent in one piece.
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
