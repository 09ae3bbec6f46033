//! Faults that a request chooses by the name of its model: `stub/cut`, `stub/429`, `stub/job-fails`.

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderMap, StatusCode, header};

use crate::{
    answer::{Answer, COMMENT, Charge, End, Tokens},
    endpoint::Endpoint,
    response::{json_response, refusal, typed, with_generation_id},
    script::{self, Behaviour, Position, Prepared, Script, Split},
};

/// The cost of each answered request, as its text stands in the body.
pub const COST: &str = "7.434e-07";
/// The same without an exponent.
pub const COST_PLAIN: &str = "0.0000007434";

/// The cost of an answer that broke, as its text stands in the body of `GET /generation`.
pub const CUT_COST: &str = "1.2345678901e-05";
/// The same without an exponent.
pub const CUT_COST_PLAIN: &str = "0.000012345678901";
/// The provider's charge for it, if the user's own key paid.
pub const CUT_INFERENCE_COST: &str = "0.0076509169000000005";
/// The sum of the two.
pub const CUT_BYOK_TOTAL: &str = "0.0076632625789010005";

/// The tokens of an answer that broke.
pub(crate) const CUT_TOKENS: Tokens = Tokens {
    input: 11,
    output: 21,
    cached: Some(3),
    reasoning: None,
};

/// The model that serves each request.
pub(crate) const SERVED_MODEL: &str = "stub/served-model";
/// The pieces of a streamed answer.
const PIECES: [&str; 3] = ["Grüezi", ", 世界", "!"];
/// A write of a stream; it divides events, and characters, in their middle.
const WRITE: usize = 97;
/// The middle of a stream's third event.
const CUT_STREAM: Position = Position::Byte(500);
/// The middle of a whole answer.
const CUT_BODY: Position = Position::Byte(40);

/// A request's treatment, by the last segment of its model's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelScript {
    /// `ok`: answers; in a stream with comments and multi-byte text.
    Ok,
    /// `slow`: as [`ModelScript::Ok`], with 50 ms between writes.
    Slow,
    /// `cut`, `cut-billed`, `cut-billed-byok`: streams two events and half of a third, then breaks the
    /// connection.
    Cut {
        /// The bill that `GET /generation` tells.
        billed: Option<Billed>,
    },
    /// `polite-cut`: ends a stream in the middle with a valid end of the HTTP message.
    PoliteCut,
    /// `stall`, `stall-billed`: streams two events, then sends nothing more.
    Stall {
        /// The bill that `GET /generation` tells.
        billed: Option<Billed>,
    },
    /// `head-only`, `head-silent`: names the generation in the head, is billed, and then breaks the
    /// connection, or sends nothing more, before the body's first byte.
    HeadOnly {
        /// Whether it sends nothing more.
        silent: bool,
    },
    /// `silent`: accepts the request and never answers.
    Silent,
    /// `hangup`: closes the connection without an answer.
    HangUp,
    /// `error-event`: sends an error event in the middle of a stream.
    ErrorEvent,
    /// `error-body`: answers 200 with an error.
    ErrorBody,
    /// `echo-key`: refuses the key and quotes it.
    EchoKey,
    /// A status: 402, 429 (with `Retry-After`) or 503 (with `Retry-After`).
    Status(u16),
}

/// The payer of an answer that broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billed {
    /// OpenRouter's credits.
    Credits,
    /// The user's own provider key.
    Byok,
}

/// The course of a job, by the last segment of its model's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobScript {
    /// `job-completes`, `job-completes-byok`: open at the first poll, completed from then on.
    Completes {
        /// Whether the user's own provider key pays, so that only the generation tells the whole cost.
        byok: bool,
    },
    /// `job-fails`, `job-is-cancelled`, `job-expires`: ends without a result.
    Ends(&'static str),
    /// `job-runs`: never ends.
    Runs,
}

impl JobScript {
    pub(crate) fn of(model: &str) -> Option<Self> {
        Some(match model.strip_prefix("stub/job-")? {
            "completes" => Self::Completes { byok: false },
            "completes-byok" => Self::Completes { byok: true },
            "fails" => Self::Ends("failed"),
            "is-cancelled" => Self::Ends("cancelled"),
            "expires" => Self::Ends("expired"),
            "runs" => Self::Runs,
            _ => return None,
        })
    }
}

impl ModelScript {
    pub(crate) fn of(model: &str) -> Option<Self> {
        Some(match model.strip_prefix("stub/")? {
            "ok" => Self::Ok,
            "slow" => Self::Slow,
            "cut" => Self::Cut { billed: None },
            "cut-billed" => Self::Cut {
                billed: Some(Billed::Credits),
            },
            "cut-billed-byok" => Self::Cut {
                billed: Some(Billed::Byok),
            },
            "polite-cut" => Self::PoliteCut,
            "stall" => Self::Stall { billed: None },
            "stall-billed" => Self::Stall {
                billed: Some(Billed::Credits),
            },
            "head-only" => Self::HeadOnly { silent: false },
            "head-silent" => Self::HeadOnly { silent: true },
            "silent" => Self::Silent,
            "hangup" => Self::HangUp,
            "error-event" => Self::ErrorEvent,
            "error-body" => Self::ErrorBody,
            "echo-key" => Self::EchoKey,
            status => Self::Status(status.parse().ok()?),
        })
    }

