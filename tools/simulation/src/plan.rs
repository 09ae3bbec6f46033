//! The plan of each request of a run; all of it follows from the seed.

use std::time::Duration;

use fastrand::Rng;
use stub::{Charge, Endpoint, script::Behaviour};
use uuid::Uuid;

use crate::{
    amount::{Amount, json_number},
    faults::{ClientBehaviour, Kill, Replay, StorageFaults, draw_behaviour},
    request::{Kind, SHARES},
};

/// The requested models.
const MODELS: [&str; 5] = [
    "stub/alpha",
    "stub/beta-mini",
    "stub/gamma:free",
    "stub/delta-4.6",
    "stub/epsilon",
];

/// A function's timeout, unless its request is planned to take longer.
pub const TIMEOUT: Duration = Duration::from_mins(1);
/// A timeout that is shorter than the retries: what cannot be written goes to the log.
const SHORT_TIMEOUT: Duration = Duration::from_secs(7);

/// One request, from the client to the bill.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The number in the run.
    pub number: usize,
    /// The name by which the stub finds it, in the header `x-session-id`.
    pub tag: String,
    /// The number of its user.
    pub user: usize,
    pub kind: Kind,
    pub streamed: bool,
    /// The path of the gateway's endpoint.
    pub path: String,
    /// The ids of the invocation and of its replay.
    pub ids: [Uuid; 2],
    pub credentials: Credentials,
    pub nonce: [u8; 16],
    /// The model that serves, which may differ from the requested one.
    pub served: String,
    pub content_type: String,
    pub body: Vec<u8>,
    pub price: Price,
    /// The price of one generation of a request that makes several; `GET /generation` tells no more.
    pub part: Option<Price>,
    /// The number of requests in a batch.
    pub inline_requests: usize,
    pub tokens: (u64, u64),
    pub generation: Generation,
    /// Whether the answer tells its cost; otherwise only `GET /generation` does.
    pub cost_in_body: bool,
    /// The time from the answer's head to its first token.
    pub first_token: Duration,
    /// The job that the request creates, if its endpoint creates one.
    pub job: Job,
    /// The seed of the division of the answer into writes.
    pub split_seed: u64,
    pub behaviour: Behaviour,
    pub storage: StorageFaults,
    pub kill: Option<Kill>,
    pub replay: Option<Replay>,
    pub client: ClientBehaviour,
    /// The time after which the platform kills the function.
    pub timeout: Duration,
    /// Whether the function's environment ends after it, frozen.
    pub last_of_environment: bool,
    /// The time at which an operator restores the request's emergency record.
    pub restore: Restore,
}

/// The way in which the user authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    Signature,
    /// The user's access token.
    Token,
}

/// The time at which an emergency record is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// Before reconciliation gives up the row.
    Early,
    /// After that.
    Late,
}

/// The generation of a request.
#[derive(Debug, Clone)]
pub struct Generation {
    pub id: String,
    /// Whether the answer's head names it.
    pub in_head: bool,
    /// The number of questions that `GET /generation` answers with 404 before it knows the generation.
    pub hidden_for: u32,
    /// Whether `GET /generation` tells a cost of 0 if the request was cancelled before it cost anything.
    pub cancelled_is_known: bool,
}

/// An asynchronous job.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: String,
    /// The time from its acceptance to its end.
    pub time: Duration,
    /// Whether it fails, and costs nothing.
    pub fails: bool,
    /// Whether the client polls it until its end.
    pub polled: bool,
}

/// The price of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// The costs, as they stand in the JSON.
    pub charge: Charge,
    /// The sum that the user pays.
    pub total: Amount,
}

impl Price {
    /// The price of an answer from the cache.
    #[must_use]
    pub fn free() -> Self {
        Self {
            charge: Charge::free(),
            total: Amount::ZERO,
        }
    }

