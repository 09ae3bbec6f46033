//! `cargo xtask dev`: the gateway on this machine, from nothing to a first answer.

use anyhow::{Context as _, Result};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use stack::progress::step;
use stack::{Database, Env, Functions, Moto, Port, RunDir, Tools, Watch, Workspace, clients};
use stub::OpenRouter;

use crate::demo::{self, Running};

/// The deployed functions.
pub(crate) const FUNCTIONS: [&str; 7] = [
    "proxy",
    "usage",
    "keys",
    "tokens",
    "health",
    "console",
    "reconcile",
];
/// The name of the keyset's secret.
const KEYSET_SECRET: &str = "llm-gateway/keyset";
const OPENROUTER: &str = "https://openrouter.ai/api/v1";

#[derive(Args)]
pub(crate) struct Options {
    /// Stop after the demonstration
    #[arg(long)]
    once: bool,
    /// Port of the gateway
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// Port of Supabase's stand-in
    #[arg(long, default_value_t = 24321)]
    supabase_port: u16,
    /// Port of AWS Secrets Manager's stand-in
    #[arg(long, default_value_t = 24330)]
    secrets_port: u16,
    /// Port of OpenRouter's stand-in
    #[arg(long, default_value_t = 24340)]
    openrouter_port: u16,
    /// Use the real OpenRouter with this key, instead of its stand-in; better set the variable,
    /// since every user of the machine can read a command line
    #[arg(long, env = "OPENROUTER_API_KEY", hide_env_values = true)]
    openrouter_api_key: Option<String>,
}

/// Starts everything, runs the demonstration, and keeps everything running until Ctrl-C, unless `once`
/// is set.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::locate();
    // All ports first, so that a busy one is reported before a minute of work.
    let gateway_port = Port::fixed(options.port, "--port")?;
    let supabase_port = Port::fixed(options.supabase_port, "--supabase-port")?;
    let secrets_port = Port::fixed(options.secrets_port, "--secrets-port")?;
    let openrouter_port = Port::fixed(options.openrouter_port, "--openrouter-port")?;
    let openrouter_key = options
        .openrouter_api_key
        .as_deref()
        .filter(|key| !key.is_empty());

    eprintln!("Starting the gateway on {}", gateway_port.url());
    let tools = Tools::install(&workspace)?;
    let run = RunDir::named(&workspace, &format!("dev-{}", gateway_port.number()))
        .context("can't make the folder of this run")?;
    step("Console (vite)", || clients::console(&workspace))?;
    step("Functions (cargo build)", || {
        Functions::build(&workspace, &FUNCTIONS)
    })?;
    let database = step("Supabase (PGlite)", || {
        Database::pglite(&tools, &run, supabase_port)
    })?;
    let secrets = step("Secrets Manager (moto)", || {
        Moto::start(&tools, &run, secrets_port)
    })?;
    // The stand-in answers as long as the runtime lives.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let openrouter = if openrouter_key.is_some() {
        eprintln!("  OpenRouter: the real one, with OPENROUTER_API_KEY; requests cost money");
        None
    } else {
        Some(step("OpenRouter (tools/stub)", || {
            runtime.block_on(OpenRouter::demo_on(openrouter_port.number()))
        })?)
    };
    let env = functions_env(
        &gateway_port,
        &database,
        &secrets,
        openrouter.as_ref().map(OpenRouter::base_url),
    );
    let gateway = step("API Gateway and Lambda (cargo lambda watch)", || {
        Watch::functions(&tools, &run, gateway_port, &env)
    })?;

    demo::run(&Running {
        gateway: gateway.url(),
        database: &database,
        secrets: &secrets,
        keyset_secret: KEYSET_SECRET,
        stays: !options.once,
        folder: run.path(),
        openrouter_key,
    })
    .with_context(|| format!("the logs are in {}", run.path().display()))?;

    if !options.once {
        // Before this line a signal ends this process at once, and its watchdog ends the services.
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("can't wait for Ctrl-C")?;
        eprintln!(
            "The console: {}/console (\"Use the demo identity\" signs in with an account)",
            gateway.url()
        );
        eprintln!(
            "Logs: {}\nFunctions are rebuilt when their code changes. Ctrl-C stops everything.",
            run.path().display()
        );
        signals.forever().next();
    }
    eprintln!("Stopping …");
    Ok(())
}

/// The functions' configuration.
fn functions_env(
    gateway: &Port,
    database: &Database,
    secrets: &Moto,
    openrouter: Option<String>,
) -> Env {
    let mut env = vec![
        ("GATEWAY_AUDIENCES", gateway.url()),
        ("KEYSET_SECRET_NAME", KEYSET_SECRET.to_owned()),
        (
            "OPENROUTER_BASE_URL",
            openrouter.unwrap_or_else(|| OPENROUTER.to_owned()),
        ),
        // As the samples of events/ do.
        ("ALLOW_UNVERIFIED_KEYS", "true".to_owned()),
        ("RUST_LOG", "info".to_owned()),
    ];
    env.extend(database.env());
    env.extend(secrets.env());
    env
}
