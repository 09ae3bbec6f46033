//! One run, from nothing to the verdict.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use e2e::signer::{AUDIENCE, Signer};
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use stack::{
    Database, Env, Functions, Moto, Port, RunDir, Tools, Vault, Workspace,
    lambda::{Function, Limits, LogSink, Mode, Pool, lock},
    progress::step,
};
use tokio::time::sleep;

use crate::{
    amount::Amount,
    books::Books,
    chronicle::{Chronicle, Group},
    client::{Clients, Seen},
    door::{Planned, StorageDoor},
    plan::{self, Plan},
    progress::Progress,
    report::Report,
    settlement::{self, Settlement, until},
    upstream::Stub,
    verdict::{Evidence, judge},
};

const KEYSET_SECRET: &str = "ledger/keyset";
/// The least hold: less than many requests cost.
const HOLD_USD: &str = "0.004";
/// Some of the users are limited: the first two by money, the third by rate.
const USERS: usize = 20;

/// Between two scheduled runs of reconciliation, in the place of five minutes.
const SCHEDULE: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many requests
    #[arg(long, default_value_t = Self::default().requests)]
    pub requests: usize,
    /// What decides everything but the timing
    #[arg(long, default_value_t = Self::default().seed)]
    pub seed: u64,
    /// How many requests run at the same time, each in an environment of its own
    #[arg(long, default_value_t = Self::default().environments)]
    pub environments: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            requests: 200,
            seed: 1,
            environments: 24,
        }
    }
}

/// Runs it and prints the report. True if the ledgers are equal.
pub fn run(options: &Options) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let begun = Instant::now();
    let report = Services::start(options)?.run(&runtime, options)?;
    report.print(options, begun.elapsed());
    Ok(report.verdict.mismatches.is_empty())
}

/// What runs beside the functions.
struct Services {
    database: Database,
    secrets: Moto,
    functions: Functions,
    users: Vec<Signer>,
    run: RunDir,
}

impl Services {
    fn start(options: &Options) -> Result<Self> {
        let workspace = Workspace::locate();
        let tools = Tools::install(&workspace)?;
        let run = RunDir::unique(&workspace, "ledger")?;
        let functions = step("Functions (cargo build)", || {
            Functions::build(&workspace, &["proxy", "reconcile", "llmgw"])
        })?;
        let database = step("Supabase (PostgreSQL)", || {
            Database::postgres(&tools, &run, Port::free()?)
        })?;
        let port = Port::free()?;
        let secrets = step("Secrets Manager (moto)", || Moto::start(&tools, &run, port))?;
        let vault = Vault::create(&secrets, KEYSET_SECRET)?;
        let mut rng = Rng::with_seed(!options.seed);
        let users: Vec<Signer> = (0..USERS)
            .map(|_| {
                let (mut seed, mut tail) = ([0; 32], [0; 24]);
                rng.fill(&mut seed);
                rng.fill(&mut tail);
                Signer::new(seed, tail)
            })
            .collect::<Result<_>>()?;
        for user in &users {
            vault.store_key(&database, &user.did, &user.api_key)?;
        }
        let services = Self {
            database,
            secrets,
            functions,
            users,
            run,
        };
        services.limit(options.requests)?;
        Ok(services)
    }

    /// Limits that some of the users reach in the middle of the run.
    fn limit(&self, requests: usize) -> Result<()> {
        let share = requests.div_ceil(USERS);
        let limit = Amount::new(u64::try_from(share)?.max(10) * 15, 4);
        let rate = (share / 12).max(4);
        let server = self.database.server().context("no server")?;
        for (user, change) in self.users.iter().zip([
            format!("credit_limit = {limit}"),
            format!("credit_limit = {limit}"),
            format!("requests_per_minute = {rate}"),
        ]) {
            let did = user.did.as_str();
            server.query(&format!(
                "UPDATE public.accounts SET {change} WHERE did = '{did}'"
            ))?;
        }
        Ok(())
    }

    fn run(self, runtime: &tokio::runtime::Runtime, options: &Options) -> Result<Report> {
        runtime.block_on(self.drive(options))
    }

