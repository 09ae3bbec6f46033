//! `<METHOD> /api/v1/openrouter/*`: any OpenRouter path but key and account management, with the
//! caller's own key.

mod quota;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use http::Response;
use shared::{
    accounting::{
        ledger::{Entry, Ledger, Outcome},
        reconcile::{Deletion, settle_before_deletion},
    },
    clock::{Clock, Moment},
    config::{Env, Holds, ProxyConfig, StartError},
    credentials::provisioning::Provisioner,
    error::Error,
    http_client,
    identity::{
        access::{AllowedDids, Sender},
        auth::Authenticator,
        did::Did,
    },
    observe,
    relay::{self, RelayBody, Relayed, relay},
    request::{Incoming, Invocation},
    respond, routes,
    storage::{
        Begin, BeginSender, Begun, Books, CallerRequest, JobLimit, NamedModel, Presenting,
        Protocol, Refusal, StorageError, UnreadableModels,
    },
    upstream::{
        endpoint::{AllowedFamilies, Dialect, Endpoint, Route},
        labels::Labels,
        model_list::ModelMentions,
        openrouter::{Answer, OpenRouter, UpstreamRequest},
        payload::Payload,
    },
    vault::{
        keyset::Keyset,
        secret::{SealedKey, clipped_without_keys},
        secrets_manager::{KeysetCache, KeysetError, VaultError},
    },
};
use tokio::time::Instant;

use self::quota::Quota;

/// The timeout of beginning a request in the database. After it the request is refused.
const STORAGE_TIMEOUT: Duration = Duration::from_secs(8);
/// The timeout of asking for the cost of a job that is to be deleted.
const DELETION_TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout of making a DID's first key. After it the request is refused.
const KEY_TIMEOUT: Duration = Duration::from_secs(20);

/// The state that the function keeps between requests.
#[derive(Debug)]
pub struct Proxy {
    clock: Clock,
    authenticator: Authenticator,
    allowed_dids: AllowedDids,
    allowed_families: AllowedFamilies,
    holds: Holds,
    max_open_requests: NonZeroU32,
    max_open_jobs: NonZeroU32,
    requests_per_minute: Option<NonZeroU32>,
    ledger: Ledger,
    keyset: KeysetCache,
    openrouter: OpenRouter,
    /// Present if the operator lets a DID's first request have a key made.
    provisioner: Option<Provisioner>,
}

impl Proxy {
    /// Builds it from the environment. Nothing is asked over the network yet.
    pub fn load(env: Env<'_>) -> Result<Self, StartError> {
        let config = ProxyConfig::read(env)?;
        let client = http_client::build(http_client::web_roots(), config.connect_timeout)?;
        Ok(Self {
            clock: Clock::system(),
            authenticator: config.authenticator()?,
            ledger: config.ledger(client.clone()),
            keyset: config.keyset.keyset(client.clone()),
            openrouter: config.openrouter(client.clone()),
            provisioner: config.provisioner(client),
            allowed_dids: config.allowed_dids,
            allowed_families: config.allowed_families,
            holds: config.holds,
            max_open_requests: config.max_open_requests,
            max_open_jobs: config.max_open_jobs,
            requests_per_minute: config.requests_per_minute,
        })
    }
}

/// Answers one request.
pub async fn handle(
    proxy: Arc<Proxy>,
    request: Incoming,
    invocation: Invocation,
) -> Response<RelayBody> {
    let id = invocation.id;
    let dialect = Dialect::of_path(&request.raw_path);
    match proxy.pass_on(request, &invocation).await {
        Ok(response) => respond::identified(response, id),
        Err(error) => respond::failure_in(dialect, &error, id).map(RelayBody::from),
    }
}

/// Whether the keyset is in the cache.
type Warmed = Result<Arc<Keyset>, KeysetError>;

/// A request that may be passed on.
struct Call<'a> {
    request: &'a Incoming,
    sender: Sender,
    route: Route,
    payload: Payload,
    labels: Labels,
    invocation: &'a Invocation,
    arrived: Moment,
}

impl Proxy {
    async fn pass_on(
        &self,
        request: Incoming,
        invocation: &Invocation,
    ) -> Result<Response<RelayBody>, Error> {
        let arrived = self.clock.moment();
        let identified = self.authenticator.identify(&request, arrived.time).await?;
        let sender = self.allowed_dids.check_sender(identified)?;
        routes::Route::OpenRouter.check_method(&request.method)?;
        if let Some(response) = self.quota(&request, &sender, invocation).await? {
            return Ok(response);
        }
        let route = Route::parse(
            &request.method,
            sender.path().as_str(),
            &self.allowed_families,
        )?;
        let payload = Payload::read(&request.headers, &request.body);
        let labels = Labels::read(&request.headers)?;
        let call = Call {
            request: &request,
            sender,
            route,
            payload,
            labels,
            invocation,
            arrived,
        };

        let (begun, keyset) = match self.begin_with_key(&call).await {
            Ok(begun) => begun,
            Err(error) => return Err(self.close_if_begun(&call, error)),
        };
        let mut entry = self.entry(&call);
        match self.ask(&call, &begun, keyset, entry.as_mut()).await {
            Ok(answer) => Ok(self.relay(&call, &begun.did, answer, entry)),
            Err(error) => Err(close_unanswered(entry, &call, error)),
        }
    }

