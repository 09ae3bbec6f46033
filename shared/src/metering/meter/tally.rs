//! Puts the members found in an answer together.

use super::{Malformed, Reading, UpstreamError, Usage};
use crate::metering::{
    json_scan::{Found, Status, Want, decode_string},
    sse::Event,
};

/// The wanted members of an answer's JSON text, or of an event's.
pub(super) static ANSWER: Want<Member> = Want::Members(&[
    ("id", Want::Value(Member::Id)),
    ("model", Want::Value(Member::Model)),
    ("service_tier", Want::Value(Member::ServiceTier)),
    ("usage", Want::Value(Member::Usage)),
    ("error", Want::Value(Member::Error)),
    ("type", Want::Value(Member::Type)),
    ("code", Want::Value(Member::Code)),
    (
        "choices",
        Want::Elements(&Want::Members(&[
            ("error", Want::Value(Member::ChoiceError)),
            ("finish_reason", Want::Value(Member::FinishReason)),
        ])),
    ),
    (
        "response",
        Want::Members(&[
            ("id", Want::Value(Member::Id)),
            ("model", Want::Value(Member::Model)),
            ("service_tier", Want::Value(Member::ServiceTier)),
            ("usage", Want::Value(Member::Usage)),
            ("error", Want::Value(Member::Error)),
        ]),
    ),
    (
        "message",
        Want::ValueOrMembers(
            Member::Message,
            &[
                ("id", Want::Value(Member::Id)),
                ("model", Want::Value(Member::Model)),
                ("usage", Want::Value(Member::MessageUsage)),
            ],
        ),
    ),
]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    Id,
    Model,
    ServiceTier,
    Usage,
    /// The usage so far that a Messages stream begins with.
    MessageUsage,
    Error,
    ChoiceError,
    FinishReason,
    Type,
    /// Of an event that is itself an error.
    Code,
    /// Likewise.
    Message,
}

/// The state of the reading.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each found at another place"
)]
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    generation_id: Option<String>,
    may_hide_cost: bool,
    model: Option<String>,
    service_tier: Option<String>,
    usage: Option<Usage>,
    /// A Messages stream: a usage completes the one before it.
    usage_accumulates: bool,
    error: Option<UpstreamError>,
    /// A choice ended with an error, which need not be told anywhere else.
    choice_failed: bool,
    delivered: bool,
    end_seen: bool,
    malformed: Option<Malformed>,
    current: Current,
}

/// Members of the current JSON text whose meaning depends on its type, which may come last.
#[derive(Debug, Clone, Default)]
struct Current {
    kind: Kind,
    is_error: bool,
    usage: Option<Reported>,
    code: Option<Vec<u8>>,
    message: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Reported {
    Usage(Box<Usage>),
    /// No object, or too long to be read. What was known before it is out of date.
    Unreadable,
}

/// The meaning of an event's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Other,
    /// The last event of its dialect, but for `[DONE]`.
    Last,
    /// The last event, which is also an error.
    LastFailed,
    Error,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "response.completed"
            | "response.incomplete"
            | "message_stop"
            | "image_generation.completed" => Self::Last,
            "response.failed" => Self::LastFailed,
            "response.error" | "error" => Self::Error,
            _ => Self::Other,
        }
    }
}

impl Tally {
    pub(super) fn generation_id(&self) -> Option<&str> {
        self.generation_id.as_deref()
    }

    pub(super) fn end_seen(&self) -> bool {
        self.end_seen
    }

    /// Takes in a member of the current JSON text.
    pub(super) fn note(&mut self, member: Member, found: Found<'_>) {
        match found {
            Found::Text(b"null") => {}
            Found::Text(text) => self.note_text(member, text),
            Found::TooLong => self.note_too_long(member),
        }
    }

    /// Takes in that an event is whole.
    pub(super) fn end_event(&mut self, event: Event<'_>, status: Status) {
        match status {
            _ if event.done => {}
            Status::Malformed(fault) => self.note_unread(Malformed::Json(fault)),
            Status::Incomplete => self.note_unread(Malformed::Truncated),
            Status::Blank | Status::Complete => {}
        }
        self.settle_event(event, status);
    }

    /// Takes in that a JSON body ended; whether that was its end.
    pub(super) fn end_body(&mut self, status: Status) -> bool {
        if let Status::Malformed(fault) = status {
            self.note_unread(Malformed::Json(fault));
        }
        let unnamed = Event {
            name: b"",
            done: false,
        };
        self.settle(unnamed, status);
        status == Status::Complete
    }

    /// Takes in that a stream ended, perhaps within an event; whether that was its end.
    ///
    /// Of a cut event counts what was seen whole: it was billed, whether or not a blank line
    /// made it through.
    pub(super) fn end_stream(&mut self, unfinished: Option<Event<'_>>, status: Status) -> bool {
        if let Some(event) = unfinished {
            self.settle_event(event, status);
        }
        self.end_seen
    }

