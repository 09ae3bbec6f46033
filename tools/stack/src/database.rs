//! Supabase's stand-in: npm `@supabase/lite` (a PostgREST-compatible API) over one of two
//! databases, with this project's migrations applied.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use ureq::Body;
use ureq::http::Response;

use crate::Env;
use crate::install::Tools;
use crate::port::{Port, PortError};
use crate::postgres::{Postgres, PostgresError};
use crate::probe::{Probe, agent};
use crate::process::{self, Launch, Process, ProcessError};
use crate::workspace::RunDir;

/// Keys of the local stack, in the form of Supabase's; they open nothing else.
const SECRET_KEY: &str = "sb_secret_local-stack-only";
const PUBLISHABLE_KEY: &str = "sb_publishable_local-stack-only";

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("can't prepare {}: {cause}", path.display())]
    Prepare { path: PathBuf, cause: io::Error },
    #[error("the migrations failed: {0}")]
    Migrate(ProcessError),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Start(#[from] ProcessError),
    #[error("the database does not answer: {0}")]
    Http(#[from] ureq::Error),
    #[error("the database refuses: {0}")]
    Refused(String),
    #[error("the database does not answer with JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A running Supabase API and its database. Everything in it is gone when it is dropped.
#[derive(Debug)]
pub struct Database {
    // Dropped first: it holds connections to the other.
    api: Process,
    postgres: Option<Postgres>,
    port: Port,
    /// The folder that the API works in.
    project: PathBuf,
}

impl Database {
    /// On PGlite, PostgreSQL in WebAssembly: needs no server, has a single connection, and runs
    /// as the tables' owner, so that revoked grants are not seen. For trying things out.
    pub fn pglite(tools: &Tools, run: &RunDir, port: Port) -> Result<Self, DatabaseError> {
        // No `file:` prefix: lite 0.10.0 makes a folder that is literally named "file:".
        let project = project(run, &port, "pglite", "supabase/.temp/pglite")?;
        let mut migrate = lite(tools, &project);
        migrate.args(["migration", "up"]);
        process::run(&mut migrate).map_err(DatabaseError::Migrate)?;
        let api = start(tools, run, &port, &project)?;
        Ok(Self {
            api,
            postgres: None,
            port,
            project,
        })
    }

    /// On a throw-away PostgreSQL server, with Supabase's roles and default privileges: row locks
    /// and grants behave as they do in production. For tests.
    pub fn postgres(tools: &Tools, run: &RunDir, port: Port) -> Result<Self, DatabaseError> {
        Self::on_server(tools, run, port, None)
    }

    /// Starts PostgreSQL with `migrations/optional/partition_request_logs.sql` applied.
    pub fn partitioned(tools: &Tools, run: &RunDir, port: Port) -> Result<Self, DatabaseError> {
        let optional = "migrations/optional/partition_request_logs.sql";
        Self::on_server(tools, run, port, Some(optional))
    }

    fn on_server(
        tools: &Tools,
        run: &RunDir,
        port: Port,
        optional: Option<&str>,
    ) -> Result<Self, DatabaseError> {
        let postgres = Postgres::bare(tools, run)?;
        postgres.migrate(run.workspace())?;
        if let Some(file) = optional {
            postgres.apply(&run.workspace().root().join(file))?;
        }
        // lite reads the catalogue as the role that it logs in as, which is not the owner: it
        // grants everything to `anon` when it may.
        postgres.query("GRANT SELECT ON ALL TABLES IN SCHEMA public TO authenticator")?;
        let project = project(run, &port, "postgres", &postgres.url("authenticator"))?;
        let api = start(tools, run, &port, &project)?;
        Ok(Self {
            api,
            postgres: Some(postgres),
            port,
            project,
        })
    }

    /// Starts the API again if it has ended. The rows are still there.
    pub fn revive(&mut self, tools: &Tools, run: &RunDir) -> Result<bool, DatabaseError> {
        let ended = self.api.has_ended();
        if ended {
            self.api = start(tools, run, &self.port, &self.project)?;
        }
        Ok(ended)
    }

    /// The project's URL, for `SUPABASE_URL`; PostgREST is at `/rest/v1` below it.
    #[must_use]
    pub fn url(&self) -> String {
        self.port.url()
    }

    /// The key whose requests run as `service_role`.
    #[must_use]
    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// The key whose requests run as `anon`.
    #[must_use]
    pub fn publishable_key(&self) -> &'static str {
        PUBLISHABLE_KEY
    }

    /// The variables with which functions find it.
    #[must_use]
    pub fn env(&self) -> Env {
        vec![
            ("SUPABASE_URL", self.url()),
            ("SUPABASE_SECRET_KEY", SECRET_KEY.to_owned()),
        ]
    }

    /// Inserts a row, as the gateway's own role.
    pub fn insert(&self, table: &str, row: &Value) -> Result<(), DatabaseError> {
        let request = agent()
            .post(format!("{}/rest/v1/{table}", self.url()))
            .header("apikey", SECRET_KEY)
            .header("content-type", "application/json");
        read(request.send(row.to_string())?).map(drop)
    }

    /// The rows of a PostgREST query, such as `request_logs?select=status&did=eq.x`.
    pub fn select(&self, query: &str) -> Result<Value, DatabaseError> {
        let request = agent()
            .get(format!("{}/rest/v1/{query}", self.url()))
            .header("apikey", SECRET_KEY);
        Ok(serde_json::from_str(&read(request.call()?)?)?)
    }

    /// The database server, where there is one.
    #[must_use]
    pub fn server(&self) -> Option<&Postgres> {
        self.postgres.as_ref()
    }

    #[must_use]
    pub fn process(&self) -> &Process {
        &self.api
    }
}

/// Makes the folder that lite works in: `supabase/config.toml` and `supabase/migrations`.
fn project(run: &RunDir, port: &Port, driver: &str, url: &str) -> Result<PathBuf, DatabaseError> {
    let project = run.path().join("supabase-project");
    let supabase = project.join("supabase");
    let template = run.workspace().assets().join("supabase.toml");
    let prepare = || {
        fs::create_dir_all(&supabase)?;
        let config = fs::read_to_string(template)?
            .replace("{port}", &port.number().to_string())
            .replace("{driver}", driver)
            .replace("{url}", url);
        fs::write(supabase.join("config.toml"), config)?;
        symlink(
            run.workspace().root().join("migrations"),
            supabase.join("migrations"),
        )
    };
    prepare().map_err(|cause| DatabaseError::Prepare {
        path: project.clone(),
        cause,
    })?;
    Ok(project)
}

fn start(
    tools: &Tools,
    run: &RunDir,
    port: &Port,
    project: &PathBuf,
) -> Result<Process, ProcessError> {
    let mut command = lite(tools, project);
    // Without `--no-admin`, requests without a key run as `service_role`.
    command.args(["start", "--no-admin"]);
    // A table, not the root: lite 0.10.0 grants privileges at the first query of one with row level
    // security, and several first queries at once fail in each other's way.
    let ready = Probe::Http {
        url: format!("{}/rest/v1/user_api_keys?limit=1", port.url()),
        headers: vec![("apikey", SECRET_KEY.to_owned())],
    };
    Launch::new("supabase", command, run)
        .port(port)
        .ready(ready, Duration::from_mins(1))
        .start()
}

fn lite(tools: &Tools, project: &PathBuf) -> Command {
    let mut command = tools.node("@supabase/lite/dist/cli/index.js");
    command
        .arg("--no-telemetry")
        .env("LITE_TELEMETRY", "0")
        .env("SUPABASE_SECRET_KEY", SECRET_KEY)
        .env("SUPABASE_PUBLISHABLE_KEY", PUBLISHABLE_KEY)
        .current_dir(project);
    command
}

fn read(mut answer: Response<Body>) -> Result<String, DatabaseError> {
    let text = answer.body_mut().read_to_string()?;
    if answer.status().is_success() {
        Ok(text)
    } else {
        Err(DatabaseError::Refused(text))
    }
}
