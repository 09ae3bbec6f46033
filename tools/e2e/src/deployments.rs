//! The deployments of the functions, under several configurations, some of which fail on purpose.

use std::{
    fs,
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use stack::{Env, Function, Functions, Port, RunDir, Tools, Watch, Workspace};
use stub::management::Fault;

/// Deployments that provision keys, each with a management key of its own and the way in which the
/// management API fails it.
pub(crate) const PROVISIONING: [(&[&str], Fault); 8] = [
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
/// A port on which nothing listens.
const NOBODY: &str = "http://127.0.0.1:9";

/// Functions with one configuration, behind an API Gateway stand-in of their own: it serves only
/// functions that are named like an executable of the workspace.
#[derive(Debug)]
pub struct Deployed {
    /// The functions' names in tests: the executable's, a dash and the configuration's.
    pub(crate) names: Vec<&'static str>,
    pub(crate) watch: Watch,
    pub(crate) run: RunDir,
    instances: Mutex<Vec<Function>>,
}

impl Deployed {
    /// The URL at which the executable `function` sees `path`.
    #[must_use]
    pub fn url(&self, function: &str, path: &str) -> String {
        format!("{}/lambda-url/{function}{path}", self.watch.url())
    }

    /// The URL for events of the executable `function`.
    pub(crate) fn invocations(&self, function: &str) -> String {
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

    /// The log of its instances of the executable `function`.
    pub fn log(&self, function: &str) -> Result<String> {
        let log = fs::read(self.run.path().join(format!("{function}.log")))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// The executable behind a name.
    pub(crate) fn function(name: &str) -> &str {
        name.split('-').next().unwrap_or(name)
    }
}

/// The means of deploying functions.
#[derive(Clone, Copy)]
pub(crate) struct Deployer<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) tools: &'a Tools,
    pub(crate) functions: &'a Functions,
    /// The functions' default configuration.
    pub(crate) env: &'a Env,
}

impl Deployer<'_> {
    /// Functions that provision nothing; `demo` is the base URL of the OpenRouter of `cargo xtask dev`.
    pub(crate) fn plain(&self, demo: &str) -> Result<Vec<Deployed>> {
        Ok(vec![
            self.deploy(
                &["proxy", "usage", "keys", "tokens", "health", "reconcile"],
                &[
                    "proxy",
                    "proxy",
                    "proxy",
                    "proxy",
                    "usage",
                    "keys",
                    "keys",
                    "tokens",
                    "health",
                    "reconcile",
                    "reconcile",
                ],
                &[],
            )?,
            self.deploy(
                &["proxy-shared"],
                &["proxy"],
                &[("AWS_LAMBDA_MAX_CONCURRENCY", "16")],
            )?,
            self.deploy(
                &["proxy-demo"],
                &["proxy"],
                &[("GATEWAY_OPENROUTER_URL", demo)],
            )?,
            self.deploy(
                &["proxy-hasty"],
                &["proxy"],
                &[
                    ("UPSTREAM_FIRST_BYTE_TIMEOUT_MS", "900"),
                    ("UPSTREAM_IDLE_TIMEOUT_MS", "700"),
                ],
            )?,
            self.deploy(
                &["proxy-frugal"],
                &["proxy"; 6],
                // The stub's cost is more than twice as much.
                &[("HOLD_USD", "3e-7")],
            )?,
            self.deploy(
                &["proxy-astray", "keys-astray"],
                &["proxy", "keys"],
                &[("GATEWAY_OPENROUTER_URL", NOBODY)],
            )?,
            self.deploy(
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
            self.deploy(
                &["usage-stale"],
                &["usage"],
                &[("SUPABASE_SECRET_KEY", "sb_secret_rotated_away")],
            )?,
            self.deploy(
                &["proxy-keyless", "keys-keyless", "reconcile-keyless"],
                &["proxy", "keys", "reconcile"],
                &[("KEYSET_SECRET_NAME", "no/such/secret")],
            )?,
        ])
    }

    /// Functions that provision keys with the management key in `secret`.
    pub(crate) fn provisioning(
        &self,
        names: &[&'static str],
        fault: Fault,
        secret: &str,
    ) -> Result<Deployed> {
        let binaries: Vec<_> = names.iter().map(|name| Deployed::function(name)).collect();
        // Several instances of those that do not fail, for races.
        let instances = if fault == Fault::None { 4 } else { 1 };
        self.deploy(names, &binaries.repeat(instances), &provisions(secret))
    }

    /// A function that provisions keys and reaches the storage through the proxy at `url`.
    pub(crate) fn behind_proxy(
        &self,
        name: &'static str,
        secret: &str,
        url: &str,
    ) -> Result<Deployed> {
        let storage = [("SUPABASE_URL", url)];
        let changes = [&provisions(secret)[..], &storage].concat();
        self.deploy(&[name], &[Deployed::function(name)], &changes)
    }

    /// `binaries` with the usual configuration but for `changes`, known as `names`.
    pub(crate) fn deploy(
        &self,
        names: &[&'static str],
        binaries: &[&str],
        changes: &[(&'static str, &str)],
    ) -> Result<Deployed> {
        let mut env = self.env.clone();
        env.extend(
            changes
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let Self {
            workspace,
            tools,
            functions,
            ..
        } = self;
        let run = RunDir::unique(workspace, "e2e-gateway")?;
        let watch = Watch::only_apis(tools, &run, Port::free()?)?;
        let spawn = |binary: &&str| -> Result<Function> {
            let path = functions.binary(binary)?;
            Ok(Function::spawn(&watch, &run, binary, path, &env)?)
        };
        let instances = binaries.iter().map(spawn).collect::<Result<_>>()?;
        Ok(Deployed {
            names: names.to_vec(),
            watch,
            run,
            instances: Mutex::new(instances),
        })
    }
}

fn provisions(secret: &str) -> [(&'static str, &str); 4] {
    [
        ("MANAGEMENT_KEY_SECRET_NAME", secret),
        ("PROVISION_KEYS_FOR", "anyone"),
        ("PROVISIONED_KEY_LIMIT_USD", "0.50"),
        ("PROVISION_ON_FIRST_REQUEST", "true"),
    ]
}