    /// The payer, if `GET /generation` is to tell a bill.
    pub(crate) fn billed(self) -> Option<Billed> {
        match self {
            Self::Cut { billed } | Self::Stall { billed } => billed,
            Self::HeadOnly { .. } => Some(Billed::Credits),
            Self::Ok
            | Self::Slow
            | Self::PoliteCut
            | Self::Silent
            | Self::HangUp
            | Self::ErrorEvent
            | Self::ErrorBody
            | Self::EchoKey
            | Self::Status(_) => None,
        }
    }

    /// Answers a request of generation `id`.
    pub(crate) async fn answer(
        self,
        endpoint: Endpoint,
        streamed: bool,
        id: &str,
        headers: &HeaderMap,
    ) -> Response {
        if self == Self::EchoKey {
            return refusal(StatusCode::UNAUTHORIZED, &quoted_key(headers));
        }
        let behaviour = self.behaviour(endpoint, streamed);
        if let Some(refused) = script::refused(behaviour).await {
            return refused.into_response();
        }
        let answer = ok(endpoint, id);
        if behaviour == Behaviour::Answer && !streamed {
            return json_response(StatusCode::OK, json_text(&answer));
        }
        let (content_type, prepared) = if behaviour.has_only_a_head() {
            ("application/json", Prepared::default())
        } else if streamed {
            ("text/event-stream", stream(&answer, behaviour))
        } else {
            ("application/json", Prepared::whole(json_text(&answer)))
        };
        let script = Script {
            behaviour,
            kill: None,
            first_token: if behaviour.has_only_a_head() {
                Duration::from_millis(200)
            } else {
                Duration::ZERO
            },
            comments: false,
            split: Split::Every {
                bytes: WRITE,
                pause: Duration::from_millis(if self == Self::Slow { 50 } else { 2 }),
            },
        };
        let body = Body::from_stream(script::body(&script, &prepared, ()));
        let response = typed(content_type, body);
        if behaviour.has_only_a_head() {
            with_generation_id(response, &answer.id)
        } else {
            response
        }
    }

    fn behaviour(self, endpoint: Endpoint, streamed: bool) -> Behaviour {
        let middle = if streamed { CUT_STREAM } else { CUT_BODY };
        match self {
            Self::Cut { .. } => Behaviour::Cut { at: middle },
            // Only the head of a Messages stream, which tells tokens.
            Self::PoliteCut if endpoint == Endpoint::Messages => Behaviour::PoliteCut {
                at: Position::Byte(0),
            },
            Self::PoliteCut if streamed => Behaviour::PoliteCut { at: middle },
            Self::Stall { .. } if streamed => Behaviour::Stall { at: middle },
            Self::ErrorEvent if streamed => Behaviour::ErrorEvent,
            Self::ErrorBody if !streamed => Behaviour::ErrorBody { named: false },
            Self::HeadOnly { silent: true } => Behaviour::StallBeforeToken,
            Self::HeadOnly { silent: false } => Behaviour::CutBeforeToken,
            Self::Silent => Behaviour::Silent,
            Self::HangUp => Behaviour::HangUp,
            Self::Status(status) => Behaviour::Refuse {
                status,
                retry_after: matches!(status, 429 | 503).then_some(17),
            },
            Self::Ok
            | Self::Slow
            | Self::PoliteCut
            | Self::Stall { .. }
            | Self::ErrorEvent
            | Self::ErrorBody
            | Self::EchoKey => Behaviour::Answer,
        }
    }
}

/// The charge of an answer that broke.
pub(crate) fn cut_charge(byok: bool) -> Charge {
    Charge {
        cost: CUT_COST.to_owned(),
        upstream: Some(CUT_INFERENCE_COST.to_owned()),
        byok,
    }
}

/// The bytes of an answer of [`ModelScript::Ok`], which the client must receive unchanged.
#[must_use]
pub fn answer_bytes(endpoint: Endpoint, streamed: bool, id: &str) -> Vec<u8> {
    let answer = ok(endpoint, id);
    if streamed {
        stream(&answer, Behaviour::Answer).bytes.to_vec()
    } else {
        json_text(&answer).into_bytes()
    }
}

/// The bytes of a streamed chat completion of [`ModelScript::Ok`].
#[must_use]
pub fn stream_bytes(id: &str) -> Vec<u8> {
    answer_bytes(Endpoint::Chat, true, id)
}

/// The bytes of an unstreamed chat completion of [`ModelScript::Ok`].
#[must_use]
pub fn json_bytes(id: &str) -> Vec<u8> {
    answer_bytes(Endpoint::Chat, false, id)
}

fn ok(endpoint: Endpoint, id: &str) -> Answer {
    Answer {
        endpoint,
        id: id.to_owned(),
        model: SERVED_MODEL.to_owned(),
        tokens: Tokens {
            input: 11,
            output: 7,
            cached: Some(3),
            reasoning: Some(2),
        },
        charge: Some(Charge {
            cost: COST.to_owned(),
            upstream: None,
            byok: false,
        }),
    }
}

fn json_text(answer: &Answer) -> String {
    let [first, second, _] = PIECES;
    answer.body(&[first, second].concat())
}

fn stream(answer: &Answer, behaviour: Behaviour) -> Prepared {
    let end = if behaviour == Behaviour::ErrorEvent {
        End::Failed { with_usage: false }
    } else {
        End::Complete
    };
    let head = COMMENT.repeat(2) + &answer.head();
    let tokens: String = PIECES.iter().map(|piece| answer.delta(piece)).collect();
    Prepared::stream(&head, &tokens, &answer.end(end, &PIECES.concat()))
}

fn quoted_key(headers: &HeaderMap) -> String {
    let key = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    format!("Incorrect API key provided: {}.", key.unwrap_or_default())
}
