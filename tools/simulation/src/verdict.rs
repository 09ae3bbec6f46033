//! The comparison of OpenRouter's bills with the gateway's books.

mod budgets;
mod tokens;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use stub::Endpoint;
use uuid::Uuid;

use crate::{
    amount::Amount,
    bills::Exchange,
    books::{Books, Row, WrongSums, amount},
    client::Delivered,
    openrouter::OpenRouter,
    plan::Plan,
    storage::PlannedFaults,
    tokens::Tokens,
};

/// A disagreement.
#[derive(Debug)]
pub struct Mismatch {
    /// The number of the request; `None` if it is about all of them.
    pub number: Option<usize>,
    pub text: String,
}

/// The result of the comparison.
#[derive(Debug, Default)]
pub struct Verdict {
    pub mismatches: Vec<Mismatch>,
    /// The sum of OpenRouter's bills.
    pub billed: Amount,
    pub bills: usize,
    /// The sum of the books.
    pub booked: Amount,
    /// The number of budgets' periods that followed a used one and were used.
    pub turned_periods: usize,
    pub by_token: usize,
    pub pending: usize,
    pub holds: usize,
    /// Rows with an unknown cost, of requests that OpenRouter did not bill.
    pub unknown_and_free: usize,
}

/// All observations of a run.
#[derive(Debug)]
pub struct Evidence<'a> {
    pub plans: &'a [Plan],
    pub dids: &'a [String],
    pub tokens: &'a Tokens,
    /// The answers to each request.
    pub delivered: &'a HashMap<usize, Vec<Delivered>>,
    pub openrouter: &'a OpenRouter,
    pub storage: &'a PlannedFaults,
    pub books: &'a Books,
    /// The minutes for which requests were sent.
    pub minutes: f64,
    /// The least holds.
    pub holds: Holds,
    /// The requests that functions left to an operator, because they could not write their end.
    pub records: Vec<Uuid>,
    /// The rules that the functions broke.
    pub violations: Vec<String>,
}

/// The least that the gateway holds for a request.
#[derive(Debug, Clone, Copy)]
pub struct Holds {
    /// For a request, and for each one in a batch.
    pub request: Amount,
    pub video: Amount,
}

impl Holds {
    fn of(self, plan: &Plan) -> Amount {
        match plan.kind.endpoint() {
            Endpoint::Video => self.video,
            Endpoint::Batch => std::iter::repeat_n(self.request, plan.inline_requests).sum(),
            Endpoint::Chat
            | Endpoint::Completion
            | Endpoint::Responses
            | Endpoint::Messages
            | Endpoint::Embeddings
            | Endpoint::Rerank
            | Endpoint::Images
            | Endpoint::Transcription
            | Endpoint::Speech
            | Endpoint::Systemone
            | Endpoint::Unknown => self.request,
        }
    }
}

/// The reasons for which the gateway may refuse a request.
const REASONS: [&str; 10] = [
    "budget_reached",
    "credit_limit_reached",
    "rate_limited",
    "replayed_request",
    "token_disabled",
    "token_revoked",
    "storage_unavailable",
    "upstream_unreachable",
    "upstream_timeout",
    "upstream_protocol",
];

/// Compares everything.
#[must_use]
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let rows: HashMap<Uuid, &Row> = evidence
        .books
        .rows
        .iter()
        .map(|row| (row.id, row))
        .collect();
    for plan in evidence.plans {
        let exchange = evidence.openrouter.bills.exchange(plan.number);
        let of_plan: Vec<&Row> = plan
            .ids
            .iter()
            .filter_map(|id| rows.get(id).copied())
            .collect();
        let mut faults = compare(plan, &exchange, &of_plan);
        faults.extend(delivery(evidence, plan, &exchange));
        faults.extend(tokens::compare(evidence, plan, &exchange, &of_plan));
        if evidence.records.contains(&plan.ids[0]) && !plan.storage.may_be_given_up() {
            faults.push("it was left to an operator, though the storage came back".to_owned());
        }
        verdict.bills += exchange.bills.len();
        verdict.billed = verdict.billed + exchange.bills.iter().copied().sum();
        if exchange.bills.is_empty() {
            verdict.unknown_and_free += of_plan
                .iter()
                .filter(|row| row.cost_state == "unknown")
                .count();
        }
        verdict
            .mismatches
            .extend(faults.into_iter().map(|text| Mismatch {
                number: Some(plan.number),
                text,
            }));
    }
    verdict.turned_periods = budgets::turned(evidence);
    verdict.by_token = evidence
        .books
        .rows
        .iter()
        .filter(|row| row.token_id.is_some())
        .count();
    verdict.booked = evidence.books.rows.iter().map(Row::total).sum();
    verdict.pending = evidence
        .books
        .rows
        .iter()
        .filter(|row| row.status == "pending" || row.cost_state == "pending")
        .count();
    verdict.holds = evidence
        .books
        .rows
        .iter()
        .filter(|row| amount(Some(&row.hold)) != Amount::ZERO)
        .count();
    let of_all = strangers(evidence)
        .into_iter()
        .chain(accounts(evidence))
        .chain(models(evidence))
        .chain(tokens::sums(evidence))
        .chain(budgets::compare(evidence))
        .chain(budgets::none_turned(evidence))
        .chain(sums(&evidence.books.wrong_sums))
        .chain(evidence.violations.clone())
        .chain(evidence.openrouter.bills.violations());
    verdict
        .mismatches
        .extend(of_all.map(|text| Mismatch { number: None, text }));
    verdict
}

