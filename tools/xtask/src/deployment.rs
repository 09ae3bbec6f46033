//! The built functions behind one address, on PostgreSQL, with stand-ins for Secrets Manager and OpenRouter.

use anyhow::{Context as _, Result};
use stack::progress::step;
use stack::{
    Database, Env, Function, Functions, Moto, Port, RunDir, Tools, Vault, Watch, Workspace,
};
use stub::OpenRouter;
use tokio::runtime::Runtime;

pub(crate) const KEYSET_SECRET: &str = "llm-gateway/keyset";

/// A running gateway.
pub(crate) struct Deployment {
    pub(crate) gateway: Watch,
    pub(crate) functions: Functions,
    pub(crate) database: Database,
    pub(crate) vault: Vault,
    pub(crate) run: RunDir,
    /// OpenRouter's stand-in answers as long as it lives.
    pub(crate) runtime: Runtime,
    /// Stopped with the deployment.
    _instances: Vec<Function>,
    _services: (Moto, OpenRouter),
}

impl Deployment {
    /// Starts so many instances of each function, with `settings` beside the common ones, and builds `llmgw`.
    pub(crate) fn start(
        workspace: &Workspace,
        tools: &Tools,
        name: &str,
        instances: &[(&str, usize)],
        settings: Env,
    ) -> Result<Self> {
        let run = RunDir::unique(workspace, name)?;
        let names: Vec<_> = instances
            .iter()
            .map(|(name, _)| *name)
            .chain(["llmgw"])
            .collect();
        let functions = step("Functions (cargo build)", || {
            Functions::build(workspace, &names)
        })?;
        let database = step("Supabase (PostgreSQL)", || {
            Database::postgres(tools, &run, Port::free()?).map_err(anyhow::Error::from)
        })?;
        let secrets = Moto::start(tools, &run, Port::free()?)?;
        let vault = Vault::create(&secrets, KEYSET_SECRET)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let openrouter = runtime.block_on(OpenRouter::demo())?;
        let port = Port::free()?;
        let mut env = functions_env(port.url(), &database, &secrets, openrouter.base_url());
        env.extend(settings);
        let gateway = Watch::only_apis(tools, &run, port)?;
        let mut started = Vec::new();
        for (name, count) in instances {
            let binary = functions.binary(name)?;
            for _ in 0..*count {
                started.push(
                    Function::spawn(&gateway, &run, name, binary, &env)
                        .with_context(|| format!("{name} did not start"))?,
                );
            }
        }
        Ok(Self {
            gateway,
            functions,
            database,
            vault,
            run,
            runtime,
            _instances: started,
            _services: (secrets, openrouter),
        })
    }
}

/// The configuration that functions need on this machine.
pub(crate) fn functions_env(
    gateway: String,
    database: &Database,
    secrets: &Moto,
    openrouter: String,
) -> Env {
    let mut env = vec![
        ("GATEWAY_AUDIENCES", gateway),
        ("KEYSET_SECRET_NAME", KEYSET_SECRET.to_owned()),
        ("GATEWAY_OPENROUTER_URL", openrouter),
    ];
    env.extend(database.env());
    env.extend(secrets.env());
    env
}
