//! The reasons why a cost is not known, and their consequences.

use std::time::Duration;

use super::GIVE_UP_AFTER;
use crate::{
    metering::money::Usd, upstream::openrouter::GenerationError, vault::secrets_manager::VaultError,
};

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
    /// The job is over, so a later question about it is answered alike.
    #[error("the job is over, and OpenRouter did not tell what it cost")]
    JobCostNotTold(#[source] GenerationError),
    #[error("the provider bills the user's own key, and OpenRouter does not tell how much")]
    ProviderChargeNotTold {
        fee: Usd,
        /// Whether there is anything that could be asked again.
        may_be_told: bool,
    },
    #[error("the request made several generations, and one of them tells only its own cost")]
    OtherGenerations { known: Usd },
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
            Self::ProviderChargeNotTold { .. } => "provider_charge_not_told",
            Self::OtherGenerations { .. } => "other_generations_not_told",
            Self::Generation(error) | Self::Job(error) | Self::JobCostNotTold(error) => match error
            {
                GenerationError::NotFound => "generation_not_found",
                GenerationError::Refused(_) => "upstream_refused",
                GenerationError::NotAnswered(_) => "upstream_unavailable",
                GenerationError::NoCost => "cost_not_reported",
            },
            Self::OutOfTime => "not_asked",
        }
    }

    /// The part of the cost that is known: the whole is that or more.
    pub(super) fn known(&self) -> Option<Usd> {
        match self {
            Self::ProviderChargeNotTold { fee: known, .. } | Self::OtherGenerations { known } => {
                Some(*known)
            }
            Self::NoGenerationId
            | Self::NoKey
            | Self::Vault(_)
            | Self::Generation(_)
            | Self::Job(_)
            | Self::JobCostNotTold(_)
            | Self::JobRunning
            | Self::OutOfTime => None,
        }
    }

    /// The consequence, `age` after the request began, if the cost may be asked for until
    /// `give_up_after`.
    pub(super) fn verdict(&self, age: Duration, give_up_after: Duration) -> Verdict {
        match self {
            // Nothing can ever be asked.
            Self::NoGenerationId
            | Self::OtherGenerations { .. }
            | Self::ProviderChargeNotTold {
                may_be_told: false, ..
            } => Verdict::GiveUp,
            // What is over is not waited for as long as what may go on.
            Self::JobCostNotTold(_) | Self::ProviderChargeNotTold { .. }
                if age >= GIVE_UP_AFTER =>
            {
                Verdict::GiveUp
            }
            // The gateway's own failure is no reason to write anything off.
            Self::Vault(VaultError::Keyset(_)) => Verdict::Fail,
            Self::OutOfTime => Verdict::Retry,
            Self::NoKey
            | Self::Vault(VaultError::Open(_) | VaultError::MalformedSealedKey(_))
            | Self::Generation(_)
            | Self::Job(_)
            | Self::JobCostNotTold(_)
            | Self::ProviderChargeNotTold {
                may_be_told: true, ..
            }
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
