//! Emergency records: the ends of requests that the gateway logged because the database failed.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use shared::{
    metering::money::Usd,
    storage::{Argument, Finished, Protocol, StorageError},
    strict_json,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::client::AdminStorage;

/// The argument of `finish_request` as the gateway logged it, by
/// [`Finish::to_json`](shared::storage::Finish::to_json).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmergencyRecord {
    id: Uuid,
    json: String,
}

/// The error for a text that is not an emergency record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an emergency record, which has id, status and cost_state, and amounts as text")]
pub struct NotARecord;

impl EmergencyRecord {
    /// Parses a record. Unknown fields are kept for the database.
    pub fn parse(text: &str) -> Result<Self, NotARecord> {
        let members: RecordMembers<'_> = strict_json::from_str(text).map_err(|_| NotARecord)?;
        let id = members.id.parse().map_err(|_| NotARecord)?;
        let is_record = ["none", "pending", "final"].contains(&members.cost_state.as_ref())
            && ["completed", "failed"].contains(&members.status.as_ref())
            && [members.openrouter_cost, members.upstream_inference_cost]
                .into_iter()
                .flatten()
                .all(|amount| amount.parse::<Usd>().is_ok());
        is_record
            .then(|| Self {
                id,
                json: text.trim().to_owned(),
            })
            .ok_or(NotARecord)
    }

    /// The request's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The record as JSON. `None` is impossible: it was parsed as JSON.
    fn json(&self) -> Option<&RawValue> {
        serde_json::from_str(&self.json).ok()
    }
}

impl AdminStorage {
    /// Finishes a request with its emergency record, also one that was given up as abandoned.
    pub async fn restore(
        &self,
        record: &EmergencyRecord,
        deadline: Instant,
    ) -> Result<Finished, StorageError> {
        let argument = Argument::Outcome(record.json().ok_or(Protocol::RequestNotBuilt)?);
        self.0
            .call("finish_request", &argument, u32::MAX, deadline)
            .await
    }
}

/// The fields of a record. Amounts are text: numbers may have lost digits.
#[derive(Deserialize)]
struct RecordMembers<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    cost_state: Cow<'a, str>,
    #[serde(borrow)]
    openrouter_cost: Option<Cow<'a, str>>,
    #[serde(borrow)]
    upstream_inference_cost: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"id":"fd8b67e2-5797-4521-81a0-426af37311db","status":"failed","cost_state":"final","openrouter_cost":"7.434e-07","is_byok":null,"a_later_member":1}"#;

    #[test]
    fn a_record_is_sent_as_it_is() {
        let record = EmergencyRecord::parse(&format!(" {RECORD}\n")).unwrap();
        let argument = Argument::Outcome(record.json().unwrap());
        assert_eq!(
            serde_json::to_string(&argument).unwrap(),
            format!(r#"{{"outcome":{RECORD}}}"#)
        );
    }

    #[test]
    fn what_would_corrupt_the_books_is_no_record() {
        for (part, instead) in [
            (r#""failed""#, r#""pending""#),
            (r#""final""#, r#""unknown""#),
            (r#""7.434e-07""#, "7.434e-07"),
            (r#""7.434e-07""#, r#""free""#),
            (r#""7.434e-07""#, r#""-1""#),
            ("fd8b67e2-", ""),
            (r#""status""#, r#""state""#),
            ("}", ""),
        ] {
            let text = RECORD.replace(part, instead);
            assert_eq!(EmergencyRecord::parse(&text), Err(NotARecord), "{text}");
        }
    }
}
