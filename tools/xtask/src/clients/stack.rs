//! The gateway that the programs use: the built functions, with OpenRouter's stand-in behind them.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
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
use stack::{Port, RunDir, Tools, Workspace};

use crate::deployment::Deployment;

const FUNCTIONS: [(&str, usize); 3] = [("proxy", 1), ("tokens", 1), ("health", 1)];
/// The API key of programs that go through `llmgw serve`.
const SERVE_TOKEN: &str = "a-token-of-this-machine";
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

/// The base URLs and the key that a program gets.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) openai: String,
    pub(super) anthropic: String,
    pub(super) openrouter: String,
    pub(super) key: String,
    _serve: Option<Process>,
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

    /// Makes an access token.
    pub(super) fn by_token(&self, user: &User) -> Result<Access> {
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
        let base = format!("{}/api/v1/openrouter", self.url());
        Ok(Access {
            openai: base.clone(),
            anthropic: base.clone(),
            openrouter: base,
            key: made["token"]
                .as_str()
                .with_context(|| format!("no token: {made}"))?
                .to_owned(),
            _serve: None,
        })
    }

    /// Starts `llmgw serve`.
    pub(super) fn by_serve(&self, user: &User, run: &RunDir) -> Result<Access> {
        let file = run.path().join("identity.json");
        user.identity.save(&file, Existing::Replace)?;
        let port = Port::free()?;
        let mut command = Command::new(self.deployment.functions.binary("llmgw")?);
        command
            .args([
                "serve",
                "--port",
                &port.number().to_string(),
                "--gateway",
                &self.url(),
                "--identity",
            ])
            .arg(&file)
            .env("LLMGW_SERVE_TOKEN", SERVE_TOKEN);
        let serve = Launch::new("serve", command, run)
            .ready(Probe::Tcp(port.number()), READY)
            .start()?;
        let base = port.url();
        Ok(Access {
            openai: format!("{base}/v1"),
            openrouter: format!("{base}/api/v1"),
            anthropic: base,
            key: SERVE_TOKEN.to_owned(),
            _serve: Some(serve),
        })
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
