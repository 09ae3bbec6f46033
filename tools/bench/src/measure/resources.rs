//! Cold starts, sizes, memory and processor time.

use anyhow::{Context as _, Result};
use rustix::process::Pid;
use serde_json::json;
use stub::load::Load;

use super::{Bench, megabytes, milliseconds};
use crate::{
    figures::{Figures, median, quantile},
    process::{cpu, cpu_since, memory},
    subject::{Kind, Subject},
};

/// Targets of cold starts, in milliseconds.
const COLD_PROXY: f64 = 10.0;
const COLD_HEALTH: f64 = 3.0;
const COLD_CONSOLE: f64 = 3.0;
const COLD_ANSWER: f64 = 60.0;
const COLD_PAGE: f64 = 10.0;
/// Targets of sizes and of memory, in bytes.
const PROXY_SIZE: u64 = 9_000_000;
const HEALTH_SIZE: u64 = 4_000_000;
const CONSOLE_SIZE: u64 = 4_000_000;
const MEMORY: u64 = 24_000_000;
/// The length of a long stream, in megabytes.
const BULK: usize = 100;
/// The number of events of a long answer.
const EVENTS: usize = 1_000;

impl Bench {
    /// The time from spawn to the first `/next`, and to the first byte of the first answer.
    pub async fn cold_starts(&self, figures: &mut Figures) -> Result<()> {
        let mut raw = Vec::new();
        for (name, binary, target, answer) in [
            ("proxy", &self.binaries.proxy, COLD_PROXY, Some(COLD_ANSWER)),
            // It has no chat endpoint, and refuses the request.
            ("health", &self.binaries.health, COLD_HEALTH, None),
            (
                "console",
                &self.binaries.console,
                COLD_CONSOLE,
                Some(COLD_PAGE),
            ),
        ] {
            let (mut ready, mut answered) = (Vec::new(), Vec::new());
            for _ in 0..self.options.starts {
                let subject = self.fresh(name, binary);
                let request = if name == "console" {
                    Subject::prepare_page()?
                } else {
                    subject.prepare(Load::Json, Kind::Billed)?
                };
                let mut first = None;
                let sent = subject.send(request, |now, _| {
                    first.get_or_insert(now);
                });
                let outcome = sent.await;
                let birth = subject.birth().context("no process was started")?;
                ready.push(milliseconds(birth.ready.duration_since(birth.spawned)));
                if answer.is_some() {
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
            if let Some(target) = answer {
                let middle = median(&answered);
                figures.add(
                    format!("cold start of {name}: spawn to first byte of an answer, median"),
                    format!("≤ {target:.0} ms"),
                    format!("{middle:.1} ms (without TLS)"),
                    Some(middle <= target),
                );
            }
            raw.push(json!({"function": name, "ready_ms": ready, "first_byte_ms": answered}));
        }
        figures.keep("cold_starts", raw);
        Ok(())
    }

    /// The sizes of the executables.
    pub fn sizes(&self, figures: &mut Figures) -> Result<()> {
        for (name, binary, target) in [
            ("proxy", &self.binaries.proxy, PROXY_SIZE),
            ("health", &self.binaries.health, HEALTH_SIZE),
            ("console", &self.binaries.console, CONSOLE_SIZE),
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

    /// The resident memory of a new environment, before, during and after much traffic.
    pub async fn memory(&self, figures: &mut Figures) -> Result<()> {
        let subject = self.fresh("proxy", &self.binaries.proxy);
        subject.ask(Load::Json, Kind::Billed).await?;
        let process = process_of(&subject)?;
        let idle = memory(process)?;
        subject.ask(Load::Bulk(BULK), Kind::Billed).await?;
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
                let request = subject.prepare(Load::Json, Kind::Billed)?;
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

    /// The processor time of a metered stream, compared with the same stream unmetered.
    pub async fn metering(&self, figures: &mut Figures) -> Result<()> {
        for (load, how) in [
            (Load::Events(EVENTS), "events 1 ms apart"),
            (Load::Bulk(BULK), "100 MB at once"),
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
                    subject.ask(load, kind).await?;
                    spent.push(milliseconds(cpu_since(process, before)?));
                }
            }
            // The minimum: everything else that runs on this machine can only add to it.
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

    /// The cost of one request to the platform: time in the environment, and processor time.
    pub async fn cost(&self, figures: &mut Figures) -> Result<()> {
        for (load, what) in [(Load::Json, "JSON"), (Load::Stream, "stream of 55 events")] {
            let process = process_of(&self.gateway)?;
            let before = cpu(process)?;
            let started = tokio::time::Instant::now();
            for _ in 0..500 {
                let request = self.gateway.prepare(load, Kind::Billed)?;
                self.gateway.send(request, |_, _| ()).await?;
            }
            self.gateway.rest().await;
            let (whole, busy) = (started.elapsed() / 500, cpu_since(process, before)? / 500);
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
