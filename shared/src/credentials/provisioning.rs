//! Keys that the gateway makes for its users with OpenRouter's management API.
//!
//! The promise: in the end OpenRouter has a key of ours exactly where `user_api_keys` has a row for
//! it, whatever fails in between and whoever is killed. How it is kept:
//!
//! 1. A reservation is written, under the id of the request. It admits one call for a DID at a time.
//! 2. The key is made once, never twice, under a [name](key_name) made of that id.
//! 3. One transaction stores the sealed key and makes the provisioning live.
//!
//! What does not get there is deleted: by the call itself where it knows, else by
//! [`UpstreamKeys::clean_up`], which reconciliation calls. A reservation that is older than its lease
//! belongs to a call that is dead. A key that was live and has a cost open is deleted only once that is
//! known, or reconciliation has given it up. A key whose hash nobody learned is looked for by its name; that it is
//! not found counts only after [`SETTLING`], because the request that makes it may still be on its way.

mod removal;

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

pub use self::removal::{RemovalError, SETTLING, Swept, UpstreamKeys, key_name};

use crate::{
    causes::causes,
    identity::did::Did,
    storage::{
        CallerRequest, Grant, KeyDescription, LimitReset, NewKey, PendingDeletion, Reserved,
        Storage, StorageError,
    },
    upstream::openrouter::{KeyOrder, ManagementError},
    vault::secrets_manager::{KeysetCache, KeysetError, ManagementKeyError},
};

/// The lease of a reservation: longer than a call can take from there to the end.
const LEASE: Duration = Duration::from_mins(2);

/// For whom keys are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Nobody.
    Off,
    /// These DIDs.
    Listed(BTreeSet<Did>),
    /// Whoever has a DID.
    Anyone,
}

/// A text that is no [`Policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be off, anyone, or a list of DIDs separated by commas")]
pub struct MalformedPolicy;

impl Policy {
    /// Reads `off`, `anyone` or a list of DIDs.
    pub fn parse(text: &str) -> Result<Self, MalformedPolicy> {
        match text {
            "off" => Ok(Self::Off),
            "anyone" => Ok(Self::Anyone),
            list => list
                .split(',')
                .map(|did| Did::parse(did.trim()).map_err(|_| MalformedPolicy))
                .collect::<Result<_, _>>()
                .map(Self::Listed),
        }
    }

    /// Whether `did` may have a key.
    #[must_use]
    pub fn allows(&self, did: &str) -> bool {
        match self {
            Self::Off => false,
            Self::Listed(dids) => dids.iter().any(|listed| listed.as_str() == did),
            Self::Anyone => true,
        }
    }
}

/// Why no key was provisioned.
#[derive(Debug, thiserror::Error)]
pub enum ProvisioningError {
    /// The operator does not provide keys, or not for this DID.
    #[error("the gateway provides no key for this DID")]
    NotAllowed,
    /// The management key cannot be read.
    #[error(transparent)]
    ManagementKey(#[from] ManagementKeyError),
    /// There is nothing to seal the key with.
    #[error(transparent)]
    Keyset(#[from] KeysetError),
    /// The reservation was refused or failed: OpenRouter was not asked.
    #[error(transparent)]
    NotReserved(StorageError),
    /// OpenRouter did not make the key, or did not say so.
    #[error("OpenRouter made no key")]
    NotMade(#[from] ManagementError),
    /// The key was made, and the DID brought one of its own meanwhile, or took too long.
    #[error("the DID's key changed meanwhile")]
    Overtaken,
    /// The key was made; whether it is stored is not known.
    #[error("whether the key is stored is not known")]
    InDoubt(#[source] StorageError),
}

impl ProvisioningError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAllowed => "provisioning_not_allowed",
            Self::ManagementKey(_) | Self::NotMade(_) => "provisioning_unavailable",
            Self::Keyset(error) => error.reason(),
            Self::NotReserved(error) => error.reason(),
            Self::Overtaken => "key_changed_meanwhile",
            Self::InDoubt(_) => "storage_unavailable",
        }
    }
}

/// Makes keys.
#[derive(Debug)]
pub struct Provisioner {
    upstream: UpstreamKeys,
    policy: Policy,
    grant: Grant,
}

impl Provisioner {
    /// Nothing is asked over the network yet.
    #[must_use]
    pub fn new(upstream: UpstreamKeys, policy: Policy, grant: Grant) -> Self {
        Self {
            upstream,
            policy,
            grant,
        }
    }