    /// Begins; for a DID without a key after one was made, where the operator wants that.
    async fn begin_with_key(&self, call: &Call<'_>) -> Result<(Begun, Warmed), Error> {
        match (self.begin(call).await, &self.provisioner, &call.sender) {
            (
                Err(Error::Storage(StorageError::Refused(Refusal::NoKeyForDid))),
                Some(provisioner),
                Sender::Signed(allowed),
            ) if provisioner.allows(allowed.caller().did().as_str()) => {
                // Boxed: it rarely happens, and every request would carry its size.
                Box::pin(self.provision(call, allowed.caller().did(), provisioner)).await?;
                self.begin(call).await
            }
            (begun, _, _) => begun,
        }
    }

    async fn provision(
        &self,
        call: &Call<'_>,
        did: &Did,
        provisioner: &Provisioner,
    ) -> Result<(), Error> {
        let caller_request = CallerRequest {
            id: call.invocation.id,
            did: did.as_str(),
            request_time: call.arrived.time,
            // The request itself is what passes once.
            fingerprint: None,
        };
        let deadline = call.arrived.instant + KEY_TIMEOUT;
        provisioner
            .provision(
                &self.ledger.storage,
                &self.keyset,
                &caller_request,
                None,
                deadline,
            )
            .await?;
        Ok(())
    }

    /// The one round trip before OpenRouter is asked; a cold keyset is fetched meanwhile.
    async fn begin(&self, call: &Call<'_>) -> Result<(Begun, Warmed), Error> {
        let asked = Begin {
            id: call.invocation.id,
            sender: self.begin_sender(call),
            request_time: call.arrived.time,
            requests_per_minute: self.requests_per_minute,
            is_counted: !call.route.counts_tokens(),
            requires_own_key: call.route.requires_own_key(),
            books: call.route.is_billable().then(|| Books {
                method: call.request.method.as_str(),
                path: call.route.upstream_path(),
                endpoint: call.route.endpoint().as_str(),
                model: call.payload.model.as_deref(),
                app: call.labels.app.as_deref(),
                tag: call.labels.tag.as_deref(),
                streamed: call.payload.streamed,
                is_free: call.payload.is_free() && !call.route.endpoint().creates_jobs(),
                several_generations: call.payload.delegates,
                max_open_requests: Some(self.max_open_requests),
                jobs: call.route.endpoint().creates_jobs().then(|| JobLimit {
                    max_open: self.max_open_jobs,
                    endpoints: Endpoint::names_with_jobs(),
                }),
                hold: self
                    .holds
                    .of(call.route.endpoint(), call.payload.inline_requests),
            }),
        };
        let deadline = Instant::now() + STORAGE_TIMEOUT;
        // A refusal does not wait for the keyset; the keyset's failure waits for the books.
        let warming = async { Ok(self.keyset.get(asked.request_time).await) };
        let beginning = async {
            let since = Instant::now();
            let begun = self.ledger.storage.begin(&asked, deadline).await;
            observed(&asked, since.elapsed());
            begun
        };
        Ok(tokio::try_join!(beginning, warming)?)
    }

    /// The answer to a token that asks for what it may still spend.
    async fn quota(
        &self,
        request: &Incoming,
        sender: &Sender,
        invocation: &Invocation,
    ) -> Result<Option<Response<RelayBody>>, Error> {
        let (Sender::Token(bearer), Some(quota)) = (
            sender,
            Quota::asked(&request.method, sender.path().as_str()),
        ) else {
            return Ok(None);
        };
        let deadline = Instant::now() + STORAGE_TIMEOUT;
        let storage = &self.ledger.storage;
        let presenting = Presenting {
            digest: bearer.digest,
            request_time: self.clock.now(),
            owners: &self.allowed_dids,
            requests_per_minute: self.requests_per_minute,
        };
        let presented = storage.describe_token(&presenting, deadline).await?;
        let answer = quota.answer(&presented);
        Ok(Some(
            respond::json(&answer, invocation.id).map(RelayBody::from),
        ))
    }

