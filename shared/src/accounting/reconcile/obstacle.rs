//! The reasons why a cost is not known, and their consequences.

use std::time::Duration;

use crate::{upstream::openrouter::GenerationError, vault::secrets_manager::VaultError};

/// Why a cost is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstacle {
    #[error("there is no generation id to ask for")]
    NoGenerationId,
    #[error("the key that made the request is not kept any more")]
    NoKey,
    #[error("the user's key cannot be opened")]
    Vault(#[from] VaultError),
    #[error("OpenRouter did not tell the cost")]
    Generation(#[from] GenerationError),
    #[error("OpenRouter did not tell what the job cost")]
    Job(#[source] GenerationError),
    #[error("the job goes on")]
    JobRunning,
    #[error("the run's time is over")]
    OutOfTime,
}

impl Obstacle {
    /// The stable name in `request_logs.unknown_cost_reason`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoGenerationId => "no_generation_id",
            Self::NoKey => "no_key_for_did",
            Self::Vault(_) => "key_unusable",
            Self::Job(GenerationError::NotFound) => "job_not_found",
            Self::JobRunning => "job_still_running",
            Self::Generation(error) | Self::Job(error) => match error {
                GenerationError::NotFound => "generation_not_found",
                GenerationError::Refused(_) => "upstream_refused",
                GenerationError::NotAnswered(_) => "upstream_unavailable",
                GenerationError::NoCost => "cost_not_reported",
            },
            Self::OutOfTime => "not_asked",
        }
    }

    /// The consequence, `age` after the request began, if the cost may be asked for until
    /// `give_up_after`.
    pub(super) fn verdict(&self, age: Duration, give_up_after: Duration) -> Verdict {
        match self {
            // Nothing can ever be asked.
            Self::NoGenerationId => Verdict::GiveUp,
            // The gateway's own failure is no reason to write anything off.
            Self::Vault(VaultError::Keyset(_)) => Verdict::Fail,
            Self::OutOfTime => Verdict::Retry,
            Self::NoKey
            | Self::Vault(VaultError::Open(_) | VaultError::MalformedSealedKey(_))
            | Self::Generation(_)
            | Self::Job(_)
            | Self::JobRunning => {
                if age >= give_up_after {
                    Verdict::GiveUp
                } else {
                    Verdict::Retry
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    GiveUp,
    Retry,
    Fail,
}
