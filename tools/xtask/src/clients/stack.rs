//! The gateway that the programs use: the built functions, with OpenRouter's stand-in behind them.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use llmgw::gateway::Draft;
use llmgw::identity::{Existing, Identity};
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::http_client;
use shared::identity::did::Did;
use shared::identity::signing::{Audience, Nonce};
use shared::vault::secret::ApiKey;
use stack::probe::Probe;
use stack::process::{Launch, Process};
use stack::{RunDir, Tools, Workspace};

use super::way::Way;
use crate::deployment::Deployment;

/// Those that programs and `llmgw` ask.
const FUNCTIONS: [(&str, usize); 5] = [
    ("proxy", 1),
    ("tokens", 1),
    ("health", 1),
    ("keys", 1),
    ("usage", 1),
];
/// The variables of `llmgw serve`, in its order.
const VARIABLES: [&str; 9] = [
    "OPENAI_BASE_URL",
    "OPENAI_API_BASE",
    "OPENAI_API_KEY",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_API_KEY",
    "OPENROUTER_BASE_URL",
    "OPENROUTER_API_BASE",
    "OPENROUTER_API_KEY",
];
const READY: Duration = Duration::from_secs(30);

/// A running gateway.
pub(super) struct Gateway {
    workspace: Workspace,
    deployment: Deployment,
}

/// A user with a key, and with nothing in the books yet.
pub(super) struct User {
    identity: Identity,
}

/// The access that a program gets: variables, or a command that sets them.
#[derive(Debug, Default)]
pub(super) struct Access {
    variables: Vec<(String, String)>,
    runner: Option<Command>,
    _serve: Option<Process>,
}

impl Access {
    /// `program` with this access. Its environment is what it names itself, and the variables.
    pub(super) fn give(&self, program: &Command) -> Command {
        let mut command = if let Some(runner) = &self.runner {
            let mut command = Command::new(runner.get_program());
            command.args(runner.get_args()).arg(program.get_program());
            command
        } else {
            Command::new(program.get_program())
        };
        let own = program.get_envs();
        let own = own.filter_map(|(name, value)| Some((name, value?)));
        command
            .args(program.get_args())
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs(own);
        command
    }
}

impl Gateway {
    pub(super) fn start(workspace: &Workspace) -> Result<Self> {
        let settings = vec![
            ("RUST_LOG", "info".to_owned()),
            // Programs ask for several things at once.
            ("AWS_LAMBDA_MAX_CONCURRENCY", "16".to_owned()),
        ];
        let tools = Tools::install(workspace)?;
        Ok(Self {
            workspace: workspace.clone(),
            deployment: Deployment::start(workspace, &tools, "clients", &FUNCTIONS, settings)?,
        })
    }

    fn url(&self) -> String {
        self.deployment.gateway.url()
    }

    pub(super) fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// Makes a user with a key that the stand-in accepts.
    pub(super) fn user(&self) -> Result<User> {
        let identity = Identity::generate(getrandom::fill)?;
        let key = ApiKey::new("sk-or-v1-for-the-stand-in-only".to_owned())?;
        let Deployment {
            vault, database, ..
        } = &self.deployment;
        vault.store_key(database, identity.did(), &key)?;
        Ok(User { identity })
    }

    /// Gives a program access in one of the ways.
    pub(super) fn access(&self, way: Way, user: &User, run: &RunDir) -> Result<Access> {
        match way {
            Way::Token => self.by_token(user),
            Way::Serve => self.by_serve(user, run),
            Way::Run => self.by_run(user, run),
        }
    }

    /// Makes an access token.
    fn by_token(&self, user: &User) -> Result<Access> {
        let gateway = llmgw::gateway::Gateway::new(Audience::parse(&self.url())?);
        let body = json!({"name": "program", "budgets": [{"period": "day", "amount": "1"}]});
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        let request = gateway.signed(
            &user.identity,
            Draft::post("tokens".parse()?, body.to_string()),
            Clock::system().now(),
            &Nonce::from_random(nonce),
        )?;
        let made: Value = self.deployment.runtime.block_on(async {
            let client = http_client::build(http_client::web_roots(), Duration::from_secs(5))?;
            let answer = client.execute(request.try_into()?).await?;
            anyhow::Ok(serde_json::from_slice(&answer.bytes().await?)?)
        })?;
        let token = made["token"].as_str();
        let token = token.with_context(|| format!("no token: {made}"))?;
        let base = format!("{}/api/v1/openrouter", self.url());
        let variable = |name: &&str| {
            let value = if *name == "ANTHROPIC_API_KEY" {
                ""
            } else if name.contains("_BASE") {
                &base
            } else {
                token
            };
            ((*name).to_owned(), value.to_owned())
        };
        Ok(Access {
            variables: VARIABLES.iter().map(variable).collect(),
            ..Access::default()
        })
    }

    /// Starts `llmgw serve`, and reads the variables that it prints.
    fn by_serve(&self, user: &User, run: &RunDir) -> Result<Access> {
        let mut command = self.llmgw("serve", user, run)?;
        command.args(["--port", "0", "--generate-token"]);
        let log = run.path().join("serve.log");
        let last = Probe::Line {
            file: log.clone(),
            text: format!("export {}=", VARIABLES[VARIABLES.len() - 1]),
        };
        let serve = Launch::new("serve", command, run)
            .ready(last, READY)
            .start()?;
        let printed = fs::read_to_string(log)?;
        let variable = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').to_owned()))
        };
        let variables: Vec<_> = printed.lines().filter_map(variable).collect();
        ensure!(
            variables.iter().map(|(name, _)| name).eq(VARIABLES),
            "llmgw serve prints other variables: {variables:?}"
        );
        Ok(Access {
            variables,
            _serve: Some(serve),
            ..Access::default()
        })
    }

    /// The program is an argument of `llmgw run`, which sets the variables.
    fn by_run(&self, user: &User, run: &RunDir) -> Result<Access> {
        let mut command = self.llmgw("run", user, run)?;
        command.arg("--");
        Ok(Access {
            runner: Some(command),
            ..Access::default()
        })
    }

    /// `llmgw` as the user.
    fn llmgw(&self, command: &str, user: &User, run: &RunDir) -> Result<Command> {
        let file = run.path().join("identity.json");
        user.identity.save(&file, Existing::Replace)?;
        let mut llmgw = Command::new(self.deployment.functions.binary("llmgw")?);
        llmgw.args([command, "--gateway", &self.url(), "--identity"]);
        llmgw.arg(file);
        Ok(llmgw)
    }

    /// The rows of a user.
    pub(super) fn rows(&self, user: &User) -> Result<Vec<Value>> {
        let did = user.did().as_str().replace(':', "%3A");
        let rows = self
            .deployment
            .database
            .select(&format!("request_logs?did=eq.{did}&order=request_time"))?;
        Ok(rows.as_array().cloned().unwrap_or_default())
    }
}

impl User {
    fn did(&self) -> &Did {
        self.identity.did()
    }
}
