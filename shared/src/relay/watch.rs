//! What is read of an answer while it passes.

use super::Books;
use crate::{
    accounting::ledger::{Entry, JobPoll},
    metering::meter::{AnswerFormat, JobMeter, Meter},
    upstream::endpoint::{Endpoint, LastEvent},
};

/// The observer of an answer's bytes while they pass.
pub(super) enum Watch {
    /// Nothing is read.
    Nothing,
    /// Only the end is looked for.
    End(Meter),
    /// The answer of a billable request.
    Answer(Meter, Entry),
    /// The state of a job.
    Job(JobMeter, JobPoll),
}

impl Watch {
    pub(super) fn new(books: Books, format: AnswerFormat) -> Self {
        match books {
            Books::Closed if format == AnswerFormat::Opaque => Self::Nothing,
            Books::Closed => Self::End(Meter::new(format)),
            Books::Open(entry) => Self::Answer(Meter::new(format), entry),
            Books::Job(poll) => Self::Job(JobMeter::default(), poll),
        }
    }

    pub(super) fn feed(&mut self, chunk: &[u8]) {
        match self {
            Self::Nothing => {}
            Self::End(meter) | Self::Answer(meter, _) => meter.feed(chunk),
            Self::Job(meter, _) => meter.feed(chunk),
        }
    }

    /// The meter of an answer that is no job's state.
    pub(super) fn meter(&self) -> Option<&Meter> {
        match self {
            Self::Nothing | Self::Job(..) => None,
            Self::End(meter) | Self::Answer(meter, _) => Some(meter),
        }
    }

    /// Whether the answer has said that it is over. Where the endpoint is not known, one JSON text may be
    /// followed by another.
    pub(super) fn is_over(&self, format: AnswerFormat, endpoint: Endpoint) -> bool {
        match self {
            Self::Nothing => false,
            Self::Job(meter, _) => meter.is_complete(),
            Self::End(meter) | Self::Answer(meter, _) => match format {
                AnswerFormat::EventStream => match endpoint.dialect().last_event() {
                    LastEvent::OfDialect => meter.is_complete(),
                    LastEvent::Done => meter.is_done(),
                },
                AnswerFormat::Json => endpoint != Endpoint::Other && meter.is_complete(),
                AnswerFormat::Opaque => false,
            },
        }
    }

    /// Whether someone waits for the rest, besides the client.
    pub(super) fn keeps_books(&self) -> bool {
        match self {
            Self::Nothing | Self::End(_) => false,
            Self::Answer(..) | Self::Job(..) => true,
        }
    }
}
