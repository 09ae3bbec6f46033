//! The comparison of bills and books by budget and period.

use super::{Amount, BTreeMap, Evidence, HashMap, Plan, Row, Uuid, amount, overshoot};
use crate::{
    books::Budget,
    budgets::{BudgetPlan, Period},
};

/// The shares of a budget, in percent, at which an event is due.
const EVENTS: [u32; 3] = [50, 80, 100];

/// Compares each budget's periods with the bills of the requests that began in them.
pub(super) fn compare(evidence: &Evidence<'_>) -> Vec<String> {
    let plans: HashMap<Uuid, &Plan> = evidence
        .plans
        .iter()
        .flat_map(|plan| plan.ids.map(|id| (id, plan)))
        .collect();
    let mut faults = Vec::new();
    for budget in &evidence.books.budgets {
        match planned(evidence, budget) {
            Some(plan) => faults.extend(compare_one(evidence, &plans, budget, plan)),
            None => faults.push(format!("{} is a budget that nobody set", budget.id)),
        }
    }
    let set: usize = (0..evidence.dids.len())
        .filter_map(|user| evidence.tokens.wallet(user))
        .map(|wallet| wallet.budgets.len())
        .sum();
    if set != evidence.books.budgets.len() {
        let found = evidence.books.budgets.len();
        faults.push(format!("{set} budgets were set, and there are {found}"));
    }
    faults
}

/// The plan of a budget.
fn planned(evidence: &Evidence<'_>, budget: &Budget) -> Option<BudgetPlan> {
    let user = evidence.dids.iter().position(|did| *did == budget.did)?;
    let wallet = evidence.tokens.wallet(user)?;
    let period = Period::parse(&budget.period)?;
    let of_token = budget.token_id.is_some();
    let is_its = |it: &&BudgetPlan| it.of_token == of_token && it.period == period;
    let plan = wallet.budgets.iter().find(is_its)?;
    let is_as_set = budget.token_id.is_none_or(|id| id == wallet.id)
        && budget.time_zone == plan.zone.name()
        && amount(Some(&budget.amount)) == plan.amount;
    is_as_set.then_some(*plan)
}

fn compare_one(
    evidence: &Evidence<'_>,
    plans: &HashMap<Uuid, &Plan>,
    budget: &Budget,
    plan: BudgetPlan,
) -> Vec<String> {
    let start = |row: &Row| plan.period.start(plan.zone, row.began);
    let counts = |row: &Row| {
        row.did == budget.did && budget.token_id.is_none_or(|id| row.token_id == Some(id))
    };
    // The bills, by the beginning of the period in which the request began.
    let mut billed: BTreeMap<Option<i64>, Amount> = BTreeMap::new();
    for row in evidence.books.rows.iter().filter(|row| counts(row)) {
        // Of two rows of the same request one was refused later.
        let bills = plans
            .get(&row.id)
            .filter(|_| row.is_final() && row.total() != Amount::ZERO)
            .map(|plan| evidence.openrouter.bills.exchange(plan.number).bills);
        let sum = billed.entry(start(row)).or_default();
        *sum = *sum + bills.into_iter().flatten().sum();
    }
    let name = format!(
        "budget {} ({} of {}{})",
        budget.id,
        budget.period,
        budget.did,
        budget
            .token_id
            .map_or(String::new(), |id| format!(", token {id}"))
    );
    let mut faults = Vec::new();
    for period in &budget.periods {
        let name = format!("{name} from {:?}", period.starts);
        let bill = billed.remove(&period.starts).unwrap_or_default();
        let (spent, held) = (amount(Some(&period.spent)), amount(Some(&period.held)));
        if spent != bill {
            faults.push(format!("{name}: billed {bill}, spent {spent}"));
        }
        if held != Amount::ZERO {
            faults.push(format!("{name}: {held} is still held"));
        }
        let over = overshoot(evidence, |row| counts(row) && start(row) == period.starts);
        if spent.minus(plan.amount) > over {
            faults.push(format!(
                "{name}: spent {spent} of {}, more than {over} above it",
                plan.amount
            ));
        }
        let reached = |percent: &u32| spent.times(100) >= plan.amount.times(*percent);
        let due: Vec<u32> = EVENTS.into_iter().filter(reached).collect();
        if period.events != due {
            faults.push(format!(
                "{name}: events at {:?} %, due at {due:?} %",
                period.events
            ));
        }
    }
    let missing = billed.into_iter().filter(|(_, bill)| *bill != Amount::ZERO);
    faults.extend(missing.map(|(starts, bill)| {
        format!("{name}: {bill} was billed from {starts:?}, and is in no period")
    }));
    faults
}

/// Complains about a run in which no period turned, unless it was short.
pub(super) fn none_turned(evidence: &Evidence<'_>) -> Option<String> {
    (evidence.plans.len() >= 200 && turned(evidence) == 0)
        .then(|| "no budget's period turned: requests take another time than estimated".to_owned())
}

/// The number of periods with a cost, beyond the first, of all budgets.
pub(super) fn turned(evidence: &Evidence<'_>) -> usize {
    let used = |budget: &Budget| {
        let used = budget
            .periods
            .iter()
            .filter(|it| amount(Some(&it.spent)) != Amount::ZERO);
        used.count().saturating_sub(1)
    };
    evidence.books.budgets.iter().map(used).sum()
}
