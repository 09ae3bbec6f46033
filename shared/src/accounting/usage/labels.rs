//! The parameters `token`, `app` and `tag`.

use uuid::Uuid;

use super::parameters::{ParameterError, Parameters};
use crate::storage::UsageLabels;

pub(super) fn read(parameters: &Parameters<'_>) -> Result<UsageLabels, ParameterError> {
    Ok(UsageLabels {
        token_id: parameters.parse("token", "must be the id of an access token", |value| {
            value.parse().ok().filter(|id: &Uuid| !id.is_nil())
        })?,
        app: parameters.text("app")?,
        tag: parameters.text("tag")?,
    })
}

/// Leaves out all requests but those of a token, whose holder asks and is told of no other.
pub(super) fn restrict(labels: &mut UsageLabels, token_id: Uuid) -> Result<(), ParameterError> {
    match labels.token_id.replace(token_id) {
        Some(other) if other != token_id => Err(ParameterError::new(
            "token",
            "names another token; an access token may read the usage of its own requests only",
        )),
        Some(_) | None => Ok(()),
    }
}