/// Compares the bills and the rows of a request.
fn compare(plan: &Plan, exchange: &Exchange, rows: &[&Row]) -> Vec<String> {
    let mut faults = Vec::new();
    if exchange.received > 1 {
        faults.push(format!("it reached OpenRouter {} times", exchange.received));
    }
    if exchange.received > 0 && rows.is_empty() {
        faults.push("it reached OpenRouter and has no row".to_owned());
    }
    for row in rows {
        if row.status == "pending" || row.cost_state == "pending" {
            faults.push(format!("{} is pending", row.id));
        }
        if amount(Some(&row.hold)) != Amount::ZERO {
            faults.push(format!("{} holds {}", row.id, row.hold));
        }
    }
    let is_killed = plan.kill.is_some() || plan.storage.may_be_given_up();
    let is_abandoned = |row: &&&Row| row.error_reason.as_deref() == Some("abandoned");
    if let Some(row) = rows.iter().find(is_abandoned).filter(|_| !is_killed) {
        faults.push(format!("{} was abandoned by a function that lived", row.id));
    }
    let paid: Vec<&&Row> = rows
        .iter()
        .filter(|row| row.is_final() && (!exchange.bills.is_empty() || row.total() != Amount::ZERO))
        .collect();
    match (exchange.bills.as_slice(), paid.as_slice()) {
        ([], []) => {}
        ([bill], [row]) => faults.extend(same(plan, *bill, row)),
        (bills, paid) => faults.push(format!(
            "{} bills and {} rows with a cost",
            bills.len(),
            paid.len()
        )),
    }
    let known = rows.iter().filter(|row| !row.is_final());
    if known.into_iter().any(|row| row.total() != Amount::ZERO) {
        faults.push("a row without a final cost has a total".to_owned());
    }
    faults
}

fn same(plan: &Plan, bill: Amount, row: &Row) -> Vec<String> {
    let mut faults = Vec::new();
    if row.total() != bill {
        faults.push(format!("billed {bill}, booked {}", row.total()));
    }
    if row.model != plan.served {
        faults.push(format!(
            "billed as {}, booked as {}",
            plan.served, row.model
        ));
    }
    let booked = (
        row.input_tokens.unwrap_or_default(),
        row.output_tokens.unwrap_or_default(),
    );
    let endpoint = plan.kind.endpoint();
    let counts_tokens = !endpoint.is_job() && endpoint != Endpoint::Rerank;
    if counts_tokens && booked != plan.tokens {
        faults.push(format!(
            "billed for {:?} tokens, booked {booked:?}",
            plan.tokens
        ));
    }
    faults
}

/// Checks what the client received.
fn delivery(evidence: &Evidence<'_>, plan: &Plan, exchange: &Exchange) -> Vec<String> {
    let mut faults = Vec::new();
    let limited: BTreeSet<&str> = evidence
        .books
        .accounts
        .iter()
        .filter(|account| account.is_limited())
        .map(|account| account.did.as_str())
        .collect();
    let is_free = evidence
        .dids
        .get(plan.user)
        .is_some_and(|did| !limited.contains(did.as_str()))
        && !tokens::may_be_refused(evidence, plan);
    for seen in evidence.delivered.get(&plan.number).into_iter().flatten() {
        let reason = seen.reason();
        if let Some(reason) = reason.filter(|reason| !REASONS.contains(&reason.as_str())) {
            faults.push(format!("the gateway answers {reason}"));
        }
        if !plan.must_arrive_whole() {
            continue;
        }
        if seen.is_upstreams() {
            if !seen.is_whole || seen.body != exchange.sent {
                faults.push(format!(
                    "the client received {} bytes of {}, or others",
                    seen.body.len(),
                    exchange.sent.len()
                ));
            }
            if seen.status.map(|status| status.as_u16()) != exchange.status {
                faults.push(format!("the client saw {:?}", seen.status));
            }
        } else if is_free
            && seen.had_to_pass.unwrap_or(!plan.is_by_token())
            && plan.replay.is_none()
            && !plan.storage.is_faulty()
        {
            faults.push(format!(
                "nothing was to go wrong, and the client saw {:?}",
                seen.status
            ));
        }
    }
    faults
}

