//! The measurements. Each adds its lines to the figures.

mod crowds;

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Pid;
use serde_json::json;
use stack::RunDir;
use std::sync::Arc;

use e2e::signer::Signer;

use crate::{
    answers::{Answer, PACED, numbers_in},
    figures::{Figures, median, quantile},
    peer::Envoy,
    process::{cpu, cpu_since, memory},
    run::Options,
    stubs::{Stubs, lock},
    subject::{Kind, Subject},
};

/// The targets that are no ratios, in milliseconds.
const COLD_PROXY: f64 = 10.0;
const COLD_HEALTH: f64 = 3.0;
const COLD_ANSWER: f64 = 60.0;
const CHUNK: f64 = 0.2;
/// In bytes.
const PROXY_SIZE: u64 = 9_000_000;
const HEALTH_SIZE: u64 = 4_000_000;
const MEMORY: u64 = 24_000_000;
/// Megabytes that are streamed through.
const BULK: usize = 100;
/// Events of a long answer.
const EVENTS: usize = 1_000;

/// The executables.
#[derive(Debug)]
pub struct Binaries {
    pub proxy: PathBuf,
    pub health: PathBuf,
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
    /// A function that asks nobody: what Lambda's protocol costs in itself.
    pub alone: Subject,
    /// Where it can be had.
    pub envoy: Option<(Envoy, Subject)>,
}

