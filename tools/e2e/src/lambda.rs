//! The gateway in a Lambda with the limits of the real one.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use http::{HeaderMap, StatusCode};
use rustix::process::Pid;
use serde_json::Value;
use stack::lambda::{Abandoned, Failure, Function, Invocation, Limits, Mode, Part, Pool};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::world::World;

/// Environments of the proxy, for one test alone.
#[derive(Debug)]
pub struct Lambda(Pool);

impl World {
    /// The proxy with the usual configuration but for `changes`, in one environment with `limits`.
    pub fn lambda(&self, limits: Limits, changes: &[(&'static str, &str)]) -> Result<Lambda> {
        let mut env = self.env().clone();
        // At a lower level the pieces of a long answer fill megabytes.
        env.push(("RUST_LOG", "info".to_owned()));
        env.extend(
            changes
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let function = Function {
            name: "proxy",
            binary: self.functions.binary("proxy")?.to_owned(),
            env,
            mode: Mode::Streaming,
            limits,
        };
        Ok(Lambda(Pool::start(
            function,
            1,
            &self.logs,
            Arc::new(|_| {}),
        )))
    }
}

impl Lambda {
    /// Invokes it with an event, which is killed after `timeout`.
    #[must_use]
    pub fn invoke(&self, (id, event): (Uuid, Vec<u8>), timeout: Duration) -> Answer {
        Answer {
            parts: self.0.invoke(Invocation {
                id,
                event,
                timeout,
                abandoned: Abandoned::Drained,
                last: false,
            }),
            status: None,
            headers: HeaderMap::new(),
            body: Vec::new(),
        }
    }

    /// Whether no invocation runs in it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.unfinished() == 0
    }

    /// The number of environments so far: one, as long as none was killed.
    #[must_use]
    pub fn environments(&self) -> u64 {
        self.0.processes()
    }

    /// The process of its only environment, once that has started.
    pub fn process(&self) -> Result<Pid> {
        let birth = self.0.births().first().copied();
        Ok(birth.context("nothing was invoked")?.process)
    }

    /// The rules of the platform that it broke.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.0.violations()
    }
}

/// An answer as it arrives.
#[derive(Debug)]
pub struct Answer {
    parts: mpsc::Receiver<Part>,
    /// The status, once it has arrived.
    pub status: Option<StatusCode>,
    /// The headers.
    pub headers: HeaderMap,
    /// The part of its body that has arrived.
    pub body: Vec<u8>,
}

/// The end of an answer, as the platform sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The answer is whole, as far as the platform can tell.
    Clean,
    /// The answer has failed.
    Failed(Failure),
    /// The answer goes on.
    NotYet,
}

impl Answer {
    /// Reads until the body is at least as long, or has ended.
    pub async fn read(&mut self, length: usize) -> Result<End> {
        while self.body.len() < length {
            match self.parts.recv().await.context("no end")? {
                Part::Head(status, headers) => {
                    (self.status, self.headers) = (Some(status), headers);
                }
                Part::Data(bytes) => self.body.extend_from_slice(&bytes),
                Part::End => return Ok(End::Clean),
                Part::Failed(failure) => return Ok(End::Failed(failure)),
            }
        }
        Ok(End::NotYet)
    }

    /// Reads all of it.
    pub async fn end(&mut self) -> Result<End> {
        self.read(usize::MAX).await
    }

    /// The gateway's own reason, in a refusal.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body["error"]["metadata"]["reason"].as_str()?.to_owned())
    }
}
