//! What the log holds of requests whose end the database did not hear.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Argument, Finished, Protocol, Storage, StorageError};
use crate::{metering::money::Usd, strict_json};

/// What a [`Finish`](super::Finish) left in the log because the database did not hear it: the argument of
/// `finish_request`, as [`Finish::to_json`](super::Finish::to_json) wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmergencyRecord {
    id: Uuid,
    json: String,
}

/// Why a text is no emergency record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no record of a finished request: id, status and cost_state are needed, and amounts as text"
)]
pub struct NotARecord;

impl EmergencyRecord {
    /// Reads one. Members that it does not know are kept: the database knows which it takes.
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

    /// As it is; `None` only for what is no JSON, which no record is.
    fn json(&self) -> Option<&RawValue> {
        serde_json::from_str(&self.json).ok()
    }
}

impl Storage {
    /// Closes the books of a request with what its function could only log. As
    /// [`finish`](Self::finish), also where the row was given up as abandoned meanwhile.
    pub async fn restore(
        &self,
        record: &EmergencyRecord,
        deadline: Instant,
    ) -> Result<Finished, StorageError> {
        let argument = Argument::Outcome(record.json().ok_or(Protocol::RequestNotBuilt)?);
        self.call("finish_request", &argument, u32::MAX, deadline)
            .await
    }
}

/// Amounts are text: as numbers they may have lost digits on their way.
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
