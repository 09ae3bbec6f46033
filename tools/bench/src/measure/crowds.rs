//! Concurrent invocations of one environment, as on Lambda Managed Instances.

use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;
use serde_json::json;
use stub::load::Load;

use super::{Bench, megabytes};
use crate::{
    crowd::Crowd,
    figures::Figures,
    process::{cpu, cpu_since, memory},
    subject::{Kind, signed_event},
};

/// The number of concurrent requests to one environment.
const CONCURRENT: usize = 16;
/// The template's `ManagedInstanceConcurrency`.
const CROWDED: usize = 128;
/// The size in bytes of the largest body that fits into Lambda's event.
const LARGEST_BODY: usize = 4_700_000;

impl Bench {
    /// The number of concurrent requests for each second of a processor.
    pub async fn crowds(&self, figures: &mut Figures) -> Result<()> {
        let mut rates = Vec::new();
        for (name, binary) in [
            ("gateway", &self.binaries.proxy),
            ("pass-through", &self.binaries.passthrough),
        ] {
            let env = self.stubs.env();
            let crowd = Crowd::start(binary, &env, self.run.path(), CONCURRENT).await?;
            let ask = async || -> Result<()> {
                let body = Load::Json.request();
                let (id, event) =
                    signed_event(&self.user, &Method::POST, "chat/completions", &body)?;
                crowd.invoke(id, event).await?;
                Ok(())
            };
            send_concurrently(200, CONCURRENT, &ask).await?;
            let before = cpu(crowd.process)?;
            send_concurrently(self.options.crowd, CONCURRENT, &ask).await?;
            rates.push((
                name,
                rate(self.options.crowd, cpu_since(crowd.process, before)?),
            ));
        }
        if let Some((envoy, subject)) = &self.envoy {
            let ask = async || subject.ask(Load::Json, Kind::Billed).await.map(drop);
            send_concurrently(200, CONCURRENT, &ask).await?;
            let before = cpu(envoy.pid()?)?;
            send_concurrently(self.options.crowd, CONCURRENT, &ask).await?;
            rates.push((
                "Envoy",
                rate(self.options.crowd, cpu_since(envoy.pid()?, before)?),
            ));
        }
        let peer = rates.iter().find(|(name, _)| *name == "Envoy");
        let half = peer.map(|(_, rate)| rate / 2.0);
        for (name, rate) in &rates {
            let target = half.filter(|_| *name == "gateway");
            figures.add(
                format!("{CONCURRENT} at once: requests per second of a core, {name}"),
                target
                    .map(|half| format!("≥ {half:.0} (half of Envoy's)"))
                    .unwrap_or_default(),
                format!("{rate:.0}"),
                target.map(|half| *rate >= half),
            );
        }
        figures.keep("requests_per_core_second", json!(rates));
        Ok(())
    }

    /// The memory of an environment that serves as many streams as it may.
    pub async fn crowd_memory(&self, figures: &mut Figures) -> Result<()> {
        for (what, padding) in [("small", 0), ("the largest", LARGEST_BODY)] {
            let mut request = Load::Events(1_000).request();
            // White space around JSON has no meaning.
            request.resize(request.len().max(padding), b' ');
            let env = self.stubs.env();
            let crowd = Crowd::start(&self.binaries.proxy, &env, self.run.path(), CROWDED).await?;
            let ask = async || -> Result<()> {
                let (id, event) =
                    signed_event(&self.user, &Method::POST, "chat/completions", &request)?;
                crowd.invoke(id, event).await?;
                Ok(())
            };
            send_concurrently(CROWDED, CROWDED, &ask).await?;
            let peak = memory(crowd.process)?.peak;
            figures.add(
                format!("peak memory, {CROWDED} streams at once in one environment, {what} bodies"),
                "",
                megabytes(peak),
                None,
            );
            figures.keep(&format!("crowd_peak_bytes {what}"), json!(peak));
        }
        Ok(())
    }
}

async fn send_concurrently(
    count: usize,
    concurrent: usize,
    ask: &impl AsyncFn() -> Result<()>,
) -> Result<()> {
    stream::iter(0..count)
        .map(|_| ask())
        .buffer_unordered(concurrent)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

fn rate(count: usize, spent: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let count = count as f64;
    count / spent.as_secs_f64()
}
