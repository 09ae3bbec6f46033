//! Access tokens: each user has one, which a third of the requests come with. Some are rotated, disabled or
//! revoked while requests are in flight.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use e2e::signer::Signer;
use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};
use shared::identity::signing::Nonce;
use stack::{
    Postgres,
    lambda::{Abandoned, Invocation, Part, Pool, event, lock},
};
use stub::Endpoint;
use uuid::Uuid;

use crate::{
    budgets::{self, BudgetPlan},
    journal::{Group, Journal},
    plan::{Plan, TIMEOUT},
};

/// The number of attempts at a change, some of which meet a fault of the storage.
const ATTEMPTS: usize = 8;
/// The time for which an old secret passes, longer than a run.
const OVERLAP: Duration = Duration::from_hours(24);

/// What happens to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It gets a new secret; the old one passes for some time.
    RotateWithOverlap,
    /// It gets a new secret, and the old one ends at once.
    Rotate,
    Disable,
    Enable,
    Revoke,
}

/// The changes of the token of user n, each with the percentage of the requests that are sent before it.
fn changes(user: usize) -> &'static [(usize, Change)] {
    match user {
        9 | 10 => &[(50, Change::Revoke)],
        11..14 => &[
            (25, Change::RotateWithOverlap),
            (50, Change::RotateWithOverlap),
        ],
        14 | 15 => &[(35, Change::Rotate), (70, Change::Rotate)],
        16 | 17 => &[(30, Change::Disable), (60, Change::Enable)],
        _ => &[],
    }
}

/// The tokens of all users.
#[derive(Debug)]
pub struct Tokens {
    functions: Arc<Pool>,
    journal: Arc<Journal>,
    wallets: Vec<Wallet>,
    /// The number of requests of the run.
    requests: usize,
}

/// A user's token.
#[derive(Debug)]
pub struct Wallet {
    pub id: Uuid,
    /// The newest last.
    secrets: Mutex<Vec<Secret>>,
    /// The budgets of the DID and of the token.
    pub budgets: Vec<BudgetPlan>,
}

#[derive(Debug, Clone)]
struct Secret {
    text: String,
    passes: bool,
    /// The numbers of changes that began and that ended.
    changes: (u32, u32),
}

/// The secret of one request.
#[derive(Debug)]
pub struct Presented {
    position: usize,
    text: String,
    passes: bool,
    changes: (u32, u32),
}

impl Presented {
    /// Adds the header that has it.
    pub fn add_to(&self, headers: &mut HeaderMap, endpoint: Endpoint) -> Result<()> {
        let (name, value): (HeaderName, String) = match endpoint {
            // As Anthropic's clients do.
            Endpoint::Messages => (HeaderName::from_static("x-api-key"), self.text.clone()),
            Endpoint::Chat
            | Endpoint::Completion
            | Endpoint::Responses
            | Endpoint::Embeddings
            | Endpoint::Rerank
            | Endpoint::Images
            | Endpoint::Transcription
            | Endpoint::Speech
            | Endpoint::Video
            | Endpoint::Batch
            | Endpoint::Systemone
            | Endpoint::Unknown => (header::AUTHORIZATION, format!("Bearer {}", self.text)),
        };
        headers.insert(name, HeaderValue::from_str(&value)?);
        Ok(())
    }
}

impl Tokens {
    /// Makes a token for each user, with the budgets that turn `turns` from now on.
    pub async fn make(
        users: &[Signer],
        functions: &Arc<Pool>,
        journal: &Arc<Journal>,
        database: &Postgres,
        (requests, turns): (usize, &budgets::Turns),
    ) -> Result<Self> {
        let mut tokens = Self {
            functions: Arc::clone(functions),
            journal: Arc::clone(journal),
            wallets: Vec::new(),
            requests,
        };
        for (number, user) in users.iter().enumerate() {
            let planned = budgets::of_user(number, requests.div_ceil(users.len()), turns);
            let made = tokens
                .call(user, &Method::POST, "", |attempt| {
                    json!({"name": format!("ledger-{attempt}"), "expires_at": "2199-01-01T00:00:00Z"})
                })
                .await?;
            let id = made["data"]["id"].as_str().context("no id")?.parse()?;
            // Not by the function, which takes IANA time zones only.
            budgets::set(database, user.did.as_str(), id, &planned)?;
            tokens.wallets.push(Wallet {
                id,
                secrets: Mutex::new(vec![Secret::of(&made)?]),
                budgets: planned,
            });
        }
        Ok(tokens)
    }

    /// The token of a user.
    #[must_use]
    pub fn wallet(&self, user: usize) -> Option<&Wallet> {
        self.wallets.get(user)
    }

    /// Executes the change that is due with a request, if any.
    pub async fn turn(&self, number: usize, users: &[Signer]) -> Result<()> {
        for (position, user) in users.iter().enumerate() {
            for (percent, change) in changes(position) {
                if number == self.requests * percent / 100 + position {
                    self.change(position, user, *change).await?;
                    let name = format!("token: {change:?}");
                    self.journal.count(Group::Fault, name);
                }
            }
        }
        Ok(())
    }

