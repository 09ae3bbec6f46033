//! What happens to each request of a run: all of it follows from the seed.

use std::time::Duration;

use fastrand::Rng;
use uuid::Uuid;

use crate::{
    amount::{Amount, json_number},
    faults::{Behaviour, Client, Kill, Replay, Storage},
    kind::{Kind, SHARES},
};

/// The models that are asked for.
const MODELS: [&str; 5] = [
    "stub/alpha",
    "stub/beta-mini",
    "stub/gamma:free",
    "stub/delta-4.6",
    "stub/epsilon",
];

/// How long a function may take, where nothing is planned to take longer.
pub const TIME: Duration = Duration::from_mins(1);
/// Shorter than a minute of retries: what cannot be written goes to the log.
const SHORT_TIME: Duration = Duration::from_secs(7);

/// One request, from the client to the bill.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its number in the run.
    pub number: usize,
    /// Names it to the stub, in the header `x-session-id`.
    pub tag: String,
    /// Who sends it, by number.
    pub user: usize,
    pub kind: Kind,
    pub streamed: bool,
    /// Where the client sends it.
    pub path: String,
    /// The invocation's id, and its replay's.
    pub ids: [Uuid; 2],
    pub nonce: [u8; 16],
    /// The model that serves, which may not be the one that is asked for.
    pub served: String,
    pub content_type: String,
    pub body: Vec<u8>,
    pub price: Price,
    pub tokens: (u64, u64),
    pub generation: Generation,
    /// Whether the answer tells its cost; otherwise only `GET /generation` does.
    pub cost_in_body: bool,
    /// From the answer's head to its first token.
    pub first_token: Duration,
    /// What the request creates, if it creates a job.
    pub job: Job,
    /// Decides the splits of the answer.
    pub split_seed: u64,
    pub behaviour: Behaviour,
    pub storage: Storage,
    pub kill: Option<Kill>,
    pub replay: Option<Replay>,
    pub client: Client,
    /// Until the platform kills the function.
    pub time: Duration,
    /// The function's environment ends after it, frozen.
    pub last_of_environment: bool,
    /// When an operator restores this request's emergency record.
    pub restored: Restored,
}

/// When an emergency record is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// Before reconciliation gives its row up.
    Early,
    /// After that.
    Late,
}

/// What OpenRouter knows the request by.
#[derive(Debug, Clone)]
pub struct Generation {
    pub id: String,
    /// Whether the answer's head names it.
    pub in_head: bool,
    /// How often `GET /generation` says 404 before it knows it.
    pub hidden_for: u32,
    /// Whether `GET /generation` knows what was cancelled before it cost anything, with a cost of 0.
    pub cancelled_is_known: bool,
}

/// An asynchronous job.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: String,
    /// From its acceptance until it is done.
    pub time: Duration,
    /// It comes to nothing, and costs nothing.
    pub fails: bool,
    /// The client asks for it until it is done.
    pub polled: bool,
}

/// What a request costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// OpenRouter's own cost, as it stands in the JSON.
    pub cost: String,
    /// The provider's.
    pub upstream: Option<String>,
    /// Whether the user's own provider key pays for that.
    pub byok: bool,
    /// What the user pays in all.
    pub total: Amount,
}

impl Price {
    /// Of what is taken from a cache.
    #[must_use]
    pub fn free() -> Self {
        Self {
            cost: "0".to_owned(),
            upstream: None,
            byok: false,
            total: Amount::ZERO,
        }
    }

    fn draw(rng: &mut Rng) -> Self {
        let (digits, decimals, cost) = draw_number(rng);
        let charged = Amount::new(digits, decimals);
        match rng.u32(0..10) {
            // With the user's own key the fee is often nothing.
            0 | 1 => {
                let (more, places, upstream) = draw_number(rng);
                let waived = rng.bool();
                let fee = if waived { Amount::ZERO } else { charged };
                Self {
                    cost: if waived { "0".to_owned() } else { cost },
                    upstream: Some(upstream),
                    byok: true,
                    total: fee + Amount::new(more, places),
                }
            }
            // Contained in the cost.
            2..=5 => Self {
                upstream: Some(draw_number(rng).2),
                cost,
                byok: false,
                total: charged,
            },
            _ => Self {
                cost,
                upstream: None,
                byok: false,
                total: charged,
            },
        }
    }
}

