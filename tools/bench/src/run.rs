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
    measure::{Bench, Binaries, Counter, Sender},
    options::Options,
    peer::{Envoy, absence},
    qualify::qualify,
    stubs::Stubs,
    subject::Subject,
};

/// Runs the benchmark, prints the table, and writes `.tools/run/bench.json`.
pub fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::locate();
    build(&workspace, options)?;
    let started = Instant::now();
    let folder = RunDir::unique(&workspace, "bench")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut figures = Figures::default();
    runtime.block_on(measure(options, &workspace, folder, &mut figures))?;
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

/// Builds the executables that are measured, unless they are packaged or given.
fn build(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut names = Vec::new();
    if !options.packaged && options.proxy.is_none() {
        names.push("proxy");
    }
    if !options.only_instructions {
        names.push("passthrough");
        if !options.packaged {
            names.extend(["health", "console"]);
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    let mut command = cargo::command(workspace);
    command.args(["build", "--release"]);
    for name in names {
        command.args(["--bin", name]);
    }
    let status = step("building for release (some minutes the first time)", || {
        run_visibly(&mut command)
    })?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(())
}

/// The place of a function's executable, packaged as `resource` or built.
fn function(
    workspace: &Workspace,
    options: &Options,
    name: &str,
    resource: &str,
) -> Result<PathBuf> {
    let path = if options.packaged {
        let deployed = workspace.root().join(".aws-sam/build");
        deployed.join(resource).join("bootstrap")
    } else {
        release(workspace).join(name)
    };
    path.canonicalize().with_context(|| {
        format!(
            "{} is not there; `cargo xtask package` builds it",
            path.display()
        )
    })
}

fn release(workspace: &Workspace) -> PathBuf {
    workspace.root().join("target/release")
}

fn proxy(workspace: &Workspace, options: &Options) -> Result<PathBuf> {
    match &options.proxy {
        Some(path) => path
            .canonicalize()
            .with_context(|| path.display().to_string()),
        None => function(workspace, options, "proxy", "ProxyFunction"),
    }
}

async fn measure(
    options: &Options,
    workspace: &Workspace,
    run: RunDir,
    figures: &mut Figures,
) -> Result<()> {
    let proxy = proxy(workspace, options)?;
    let user = Arc::new(Signer::random()?);
    let senders = Sender::all(&user)?;
    let dids: Vec<_> = senders.iter().filter_map(Sender::did).cloned().collect();
    let stubs = Stubs::start(&user, &dids).await?;
    announce("instructions");
    let counter = Counter {
        proxy: &proxy,
        stubs: &stubs,
        run: &run,
    };
    counter.count(&senders, figures).await?;
    if options.only_instructions {
        return Ok(());
    }
    let binaries = Binaries {
        health: function(workspace, options, "health", "HealthFunction")?,
        console: function(workspace, options, "console", "ConsoleFunction")?,
        passthrough: release(workspace).join("passthrough"),
        proxy,
    };
    let envoy = (!options.no_peer).then(|| envoy(workspace, &run, &stubs.openrouter));
    let subject =
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
        gateway: subject("proxy", &binaries.proxy),
        passthrough: subject("passthrough", &binaries.passthrough),
        envoy: envoy.flatten(),
        options: options.clone(),
        user: Arc::clone(&user),
        run: run.clone(),
        binaries,
        stubs,
    };
    announce("qualifying: bytes and rows");
    qualify(&bench).await?;
    announce("round trips");
    bench.round_trips(figures).await?;
    announce("latency");
    bench.latency(figures).await?;
    announce("chunks");
    bench.chunks(figures).await?;
    announce("cold starts");
    bench.cold_starts(figures).await?;
    bench.sizes(figures)?;
    announce("memory");
    bench.memory(figures).await?;
    announce("metering");
    bench.metering(figures).await?;
    announce("concurrency");
    bench.crowds(figures).await?;
    bench.crowd_memory(figures).await?;
    announce("one request");
    bench.cost(figures).await?;
    let violations = bench.gateway.violations();
    ensure!(violations.is_empty(), "{violations:?}");
    Ok(())
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
