//! `/api/v1/keys`: the caller's OpenRouter key. `PUT` brings one, `POST` has the gateway make one,
//! `GET` describes it, `DELETE` revokes it.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Response};
use serde::Serialize;
use shared::{
    accounting::usage::Parameters,
    clock::Clock,
    config::{Env, KeysConfig, StartError},
    credentials::{
        keys::{KeyName, ProvisionKeyBody, StoreKeyBody},
        provisioning::{Provisioner, ProvisioningError},
    },
    error::Error,
    http_client,
    identity::{
        access::{Allowed, AllowedDids},
        auth::Authenticator,
    },
    request::{Incoming, Invocation},
    respond,
    routes::{Function, Route},
    storage::{
        CallerRequest, KeyDescription, NewKey, PendingDeletion, RevokedKey, Storage, StoredKey,
    },
    upstream::openrouter::OpenRouter,
    vault::secrets_manager::{KeysetCache, VaultError},
};
use tokio::time::Instant;

/// The timeout for making a connection to anything.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The timeout of OpenRouter's answer to a key check.
const KEY_CHECK_TIMEOUT: Duration = Duration::from_secs(8);
/// The longest time that a user waits for a response. API Gateway waits for 29 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The state that the function keeps between requests.
#[derive(Debug)]
pub struct Keys {
    clock: Clock,
    authenticator: Authenticator,
    allowed_dids: AllowedDids,
    account_requests_per_minute: NonZeroU32,
    allows_unverified: bool,
    storage: Storage,
    keyset: KeysetCache,
    openrouter: OpenRouter,
    /// Present if the operator has configured a management key.
    provisioner: Option<Provisioner>,
}

impl Keys {
    /// Builds it from the environment. Nothing is asked over the network yet.
    pub fn load(env: Env<'_>) -> Result<Self, StartError> {
        let config = KeysConfig::read(env)?;
        let client = http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?;
        Ok(Self {
            clock: Clock::system(),
            authenticator: config.authenticator()?,
            storage: config.storage.storage(client.clone()),
            keyset: config.keyset.keyset(client.clone()),
            openrouter: config.openrouter(client.clone()),
            provisioner: config.provisioner(client),
            allowed_dids: config.allowed_dids,
            account_requests_per_minute: config.account_requests_per_minute,
            allows_unverified: config.allow_unverified_keys,
        })
    }
}

/// Answers one request.
pub async fn handle(keys: Arc<Keys>, request: Incoming, invocation: Invocation) -> Response<Bytes> {
    match answer(&keys, request, &invocation).await {
        Ok(answer) => respond::data(&answer, invocation.id),
        Err(error) => respond::failure(&error, invocation.id),
    }
}

/// The data of a successful response.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Key(Box<KeyDescription>),
    Revoked { revoked: bool, hash: String },
}

impl From<KeyDescription> for Answer {
    fn from(key: KeyDescription) -> Self {
        Self::Key(Box::new(key))
    }
}

async fn answer(
    keys: &Arc<Keys>,
    mut request: Incoming,
    invocation: &Invocation,
) -> Result<Answer, Error> {
    let now = keys.clock.now();
    let deadline = invocation
        .closing_time()
        .min(Instant::now() + ANSWER_TIMEOUT);
    let authenticated = keys.authenticator.authenticate(&request, now).await?;
    let allowed = keys.allowed_dids.check(authenticated)?;
    route(&allowed, &request.method)?;
    let rate = keys.account_requests_per_minute;
    let admitted = keys.storage.admit(&allowed, rate, deadline).await?;
    let caller_request = admitted.request(invocation.id, now, &request.method);
    let body = std::mem::take(&mut request.body);
    match request.method {
        Method::PUT => {
            let brought = StoreKeyBody::from_body(body, keys.allows_unverified)?;
            let stored = keys.bring(&caller_request, brought, deadline).await?;
            keys.delete_upstream(stored.condemned, invocation);
            Ok(stored.key.into())
        }
        Method::POST => {
            let name = ProvisionKeyBody::from_body(&body)?.name;
            Ok(keys
                .provision(&caller_request, name.as_ref(), deadline)
                .await?
                .into())
        }
        Method::DELETE => {
            let RevokedKey { hash, condemned } =
                keys.storage.revoke_key(&caller_request, deadline).await?;
            keys.delete_upstream(condemned, invocation);
            let revoked = true;
            Ok(Answer::Revoked { revoked, hash })
        }
        _ => Ok(keys
            .storage
            .describe_key(&caller_request, deadline)
            .await?
            .into()),
    }
}

/// The one route here, its methods, and no parameters: a misspelt `verify` must not go unnoticed.
fn route(allowed: &Allowed, method: &Method) -> Result<(), Error> {
    let path = allowed.path().as_str().trim_end_matches('/');
    let route = Route::of(Function::Keys, path).ok_or(Error::NotFound)?;
    route.check_method(method)?;
    let otherwise = "is not a parameter of this route; it takes none";
    Parameters::read(allowed.query(), &[], otherwise)?;
    Ok(())
}

impl Keys {
    /// Checks the key that the caller brings, seals it and stores it. The keyset is fetched meanwhile.
    async fn bring(
        &self,
        caller_request: &CallerRequest<'_>,
        brought: StoreKeyBody,
        deadline: Instant,
    ) -> Result<StoredKey, Error> {
        let check = async {
            if brought.verify {
                self.openrouter
                    .check_key(&brought.api_key, KEY_CHECK_TIMEOUT)
                    .await?;
            }
            Ok::<_, Error>(())
        };
        let keyset = async {
            let keyset = self.keyset.get(caller_request.request_time).await;
            Ok(keyset.map_err(VaultError::from)?)
        };
        let ((), keyset) = tokio::try_join!(check, keyset)?;
        let key = NewKey {
            hash: &brought.api_key.hash(),
            sealed: &keyset.seal(caller_request.did, &brought.api_key),
            name: brought.name.as_ref().map(KeyName::as_str),
        };
        Ok(self
            .storage
            .store_key(caller_request, &key, deadline)
            .await?)
    }

    async fn provision(
        &self,
        caller_request: &CallerRequest<'_>,
        name: Option<&KeyName>,
        deadline: Instant,
    ) -> Result<KeyDescription, Error> {
        let provisioner = self
            .provisioner
            .as_ref()
            .ok_or(ProvisioningError::NotAllowed)?;
        let name = name.map(KeyName::as_str);
        Ok(provisioner
            .provision(&self.storage, &self.keyset, caller_request, name, deadline)
            .await?)
    }

    /// Deletes a provisioned key that the caller gave up, without making them wait for it.
    fn delete_upstream(
        self: &Arc<Self>,
        condemned: Option<PendingDeletion>,
        invocation: &Invocation,
    ) {
        let Some(condemned) = condemned else {
            return;
        };
        let (keys, deadline) = (Arc::clone(self), invocation.closing_time());
        invocation.tasks.spawn(async move {
            if let Some(provisioner) = &keys.provisioner {
                let upstream = provisioner.upstream();
                upstream
                    .try_to_remove(&keys.storage, &condemned, deadline)
                    .await;
            }
        });
    }
}
