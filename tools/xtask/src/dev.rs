//! `cargo xtask dev`: the gateway on this machine, from nothing to a first answer.

mod front;
mod services;
mod sources;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use llmgw::curl;
use stack::progress::step;
use stack::watch::INSTANCES;
use stack::{Database, Env, Functions, Moto, Port, RunDir, Tools, Watch, Workspace, clients};
use stub::OpenRouter;

use self::sources::Sources;
use crate::demo::{self, Running};
use crate::deployment::{KEYSET_SECRET, functions_env};

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
/// The base URL of the real OpenRouter.
const OPENROUTER: &str = "https://openrouter.ai/api/v1";

#[derive(Args)]
pub(crate) struct Options {
    /// Stop after the demonstration
    #[arg(long)]
    once: bool,
    /// Port of the gateway; as with the others, 0 for any free one
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
    /// Use this OpenRouter instead of the stand-in: another stand-in, or a recorder
    #[arg(long, value_name = "URL", conflicts_with = "real_openrouter")]
    openrouter_url: Option<String>,
    /// Use the real OpenRouter.
    #[arg(long, help = REAL_HELP)]
    real_openrouter: bool,
    /// The key at the real OpenRouter. Read from its variable alone: every user of the machine can read a
    /// command line.
    #[arg(
        long = "openrouter-key",
        hide = true,
        env = "GATEWAY_OPENROUTER_KEY",
        hide_env_values = true
    )]
    openrouter_key: Option<String>,
}

const REAL_HELP: &str =
    "Use the real OpenRouter, which costs money, with the key in GATEWAY_OPENROUTER_KEY";

impl Options {
    /// The upstream, if it is not the stand-in.
    fn upstream(&self) -> Result<Option<Upstream<'_>>> {
        let key = self.openrouter_key.as_deref().filter(|key| !key.is_empty());
        if self.real_openrouter {
            let key = key.context(
                "--real-openrouter takes the key from the variable GATEWAY_OPENROUTER_KEY, which is not set",
            )?;
            return Ok(Some(Upstream {
                url: OPENROUTER,
                key: Some(key),
            }));
        }
        let Some(url) = self.openrouter_url.as_deref() else {
            return Ok(None);
        };
        ensure!(
            !url.contains("openrouter.ai"),
            "the real OpenRouter costs money; use it with --real-openrouter"
        );
        Ok(Some(Upstream { url, key: None }))
    }
}