    /// The client that deletes them.
    #[must_use]
    pub fn upstream(&self) -> &UpstreamKeys {
        &self.upstream
    }

    /// Whether `did` may have a key.
    #[must_use]
    pub fn allows(&self, did: &str) -> bool {
        self.policy.allows(did)
    }

    /// Makes a key for the caller, or describes the one that was made for them before. Of calls at the
    /// same time one makes it; the others are refused as in progress, or see it.
    pub async fn provision(
        &self,
        storage: &Storage,
        keyset: &KeysetCache,
        caller_request: &CallerRequest<'_>,
        name: Option<&str>,
        deadline: Instant,
    ) -> Result<KeyDescription, ProvisioningError> {
        if !self.allows(caller_request.did) {
            return Err(ProvisioningError::NotAllowed);
        }
        // Whatever can fail before the key is made does so now.
        let management = self.upstream.management_key().await?;
        let keyset = keyset.get(caller_request.request_time).await?;
        let reserved = storage
            .reserve_provisioning(caller_request, self.grant, LEASE, deadline)
            .await
            .map_err(ProvisioningError::NotReserved)?;
        if let Reserved::Already(key) = reserved {
            return Ok(*key);
        }
        let order = KeyOrder {
            name: &key_name(caller_request.id),
            limit: self.grant.limit,
            limit_reset: self.grant.reset.map(LimitReset::as_str),
        };
        let made = match self.upstream.make(&management, order, deadline).await {
            Ok(made) => made,
            Err(error) => {
                abandon(storage, caller_request.id, &error, deadline).await;
                return Err(error.into());
            }
        };
        let sealed = keyset.seal(caller_request.did, &made.key);
        let key = NewKey {
            hash: made.hash.as_str(),
            sealed: &sealed,
            name,
        };
        let stored = storage
            .activate_provisioning(caller_request.id, caller_request.did, &key, deadline)
            .await
            // The reservation ends by itself, if the key is not stored after all.
            .map_err(ProvisioningError::InDoubt)?;
        if let Some(description) = stored {
            return Ok(description);
        }
        let unwanted = PendingDeletion {
            id: caller_request.id,
            upstream_hash: Some(made.hash.as_str().to_owned()),
            age: None,
        };
        self.upstream
            .try_to_remove(storage, &unwanted, deadline)
            .await;
        Err(ProvisioningError::Overtaken)
    }
}

async fn abandon(storage: &Storage, id: Uuid, error: &ManagementError, deadline: Instant) {
    let abandoned = storage
        .abandon_provisioning(id, error.may_have_happened(), deadline)
        .await;
    if let Err(error) = abandoned {
        tracing::warn!(provisioning.id = %id, error = causes(&error), "a reservation ends by itself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DID: &str = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw";

    #[test]
    fn a_policy_lets_in_whom_it_names() {
        assert!(!Policy::parse("off").unwrap().allows(DID));
        assert!(Policy::parse("anyone").unwrap().allows(DID));
        let listed = Policy::parse(&format!(
            "did:key:z6MkgszBQJH1xBExaxT1M8K441Z19BjALPu9anFjLZSU7rK6, {DID}"
        ))
        .unwrap();
        assert!(listed.allows(DID));
        assert!(!listed.allows("did:key:z6MkgszBQJH1xBExaxT1M8K441Z19BjALPu9anFjLZSU7rK7"));
        for text in [
            "",
            "everyone",
            "did:key:z6Mk…",
            &format!("{DID},"),
            "Anyone",
        ] {
            assert_eq!(Policy::parse(text), Err(MalformedPolicy), "{text}");
        }
    }

    #[test]
    fn a_reservation_outlives_its_call_and_settles_later() {
        // The time limit of a buffered function, with room for clocks that differ.
        assert!(LEASE > Duration::from_secs(29) * 2);
        assert!(SETTLING > LEASE * 2);
    }
}