    async fn drive(self, options: &Options) -> Result<Report> {
        let plans = Arc::new(plan::draw(options.seed, options.requests, USERS));
        let chronicle = Arc::new(Chronicle::of(&plans));
        let keys = self
            .users
            .iter()
            .map(|user| user.api_key.expose_secret().to_owned())
            .collect();
        let dids: Vec<String> = self
            .users
            .iter()
            .map(|user| user.did.as_str().to_owned())
            .collect();
        let (stub, upstream) = Stub::start(&plans, &chronicle, keys).await?;
        let url = self.database.url();
        let planned = Planned::new(&plans, &chronicle, options.seed);
        let door = StorageDoor::with(&url, planned).await?;
        let records: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = log(&chronicle, &records);
        let env = self.env(&door.url(), &upstream);
        let deploy = |name, mode, size| -> Result<Arc<Pool>> {
            let function = Function {
                name,
                binary: self.functions.binary(name)?.to_owned(),
                env: env.clone(),
                mode,
                limits: Limits::LAMBDA,
            };
            let pool = Pool::start(function, size, self.run.path(), Arc::clone(&log));
            Ok(Arc::new(pool))
        };
        let proxy = deploy("proxy", Mode::Streaming, options.environments)?;
        let reconcile = deploy("reconcile", Mode::Buffered, settlement::AT_ONCE)?;
        stub.aim_at(&proxy);
        door.porter.aim_at(&proxy);
        let settlement = Settlement {
            database: &self.database,
            reconcile: Arc::clone(&reconcile),
            chronicle: Arc::clone(&chronicle),
            plans: Arc::clone(&plans),
            records,
            faults: Mutex::default(),
            llmgw: self.functions.binary("llmgw")?.to_owned(),
            folder: self.run.path().to_owned(),
        };
        let clients = Clients {
            users: self.users,
            proxy: Arc::clone(&proxy),
            chronicle: Arc::clone(&chronicle),
        };

        let begun = Instant::now();
        let seen = traffic(&clients, &plans, options.environments, &settlement).await?;
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        until(|| proxy.unfinished() == 0 && reconcile.unfinished() == 0 && door.is_quiet()).await;
        sleep(Duration::from_millis(1600)).await;
        stub.books.complete_jobs();
        let settling = Instant::now();
        settlement.settle().await?;
        until(|| door.is_quiet()).await;

        let books = Books::read(&self.database)?;
        let mut violations = proxy.violations();
        violations.extend(reconcile.violations());
        violations.extend(lock(&settlement.faults).clone());
        let verdict = judge(&Evidence {
            plans: &plans,
            dids: &dids,
            seen: &seen,
            stub: &stub,
            door: &door.porter,
            books: &books,
            minutes,
            records: lock(&settlement.records)
                .iter()
                .filter_map(|record| settlement::id_of(record))
                .collect(),
            least_hold: Amount::parse(HOLD_USD).unwrap_or_default(),
            violations,
        });
        chronicle.count_many(
            Group::Settlement,
            "processes of the proxy",
            proxy.processes(),
        );
        Ok(Report {
            verdict,
            books,
            chronicle,
            plans,
            traffic: settling.duration_since(begun),
            settling: settling.elapsed(),
            logs: self.run.path().to_owned(),
        })
    }

    fn env(&self, storage: &str, upstream: &str) -> Env {
        let mut env = self.secrets.env();
        env.extend(self.database.env());
        env.extend([
            ("GATEWAY_AUDIENCES", AUDIENCE.to_owned()),
            ("KEYSET_SECRET_NAME", KEYSET_SECRET.to_owned()),
            ("SUPABASE_URL", storage.to_owned()),
            ("OPENROUTER_BASE_URL", upstream.to_owned()),
            ("UPSTREAM_FIRST_BYTE_TIMEOUT_MS", "5000".to_owned()),
            ("UPSTREAM_IDLE_TIMEOUT_MS", "3000".to_owned()),
            ("HOLD_USD", HOLD_USD.to_owned()),
            ("RUST_LOG", "info".to_owned()),
        ]);
        env
    }
}

/// Sends all requests, as many at once as there are environments, while reconciliation runs on its
/// schedule.
async fn traffic(
    clients: &Clients,
    plans: &[Plan],
    at_once: usize,
    settlement: &Settlement<'_>,
) -> Result<HashMap<usize, Vec<Seen>>> {
    let progress = Progress::of(plans.len());
    let sending = stream::iter(plans)
        .map(|plan| async {
            let seen = clients.send(plan).await;
            progress.advance();
            seen.map(|seen| (plan.number, seen))
        })
        .buffer_unordered(at_once)
        .collect::<Vec<_>>();
    let schedule = async {
        loop {
            sleep(SCHEDULE).await;
            settlement.run_once().await;
        }
    };
    tokio::select! {
        seen = sending => seen.into_iter().collect(),
        never = schedule => never,
    }
}

/// Takes the functions' log apart.
fn log(chronicle: &Arc<Chronicle>, records: &Arc<Mutex<Vec<String>>>) -> LogSink {
    let (chronicle, records) = (Arc::clone(chronicle), Arc::clone(records));
    Arc::new(move |line| {
        chronicle.logged(line);
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        if let Some(record) = line["emergency_record"].as_str() {
            lock(&records).push(record.to_owned());
        }
    })
}
