//! The comparison of bills and books by token.

use super::{Amount, BTreeMap, Evidence, Exchange, Plan, Row, amount};

/// Compares one request's token with its row and its answer.
pub(super) fn compare(
    evidence: &Evidence<'_>,
    plan: &Plan,
    exchange: &Exchange,
    rows: &[&Row],
) -> Vec<String> {
    let mut faults = Vec::new();
    let token = evidence
        .tokens
        .wallet(plan.user)
        .filter(|_| plan.is_by_token());
    for row in rows {
        if row.token_id != token.map(|it| it.id) {
            faults.push(format!("{} is of the token {:?}", row.id, row.token_id));
        }
    }
    for seen in evidence.delivered.get(&plan.number).into_iter().flatten() {
        let reason = seen.reason();
        let is_refused = reason.is_some_and(|it| it.starts_with("token_"));
        match seen.had_to_pass {
            Some(true) if is_refused => faults.push("its token was refused, and lived".to_owned()),
            Some(false) if !rows.is_empty() || exchange.received > 0 => {
                faults.push("it began although its token had ended".to_owned());
            }
            Some(_) | None => {}
        }
    }
    faults
}

/// Whether a request may be refused because of a budget.
pub(super) fn may_be_refused(evidence: &Evidence<'_>, plan: &Plan) -> bool {
    let wallet = evidence.tokens.wallet(plan.user);
    let mut budgets = wallet.into_iter().flat_map(|it| &it.budgets);
    budgets.any(|it| it.is_tight && (plan.is_by_token() || !it.of_token))
}

/// Compares the sums of each token.
pub(super) fn sums(evidence: &Evidence<'_>) -> Vec<String> {
    let mut billed: BTreeMap<_, Amount> = BTreeMap::new();
    for plan in evidence.plans.iter().filter(|it| it.is_by_token()) {
        if let Some(wallet) = evidence.tokens.wallet(plan.user) {
            let bills = evidence.openrouter.bills.exchange(plan.number).bills;
            let sum = billed.entry(wallet.id).or_default();
            *sum = *sum + bills.into_iter().sum();
        }
    }
    let mut faults = Vec::new();
    for token in &evidence.books.tokens {
        let bill = billed.remove(&token.id).unwrap_or_default();
        let rows = || {
            let rows = evidence.books.rows.iter();
            rows.filter(|row| row.token_id == Some(token.id))
        };
        let booked: Amount = rows().map(Row::total).sum();
        let cost = amount(Some(&token.cost));
        if bill != booked || bill != cost || token.requests != rows().count().to_string() {
            faults.push(format!(
                "token {}: billed {bill}, booked {booked} in {} rows, its own sums {cost} of {}",
                token.id,
                rows().count(),
                token.requests
            ));
        }
    }
    let unknown = billed
        .into_keys()
        .map(|id| format!("there is no token {id}"));
    faults.extend(unknown);
    faults
}
