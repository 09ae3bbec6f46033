//! The gateway in a Lambda as strict, and as narrow, as the real one.

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
        // What is written of each of a long answer's pieces is megabytes.
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
    /// Invokes it with an event, which must be done after `time`.
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

    /// Whether nothing runs in it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.unfinished() == 0
    }

    /// How many environments it took so far: one, as long as none was killed.
    #[must_use]
    pub fn environments(&self) -> u64 {
        self.0.processes()
    }

    /// The process of its only environment, once that has come to life.
    pub fn process(&self) -> Result<Pid> {
        let birth = self.0.births().first().copied();
        Ok(birth.context("nothing was invoked")?.process)
    }

    /// What it did that a runtime must not do.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.0.violations()
    }
}

/// An answer as it comes.
#[derive(Debug)]
pub struct Answer {
    parts: mpsc::Receiver<Part>,
    /// Its status, once it is there.
    pub status: Option<StatusCode>,
    /// Its headers.
    pub headers: HeaderMap,
    /// What came of its body.
    pub body: Vec<u8>,
}

/// How the platform ended an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// It is whole, as far as the platform can tell.
    Clean,
    /// It is not.
    Failed(Failure),
    /// It is still going on.
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