/// An OpenRouter that is not the stand-in of `tools/stub`.
struct Upstream<'a> {
    url: &'a str,
    /// The user's key; the stand-in's by default.
    key: Option<&'a str>,
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
    // Behind the gateway's.
    let functions_port = Port::free()?;
    let upstream = options.upstream()?;

    eprintln!("Starting the gateway on {}", gateway_port.url());
    let tools = Tools::install(&workspace)?;
    let run = RunDir::named(&workspace, &format!("dev-{}", gateway_port.number()))
        .context("can't make the folder of this run")?;
    step("Console (vite)", || clients::console(&workspace))?;
    let sources = Sources::new(workspace.root());
    step("Functions (cargo build)", || {
        Functions::build(&workspace, &FUNCTIONS)
    })?;
    let llmgw = step("llmgw (cargo build)", || {
        Functions::build(&workspace, &["llmgw"])
    })?;
    let llmgw = llmgw.binary("llmgw")?;
    let mut database = step("Supabase (PGlite)", || {
        Database::pglite(&tools, &run, supabase_port)
    })?;
    let mut secrets = step("Secrets Manager (moto)", || {
        Moto::start(&tools, &run, secrets_port)
    })?;
    // The stand-in answers as long as the runtime lives.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let openrouter_url = if let Some(Upstream { url, key }) = &upstream {
        let price = key.map_or("", |_| "; requests cost money");
        eprintln!("  OpenRouter: {url}{price}");
        (*url).to_owned()
    } else {
        step("OpenRouter (tools/stub)", || {
            runtime.block_on(OpenRouter::demo_on(openrouter_port.number()))
        })?
        .base_url()
    };
    let mut env = functions_env(gateway_port.url(), &database, &secrets, openrouter_url);
    env.extend([
        // As the samples of events/ do.
        ("ALLOW_UNVERIFIED_KEYS", "true".to_owned()),
        ("RUST_LOG", "info".to_owned()),
    ]);
    let (front, mut gateway) = step("API Gateway and Lambda (cargo lambda watch)", || {
        let front = runtime.block_on(front::listen(&gateway_port, &functions_port, INSTANCES))?;
        anyhow::Ok((front, Watch::functions(&tools, &run, functions_port, &env)?))
    })?;
    let gateway_url = gateway_port.url();

    let user_key = upstream.and_then(|upstream| upstream.key);
    let demonstrated = demo::run(&Running {
        gateway: gateway_url.clone(),
        database: &database,
        secrets: &secrets,
        keyset_secret: KEYSET_SECRET,
        folder: run.path(),
        openrouter_key: user_key,
    })
    .with_context(|| format!("the logs are in {}", run.path().display()))?;

    if !options.once {
        let file = run.path().join("env");
        write_env(
            &file,
            &env,
            &gateway_url,
            &demonstrated.identity_file,
            llmgw,
        )
        .context("can't write the file of variables")?;
        try_it(&file, &demonstrated.curl);
        eprintln!(
            "The console: {gateway_url}/console (\"Use the demo identity\" signs in with an account)"
        );
        eprintln!(
            "Logs: {}\nFunctions are rebuilt when their code changes; answers in flight end as they began. \
             Reconciliation runs every {} minutes. Ctrl-C stops everything.",
            run.path().display(),
            services::RECONCILE.as_secs() / 60
        );
        services::Services {
            tools: &tools,
            run: &run,
            database: &mut database,
            secrets: &mut secrets,
            keyset: (&demonstrated.vault, KEYSET_SECRET),
            gateway: &mut gateway,
            front,
            env: &env,
            sources,
            former: Vec::new(),
        }
        .keep_until_signal()?;
    }
    eprintln!("Stopping …");
    Ok(())
}

/// Writes a file for a shell to source: the functions' configuration, as `llmgw admin` reads it, and the
/// demonstration's user, as `llmgw` does. Only its owner may read it: with the real OpenRouter, what it
/// names opens a real key.
fn write_env(
    file: &Path,
    env: &Env,
    gateway: &str,
    identity: &Path,
    llmgw: &Path,
) -> std::io::Result<()> {
    let mut out = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    let programs = llmgw.parent().map(Path::to_owned).unwrap_or_default();
    let own = [
        ("LLMGW_GATEWAY", gateway.to_owned()),
        ("LLMGW_IDENTITY", identity.display().to_string()),
    ];
    for (name, value) in env
        .iter()
        .chain(&own)
        .filter(|(name, _)| *name != "RUST_LOG")
    {
        writeln!(out, "export {name}={}", curl::quoted(value))?;
    }
    let programs = curl::quoted(&programs.display().to_string());
    writeln!(
        out,
        "case \":$PATH:\" in *:{programs}:*) ;; *) export PATH={programs}:$PATH ;; esac"
    )
}

/// Prints commands to go on with.
fn try_it(file: &Path, curl: &str) {
    let file: PathBuf = file.to_owned();
    eprintln!("\nTry it, in another shell:\n");
    eprintln!(
        "# the user and the operator of this gateway\n. {}\n",
        file.display()
    );
    eprintln!("llmgw doctor\nllmgw chat -m openai/gpt-4o-mini 'Say hello'\nllmgw usage --requests");
    eprintln!("llmgw run -- claude -p 'say hi'\nllmgw admin doctor\n");
    eprintln!("# a signed request with curl alone; it works once and for five minutes\n{curl}\n");
}