    /// The prices of several generations, and of one of them.
    fn draw_of_several(rng: &mut Rng) -> (Self, Self) {
        let (digits, decimals, _) = draw_number(rng);
        let with_exponent = rng.bool();
        let of = |digits| Self {
            charge: Charge {
                cost: json_number(digits, decimals, with_exponent),
                upstream: None,
                byok: false,
            },
            total: Amount::new(digits, decimals),
        };
        (of(digits), of(digits.div_ceil(3)))
    }

    fn draw(rng: &mut Rng) -> Self {
        let (digits, decimals, cost) = draw_number(rng);
        let charged = Amount::new(digits, decimals);
        match rng.u32(0..10) {
            // With the user's own key the fee is often waived.
            0 | 1 => {
                let (more, places, upstream) = draw_number(rng);
                let waived = rng.bool();
                let fee = if waived { Amount::ZERO } else { charged };
                Self {
                    charge: Charge {
                        cost: if waived { "0".to_owned() } else { cost },
                        upstream: Some(upstream),
                        byok: true,
                    },
                    total: fee + Amount::new(more, places),
                }
            }
            drawn => Self {
                charge: Charge {
                    // The provider's cost is part of OpenRouter's.
                    upstream: (drawn <= 5).then(|| draw_number(rng).2),
                    cost,
                    byok: false,
                },
                total: charged,
            },
        }
    }
}

/// Draws a cost below 0.01 dollars with up to 19 decimals: digits, decimals, JSON text.
fn draw_number(rng: &mut Rng) -> (u64, u32, String) {
    let decimals = rng.u32(4..=19);
    let most = 10_u64.saturating_pow(decimals - 2);
    // All digits in one half of the cases, few in the other.
    let digits = if rng.bool() {
        rng.u64(1..most)
    } else {
        rng.u64(1..most.min(100_000))
    };
    let text = json_number(digits, decimals, rng.bool());
    (digits, decimals, text)
}

/// The plans of a run.
#[must_use]
pub fn draw(seed: u64, requests: usize, users: usize) -> Vec<Plan> {
    let mut rng = Rng::with_seed(seed);
    (0..requests)
        .map(|number| Plan::draw(&mut rng.fork(), seed, number, users))
        .collect()
}