/// Finds rows that belong to no request.
fn strangers(evidence: &Evidence<'_>) -> Vec<String> {
    let ids: BTreeSet<Uuid> = evidence.plans.iter().flat_map(|plan| plan.ids).collect();
    evidence
        .books
        .rows
        .iter()
        .filter(|row| !ids.contains(&row.id))
        .map(|row| format!("{} is a row of no request", row.id))
        .collect()
}

fn accounts(evidence: &Evidence<'_>) -> Vec<String> {
    let mut billed: BTreeMap<&str, Amount> = BTreeMap::new();
    for plan in evidence.plans {
        let bills = evidence.openrouter.bills.exchange(plan.number).bills;
        if let Some(did) = evidence.dids.get(plan.user) {
            let sum = billed.entry(did).or_default();
            *sum = *sum + bills.into_iter().sum();
        }
    }
    let mut faults = Vec::new();
    for account in &evidence.books.accounts {
        let did = account.did.as_str();
        let rows = || evidence.books.rows.iter().filter(|row| row.did == did);
        let booked: Amount = rows().map(Row::total).sum();
        let (spent, held) = (amount(Some(&account.spent)), amount(Some(&account.held)));
        let bill = billed.get(did).copied().unwrap_or_default();
        if bill != booked || bill != spent {
            faults.push(format!(
                "{did}: billed {bill}, booked {booked}, spent {spent}"
            ));
        }
        if held != Amount::ZERO {
            faults.push(format!("{did}: {held} is still held"));
        }
        if let Some(limit) = account.credit_limit.as_deref() {
            let (limit, over) = (
                amount(Some(limit)),
                overshoot(evidence, |row| row.did == did),
            );
            if spent.minus(limit) > over {
                faults.push(format!(
                    "{did}: spent {spent} of {limit}, more than {over} above it"
                ));
            }
        }
        if let Some(rate) = account.requests_per_minute {
            let admitted = rows().count();
            #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
            let most = rate as f64 * (1.0 + evidence.minutes) + 1.0;
            #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
            if admitted as f64 > most {
                faults.push(format!("{did}: {admitted} requests admitted, not {most}"));
            }
        }
    }
    faults
}

/// The amount by which a limit may be exceeded: the cost beyond the least hold of the last request that
/// was admitted, and of those that were open at that time; and all that requests to free models cost, which
/// no limit refuses. Of the requests that count in the limit.
fn overshoot(evidence: &Evidence<'_>, counts: impl Fn(&Row) -> bool) -> Amount {
    let spans: Vec<_> = evidence
        .books
        .rows
        .iter()
        .filter(|row| counts(row))
        .map(|row| (row, evidence.storage.span(row.id)))
        .collect();
    let limited = || spans.iter().filter(|(row, _)| !row.is_free());
    let hold = |row: &Row| {
        let plan = evidence.plans.iter().find(|it| it.ids.contains(&row.id));
        plan.map_or(Amount::ZERO, |plan| evidence.holds.of(plan))
    };
    let last = limited().filter_map(|(_, span)| span.opened).max();
    let beyond_holds: Amount = limited()
        .filter(|(_, span)| span.closed.is_none_or(|closed| Some(closed) >= last))
        .map(|(row, _)| row.total().minus(hold(row)))
        .sum();
    let free = spans.iter().filter(|(row, _)| row.is_free());
    beyond_holds + free.map(|(row, _)| row.total()).sum()
}

fn models(evidence: &Evidence<'_>) -> Vec<String> {
    let mut sums: BTreeMap<&str, (Amount, Amount)> = BTreeMap::new();
    for plan in evidence.plans {
        let sum = sums.entry(&plan.served).or_default();
        let bills = evidence.openrouter.bills.exchange(plan.number).bills;
        sum.0 = sum.0 + bills.into_iter().sum();
    }
    for row in &evidence.books.rows {
        let sum = sums.entry(&row.model).or_default();
        sum.1 = sum.1 + row.total();
    }
    sums.into_iter()
        .filter(|(_, (billed, booked))| billed != booked)
        .map(|(model, (billed, booked))| format!("{model}: billed {billed}, booked {booked}"))
        .collect()
}

/// Sums of usage that are not those of the rows, to the last digit.
fn sums(wrong: &WrongSums) -> Vec<String> {
    let mut faults: Vec<_> = wrong
        .examples
        .iter()
        .map(|example| format!("a sum differs from its rows: {example}"))
        .collect();
    if wrong.differences != "0" {
        faults.push(format!("{} sums differ from their rows", wrong.differences));
    }
    if wrong.untracked != "0" {
        faults.push(format!("open_requests is wrong about {}", wrong.untracked));
    }
    faults
}
