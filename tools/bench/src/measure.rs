//! The measurements. Each adds its lines to the figures.

mod crowds;
mod instructions;
mod resources;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use e2e::signer::Signer;
use serde_json::json;
use stack::{RunDir, lambda::lock};
use stub::load::{Load, PACED, numbers_in};

pub use instructions::{Counter, Sender};

use crate::{
    figures::{Figures, median, quantile},
    options::Options,
    peer::Envoy,
    stubs::Stubs,
    subject::{Kind, Subject},
};

/// The target of the delay of a chunk, in milliseconds.
const CHUNK: f64 = 0.1;

/// The executables.
#[derive(Debug)]
pub struct Binaries {
    pub proxy: PathBuf,
    pub health: PathBuf,
    pub console: PathBuf,
    pub passthrough: PathBuf,
}

/// Everything that measurements need.
#[derive(Debug)]
pub struct Bench {
    pub options: Options,
    pub run: RunDir,
    pub binaries: Binaries,
    pub stubs: Stubs,
    pub user: Arc<Signer>,
    pub direct: Subject,
    pub gateway: Subject,
    pub passthrough: Subject,
    /// A function that answers by itself: the cost of Lambda's protocol alone.
    pub alone: Subject,
    /// `None` where it cannot be installed.
    pub envoy: Option<(Envoy, Subject)>,
}

impl Bench {
    /// The subjects between the client and the stub.
    pub(crate) fn intermediaries(&self) -> impl Iterator<Item = (&'static str, &Subject)> {
        let functions = [
            ("gateway", &self.gateway),
            ("pass-through", &self.passthrough),
        ];
        let envoy = self.envoy.as_ref().map(|(_, subject)| ("Envoy", subject));
        functions.into_iter().chain(envoy)
    }

    pub(crate) fn fresh(&self, name: &'static str, binary: &Path) -> Subject {
        Subject::function(name, binary, self.stubs.env(), self.run.path(), &self.user)
    }

    /// The round trips of a warm request before it reaches OpenRouter, and its new connections.
    pub async fn round_trips(&self, figures: &mut Figures) -> Result<()> {
        let calls = &self.stubs.calls;
        // The first streams may have opened a second connection to the database.
        self.gateway.ask(Load::Stream, Kind::Billed).await?;
        let before = (
            calls.connections.load(Ordering::Relaxed),
            calls.secrets.load(Ordering::Relaxed),
        );
        let mut counts = Vec::new();
        for _ in 0..100 {
            calls.forget();
            self.gateway.ask(Load::Json, Kind::Billed).await?;
            let reached = lock(&calls.upstream).first().copied();
            let reached = reached.context("OpenRouter was not reached")?;
            let storage = lock(&calls.storage);
            counts.push(storage.iter().filter(|(at, _)| *at < reached).count());
        }
        let connections = calls.connections.load(Ordering::Relaxed) - before.0;
        let secrets = calls.secrets.load(Ordering::Relaxed) - before.1;
        counts.sort_unstable();
        let (least, most) = (counts.first().copied(), counts.last().copied());
        figures.add(
            "round trips before OpenRouter",
            "1 to storage, 0 to secrets",
            format!(
                "{} to storage, {secrets} to secrets",
                most.unwrap_or_default()
            ),
            Some(least == Some(1) && most == Some(1) && secrets == 0),
        );
        figures.add(
            "new connections in 100 warm requests",
            "0",
            connections.to_string(),
            Some(connections == 0),
        );
        Ok(())
    }

    /// The time to the first byte and to the end, one request at a time.
    pub async fn latency(&self, figures: &mut Figures) -> Result<()> {
        for (load, what) in [
            (Load::Json, "JSON answer"),
            (Load::Stream, "first byte of a stream"),
        ] {
            let mut all = vec![("stub", &self.direct)];
            all.extend(self.intermediaries());
            all.push(("a function that answers by itself", &self.alone));
            // For each subject the medians of its rounds, and all samples.
            let mut rounds = vec![Vec::new(); all.len()];
            let mut samples = vec![Vec::new(); all.len()];
            for round in 0..=self.options.rounds {
                for (index, (_, subject)) in all.iter().enumerate() {
                    let mut times = Vec::new();
                    for _ in 0..self.options.requests {
                        let timing = subject.ask(load, Kind::Billed).await?;
                        times.push(milliseconds(if load == Load::Json {
                            timing.whole
                        } else {
                            timing.first_byte
                        }));
                    }
                    // The first round is a rehearsal.
                    if round > 0
                        && let (Some(rounds), Some(samples)) =
                            (rounds.get_mut(index), samples.get_mut(index))
                    {
                        rounds.push(median(&times));
                        samples.extend(times);
                    }
                }
            }
            let p50: Vec<f64> = rounds.iter().map(|it| median(it)).collect();
            let p99: Vec<f64> = samples.iter().map(|it| quantile(it, 0.99)).collect();
            let added = |times: &[f64], name: &str| {
                let index = all.iter().position(|(it, _)| *it == name)?;
                Some(times.get(index)? - times.first()?)
            };
            let peer = added(&p50, "Envoy");
            for (name, _) in all.iter().skip(1) {
                let (mine, slow) = (added(&p50, name), added(&p99, name));
                let mine = mine.unwrap_or_default();
                let target = peer.map(|it| format!("≤ {:.2} ms (2 × Envoy's)", 2.0 * it));
                figures.add(
                    format!("{what}: added by {name}, p50 / p99"),
                    target.filter(|_| *name == "gateway").unwrap_or_default(),
                    format!("{mine:.2} / {:.2} ms", slow.unwrap_or_default()),
                    peer.filter(|_| *name == "gateway")
                        .map(|it| mine <= 2.0 * it),
                );
            }
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            figures.keep(
                &format!("latency_ms {what}"),
                json!({"subjects": names, "medians_by_round": rounds, "p99": p99}),
            );
        }
        Ok(())
    }

    /// The time from the stub's write of an event to its arrival.
    pub async fn chunks(&self, figures: &mut Figures) -> Result<()> {
        let mut delays = Vec::new();
        let subjects = std::iter::once(("stub", &self.direct)).chain(self.intermediaries());
        for (name, subject) in subjects {
            let mut of_subject = Vec::new();
            for _ in 0..self.options.rounds {
                self.stubs.calls.forget();
                let mut arrived = Vec::new();
                let request = subject.prepare(Load::Paced, Kind::Billed)?;
                subject
                    .send(request, |now, text| {
                        arrived.extend(numbers_in(text).map(|number| (number, now)));
                    })
                    .await?;
                subject.rest().await;
                let sent = lock(&self.stubs.calls.sent).clone();
                ensure!(arrived.len() == PACED, "events are missing");
                // The first one waits for the head.
                for (number, at) in arrived.into_iter().skip(1) {
                    let sent = sent.get(number).context("an event that was not sent")?;
                    of_subject.push(milliseconds(at.duration_since(*sent)));
                }
            }
            delays.push((name, median(&of_subject)));
        }
        let stub = delays.first().map(|(_, it)| *it).unwrap_or_default();
        for (name, delay) in delays.iter().skip(1) {
            let added = delay - stub;
            figures.add(
                format!("from chunk in to chunk out: added by {name}, median"),
                if *name == "gateway" {
                    "≤ 0.10 ms"
                } else {
                    ""
                },
                format!("{added:.3} ms"),
                (*name == "gateway").then_some(added <= CHUNK),
            );
        }
        figures.keep("chunk_delay_ms", json!(delays));
        Ok(())
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