    pub(super) fn into_reading(self, complete: bool) -> Reading {
        let told_in_usage = self.usage.as_ref().and_then(|it| it.service_tier.clone());
        Reading {
            usage: self.usage,
            model: self.model,
            service_tier: told_in_usage.or(self.service_tier),
            generation_id: self.generation_id,
            may_hide_cost: self.may_hide_cost,
            delivered: self.delivered,
            upstream_error: self
                .error
                .or_else(|| self.choice_failed.then(UpstreamError::default)),
            complete,
            malformed: self.malformed,
        }
    }

    fn note_text(&mut self, member: Member, text: &[u8]) {
        match member {
            Member::Id if self.generation_id.is_some() => {}
            Member::Id => {
                self.generation_id = decode_string(text).map(Into::into);
                self.may_hide_cost |= self.generation_id.is_none();
            }
            Member::Model => {
                let model = decode_string(text);
                if model.is_some() && model.as_deref() != self.model.as_deref() {
                    self.model = model.map(Into::into);
                }
            }
            Member::ServiceTier => {
                let tier = decode_string(text);
                if tier.is_some() && tier.as_deref() != self.service_tier.as_deref() {
                    self.service_tier = tier.map(Into::into);
                }
            }
            Member::Usage | Member::MessageUsage if !text.starts_with(b"{") => {
                self.current.usage = Some(Reported::Unreadable);
                self.note_malformed(Malformed::Value("usage"));
            }
            Member::Usage | Member::MessageUsage => {
                let (usage, malformed) = Usage::from_json(text);
                if let Some(malformed) = malformed {
                    self.note_malformed(malformed);
                }
                self.current.usage = Some(Reported::Usage(Box::new(usage)));
                self.usage_accumulates |= member == Member::MessageUsage;
            }
            Member::Error => self.note_error(UpstreamError::from_json(text)),
            Member::ChoiceError => {
                let error = UpstreamError::from_json(text);
                self.delivered |= error.is_some();
                self.note_error(error);
            }
            Member::FinishReason => {
                let failed = decode_string(text).as_deref() == Some("error");
                self.choice_failed |= failed;
                self.delivered |= failed;
            }
            Member::Type => {
                self.current.kind = decode_string(text).map_or(Kind::Other, |name| Kind::of(&name));
            }
            Member::Code => self.current.code = Some(text.to_vec()),
            Member::Message => self.current.message = Some(text.to_vec()),
        }
    }

    fn note_too_long(&mut self, member: Member) {
        let name = match member {
            Member::Usage | Member::MessageUsage => {
                self.current.usage = Some(Reported::Unreadable);
                "usage"
            }
            Member::Error => {
                self.note_error(Some(UpstreamError::default()));
                "error"
            }
            Member::ChoiceError => {
                self.delivered = true;
                self.note_error(Some(UpstreamError::default()));
                "error"
            }
            Member::FinishReason => "finish_reason",
            Member::Id => {
                self.may_hide_cost = true;
                "id"
            }
            Member::Model => "model",
            Member::ServiceTier => "service_tier",
            Member::Type => "type",
            Member::Code => "code",
            Member::Message => "message",
        };
        self.note_malformed(Malformed::TooLong(name));
    }

    fn note_error(&mut self, error: Option<UpstreamError>) {
        self.current.is_error |= error.is_some();
        if self.error.is_none() {
            self.error = error;
        }
    }

    /// The rest of the current text was not read: a usage may stand there.
    fn note_unread(&mut self, malformed: Malformed) {
        self.note_malformed(malformed);
        if self.current.usage.is_none() {
            self.forget_usage();
        }
    }

    /// An older usage is out of date, and the newer one could not be read.
    fn forget_usage(&mut self) {
        self.usage = None;
        self.may_hide_cost = true;
    }

    fn note_malformed(&mut self, malformed: Malformed) {
        self.malformed.get_or_insert(malformed);
    }

    /// As [`settle`](Self::settle), for an event: one that is no error, nor the end after one, was
    /// delivered.
    fn settle_event(&mut self, event: Event<'_>, status: Status) {
        let is_error = self.current.is_error
            || matches!(self.current.kind, Kind::Error | Kind::LastFailed)
            || event.name == b"error";
        let ends = self.current.kind == Kind::Last && self.error.is_some();
        self.delivered |= !(event.done || is_error || ends || status == Status::Blank);
        self.settle(event, status);
    }

    /// Gives the current text's members their meaning, and makes room for the next one's.
    fn settle(&mut self, event: Event<'_>, status: Status) {
        let current = std::mem::take(&mut self.current);
        match current.usage {
            Some(Reported::Usage(usage)) if self.usage_accumulates => {
                self.usage = Some(usage.or(&self.usage.take().unwrap_or_default()));
            }
            Some(Reported::Usage(usage)) => self.usage = Some(*usage),
            Some(Reported::Unreadable) => self.forget_usage(),
            None => {}
        }
        if matches!(current.kind, Kind::Error | Kind::LastFailed) || event.name == b"error" {
            self.error.get_or_insert_with(|| {
                UpstreamError::new(current.code.as_deref(), current.message.as_deref())
            });
        }
        let is_last = matches!(current.kind, Kind::Last | Kind::LastFailed);
        self.end_seen |= event.done || is_last && status == Status::Complete;
    }
}
