//! Whether a key is good: `GET /key`.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;

use super::{OpenRouter, UpstreamError, management::Envelope};
use crate::{
    strict_json::{self, Object},
    vault::secret::ApiKey,
};

/// Why a key is not known to be good.
#[derive(Debug, thiserror::Error)]
pub enum KeyCheckError {
    /// OpenRouter does not accept it.
    #[error("OpenRouter does not accept the key ({0})")]
    Refused(StatusCode),
    /// It is one for the management API, which answers no completion.
    #[error("the key is a management key")]
    ManagementKey,
    /// OpenRouter said something else.
    #[error("OpenRouter answered {0}")]
    Undecided(StatusCode),
    /// There was no answer.
    #[error(transparent)]
    NotAnswered(#[from] UpstreamError),
}

impl KeyCheckError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(_) | Self::ManagementKey => "key_refused",
            Self::Undecided(_) | Self::NotAnswered(_) => "key_not_checked",
        }
    }
}

impl OpenRouter {
    /// Asks whether `key` is good for inference. One attempt, within `time`.
    pub async fn check_key(&self, key: &ApiKey, time: Duration) -> Result<(), KeyCheckError> {
        let (status, body) = self
            .exchange(Method::GET, "/key", "", key, None, time)
            .await?;
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(KeyCheckError::Refused(status));
            }
            _ => return Err(KeyCheckError::Undecided(status)),
        }
        let manages = strict_json::from_slice::<Envelope<Object<KeyKind>>>(&body)
            .is_ok_and(|it| it.data.0.is_management_key || it.data.0.is_provisioning_key);
        if manages {
            return Err(KeyCheckError::ManagementKey);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct KeyKind {
    #[serde(default)]
    is_management_key: bool,
    /// Its former name.
    #[serde(default)]
    is_provisioning_key: bool,
}