    fn begin_sender<'a>(&'a self, call: &'a Call<'_>) -> BeginSender<'a> {
        match &call.sender {
            Sender::Signed(allowed) => BeginSender::Signed {
                did: allowed.caller().did().as_str(),
                fingerprint: allowed.caller().replay_guard(&call.request.method),
                requires_approval: allowed.requires_approval(),
            },
            Sender::Token(bearer) => BeginSender::Token {
                digest: bearer.digest,
                owners: &self.allowed_dids,
                models: named_models(call),
            },
        }
    }

    /// After a lost answer the database may hold a pending row all the same.
    fn close_if_begun(&self, call: &Call<'_>, error: Error) -> Error {
        let is_in_doubt = matches!(
            &error,
            Error::Storage(
                StorageError::Unavailable(_)
                    | StorageError::RefusedInDoubt(_)
                    | StorageError::Protocol(Protocol::UnexpectedBody { .. }),
            )
        );
        if is_in_doubt {
            close_unanswered(self.entry(call).map(Entry::in_doubt), call, error)
        } else {
            // Anything else was refused before there was a row.
            error
        }
    }

    fn entry(&self, call: &Call<'_>) -> Option<Entry> {
        let open = || {
            let endpoint = call.route.endpoint();
            self.ledger.opened(endpoint, call.invocation, call.arrived)
        };
        call.route.is_billable().then(open)
    }

    async fn ask(
        &self,
        call: &Call<'_>,
        begun: &Begun,
        warmed: Warmed,
        entry: Option<&mut Entry>,
    ) -> Result<Answer, Error> {
        warmed.map_err(VaultError::from)?;
        let did = begun.did.as_str();
        let sealed: SealedKey = begun.sealed_key.parse().map_err(VaultError::from)?;
        let key = self.keyset.open(did, &sealed, self.clock.now()).await?;
        if let Some(job) = call.route.deleted_job() {
            let deletion = Deletion {
                did,
                job,
                key: &key,
                time: self.clock.now(),
            };
            let until = call.arrived.instant + DELETION_TIMEOUT;
            settle_before_deletion(&self.ledger.storage, &self.openrouter, deletion, until).await?;
        }
        let request = UpstreamRequest {
            method: call.request.method.clone(),
            path: call.route.upstream_path(),
            query: call.sender.query().as_str(),
            headers: &call.request.headers,
            body: call.request.body.clone(),
            force_json: call.payload.is_mislabelled_json,
        };
        // API Gateway's timeout began with the request, whatever was waited for since.
        let first_byte = call.arrived.instant + self.openrouter.timeouts().first_byte;
        let deadline = call.invocation.closing_time().min(first_byte);
        Ok(self
            .openrouter
            .send(request, &key, deadline, |id| {
                if let Some(entry) = entry {
                    entry.note_generation(id);
                }
            })
            .await?)
    }

    fn relay(
        &self,
        call: &Call<'_>,
        did: &str,
        answer: Answer,
        entry: Option<Entry>,
    ) -> Response<RelayBody> {
        let poll = |job| relay::Books::Job(self.ledger.poll(did, job, call.invocation));
        let relayed = Relayed {
            endpoint: call.route.endpoint(),
            model: call.payload.model.clone(),
            arrived: call.arrived,
            idle: self.openrouter.timeouts().idle,
            books: match entry {
                Some(entry) => relay::Books::Open(entry),
                None => call.route.polled_job().map_or(relay::Books::Closed, poll),
            },
        };
        relay(answer, relayed, call.invocation)
    }
}

/// Closes the books of a request that OpenRouter has not answered, without making the client wait
/// for it.
fn close_unanswered(entry: Option<Entry>, call: &Call<'_>, error: Error) -> Error {
    if let Some(entry) = entry {
        let (message, may_have_been_billed) = if let Error::Upstream(cause) = &error {
            (cause.to_string(), cause.may_have_been_billed())
        } else {
            (error.to_string(), false)
        };
        let outcome = Outcome::NotAnswered {
            reason: error.reason(),
            message,
            may_have_been_billed,
        };
        call.invocation.tasks.spawn(entry.close(outcome));
    }
    error
}

/// The models that a billable request names, for the token that it came with.
fn named_models<'a>(call: &Call<'_>) -> Result<Vec<NamedModel<'a>>, UnreadableModels> {
    if !call.route.is_billable() {
        return Ok(Vec::new());
    }
    let (headers, body) = (&call.request.headers, &call.request.body);
    let mentions = ModelMentions::read(&call.route, headers, call.sender.query(), body);
    let mentions = mentions.map_err(|unreadable| UnreadableModels {
        problem: unreadable.fault.to_string(),
        pointer: Some(unreadable.place),
    })?;
    let named = mentions.iter().map(|mention| NamedModel {
        // Clients have put keys in place of models.
        value: clipped_without_keys(&mention.value, 256).into(),
        pointer: mention.place.clone(),
        literal: mention.needs_literal,
    });
    Ok(named.collect())
}

/// Adds what the request is about, and how long beginning it took, to its line in the log.
fn observed(begin: &Begin<'_>, took: Duration) {
    if let Some(books) = &begin.books {
        observe::record("request.endpoint", books.endpoint);
        observe::record(
            "request.model",
            books.model.map(|it| clipped_without_keys(it, 256)),
        );
    }
    observe::record("storage.begin_ms", observe::milliseconds(took));
}
