//! One run, from an empty database to the verdict.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
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
    client::{Clients, Delivered},
    journal::{Group, Journal},
    openrouter::OpenRouter,
    options::Options,
    plan::{self, Plan},
    progress::Progress,
    report::Report,
    settlement::{self, Settlement, until},
    storage::{PlannedFaults, StorageProxy},
    verdict::{Evidence, Holds, judge},
};

const KEYSET_SECRET: &str = "ledger/keyset";
/// The least hold, which is less than the cost of many requests.
const HOLD_USD: &str = "0.004";
/// The hold of a video. No job costs more than its hold.
const VIDEO_HOLD_USD: &str = "0.02";
/// The number of users. The first two have a credit limit, the third a rate limit.
const USERS: usize = 20;

/// The interval of scheduled reconciliation, in place of five minutes.
const SCHEDULE: Duration = Duration::from_secs(2);

/// Runs the simulation and prints the report. Returns true if the ledgers are equal.
pub fn run(options: &Options) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let started = Instant::now();
    let services = Services::start(options)?;
    let report = runtime.block_on(services.run(options))?;
    report.print(options, started.elapsed());
    Ok(report.verdict.mismatches.is_empty())
}

/// The services beside the functions.
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

    /// Sets limits that some of the users reach in the middle of the run.
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

    async fn run(self, options: &Options) -> Result<Report> {
        let plans = Arc::new(plan::draw(options.seed, options.requests, USERS));
        let journal = Arc::new(Journal::new(&plans));
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
        let (openrouter, upstream) = OpenRouter::start(&plans, &journal, keys).await?;
        let url = self.database.url();
        let faults = PlannedFaults::new(&plans, &journal, options.seed);
        let storage = StorageProxy::start(&url, faults).await?;
        let records: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = log(&journal, &records);
        let env = self.env(&storage.url(), &upstream);
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
        let reconcile = deploy("reconcile", Mode::Buffered, settlement::CONCURRENT_RUNS)?;
        openrouter.aim_at(&proxy);
        storage.policy.aim_at(&proxy);
        let settlement = Settlement {
            database: &self.database,
            reconcile: Arc::clone(&reconcile),
            journal: Arc::clone(&journal),
            plans: Arc::clone(&plans),
            records,
            openrouter: Arc::clone(&openrouter),
            violations: Mutex::default(),
            llmgw: self.functions.binary("llmgw")?.to_owned(),
            folder: self.run.path().to_owned(),
        };
        let clients = Clients {
            users: self.users,
            proxy: Arc::clone(&proxy),
            journal: Arc::clone(&journal),
        };

        let started = Instant::now();
        let delivered = traffic(&clients, &plans, options.environments, &settlement).await?;
        let minutes = started.elapsed().as_secs_f64() / 60.0;
        until(|| proxy.unfinished() == 0 && reconcile.unfinished() == 0 && storage.is_quiet())
            .await;
        sleep(Duration::from_millis(1600)).await;
        openrouter.bills.complete_jobs();
        let settling = Instant::now();
        settlement.settle().await?;
        until(|| storage.is_quiet()).await;

        let books = Books::read(&self.database)?;
        let mut violations = proxy.violations();
        violations.extend(reconcile.violations());
        violations.extend(lock(&settlement.violations).clone());
        let verdict = judge(&Evidence {
            plans: &plans,
            dids: &dids,
            delivered: &delivered,
            openrouter: &openrouter,
            storage: &storage.policy,
            books: &books,
            minutes,
            records: lock(&settlement.records)
                .iter()
                .filter_map(|record| settlement::id_of(record))
                .collect(),
            holds: Holds {
                request: Amount::parse(HOLD_USD).unwrap_or_default(),
                video: Amount::parse(VIDEO_HOLD_USD).unwrap_or_default(),
            },
            violations,
        });
        journal.count_many(
            Group::Settlement,
            "processes of the proxy",
            proxy.processes(),
        );
        Ok(Report {
            verdict,
            books,
            journal,
            plans,
            traffic: settling.duration_since(started),
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
            ("GATEWAY_OPENROUTER_URL", upstream.to_owned()),
            ("UPSTREAM_FIRST_BYTE_TIMEOUT_MS", "5000".to_owned()),
            ("UPSTREAM_IDLE_TIMEOUT_MS", "3000".to_owned()),
            ("HOLD_USD", HOLD_USD.to_owned()),
            ("VIDEO_HOLD_USD", VIDEO_HOLD_USD.to_owned()),
            ("RUST_LOG", "info".to_owned()),
        ]);
        env
    }
}

/// Sends all requests, `concurrent` at a time, while reconciliation runs on its schedule.
async fn traffic(
    clients: &Clients,
    plans: &[Plan],
    concurrent: usize,
    settlement: &Settlement<'_>,
) -> Result<HashMap<usize, Vec<Delivered>>> {
    let progress = Progress::new(plans.len());
    let sending = stream::iter(plans)
        .map(|plan| async {
            let seen = clients.send(plan).await;
            progress.advance();
            seen.map(|seen| (plan.number, seen))
        })
        .buffer_unordered(concurrent)
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

/// Reads the functions' log for the journal and for emergency records.
fn log(journal: &Arc<Journal>, records: &Arc<Mutex<Vec<String>>>) -> LogSink {
    let (journal, records) = (Arc::clone(journal), Arc::clone(records));
    Arc::new(move |line| {
        journal.logged(line);
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        if let Some(record) = line["emergency_record"].as_str() {
            lock(&records).push(record.to_owned());
        }
    })
}
