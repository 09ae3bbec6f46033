//! The clients: they sign, send, read, leave, send again, and poll their jobs.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use e2e::signer::Signer;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use shared::identity::signing::Nonce;
use stack::lambda::{Abandoned, Failure, Invocation, Part, Pool, event};
use tokio::{sync::mpsc, time::sleep};
use uuid::Uuid;

use crate::{
    faults::{ClientBehaviour, Replay},
    journal::{Group, Journal},
    openrouter::TAG,
    plan::Plan,
    tokens::{Presented, Tokens},
};

/// The users, and the functions that they call.
#[derive(Debug)]
pub struct Clients {
    pub users: Vec<Signer>,
    pub tokens: Arc<Tokens>,
    pub proxy: Arc<Pool>,
    pub journal: Arc<Journal>,
}

/// An answer as its client received it.
#[derive(Debug, Clone, Default)]
pub struct Delivered {
    pub status: Option<StatusCode>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Whether it read the answer to its end.
    pub is_whole: bool,
    pub failure: Option<Failure>,
    /// Whether its token had to pass; `None`: it was signed, or its token changed meanwhile.
    pub had_to_pass: Option<bool>,
}

impl Delivered {
    /// Whether the answer is OpenRouter's and not the gateway's own.
    #[must_use]
    pub fn is_upstreams(&self) -> bool {
        self.headers.contains_key("x-gateway-upstream")
    }

    /// The gateway's reason, if it refused the request.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let reason = body["error"]["metadata"]["reason"].as_str()?;
        (!self.is_upstreams()).then(|| reason.to_owned())
    }

    fn summary(&self) -> String {
        let status = self
            .status
            .map_or("no status".to_owned(), |it| it.to_string());
        let end = match (&self.failure, self.is_whole) {
            (Some(failure), _) => format!("{failure:?}"),
            (None, true) => "to the end".to_owned(),
            (None, false) => "and left".to_owned(),
        };
        let reason = self.reason().unwrap_or_default();
        format!("saw {status} {reason}, {} bytes, {end}", self.body.len())
    }
}

