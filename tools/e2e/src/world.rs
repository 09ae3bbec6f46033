//! Everything a test needs, started once for all of them.

use std::{
    collections::BTreeMap,
    fs,
    ops::Deref,
    path::PathBuf,
    process::Command,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Method;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use shared::http_client;
use stack::{
    Aimock, Database, Env, Function, Functions, Moto, Port, RunDir, Tools, Vault, Watch, Workspace,
};
use tokio::runtime::Runtime;

pub use crate::signer::AUDIENCE;
use crate::{management::Fault, signer::Signer, storage_fault::BrokenStorage, upstream::Upstream};

const KEYSET_SECRET: &str = "e2e/keyset";
/// Deployments that provision keys, each with a management key of its own and the way in which the
/// management API fails it.
const PROVISIONING: [(&[&str], Fault); 8] = [
    (
        &["keys-giving", "reconcile-giving", "proxy-giving"],
        Fault::None,
    ),
    (&["keys-refused"], Fault::Refuses),
    (&["keys-failed"], Fault::Fails),
    (&["keys-failed-late"], Fault::FailsAfterwards),
    (&["keys-hung-up"], Fault::HangsUp),
    (&["keys-silent"], Fault::Silent),
    // For the test that kills it.
    (&["keys-doomed"], Fault::Silent),
    (
        &["keys-undeleting", "reconcile-undeleting"],
        Fault::DeletesNothing,
    ),
];
/// A port on which nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

/// The running system.
#[derive(Debug)]
pub struct World {
    /// OpenRouter's stub.
    pub upstream: Upstream,
    /// HTTP without any rule of the gateway's.
    pub client: reqwest::Client,
    /// The run's folder, with every log.
    pub logs: PathBuf,
    /// The tools, for tests that run other people's programs.
    pub tools: Tools,
    /// The built functions.
    pub functions: Functions,
    workspace: Workspace,
    vault: Vault,
    database: Database,
    /// What functions are configured with where nothing is said.
    env: Env,
    deployed: Vec<Deployed>,
    management_keys: Vec<String>,
    /// Stopped when the world ends.
    _services: (Moto, Aimock, RunDir),
}

/// Functions with one configuration, behind an API Gateway stand-in of their own: it serves only
/// functions that are named like an executable of the workspace.
#[derive(Debug)]
pub struct Deployed {
    /// What tests call the functions: the executable's name, then a dash and the configuration's.
    names: Vec<&'static str>,
    watch: Watch,
    run: RunDir,
    instances: Mutex<Vec<Function>>,
}

impl Deployed {
    fn start(
        workspace: &Workspace,
        tools: &Tools,
        functions: &Functions,
        names: &[&'static str],
        binaries: &[&str],
        env: &Env,
    ) -> Result<Self> {
        let run = RunDir::unique(workspace, "e2e-gateway")?;
        let watch = Watch::only_apis(tools, &run, Port::free()?)?;
        let spawn = |binary: &&str| -> Result<Function> {
            Ok(Function::spawn(
                &watch,
                &run,
                binary,
                functions.binary(binary)?,
                env,
            )?)
        };
        let instances = binaries.iter().map(spawn).collect::<Result<_>>()?;
        Ok(Self {
            names: names.to_vec(),
            watch,
            run,
            instances: Mutex::new(instances),
        })
    }

    /// The URL at which the executable `function` sees `path`.
    #[must_use]
    pub fn url(&self, function: &str, path: &str) -> String {
        format!("{}/lambda-url/{function}{path}", self.watch.url())
    }

    /// Where an event for the executable `function` goes.
    fn invocations(&self, function: &str) -> String {
        let url = self.watch.url();
        format!("{url}/2015-03-31/functions/{function}/invocations")
    }

    /// Ends all instances as the platform does, with SIGKILL, and returns once they are gone.
    pub fn kill(&self) -> Result<()> {
        let mut instances = self
            .instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for mut instance in instances.drain(..) {
            let process = instance.process_mut();
            let id = process.id().to_string();
            let killed = Command::new("sh")
                .args(["-c", &format!("kill -s KILL {id}")])
                .status()?;
            anyhow::ensure!(killed.success(), "no signal to {id}: {killed}");
            while process.exit_status().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// All that its instances of the executable `function` have logged.
    pub fn log(&self, function: &str) -> Result<String> {
        let log = fs::read(self.run.path().join(format!("{function}.log")))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// The executable behind a name.
    fn function(name: &str) -> &str {
        name.split('-').next().unwrap_or(name)
    }
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect_runtime());
static WORLD: LazyLock<Result<World>> = LazyLock::new(|| RUNTIME.block_on(World::start()));

type Deploy<'a> = &'a dyn Fn(&[&'static str], &[&str], &[(&'static str, &str)]) -> Result<Deployed>;

/// Functions that provision nothing; `mock` is the other OpenRouter's base URL.
fn deploy_plain(deploy: Deploy<'_>, mock: &str) -> Result<Vec<Deployed>> {
    Ok(vec![
        deploy(
            &["proxy", "usage", "keys", "health", "reconcile"],
            &[
                "proxy",
                "proxy",
                "proxy",
                "proxy",
                "usage",
                "keys",
                "keys",
                "health",
                "reconcile",
                "reconcile",
            ],
            &[],
        )?,
        deploy(
            &["proxy-shared"],
            &["proxy"],
            &[("AWS_LAMBDA_MAX_CONCURRENCY", "16")],
        )?,
        deploy(
            &["proxy-mock"],
            &["proxy"],
            &[("OPENROUTER_BASE_URL", mock)],
        )?,
        deploy(
            &["proxy-hasty"],
            &["proxy"],
            &[
                ("UPSTREAM_FIRST_BYTE_TIMEOUT_MS", "900"),
                ("UPSTREAM_IDLE_TIMEOUT_MS", "700"),
            ],
        )?,
        deploy(
            &["proxy-frugal"],
            &["proxy"; 6],
            // The stub's cost is more than twice as much.
            &[("HOLD_USD", "3e-7")],
        )?,
        deploy(
            &["proxy-astray", "keys-astray"],
            &["proxy", "keys"],
            &[("OPENROUTER_BASE_URL", NOBODY)],
        )?,
        deploy(
            &[
                "proxy-dark",
                "usage-dark",
                "keys-dark",
                "health-dark",
                "reconcile-dark",
            ],
            &["proxy", "usage", "keys", "health", "reconcile"],
            &[("SUPABASE_REST_URL", NOBODY)],
        )?,
        deploy(
            &["proxy-keyless", "keys-keyless", "reconcile-keyless"],
            &["proxy", "keys", "reconcile"],
            &[("KEYSET_SECRET_NAME", "no/such/secret")],
        )?,
    ])
}

/// Functions that provision keys with the management key in `secret`.
fn deploy_provisioning(
    deploy: Deploy<'_>,
    names: &[&'static str],
    fault: Fault,
    secret: &str,
    broken: &BrokenStorage,
) -> Result<Vec<Deployed>> {
    let changes = [
        ("MANAGEMENT_KEY_SECRET_NAME", secret),
        ("PROVISION_KEYS_FOR", "anyone"),
        ("PROVISIONED_KEY_LIMIT_USD", "0.50"),
        ("PROVISION_ON_FIRST_REQUEST", "true"),
    ];
    let binaries: Vec<_> = names.iter().map(|name| Deployed::function(name)).collect();
    // Several of those that do not fail, for races.
    let instances = if fault == Fault::None { 4 } else { 1 };
    let mut deployed = vec![deploy(names, &binaries.repeat(instances), &changes)?];
    if fault == Fault::None {
        for (name, url) in [
            ("keys-unstored", broken.unstored()),
            ("keys-unconfirmed", broken.unconfirmed()),
        ] {
            let storage = [("SUPABASE_REST_URL", url.as_str())];
            deployed.push(deploy(
                &[name],
                &["keys"],
                &[&changes[..], &storage].concat(),
            )?);
        }
    }
    Ok(deployed)
}

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
            &["proxy", "usage", "keys", "health", "reconcile", "llmgw"],
        )?;
        let upstream = Upstream::start().await?;
        let database = Database::postgres(&tools, &run, Port::free()?)?;
        let secrets = Moto::start(&tools, &run, Port::free()?)?;
        let aimock = Aimock::start(&tools, &run, Port::free()?)?;
        let vault = Vault::create(&secrets, KEYSET_SECRET)?;

        let mut env = database.env();
        env.extend(secrets.env());
        env.extend([
            ("GATEWAY_AUDIENCES", AUDIENCE.to_owned()),
            ("KEYSET_SECRET_NAME", KEYSET_SECRET.to_owned()),
            ("OPENROUTER_BASE_URL", upstream.base_url()),
            // The most talkative setting: a test looks for secrets in what comes of it.
            ("RUST_LOG", "trace".to_owned()),
        ]);
        let deploy =
            |names: &[&'static str], binaries: &[&str], changes: &[(&'static str, &str)]| {
                let mut env = env.clone();
                env.extend(
                    changes
                        .iter()
                        .map(|(name, value)| (*name, (*value).to_owned())),
                );
                Deployed::start(&workspace, &tools, &functions, names, binaries, &env)
            };
        let mut deployed = deploy_plain(&deploy, &aimock.url())?;
        let client = http_client::build(http_client::web_roots(), Duration::from_secs(5))?;
        let broken =
            BrokenStorage::start(client.clone(), format!("{}/rest/v1", database.url())).await?;
        let mut management_keys = Vec::new();
        for (names, fault) in PROVISIONING {
            let key = random_key("planted-management")?;
            upstream.management().appoint(&key, fault);
            let secret = format!("e2e/management/{}", names.join("+"));
            secrets.create_secret(&secret, &key)?;
            management_keys.push(key);
            deployed.extend(deploy_provisioning(
                &deploy, names, fault, &secret, &broken,
            )?);
        }
        let world = Self {
            client,
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
            _services: (secrets, aimock, run),
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

    /// Executables with the usual configuration but for `changes`, for one test alone: it may spoil or
    /// kill them.
    pub fn deploy(
        &self,
        binaries: &[&'static str],
        changes: &[(&'static str, String)],
    ) -> Result<Deployed> {
        let mut env = self.env.clone();
        env.extend(changes.iter().cloned());
        Deployed::start(
            &self.workspace,
            &self.tools,
            &self.functions,
            binaries,
            binaries,
            &env,
        )
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

    /// Where the storage is, for [`StorageDoor`](crate::storage_door::StorageDoor).
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

    /// The same for an executable of a test's own.
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

    /// Where `cargo lambda invoke` finds `function`.
    ///
    /// # Panics
    ///
    /// If no function has that name.
    #[must_use]
    pub fn gateway(&self, function: &str) -> String {
        self.deployed(function).watch.url()
    }

    /// Kills the functions that are deployed with `function`, in whatever they are doing.
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

    /// Someone with a DID and an OpenRouter key that the stub accepts.
    pub fn user(&self) -> Result<User<'_>> {
        let user = User::new(self)?;
        self.upstream.accept_key(user.api_key.expose_secret());
        self.vault
            .store_key(&self.database, &user.did, &user.api_key)?;
        Ok(user)
    }

    /// Someone with a DID and no key.
    pub fn stranger(&self) -> Result<User<'_>> {
        User::new(self)
    }

    /// Runs SQL as the database's owner.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let server = self.database.server().context("no server")?;
        Ok(server.query(sql)?)
    }

    /// What functions are configured with where nothing is said.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// A folder of its own for what a test runs itself.
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

    /// Every text that must never be seen outside the processes that need it.
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

    /// All that the functions have logged so far.
    pub fn logged(&self) -> Result<String> {
        let mut all = String::new();
        for deployed in &self.deployed {
            for function in ["proxy", "usage", "keys", "health", "reconcile"] {
                let log = deployed.run.path().join(format!("{function}.log"));
                if log.is_file() {
                    all.push_str(&String::from_utf8_lossy(&fs::read(log)?));
                }
            }
        }
        Ok(all)
    }
}

/// Someone who calls the gateway of the world.
#[derive(Debug)]
pub struct User<'a> {
    signer: Signer,
    world: &'a World,
}

impl Deref for User<'_> {
    type Target = Signer;

    fn deref(&self) -> &Signer {
        &self.signer
    }
}

impl<'a> User<'a> {
    fn new(world: &'a World) -> Result<Self> {
        Ok(Self {
            signer: Signer::random()?,
            world,
        })
    }

    /// A signed request to `function`.
    pub fn request(
        &self,
        function: &str,
        method: Method,
        path_and_query: &str,
        body: Vec<u8>,
    ) -> Result<RequestBuilder> {
        let url = self.world.url(function, path_and_query);
        self.request_at(&url, method, path_and_query, body)
    }

    /// A signed request to a function of a test's own, at `url`.
    pub fn request_at(
        &self,
        url: &str,
        method: Method,
        path_and_query: &str,
        body: Vec<u8>,
    ) -> Result<RequestBuilder> {
        let headers = self.headers(&method, path_and_query, &body)?;
        Ok(self
            .world
            .client
            .request(method, url)
            .headers(headers)
            .body(body))
    }

    /// A signed GET of `path_and_query` from `function`.
    pub async fn get(&self, function: &str, path_and_query: &str) -> Result<Response> {
        Ok(self
            .request(function, Method::GET, path_and_query, Vec::new())?
            .send()
            .await?)
    }

    /// A signed POST to `function`.
    pub async fn post(
        &self,
        function: &str,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Response> {
        let request = self.request(function, Method::POST, path, body)?;
        Ok(request.header("content-type", content_type).send().await?)
    }

    /// A signed chat completion through `function`; `id` becomes the generation's.
    pub async fn chat(
        &self,
        function: &str,
        model: &str,
        stream: bool,
        id: &str,
    ) -> Result<Response> {
        self.post(
            function,
            "/api/v1/openrouter/chat/completions",
            "application/json",
            chat_body(model, stream, id),
        )
        .await
    }

    /// The event that a REST API makes of a signed chat completion.
    pub fn chat_event(&self, model: &str, stream: bool, id: &str) -> Result<Vec<u8>> {
        const PATH: &str = "/api/v1/openrouter/chat/completions";
        let body = chat_body(model, stream, id);
        let mut headers: BTreeMap<String, Vec<String>> = self
            .headers(&Method::POST, PATH, &body)?
            .iter()
            .map(|(name, value)| Ok((name.to_string(), vec![value.to_str()?.to_owned()])))
            .collect::<Result<_>>()?;
        headers.insert(
            "content-type".to_owned(),
            vec!["application/json".to_owned()],
        );
        let event = json!({
            "resource": "/api/v1/openrouter/{proxy+}",
            "path": PATH,
            "httpMethod": "POST",
            "headers": {},
            "multiValueHeaders": headers,
            "queryStringParameters": null,
            "multiValueQueryStringParameters": null,
            "pathParameters": {"proxy": "chat/completions"},
            "stageVariables": null,
            "requestContext": {
                "accountId": "123456789012", "apiId": "abc123", "httpMethod": "POST", "path": PATH,
                "protocol": "HTTP/1.1", "requestId": "r", "resourceId": "x", "stage": "prod",
                "resourcePath": "/api/v1/openrouter/{proxy+}", "identity": {"sourceIp": "192.0.2.1"},
            },
            "body": STANDARD.encode(&body),
            "isBase64Encoded": true,
        });
        Ok(event.to_string().into_bytes())
    }

    /// This user's rows, once none is pending any more.
    pub async fn rows(&self) -> Result<Vec<Value>> {
        let sql = format!(
            "SELECT coalesce(json_agg(r ORDER BY request_time), '[]') FROM public.request_logs r WHERE did = '{}'",
            self.did.as_str()
        );
        for _ in 0..150 {
            let rows: Vec<Value> = serde_json::from_str(&self.world.sql(&sql)?)?;
            if rows.iter().all(|row| row["status"] != "pending") {
                return Ok(rows);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(anyhow!("a row is still pending after 15 s"))
    }

    /// This user's only row.
    pub async fn row(&self) -> Result<Value> {
        match self.rows().await?.as_slice() {
            [row] => Ok(row.clone()),
            rows => Err(anyhow!("{} rows instead of one", rows.len())),
        }
    }
}

/// A new OpenRouter key.
pub fn random_key(kind: &str) -> Result<String> {
    let mut tail = [0; 24];
    getrandom::fill(&mut tail)?;
    Ok(format!("sk-or-v1-{kind}-{}", hex::encode(tail)))
}

/// A chat completion's body.
#[must_use]
pub fn chat_body(model: &str, stream: bool, id: &str) -> Vec<u8> {
    json!({"model": model, "stream": stream, "user": id, "messages": [{"role": "user", "content": "Say hello"}]})
        .to_string()
        .into_bytes()
}