impl Bench {
    /// Those that stand before the stub.
    pub(crate) fn others(&self) -> impl Iterator<Item = (&'static str, &Subject)> {
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

    /// What one warm request asks of others before OpenRouter, and whether it connects anew.
    pub async fn round_trips(&self, figures: &mut Figures) -> Result<()> {
        let seen = &self.stubs.seen;
        // The first streams may have opened a second connection to the database.
        self.gateway.ask(Answer::Stream, Kind::Billed).await?;
        let before = (
            seen.connections.load(Ordering::Relaxed),
            seen.secrets.load(Ordering::Relaxed),
        );
        let mut counts = Vec::new();
        for _ in 0..100 {
            seen.forget();
            self.gateway.ask(Answer::Json, Kind::Billed).await?;
            let asked = lock(&seen.upstream).first().copied();
            let asked = asked.context("OpenRouter was not asked")?;
            let calls = lock(&seen.storage);
            counts.push(calls.iter().filter(|(when, _)| *when < asked).count());
        }
        let connections = seen.connections.load(Ordering::Relaxed) - before.0;
        let secrets = seen.secrets.load(Ordering::Relaxed) - before.1;
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

    /// Time to the first byte and to the end, one request at a time.
    pub async fn latency(&self, figures: &mut Figures) -> Result<()> {
        for (answer, what) in [
            (Answer::Json, "JSON answer"),
            (Answer::Stream, "first byte of a stream"),
        ] {
            let mut all = vec![("stub", &self.direct)];
            all.extend(self.others());
            all.push(("a function that asks nobody", &self.alone));
            // By subject: the medians of the rounds, and all samples.
            let mut rounds = vec![Vec::new(); all.len()];
            let mut samples = vec![Vec::new(); all.len()];
            for round in 0..=self.options.rounds {
                for (index, (_, subject)) in all.iter().enumerate() {
                    let mut times = Vec::new();
                    for _ in 0..self.options.requests {
                        let timing = subject.ask(answer, Kind::Billed).await?;
                        times.push(milliseconds(match answer {
                            Answer::Json => timing.whole,
                            _ => timing.first_byte,
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
            let added = |of: &[f64], name: &str| {
                let index = all.iter().position(|(it, _)| *it == name)?;
                Some(of.get(index)? - of.first()?)
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

    /// From the moment at which the stub writes an event to the one at which it is out.
    pub async fn chunks(&self, figures: &mut Figures) -> Result<()> {
        let mut delays = Vec::new();
        let subjects = std::iter::once(("stub", &self.direct)).chain(self.others());
        for (name, subject) in subjects {
            let mut of_subject = Vec::new();
            for _ in 0..self.options.rounds {
                self.stubs.seen.forget();
                let mut arrived = Vec::new();
                let request = subject.prepare(Answer::Paced, Kind::Billed)?;
                subject
                    .send(request, |now, text| {
                        arrived.extend(numbers_in(text).map(|number| (number, now)));
                    })
                    .await?;
                subject.rest().await;
                let sent = lock(&self.stubs.seen.sent).clone();
                ensure!(arrived.len() == PACED, "events are missing");
                // The first one waits for the head.
                for (number, when) in arrived.into_iter().skip(1) {
                    let sent = sent.get(number).context("an event that was not sent")?;
                    of_subject.push(milliseconds(when.duration_since(*sent)));
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
                    "≤ 0.20 ms"
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

    /// From spawn to the first `/next`, and to the first byte of the first answer.
    pub async fn cold_starts(&self, figures: &mut Figures) -> Result<()> {
        let mut raw = Vec::new();
        for (name, binary, target) in [
            ("proxy", &self.binaries.proxy, COLD_PROXY),
            ("health", &self.binaries.health, COLD_HEALTH),
        ] {
            let (mut ready, mut answered) = (Vec::new(), Vec::new());
            for _ in 0..self.options.starts {
                let subject = self.fresh(name, binary);
                let request = subject.prepare(Answer::Json, Kind::Billed)?;
                let mut first = None;
                let sent = subject.send(request, |now, _| {
                    first.get_or_insert(now);
                });
                // Health knows no chat, and refuses it.
                let outcome = sent.await;
                let birth = subject.birth().context("no process was started")?;
                ready.push(milliseconds(birth.ready.duration_since(birth.spawned)));
                if name == "proxy" {
                    outcome?;
                    let first = first.context("no first byte")?;
                    answered.push(milliseconds(first.duration_since(birth.spawned)));
                }
                subject.rest().await;
            }
            let middle = median(&ready);
            figures.add(
                format!("cold start of {name}: spawn to first /next, median"),
                format!("≤ {target:.0} ms"),
                format!("{middle:.1} ms"),
                Some(middle <= target),
            );
            if name == "proxy" {
                let middle = median(&answered);
                figures.add(
                    "cold start of proxy: spawn to first byte of an answer, median",
                    format!("≤ {COLD_ANSWER:.0} ms"),
                    format!("{middle:.1} ms (without TLS)"),
                    Some(middle <= COLD_ANSWER),
                );
            }
            raw.push(json!({"function": name, "ready_ms": ready, "first_byte_ms": answered}));
        }
        figures.keep("cold_starts", raw);
        Ok(())
    }

    /// How large the executables are.
    pub fn sizes(&self, figures: &mut Figures) -> Result<()> {
        for (name, binary, target) in [
            ("proxy", &self.binaries.proxy, PROXY_SIZE),
            ("health", &self.binaries.health, HEALTH_SIZE),
        ] {
            let size = std::fs::metadata(binary)?.len();
            figures.add(
                format!("size of {name}"),
                format!("≤ {}", megabytes(target)),
                megabytes(size),
                Some(size <= target),
            );
        }
        Ok(())
    }

    /// Resident memory in a new environment: before, while and after much passes through it.
    pub async fn memory(&self, figures: &mut Figures) -> Result<()> {
        let subject = self.fresh("proxy", &self.binaries.proxy);
        subject.ask(Answer::Json, Kind::Billed).await?;
        let process = process_of(&subject)?;
        let idle = memory(process)?;
        subject.ask(Answer::Bulk(BULK), Kind::Billed).await?;
        let streamed = memory(process)?;
        figures.add(
            format!("resident memory while {BULK} MB stream through (idle before)"),
            format!("≤ {}", megabytes(MEMORY)),
            format!(
                "{} ({})",
                megabytes(streamed.peak),
                megabytes(idle.resident)
            ),
            Some(streamed.peak <= MEMORY),
        );
        let mut residents = Vec::new();
        for _ in 0..10 {
            for _ in 0..self.options.many / 10 {
                let request = subject.prepare(Answer::Json, Kind::Billed)?;
                subject.send(request, |_, _| ()).await?;
            }
            residents.push(memory(process)?.resident);
        }
        let (first, last) = (residents.first().copied(), residents.last().copied());
        let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
        figures.add(
            format!(
                "the same over {} requests: after a tenth, at the end",
                self.options.many
            ),
            "≤ 5 % more",
            format!("{}, {}", megabytes(first), megabytes(last)),
            Some(last <= first + first / 20),
        );
        figures.keep("resident_bytes", json!({"idle": idle.resident, "peak_streaming": streamed.peak, "over_requests": residents}));
        Ok(())
    }

    /// Processor time of a stream that is metered, beside the same stream that is not.
    pub async fn metering(&self, figures: &mut Figures) -> Result<()> {
        for (answer, how) in [
            (Answer::Events(EVENTS), "events 1 ms apart"),
            (Answer::Bulk(BULK), "100 MB at once"),
        ] {
            let mut spent = [Vec::new(), Vec::new(), Vec::new()];
            for _ in 0..self.options.rounds {
                for (spent, (subject, kind)) in spent.iter_mut().zip([
                    (&self.gateway, Kind::Billed),
                    (&self.gateway, Kind::Free),
                    (&self.passthrough, Kind::Free),
                ]) {
                    let process = process_of(subject)?;
                    let before = cpu(process)?;
                    subject.ask(answer, kind).await?;
                    spent.push(milliseconds(cpu_since(process, before)?));
                }
            }
            // The least of each: what else runs on this machine can only add to it.
            let [metered, free, passed] = spent.each_ref().map(|it| quantile(it, 0.0));
            let more = metered / free - 1.0;
            figures.add(
                format!("metering, {how}: processor time beyond the same stream unmetered"),
                "≤ 5 %",
                format!(
                    "{:.1} % ({metered:.0} beside {free:.0} ms; pass-through {passed:.0})",
                    more * 100.0
                ),
                Some(more <= 0.05),
            );
            figures.keep(&format!("cpu_ms {how}"), json!(spent));
        }
        Ok(())
    }

    /// What one request costs the platform: time in the environment beyond the wait for others, and
    /// processor time.
    pub async fn cost(&self, figures: &mut Figures) -> Result<()> {
        for (answer, what) in [
            (Answer::Json, "JSON"),
            (Answer::Stream, "stream of 55 events"),
        ] {
            let process = process_of(&self.gateway)?;
            let before = cpu(process)?;
            let began = tokio::time::Instant::now();
            for _ in 0..500 {
                let request = self.gateway.prepare(answer, Kind::Billed)?;
                self.gateway.send(request, |_, _| ()).await?;
            }
            self.gateway.rest().await;
            let (whole, busy) = (began.elapsed() / 500, cpu_since(process, before)? / 500);
            figures.add(
                format!("one request, {what}: time from invocation to the next (books closed)"),
                "",
                format!(
                    "{:.2} ms, {:.2} ms of a core",
                    milliseconds(whole),
                    milliseconds(busy)
                ),
                None,
            );
            figures.keep(
                &format!("request_ms {what}"),
                json!({"whole": milliseconds(whole), "cpu": milliseconds(busy)}),
            );
        }
        Ok(())
    }
}

fn process_of(subject: &Subject) -> Result<Pid> {
    Ok(subject.birth().context("no process was started")?.process)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
