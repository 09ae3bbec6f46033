//! Failures that have to do with access tokens and budgets.

use http::StatusCode;

use super::Failure;
use crate::{
    storage::{ReachedBudget, TokenRefusal},
    vault::secret::clipped_without_keys,
};

pub(super) fn of_token(refusal: &TokenRefusal) -> Failure {
    match refusal {
        TokenRefusal::Unknown => Failure::new(
            StatusCode::UNAUTHORIZED,
            "No such access token exists here; make one with `llmgw tokens create`, and check that this is the gateway it was made at.",
        ),
        TokenRefusal::Expired => Failure::new(
            StatusCode::UNAUTHORIZED,
            "This access token has expired; its owner can move its expiry, or make another.",
        ),
        TokenRefusal::Revoked => Failure::new(
            StatusCode::UNAUTHORIZED,
            "This access token has been revoked, or rotated; use the new one.",
        ),
        TokenRefusal::Disabled => Failure::new(
            StatusCode::FORBIDDEN,
            "The owner of this access token has disabled it.",
        ),
        TokenRefusal::EndpointNotAllowed(it) => Failure::new(
            StatusCode::FORBIDDEN,
            format!(
                "This access token may not use the endpoint {}; it may use {}.",
                it.endpoint,
                it.endpoints.join(", ")
            ),
        )
        .with("endpoint", it.endpoint.clone())
        .with("endpoints", it.endpoints.clone()),
        TokenRefusal::ModelNotAllowed(it) => {
            let place = it.pointer.as_deref().map(|it| format!(" (at {it:?})"));
            let place = place.unwrap_or_default();
            // A secret may stand in the wrong place.
            let model = it.model.as_deref().map(|it| clipped_without_keys(it, 256));
            let message = match (&model, &it.problem) {
                (Some(model), _) => {
                    format!("This access token may not use the model {model}{place}.")
                }
                (None, Some(problem)) => format!(
                    "This access token is for some models only, and the request {problem}{place}."
                ),
                (None, None) => "This access token may not use this model.".to_owned(),
            };
            Failure::new(StatusCode::FORBIDDEN, message)
                .with("model", model)
                .with("pointer", it.pointer.clone())
        }
        TokenRefusal::NotFound => Failure::new(
            StatusCode::NOT_FOUND,
            "This DID has no such token, or it has ended; GET /api/v1/tokens?all=true lists all.",
        ),
        TokenRefusal::NameTaken => Failure::new(
            StatusCode::CONFLICT,
            "Another live token of this DID has this name; choose another, or revoke that one.",
        ),
        TokenRefusal::Unbounded => Failure::new(
            StatusCode::CONFLICT,
            "A token has an expiry or a budget; this change would leave it without either.",
        ),
        TokenRefusal::TooMany(it) => Failure::new(
            StatusCode::CONFLICT,
            format!(
                "This DID has {} live tokens, as many as it may; revoke one that is not needed.",
                it.max_tokens
            ),
        )
        .with("max_tokens", it.max_tokens),
    }
}

pub(super) fn of_budget(reached: &ReachedBudget) -> Failure {
    let ReachedBudget { budget, of, hold } = reached;
    let until = match budget.resets_at {
        Some(at) => format!("; it begins again at {at}"),
        None => String::new(),
    };
    Failure::new(
        StatusCode::PAYMENT_REQUIRED,
        format!(
            "The budget of {} USD ({}, of this {of}) is reached: {} spent, {} held for requests in flight, and this one may cost {hold}{until}.",
            budget.amount,
            budget.period.as_str(),
            budget.spent,
            budget.held
        ),
    )
    .with("of", of.clone())
    .with("period", budget.period.as_str())
    .with("amount", budget.amount.clone())
    .with("spent", budget.spent.clone())
    .with("held", budget.held.clone())
    .with("hold", hold.clone())
    .with("resets_at", budget.resets_at.map(|at| at.to_string()))
}