impl Plan {
    fn draw(rng: &mut Rng, seed: u64, number: usize, users: usize) -> Self {
        let kind = draw_kind(rng);
        let endpoint = kind.endpoint();
        let streamed = endpoint.streams() && rng.u32(0..10) < 6;
        let model = *rng.choice(MODELS.iter()).unwrap_or(&"stub/alpha");
        let served = if endpoint.names_model() && rng.bool() {
            format!("{model}-20260217")
        } else {
            model.to_owned()
        };
        let filler = "Grüezi, 世界! ".repeat(rng.usize(1..12));
        let delegates = matches!(
            endpoint,
            Endpoint::Chat | Endpoint::Responses | Endpoint::Messages
        ) && !model.ends_with(":free")
            && rng.u32(0..5) == 0;
        // With so many the hold of a batch is never less than its cost.
        let inline_requests = rng.usize(5..9);
        let (content_type, body) =
            kind.request(model, streamed, &filler, delegates, inline_requests);
        let behaviour = draw_behaviour(rng, endpoint, streamed);
        // A killed function leaves traces of its own. One fault at a time keeps them apart.
        let kill = (behaviour == Behaviour::Answer)
            .then(|| Kill::draw(rng, endpoint))
            .flatten();
        let replay = kill.is_none().then(|| Replay::draw(rng)).flatten();
        let storage = if kill.is_none() && replay.is_none() {
            StorageFaults::draw(rng)
        } else {
            StorageFaults::default()
        };
        let timeout = if storage.finish_never_succeeds {
            SHORT_TIMEOUT
        } else {
            TIMEOUT
        };
        let faultless = behaviour == Behaviour::Answer && kill.is_none() && !storage.is_faulty();
        let mut plan = Self {
            number,
            tag: format!("ledger-{seed}-{number}"),
            user: rng.usize(0..users.max(1)),
            kind,
            streamed,
            path: draw_path(rng, endpoint),
            ids: [draw_uuid(rng), draw_uuid(rng)],
            credentials: Credentials::Signature,
            nonce: rng.u128(..).to_be_bytes(),
            served,
            content_type,
            body,
            price: Price::draw(rng),
            part: None,
            inline_requests,
            tokens: (rng.u64(1..4000), rng.u64(1..900)),
            cost_in_body: endpoint != Endpoint::Speech
                && !endpoint.is_job()
                && (endpoint != Endpoint::Systemone || rng.bool()),
            generation: Generation {
                id: format!("gen-{seed}-{number}-{:08x}", rng.u32(..)),
                // The head names it wherever the body may not get so far.
                in_head: !endpoint.is_job()
                    && (!endpoint.names_generation() || !faultless || rng.u32(0..10) < 7),
                hidden_for: if rng.u32(0..10) < 6 { 0 } else { rng.u32(1..4) },
                cancelled_is_known: rng.bool(),
            },
            first_token: Duration::from_millis(rng.u64(0..12)),
            job: Job {
                id: format!("job-{seed}-{number}"),
                time: Duration::from_millis(rng.u64(50..1500)),
                fails: rng.u32(0..8) == 0,
                polled: endpoint.is_job() && rng.bool(),
            },
            split_seed: rng.u64(..),
            behaviour,
            // Work that was merely spawned is most likely lost where writing takes several attempts.
            last_of_environment: !storage.finish.is_empty() || rng.u32(0..20) == 0,
            storage,
            kill,
            replay,
            client: ClientBehaviour::draw(rng),
            timeout,
            restore: if rng.bool() {
                Restore::Early
            } else {
                Restore::Late
            },
        };
        if behaviour == Behaviour::CacheHit {
            plan.price = Price::free();
            plan.tokens = (0, 0);
            // Mostly it tells no cost at all.
            plan.cost_in_body = rng.u32(0..4) == 0;
        } else if delegates {
            let (whole, part) = Price::draw_of_several(rng);
            (plan.price, plan.part) = (whole, Some(part));
        }
        if kill.is_some_and(Kill::is_in_answer) {
            // Time enough for the gateway to write down the generation.
            plan.first_token = Duration::from_millis(800);
            plan.client = ClientBehaviour::Reads;
        }
        if rng.u32(0..3) == 0 {
            plan.credentials = Credentials::Token;
            // Anyone may repeat a request with a token, which is then another request.
            plan.replay = None;
        }
        plan
    }

    #[must_use]
    pub fn is_by_token(&self) -> bool {
        self.credentials == Credentials::Token
    }

    /// Whether the gateway has the whole cost from the answer, whatever becomes of the client. An error of
    /// OpenRouter's tells none, though it may have cost something.
    #[must_use]
    pub fn tells_its_whole_cost(&self) -> bool {
        let is_error = matches!(
            self.behaviour,
            Behaviour::ErrorBody { .. } | Behaviour::ErrorEvent
        );
        self.behaviour.completes()
            && !is_error
            && self.cost_in_body
            && self.kill.is_none()
            && !self.storage.may_be_given_up()
    }

    /// Whether the client must receive exactly what the stub sends.
    #[must_use]
    pub fn must_arrive_whole(&self) -> bool {
        self.behaviour.completes()
            && self.kill.is_none()
            && self.client.reads_all()
            && self.timeout == TIMEOUT
    }
}

fn draw_kind(rng: &mut Rng) -> Kind {
    let total: u32 = SHARES.iter().map(|(_, share)| share).sum();
    let mut at = rng.u32(0..total);
    for (kind, share) in SHARES {
        if at < share {
            return kind;
        }
        at -= share;
    }
    Kind::Json(Endpoint::Chat)
}

fn draw_path(rng: &mut Rng, endpoint: Endpoint) -> String {
    // Anthropic's SDK adds a version.
    let alias = endpoint == Endpoint::Messages && rng.bool();
    let alias = if alias { "v1/" } else { "" };
    format!("/api/v1/openrouter/{alias}{}", endpoint.path())
}

fn draw_uuid(rng: &mut Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests;
