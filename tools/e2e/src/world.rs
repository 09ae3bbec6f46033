//! The system under test, started once for all tests.

use std::{fs, path::PathBuf, process::Command, sync::LazyLock, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::{Value, json};
use shared::http_client;
use stack::{Database, Env, Functions, Moto, Port, RunDir, Tools, Vault, Workspace};
use stub::{OpenRouter, management};
use tokio::runtime::Runtime;

use crate::{
    chaos_proxy::{ChaosProxy, Fault, OneCall},
    deployments::{Deployer, PROVISIONING},
};
pub use crate::{deployments::Deployed, signer::AUDIENCE};

const KEYSET_SECRET: &str = "e2e/keyset";

/// The running system.
#[derive(Debug)]
pub struct World {
    /// OpenRouter's stub.
    pub upstream: OpenRouter,
    /// A plain HTTP client.
    pub client: reqwest::Client,
    /// The run's folder, with every log.
    pub logs: PathBuf,
    /// The tools, for tests that run third-party programs.
    pub tools: Tools,
    /// The built functions.
    pub functions: Functions,
    workspace: Workspace,
    pub(crate) vault: Vault,
    pub(crate) database: Database,
    /// The functions' default configuration.
    env: Env,
    deployed: Vec<Deployed>,
    management_keys: Vec<String>,
    /// Stopped when the world ends.
    _proxies: Vec<ChaosProxy<OneCall>>,
    /// Stopped when the world ends.
    _services: (Moto, RunDir),
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect_runtime());
static WORLD: LazyLock<Result<World>> = LazyLock::new(|| RUNTIME.block_on(World::start()));

trait ExpectRuntime {
    fn expect_runtime(self) -> Runtime;
}

impl ExpectRuntime for std::io::Result<Runtime> {
    #[expect(clippy::expect_used, reason = "without a runtime no test can run")]
    fn expect_runtime(self) -> Runtime {
        self.expect("a runtime")
    }
}

/// Runs one test in the world, which the first test starts.
///
/// # Panics
///
/// If it does not start, which then fails every test.
#[expect(clippy::panic, reason = "a world that does not start fails every test")]
pub fn with_world(test: impl AsyncFnOnce(&World)) {
    match &*WORLD {
        Ok(world) => RUNTIME.block_on(test(world)),
        Err(error) => panic!("the world did not start: {error:?}"),
    }
}

impl World {
    async fn start() -> Result<Self> {
        let workspace = Workspace::locate();
        let tools = Tools::install(&workspace)?;
        let run = RunDir::unique(&workspace, "e2e")?;
        let functions = Functions::build(
            &workspace,
            &[
                "proxy",
                "usage",
                "keys",
                "tokens",
                "health",
                "reconcile",
                "llmgw",
            ],
        )?;
        let upstream = OpenRouter::start().await?;
        let database = Database::postgres(&tools, &run, Port::free()?)?;
        let secrets = Moto::start(&tools, &run, Port::free()?)?;
        let demo = OpenRouter::demo().await?;
        let vault = Vault::create(&secrets, KEYSET_SECRET)?;

        let mut env = database.env();
        env.extend(secrets.env());
        env.extend([
            ("GATEWAY_AUDIENCES", AUDIENCE.to_owned()),
            ("KEYSET_SECRET_NAME", KEYSET_SECRET.to_owned()),
            ("GATEWAY_OPENROUTER_URL", upstream.base_url()),
            // As the samples do.
            ("ALLOW_UNVERIFIED_KEYS", "true".to_owned()),
            // The most verbose level: a test looks for secrets in the log.
            ("RUST_LOG", "trace".to_owned()),
        ]);
        let deployment = Deployer {
            workspace: &workspace,
            tools: &tools,
            functions: &functions,
            env: &env,
        };
        let mut deployed = deployment.plain(&demo.base_url())?;
        let mut management_keys = Vec::new();
        let mut proxies = Vec::new();
        for (names, fault) in PROVISIONING {
            let key = random_key("planted-management")?;
            upstream.management().add_manager(&key, fault);
            let secret = format!("e2e/management/{}", names.join("+"));
            secrets.create_secret(&secret, &key)?;
            management_keys.push(key);
            deployed.push(deployment.provisioning(names, fault, &secret)?);
            if fault == management::Fault::None {
                for (name, fault) in [
                    ("keys-unstored", Fault::Refuse(503)),
                    ("keys-unconfirmed", Fault::RefuseAfterwards(503)),
                ] {
                    let policy = OneCall {
                        function: "activate_provisioning",
                        fault,
                    };
                    let proxy = ChaosProxy::start(&database.url(), policy).await?;
                    deployed.push(deployment.behind_proxy(name, &secret, &proxy.url())?);
                    proxies.push(proxy);
                }
            }
        }
        let world = Self {
            client: http_client::build(http_client::web_roots(), Duration::from_secs(5))?,
            logs: run.path().to_owned(),
            vault,
            env,
            upstream,
            tools,
            functions,
            workspace,
            database,
            deployed,
            management_keys,
            _proxies: proxies,
            _services: (secrets, run),
        };
        Ok(world)
    }

    /// The URL at which `function` sees `path`.
    ///
    /// # Panics
    ///
    /// If no function has that name.
    #[must_use]
    pub fn url(&self, function: &str, path: &str) -> String {
        let deployed = self.deployed(function);
        deployed.url(Deployed::function(function), path)
    }

    /// Executables with the default configuration but for `changes`, for one test alone, which may break or
    /// kill them.
    pub fn deploy(
        &self,
        binaries: &[&'static str],
        changes: &[(&'static str, String)],
    ) -> Result<Deployed> {
        let deployment = Deployer {
            workspace: &self.workspace,
            tools: &self.tools,
            functions: &self.functions,
            env: &self.env,
        };
        let changes: Vec<_> = changes
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        deployment.deploy(binaries, binaries, &changes)
    }

    /// The operator's command line, with the gateway's own variables, but for `changes`.
    pub fn operator(&self, changes: &[(&'static str, String)]) -> Result<Command> {
        let mut command = Command::new(self.functions.binary("llmgw")?);
        let env = self.env.iter().chain(changes);
        command
            .env_clear()
            .env("HOME", &self.logs)
            .envs(env.map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// The storage's base URL, for a [`ChaosProxy`].
    #[must_use]
    pub fn storage_url(&self) -> String {
        self.database.url()
    }

    /// The key with which the gateway asks the storage.
    #[must_use]
    pub fn storage_key(&self) -> &'static str {
        self.database.secret_key()
    }

    /// Invokes `function` with a raw event, as `cargo lambda invoke --data-file` does.
    pub async fn invoke(&self, function: &str, event: Vec<u8>) -> Result<Bytes> {
        let url = self
            .deployed(function)
            .invocations(Deployed::function(function));
        self.event(&url, event).await
    }

    /// Invokes an executable of a test's own.
    pub async fn invoke_at(
        &self,
        deployed: &Deployed,
        function: &str,
        event: Vec<u8>,
    ) -> Result<Bytes> {
        self.event(&deployed.invocations(function), event).await
    }

    async fn event(&self, url: &str, event: Vec<u8>) -> Result<Bytes> {
        let answer = self.client.post(url).body(event).send().await?;
        Ok(answer.bytes().await?)
    }

    /// The address at which `cargo lambda invoke` finds `function`.
    ///
    /// # Panics
    ///
    /// If no function has that name.
    #[must_use]
    pub fn gateway(&self, function: &str) -> String {
        self.deployed(function).watch.url()
    }

    /// Kills the functions that are deployed with `function` at once.
    ///
    /// # Panics
    ///
    /// If no function has that name.
    pub fn kill(&self, function: &str) -> Result<()> {
        self.deployed(function).kill()
    }

    /// The management key of the deployment that provisions keys without fail.
    #[must_use]
    pub fn management_key(&self) -> &str {
        self.management_keys.first().map_or("", String::as_str)
    }

    #[expect(clippy::panic, reason = "a test that names no function is wrong")]
    fn deployed(&self, function: &str) -> &Deployed {
        let is_it = |deployed: &&Deployed| deployed.names.contains(&function);
        match self.deployed.iter().find(is_it) {
            Some(deployed) => deployed,
            None => panic!("{function} is not deployed"),
        }
    }

    /// Runs SQL as the database's owner.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let server = self.database.server().context("no server")?;
        Ok(server.query(sql)?)
    }

    /// The functions' default configuration.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// A folder for the processes that a test runs itself.
    pub fn run(&self, name: &str) -> Result<RunDir> {
        Ok(RunDir::unique(&self.workspace, name)?)
    }

    /// The artifact of `function` that `cargo xtask package` has built.
    #[expect(clippy::disallowed_methods, reason = "tests read their environment")]
    pub fn artifact(&self, function: &str) -> Result<PathBuf> {
        let folder = std::env::var_os("ARTIFACTS").context("ARTIFACTS is not set")?;
        let mut resource = function.to_owned();
        if let Some(first) = resource.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let artifact = PathBuf::from(folder).join(format!("{resource}Function/bootstrap"));
        anyhow::ensure!(artifact.is_file(), "{} is not there", artifact.display());
        Ok(artifact)
    }

    /// A folder or file of the project.
    #[must_use]
    pub fn project(&self, path: &str) -> PathBuf {
        self.workspace.root().join(path)
    }

    /// The secrets that must not appear outside the processes that need them.
    #[must_use]
    pub fn planted_secrets(&self) -> Vec<String> {
        let keyset: Value = serde_json::from_str(self.vault.json()).unwrap_or_default();
        let material = keyset["key"][0]["keyData"]["value"]
            .as_str()
            .unwrap_or_default();
        let mut planted = vec![material.to_owned(), self.database.secret_key().to_owned()];
        planted.extend(self.management_keys.iter().cloned());
        planted
    }

    /// The functions' log so far.
    pub fn logged(&self) -> Result<String> {
        let mut all = String::new();
        for deployed in &self.deployed {
            for function in ["proxy", "usage", "keys", "tokens", "health", "reconcile"] {
                let log = deployed.run.path().join(format!("{function}.log"));
                if log.is_file() {
                    all.push_str(&String::from_utf8_lossy(&fs::read(log)?));
                }
            }
        }
        Ok(all)
    }
}

/// A new OpenRouter key.
pub fn random_key(kind: &str) -> Result<String> {
    let mut tail = [0; 24];
    getrandom::fill(&mut tail)?;
    Ok(format!("sk-or-v1-{kind}-{}", hex::encode(tail)))
}

/// The path of a chat completion at the gateway.
pub const CHAT: &str = "/api/v1/openrouter/chat/completions";

/// A chat completion's body.
#[must_use]
pub fn chat_body(model: &str, stream: bool, id: &str) -> Vec<u8> {
    json!({"model": model, "stream": stream, "user": id, "messages": [{"role": "user", "content": "Say hello"}]})
        .to_string()
        .into_bytes()
}