    /// The secret of a request. Of a rotated token each other one has the last but one.
    #[must_use]
    pub fn present(&self, plan: &Plan) -> Option<Presented> {
        let wallet = self.wallets.get(plan.user).filter(|_| plan.is_by_token())?;
        let secrets = lock(&wallet.secrets);
        let newest = secrets.len().checked_sub(1)?;
        let position = newest.saturating_sub(plan.number % 2);
        let Secret {
            text,
            passes,
            changes,
        } = secrets.get(position)?.clone();
        Some(Presented {
            position,
            text,
            passes,
            changes,
        })
    }

    /// Whether a request with a secret that has been answered had to pass; `None` if the token was changed
    /// meanwhile.
    #[must_use]
    pub fn had_to_pass(&self, plan: &Plan, presented: &Presented) -> Option<bool> {
        let wallet = self.wallets.get(plan.user)?;
        let secrets = lock(&wallet.secrets);
        let now = secrets.get(presented.position)?;
        let is_unchanged =
            presented.changes.0 == presented.changes.1 && now.changes == presented.changes;
        is_unchanged.then_some(presented.passes)
    }

    async fn change(&self, position: usize, user: &Signer, change: Change) -> Result<()> {
        let wallet = self.wallets.get(position).context("no such user")?;
        let path = format!("/{}", wallet.id);
        let affected = |secret: usize, newest: usize| match change {
            // The last but one ends at once.
            Change::RotateWithOverlap => secret < newest,
            Change::Rotate | Change::Disable | Change::Enable | Change::Revoke => true,
        };
        let mark = |state: Option<bool>| {
            let mut secrets = lock(&wallet.secrets);
            let newest = secrets.len().saturating_sub(1);
            for (secret, it) in secrets.iter_mut().enumerate() {
                if affected(secret, newest) {
                    match state {
                        None => it.changes.0 += 1,
                        Some(passes) => {
                            it.passes = passes;
                            it.changes.1 = it.changes.0;
                        }
                    }
                }
            }
        };
        mark(None);
        let answer = match change {
            Change::RotateWithOverlap | Change::Rotate => {
                let seconds = if change == Change::Rotate {
                    0
                } else {
                    OVERLAP.as_secs()
                };
                let body = json!({"overlap_seconds": seconds});
                self.call(user, &Method::POST, &format!("{path}/rotate"), |_| {
                    body.clone()
                })
                .await?
            }
            Change::Disable | Change::Enable => {
                let body = json!({"disabled": change == Change::Disable});
                self.call(user, &Method::PATCH, &path, |_| body.clone())
                    .await?
            }
            Change::Revoke => {
                self.call(user, &Method::DELETE, &path, |_| Value::Null)
                    .await?
            }
        };
        mark(Some(change == Change::Enable));
        if matches!(change, Change::RotateWithOverlap | Change::Rotate) {
            lock(&wallet.secrets).push(Secret::of(&answer)?);
        }
        Ok(())
    }

    /// Calls the function, signed, until it succeeds. An attempt whose response was lost may have succeeded, too.
    async fn call(
        &self,
        user: &Signer,
        method: &Method,
        below: &str,
        body: impl Fn(usize) -> Value,
    ) -> Result<Value> {
        let path = format!("/api/v1/tokens{below}");
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            let body = match body(attempt) {
                Value::Null => Vec::new(),
                body => body.to_string().into_bytes(),
            };
            let nonce = Rng::new().u128(..).to_be_bytes();
            let mut headers = user.signed(method, &path, &body, &Nonce::from_random(nonce))?;
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            let id = uuid::Builder::from_random_bytes(nonce).into_uuid();
            let mut parts = self.functions.invoke(Invocation {
                id,
                event: event::rest(id, method, &path, &headers, &body),
                timeout: TIMEOUT,
                abandoned: Abandoned::Drained,
                last: false,
            });
            let mut answer = Vec::new();
            while let Some(part) = parts.recv().await {
                match part {
                    Part::Head(..) => {}
                    Part::Data(bytes) => answer.extend_from_slice(&bytes),
                    Part::End => break,
                    Part::Failed(failure) => bail!("{method} {path}: {failure:?}"),
                }
            }
            // As API Gateway takes it from a function that does not stream.
            let answer: Value = serde_json::from_slice(&answer)?;
            let body = answer["body"].as_str().unwrap_or_default();
            match (answer["statusCode"].as_u64(), method) {
                (Some(200 | 201), _) => return Ok(serde_json::from_str(body)?),
                // The first attempt's response was lost.
                (Some(404), &Method::DELETE) if attempt > 0 => return Ok(Value::Null),
                (status, _) => last = format!("{status:?} {body}"),
            }
        }
        bail!("{method} {path}: {last}")
    }
}

impl Secret {
    fn of(answer: &Value) -> Result<Self> {
        Ok(Self {
            text: answer["token"].as_str().context("no token")?.to_owned(),
            passes: true,
            changes: (0, 0),
        })
    }
}
