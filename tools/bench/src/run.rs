//! One run: build, qualify, measure, report.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use e2e::signer::Signer;
use stack::{RunDir, Workspace, cargo, process::run_visibly, progress::step};

use crate::{
    figures::Figures,
    measure::{Bench, Binaries, Sender},
    options::Options,
    peer::{Envoy, absence},
    qualify::qualify,
    stubs::Stubs,
    subject::Subject,
};

/// Runs the benchmark, prints the table, and writes `.tools/run/bench.json`.
pub fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::locate();
    let binaries = binaries(&workspace, options)?;
    let started = Instant::now();
    let folder = RunDir::unique(&workspace, "bench")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let figures = runtime.block_on(measure(options, &workspace, folder, binaries))?;
    figures.print();
    let raw = workspace.tools().join("run/bench.json");
    figures.write(&raw)?;
    println!(
        "\n{:.0} s; raw results: {}",
        started.elapsed().as_secs_f64(),
        raw.display()
    );
    Ok(())
}

fn binaries(workspace: &Workspace, options: &Options) -> Result<Binaries> {
    let release = workspace.root().join("target/release");
    let mut command = cargo::command(workspace);
    command.args(["build", "--release", "--bin", "passthrough"]);
    if !options.packaged {
        command.args(["--bin", "health", "--bin", "console"]);
        if options.proxy.is_none() {
            command.args(["--bin", "proxy"]);
        }
    }
    let status = step("building for release (some minutes the first time)", || {
        run_visibly(&mut command)
    })?;
    ensure!(status.success(), "cargo build: {status}");
    let deployed = workspace.root().join(".aws-sam/build");
    let of = |name: &str, resource: &str| -> Result<PathBuf> {
        let path = if options.packaged {
            deployed.join(resource).join("bootstrap")
        } else {
            release.join(name)
        };
        path.canonicalize().with_context(|| {
            format!(
                "{} is not there; `cargo xtask package` builds it",
                path.display()
            )
        })
    };
    Ok(Binaries {
        proxy: match &options.proxy {
            Some(path) => path
                .canonicalize()
                .with_context(|| path.display().to_string())?,
            None => of("proxy", "ProxyFunction")?,
        },
        health: of("health", "HealthFunction")?,
        console: of("console", "ConsoleFunction")?,
        passthrough: release.join("passthrough"),
    })
}

async fn measure(
    options: &Options,
    workspace: &Workspace,
    run: RunDir,
    binaries: Binaries,
) -> Result<Figures> {
    let user = Arc::new(Signer::random()?);
    let senders = Sender::all(&user)?;
    let dids: Vec<_> = senders.iter().filter_map(Sender::did).cloned().collect();
    let stubs = Stubs::start(&user, &dids).await?;
    let envoy = (!options.no_peer && !options.only_instructions)
        .then(|| envoy(workspace, &run, &stubs.openrouter));
    let function =
        |name, binary: &Path| Subject::function(name, binary, stubs.env(), run.path(), &user);
    let without_upstream = stubs
        .env()
        .into_iter()
        .filter(|(name, _)| *name != "GATEWAY_OPENROUTER_URL")
        .collect();
    let bench = Bench {
        alone: Subject::function(
            "alone",
            &binaries.passthrough,
            without_upstream,
            run.path(),
            &user,
        ),
        direct: Subject::http(&stubs.openrouter)?,
        gateway: function("proxy", &binaries.proxy),
        passthrough: function("passthrough", &binaries.passthrough),
        envoy: envoy.flatten(),
        options: options.clone(),
        user: Arc::clone(&user),
        senders,
        run: run.clone(),
        binaries,
        stubs,
    };
    let mut figures = Figures::default();
    announce("instructions");
    bench.instructions(&mut figures).await?;
    if options.only_instructions {
        return Ok(figures);
    }
    announce("qualifying: bytes and rows");
    qualify(&bench).await?;
    announce("round trips");
    bench.round_trips(&mut figures).await?;
    announce("latency");
    bench.latency(&mut figures).await?;
    announce("chunks");
    bench.chunks(&mut figures).await?;
    announce("cold starts");
    bench.cold_starts(&mut figures).await?;
    bench.sizes(&mut figures)?;
    announce("memory");
    bench.memory(&mut figures).await?;
    announce("metering");
    bench.metering(&mut figures).await?;
    announce("concurrency");
    bench.crowds(&mut figures).await?;
    bench.crowd_memory(&mut figures).await?;
    announce("one request");
    bench.cost(&mut figures).await?;
    let violations = bench.gateway.violations();
    ensure!(violations.is_empty(), "{violations:?}");
    Ok(figures)
}

fn envoy(workspace: &Workspace, run: &RunDir, openrouter: &str) -> Option<(Envoy, Subject)> {
    let upstream = openrouter
        .trim_start_matches("http://")
        .trim_end_matches("/api/v1");
    let started = Envoy::start(workspace, run, upstream).and_then(|envoy| {
        let subject = Subject::http(format!("{}/api/v1", envoy.url()))?;
        Ok((envoy, subject))
    });
    started
        .map_err(|error| eprintln!("  {}", absence(&error)))
        .ok()
}

fn announce(part: &str) {
    eprintln!("  {part}");
}
