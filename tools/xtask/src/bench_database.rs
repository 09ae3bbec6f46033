//! `cargo xtask bench-database`: the database's part of a request, its size, and its answers to questions
//! about usage, with tables of several sizes and with and without indexes. On a throw-away PostgreSQL.

mod hot;
mod questions;
mod tokens;

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use stack::progress::step;
use stack::{Database, Port, Postgres, RunDir, Tools, Workspace};

#[derive(Args)]
pub(crate) struct Options {
    /// Numbers of requests in the table, in rising order
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000, 5_000_000])]
    rows: Vec<u64>,
    /// The share of them that belongs to the DID that asks, in percent
    #[arg(long, default_value_t = 100)]
    share: u64,
    /// How long each load runs, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// How often each question is asked; the median counts
    #[arg(long, default_value_t = 5)]
    runs: u32,
}

const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnn";
const LOAD: &str = include_str!("bench_database/load.sql");

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        options.runs >= 1 && options.seconds >= 1 && (1..=100).contains(&options.share),
        "too little to measure"
    );
    let workspace = Workspace::locate();
    let tools = Tools::install(&workspace)?;
    let run = RunDir::named(&workspace, "bench-database")?;
    let database = step("Supabase (PostgreSQL)", || {
        Database::postgres(&tools, &run, Port::free()?)
    })?;
    let server = database.server().context("no server")?;
    // One process per question, so that its CPU time can be told.
    server.query("ALTER SYSTEM SET max_parallel_workers_per_gather = 0")?;
    server.query("SELECT pg_reload_conf()")?;
    let mut report = format!("{}\n", server.query("SELECT version()")?);
    for rows in &options.rows {
        step(&format!("{rows} requests"), || {
            load(server, *rows, *rows * options.share / 100)
        })?;
        writeln!(report, "\n{rows} requests, {} % of one DID", options.share)?;
        report += &sizes(server, *rows)?;
        report += &step("Questions", || questions::measure(server, options.runs))?;
        report += &step("Keys", || questions::keys(server, options.runs))?;
        report += &step("Tokens", || tokens::refusals(server, options.runs))?;
        report += &step("Requests", || {
            hot::measure(&tools, server, &run, options.seconds)
        })?;
    }
    println!("\n{report}");
    let path = run.path().join("report.txt");
    fs::write(&path, report)?;
    println!("{}", path.display());
    Ok(())
}

/// Replaces all requests by `rows` new ones, `mine` of which belong to [`DID`].
fn load(server: &Postgres, rows: u64, mine: u64) -> Result<()> {
    server
        .query("TRUNCATE public.request_logs, public.open_requests, public.usage_series CASCADE")?;
    let load = LOAD
        .replace("{did}", DID)
        .replace("{rows}", &rows.to_string())
        .replace("{mine}", &mine.to_string());
    server.query(&load)?;
    server.query("SELECT public.fill_rollup()")?;
    for table in ["request_logs", "usage_series", "usage_hours"] {
        server.query(&format!("VACUUM (ANALYZE) public.{table}"))?;
    }
    Ok(())
}

/// The size of what a request leaves behind, indexes included.
fn sizes(server: &Postgres, rows: u64) -> Result<String> {
    let mut report = String::new();
    let mut all = 0;
    for table in ["request_logs", "usage_series", "usage_hours"] {
        let text = server.query(&format!(
            "SELECT pg_table_size('public.{table}') || ' ' || pg_indexes_size('public.{table}')"
        ))?;
        let (heap, indexes) = text.split_once(' ').context("two sizes")?;
        let (heap, indexes): (u64, u64) = (heap.parse()?, indexes.parse()?);
        all += heap + indexes;
        writeln!(
            report,
            "  {table:<44} {:>6} bytes per request, and {} in indexes",
            heap / rows,
            indexes / rows
        )?;
    }
    let hours = server.query("SELECT count(*) FROM public.usage_hours")?;
    writeln!(report, "  {:<44} {hours}", "sums (rows of usage_hours)")?;
    let each = (all / rows).max(1);
    writeln!(
        report,
        "  {:<44} {each:>6} bytes per request; 500 MB hold {} requests",
        "all",
        500_000_000 / each
    )?;
    Ok(report)
}