/// Below 0.01 dollars, with up to 19 decimals: digits, decimals, JSON text.
fn draw_number(rng: &mut Rng) -> (u64, u32, String) {
    let decimals = rng.u32(4..=19);
    let most = 10_u64.saturating_pow(decimals - 2);
    // Often with all digits, often with few.
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
        let streamed = kind.streams() && rng.u32(0..10) < 6;
        let model = *rng.choice(MODELS.iter()).unwrap_or(&"stub/alpha");
        let served = if kind.names_model() && rng.bool() {
            format!("{model}-20260217")
        } else {
            model.to_owned()
        };
        let filler = "Grüezi, 世界! ".repeat(rng.usize(1..12));
        let (content_type, body) = kind.request(model, streamed, &filler);
        let behaviour = Behaviour::draw(rng, kind, streamed);
        // A killed function leaves traces of its own; one fault at a time tells them apart.
        let kill = (behaviour == Behaviour::Answer)
            .then(|| Kill::draw(rng, kind))
            .flatten();
        let replay = kill.is_none().then(|| Replay::draw(rng)).flatten();
        let storage = if kill.is_none() && replay.is_none() {
            Storage::draw(rng)
        } else {
            Storage::default()
        };
        let time = if storage.finish_never_succeeds {
            SHORT_TIME
        } else {
            TIME
        };
        let faultless = behaviour == Behaviour::Answer && kill.is_none() && !storage.is_faulty();
        let mut plan = Self {
            number,
            tag: format!("ledger-{seed}-{number}"),
            user: rng.usize(0..users.max(1)),
            kind,
            streamed,
            path: draw_path(rng, kind),
            ids: [draw_uuid(rng), draw_uuid(rng)],
            nonce: rng.u128(..).to_be_bytes(),
            served,
            content_type,
            body,
            price: Price::draw(rng),
            tokens: (rng.u64(1..4000), rng.u64(1..900)),
            cost_in_body: kind != Kind::Speech
                && !kind.is_job()
                && (kind != Kind::Systemone || rng.bool()),
            generation: Generation {
                id: format!("gen-{seed}-{number}-{:08x}", rng.u32(..)),
                // Where the body may not get as far as naming it, the head does.
                in_head: !kind.is_job()
                    && (!kind.names_generation() || !faultless || rng.u32(0..10) < 7),
                hidden_for: if rng.u32(0..10) < 6 { 0 } else { rng.u32(1..4) },
                cancelled_is_known: rng.bool(),
            },
            first_token: Duration::from_millis(rng.u64(0..12)),
            job: Job {
                id: format!("job-{seed}-{number}"),
                time: Duration::from_millis(rng.u64(50..1500)),
                fails: rng.u32(0..8) == 0,
                polled: kind.is_job() && rng.bool(),
            },
            split_seed: rng.u64(..),
            behaviour,
            // Where writing takes several attempts, most of what was merely spawned gets lost.
            last_of_environment: !storage.finish.is_empty() || rng.u32(0..20) == 0,
            storage,
            kill,
            replay,
            client: Client::draw(rng),
            time,
            restored: if rng.bool() {
                Restored::Early
            } else {
                Restored::Late
            },
        };
        if behaviour == Behaviour::CacheHit {
            plan.price = Price::free();
            plan.tokens = (0, 0);
        }
        if kill.is_some_and(Kill::is_in_answer) {
            // Enough for the gateway to write down what it has to know of a generation.
            plan.first_token = Duration::from_millis(800);
            plan.client = Client::Reads;
        }
        plan
    }

    /// Whether the client must receive exactly what the stub sends.
    #[must_use]
    pub fn must_arrive_whole(&self) -> bool {
        self.behaviour.ends_well()
            && self.kill.is_none()
            && self.client.reads_all()
            && self.time == TIME
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
    Kind::Chat
}

fn draw_path(rng: &mut Rng, kind: Kind) -> String {
    // As Anthropic's SDK calls it.
    let alias = kind == Kind::Messages && rng.bool();
    let alias = if alias { "v1/" } else { "" };
    format!("/api/v1/openrouter/{alias}{}", kind.path())
}

fn draw_uuid(rng: &mut Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_repeats_its_run() {
        let text = |seed| format!("{:?}", draw(seed, 50, 7));
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn a_longer_run_begins_like_a_shorter_one() {
        let (short, long) = (draw(3, 20, 7), draw(3, 40, 7));
        assert_eq!(format!("{short:?}"), format!("{:?}", &long[..20]));
    }

    #[test]
    fn costs_use_every_form_and_ids_do_not_repeat() {
        let plans = draw(5, 3000, 20);
        let ids: BTreeSet<_> = plans.iter().flat_map(|plan| plan.ids).collect();
        assert_eq!(ids.len(), 6000);
        let kinds: BTreeSet<_> = plans
            .iter()
            .map(|plan| (plan.kind, plan.streamed))
            .collect();
        assert_eq!(kinds.len(), SHARES.len() + 5);
        assert!(plans.iter().any(|plan| plan.price.cost.contains('e')));
        assert!(
            plans
                .iter()
                .any(|plan| plan.price.total.to_string().len() == 21),
            "19 decimals"
        );
        for plan in plans {
            assert!(plan.price.total < Amount::new(2, 2), "{:?}", plan.price);
        }
    }
}
