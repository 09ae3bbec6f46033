//! The call before a request to the gateway's own routes: it counts the request.

use std::num::NonZeroU32;

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::{ATTEMPTS_IN_FRONT, Argument, CallerRequest, Storage, StorageError};
use crate::identity::{access::Allowed, auth::Caller};

/// A request to the gateway's own routes that was counted, and whose caller is approved where that is
/// required. Only [`Storage::admit`] makes one.
#[derive(Debug)]
pub struct Admitted<'a>(&'a Allowed);

impl Admitted<'_> {
    /// The verified sender.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        self.0.caller()
    }

    /// The request, for the calls that do its work.
    #[must_use]
    pub fn request(&self, id: Uuid, request_time: Timestamp, method: &Method) -> CallerRequest<'_> {
        CallerRequest {
            id,
            did: self.caller().did().as_str(),
            request_time,
            fingerprint: self.caller().replay_guard(method),
        }
    }
}

impl Storage {
    /// Counts a request to the gateway's own routes against the rate that a DID has for them, and refuses
    /// a caller who is not approved where that is required. A repeated call counts twice.
    pub async fn admit<'a>(
        &self,
        allowed: &'a Allowed,
        requests_per_minute: NonZeroU32,
        deadline: Instant,
    ) -> Result<Admitted<'a>, StorageError> {
        let argument = Argument::Request(AdmitJson {
            did: allowed.caller().did().as_str(),
            requests_per_minute,
            approved_only: allowed.requires_approval(),
        });
        let Counted {} = self
            .call("admit_caller", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await?;
        Ok(Admitted(allowed))
    }
}

#[derive(Serialize)]
struct AdmitJson<'a> {
    did: &'a str,
    requests_per_minute: NonZeroU32,
    approved_only: bool,
}

/// An answer of which nothing is needed.
#[derive(Deserialize)]
struct Counted {}