impl Clients {
    /// Sends a request, and its replay if one is planned; returns an answer for each.
    pub async fn send(&self, plan: &Plan) -> Result<Vec<Delivered>> {
        let path = &plan.path;
        let presented = self.tokens.present(plan);
        let mut headers =
            self.credentials(plan, presented.as_ref(), &Method::POST, path, plan.nonce)?;
        plan.kind.add_headers(&mut headers);
        headers.insert(header::CONTENT_TYPE, plan.content_type.parse()?);
        headers.insert(TAG, plan.tag.parse()?);
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("gzip, br"),
        );
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.7"));
        let once = |nth: usize| self.once(plan, plan.ids.get(nth).copied(), path, &headers);
        if let Some(replay) = plan.replay {
            self.journal.count(Group::Fault, replay.name());
        }
        if let Some(name) = plan.client.name() {
            self.journal.count(Group::Fault, name);
        }
        let mut seen = match plan.replay {
            None => {
                let (seen, changed) =
                    tokio::join!(once(0), self.tokens.turn(plan.number, &self.users));
                changed?;
                vec![seen]
            }
            Some(Replay::Afterwards) => vec![once(0).await, once(1).await],
            Some(Replay::AtOnce) => {
                let (first, second) = tokio::join!(once(0), once(1));
                vec![first, second]
            }
        };
        if let Some(presented) = &presented {
            for seen in &mut seen {
                seen.had_to_pass = self.tokens.had_to_pass(plan, presented);
            }
        }
        if plan.job.polled
            && seen
                .iter()
                .any(|it| it.status == Some(StatusCode::ACCEPTED))
        {
            self.poll(plan).await?;
        }
        Ok(seen)
    }

    async fn once(
        &self,
        plan: &Plan,
        id: Option<Uuid>,
        path: &str,
        headers: &HeaderMap,
    ) -> Delivered {
        let id = id.unwrap_or_default();
        self.journal
            .note(plan.number, "client", format!("sends POST {path} as {id}"));
        let seen = read(
            self.proxy.invoke(Invocation {
                id,
                event: event::rest(id, &Method::POST, path, headers, &plan.body),
                timeout: plan.timeout,
                last: plan.last_of_environment,
                abandoned: match plan.client {
                    ClientBehaviour::Breaks { .. } => Abandoned::Broken,
                    ClientBehaviour::Reads
                    | ClientBehaviour::ReadsSlowly
                    | ClientBehaviour::Leaves { .. } => Abandoned::Drained,
                },
            }),
            plan.client,
        )
        .await;
        self.journal.note(plan.number, "client", seen.summary());
        let how = match (&seen.failure, seen.status) {
            (Some(failure), _) => format!("no whole answer: {}", failure_name(failure)),
            (None, Some(status)) => match seen.reason() {
                Some(reason) => format!("{} {reason}", status.as_u16()),
                None => format!("{} of OpenRouter", status.as_u16()),
            },
            (None, None) => "left before the head".to_owned(),
        };
        self.journal.count(Group::Client, how);
        seen
    }

    /// Polls a job until its end.
    async fn poll(&self, plan: &Plan) -> Result<()> {
        let path = format!(
            "/api/v1/openrouter/{}/{}",
            plan.kind.endpoint().path(),
            plan.job.id
        );
        for _ in 0..20 {
            sleep(Duration::from_millis(150)).await;
            // Not from the seed: the number of polls depends on time.
            let nonce = fastrand::u128(..).to_be_bytes();
            let presented = self.tokens.present(plan);
            let headers = self.credentials(plan, presented.as_ref(), &Method::GET, &path, nonce)?;
            let id = uuid::Builder::from_random_bytes(nonce).into_uuid();
            let parts = self.proxy.invoke(Invocation {
                id,
                event: event::rest(id, &Method::GET, &path, &headers, b""),
                timeout: plan.timeout,
                abandoned: Abandoned::Drained,
                last: false,
            });
            let seen = read(parts, ClientBehaviour::Reads).await;
            let body = String::from_utf8_lossy(&seen.body).into_owned();
            self.journal.note(
                plan.number,
                "client",
                format!("polls: {} {body}", seen.summary()),
            );
            if body.contains("\"completed\"") || body.contains("\"failed\"") {
                self.journal
                    .count(Group::Client, "job polled until it was done");
                return Ok(());
            }
            if seen.status == Some(StatusCode::UNAUTHORIZED) {
                // The token has ended.
                return Ok(());
            }
        }
        Ok(())
    }

    /// The token in its header, or a signature.
    fn credentials(
        &self,
        plan: &Plan,
        presented: Option<&Presented>,
        method: &Method,
        path: &str,
        nonce: [u8; 16],
    ) -> Result<HeaderMap> {
        if let Some(presented) = presented {
            let mut headers = HeaderMap::new();
            presented.add_to(&mut headers, plan.kind.endpoint())?;
            return Ok(headers);
        }
        let body: &[u8] = if method == Method::POST {
            &plan.body
        } else {
            b""
        };
        self.user(plan)?
            .signed(method, path, body, &Nonce::from_random(nonce))
    }

    fn user(&self, plan: &Plan) -> Result<&Signer> {
        self.users
            .get(plan.user)
            .ok_or_else(|| anyhow::anyhow!("there is no user {}", plan.user))
    }
}

fn failure_name(failure: &Failure) -> &'static str {
    match failure {
        Failure::Killed => "the function was killed",
        Failure::TimedOut => "the function timed out",
        Failure::Crashed(_) => "the function crashed",
        Failure::Reported(_) => "the function failed",
        Failure::BrokenOff => "the function broke off",
        Failure::NotAnswered => "the function did not answer",
        Failure::EventTooLarge => "the request was too large",
        Failure::AnswerTooLarge => "the answer was too large",
    }
}

async fn read(mut parts: mpsc::Receiver<Part>, client: ClientBehaviour) -> Delivered {
    let mut seen = Delivered::default();
    let leaves = match client {
        ClientBehaviour::Leaves { after } | ClientBehaviour::Breaks { after } => Some(after),
        ClientBehaviour::Reads | ClientBehaviour::ReadsSlowly => None,
    };
    while let Some(part) = parts.recv().await {
        match part {
            Part::Head(status, headers) => (seen.status, seen.headers) = (Some(status), headers),
            Part::Data(bytes) => seen.body.extend_from_slice(&bytes),
            Part::End => {
                seen.is_whole = true;
                return seen;
            }
            Part::Failed(failure) => {
                seen.failure = Some(failure);
                return seen;
            }
        }
        if leaves.is_some_and(|after| seen.body.len() >= after) {
            return seen;
        }
        if client == ClientBehaviour::ReadsSlowly {
            sleep(Duration::from_millis(15)).await;
        }
    }
    seen.failure = Some(Failure::BrokenOff);
    seen
}
