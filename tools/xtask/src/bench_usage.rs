//! `cargo xtask bench-usage`: what questions about usage cost one user with very many requests, on a
//! throw-away PostgreSQL, with the indexes and without them.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use stack::progress::step;
use stack::{Database, Port, Postgres, RunDir, Tools, Workspace};

#[derive(Args)]
pub(crate) struct Options {
    /// Requests of the user whose usage is queried
    #[arg(long, default_value_t = 1_000_000)]
    rows: u32,
    /// Requests of others, in between
    #[arg(long, default_value_t = 1_000_000)]
    noise: u32,
    /// Repetitions of each query; the median counts
    #[arg(long, default_value_t = 7)]
    runs: u32,
}

const DID: &str = "did:key:z6MkBenchmark";

/// Every index that begins with a column that is asked by. The primary key stays.
const INDEXES: [&str; 5] = [
    "idx_request_logs_usage",
    "idx_request_logs_did",
    "idx_request_logs_request_time",
    "idx_request_logs_status",
    "idx_request_logs_recent_costs",
];

/// A year of requests in random order of users, 20 models, four in a hundred failed.
const LOAD: &str = "
INSERT INTO public.request_logs
  (id, did, model, requested_model, method, path, endpoint, streamed, generation_id, http_status,
   input_tokens, output_tokens, cached_tokens, reasoning_tokens, openrouter_cost, upstream_inference_cost,
   is_byok, total_cost, cost_state, first_byte_ms, request_time, response_time, status)
SELECT gen_random_uuid(), CASE WHEN mine THEN '{did}' ELSE 'did:key:z6MkOther' || n % 997 END,
       'vendor/model-' || n * 7919 % 20, 'vendor/model-' || n * 7919 % 20, 'POST', '/chat/completions',
       (ARRAY['chat', 'chat', 'messages', 'embeddings'])[n % 4 + 1], true, 'gen-' || n,
       CASE WHEN failed THEN 429 ELSE 200 END, 100 + n % 5000, 10 + n % 900, n % 100, n % 30,
       cost, 0, false, CASE WHEN failed THEN NULL ELSE cost END,
       CASE WHEN failed THEN 'none' WHEN n % 997 = 0 THEN 'pending' ELSE 'final' END, 100 + n * 31 % 4000,
       began, began + (300 + n * 17 % 60000) * interval '1 millisecond',
       CASE WHEN failed THEN 'failed' ELSE 'completed' END
  FROM generate_series(1::bigint, {all}) AS n,
       LATERAL (SELECT n * {rows} / {all} <> (n - 1) * {rows} / {all} AS mine, n % 25 = 0 AS failed,
                       (n * 7919 % 1000003)::numeric / 100000000 + 0.0000000000000000005 AS cost,
                       timestamptz '2026-01-01Z' + n * interval '1 year' / {all} AS began) AS drawn";

/// Asks in one session, so that neither connecting nor the first look at the catalogue is measured.
const TIMED: &str = "
CREATE FUNCTION pg_temp.timed(question text, runs integer) RETURNS SETOF double precision LANGUAGE plpgsql AS $$
DECLARE began timestamptz; answer jsonb;
BEGIN
  FOR run IN 0..runs LOOP
    began := clock_timestamp();
    EXECUTE question INTO answer;
    IF run > 0 THEN RETURN NEXT extract(epoch FROM clock_timestamp() - began) * 1000; END IF;
  END LOOP;
END $$;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM pg_temp.timed($q${question}$q$, {runs}) AS ms";

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        options.rows >= 1000 && options.runs >= 1,
        "too little to measure"
    );
    let workspace = Workspace::locate();
    let tools = Tools::install(&workspace)?;
    let run = RunDir::named(&workspace, "bench-usage")?;
    let database = step("Supabase (PostgreSQL)", || {
        Database::postgres(&tools, &run, Port::free()?)
    })?;
    let server = database.server().context("no server")?;
    let all = u64::from(options.rows) + u64::from(options.noise);
    step(
        &format!("{all} requests, {} of one user", options.rows),
        || {
            server.query(
                &LOAD
                    .replace("{did}", DID)
                    .replace("{rows}", &options.rows.to_string())
                    .replace("{all}", &all.to_string()),
            )
        },
    )?;
    step("VACUUM ANALYZE", || {
        server.query("VACUUM (ANALYZE) public.request_logs")
    })?;
    println!(
        "{}",
        server.query(
            "SELECT version() || '; the table has ' || pg_size_pretty(pg_relation_size('public.request_logs'))
                 || ', its index ' || pg_size_pretty(pg_relation_size('public.idx_request_logs_usage'))"
        )?
    );

    let questions = questions(server, options.rows)?;
    let mut plans = String::new();
    let with = step("With the indexes", || {
        measure(server, &questions, options.runs, &mut plans)
    })?;
    step("Dropping the indexes", || {
        server.query(&format!("DROP INDEX public.{}", INDEXES.join(", public.")))
    })?;
    let without = step("Without them", || {
        measure(server, &questions, options.runs.min(3), &mut plans)
    })?;

    println!(
        "\n{:<34} {:>10} {:>13} {:>7}",
        "", "indexes", "none", "ratio"
    );
    for ((question, with), without) in questions.iter().zip(&with).zip(&without) {
        println!(
            "{:<34} {with:>7.1} ms {without:>10.1} ms {:>7.1}",
            question.name,
            without / with
        );
    }
    let time = |name: &str| {
        let found = questions.iter().position(|question| question.name == name);
        found.and_then(|place| with.get(place)).copied()
    };
    if let (Some(first), Some(deep)) = (time(FIRST_PAGE), time(DEEP_PAGE)) {
        println!(
            "\nThe deep page takes {:.2} times as long as the first.",
            deep / first
        );
    }
    let file = run.path().join("plans.txt");
    fs::write(&file, plans)?;
    println!("Plans (EXPLAIN ANALYZE, BUFFERS): {}", file.display());
    Ok(())
}

const FIRST_PAGE: &str = "first page of 50";
const DEEP_PAGE: &str = "a page of 50, 99 % down";

struct Question {
    name: &'static str,
    sql: String,
}

fn questions(server: &Postgres, rows: u32) -> Result<Vec<Question>> {
    let report = |name, more: Value| question(name, "usage_report", &more);
    let page = |name, more: Value| question(name, "usage_requests", &more);
    // Berlin's clock.
    let offsets = json!([
        {"from": null, "seconds": 3600},
        {"from": "2026-03-29T01:00:00Z", "seconds": 7200},
        {"from": "2026-10-25T01:00:00Z", "seconds": 3600},
    ]);
    let grouped = |by: &[&str]| json!({"max_groups": 2000, "group_by": by, "offsets": offsets, "percentiles": true});
    let month = |mut question: Value| {
        question["start"] = json!("2026-09-30T22:00:00Z");
        question["end"] = json!("2026-10-31T23:00:00Z");
        question
    };
    let deep = format!(
        "SELECT jsonb_build_object('request_time', request_time, 'id', id) FROM public.request_logs
          WHERE did = '{DID}' ORDER BY request_time DESC, id DESC OFFSET {} LIMIT 1",
        u64::from(rows) * 99 / 100
    );
    let deep: Value = serde_json::from_str(&server.query(&deep)?)?;
    Ok(vec![
        report("sums", grouped(&[])),
        report("sums without percentiles", json!({"max_groups": 2000})),
        report("by model", grouped(&["model"])),
        report("by day", grouped(&["day"])),
        report("by endpoint and model", grouped(&["endpoint", "model"])),
        report(
            "a month by day and model",
            month(grouped(&["day", "model"])),
        ),
        report("a month by hour", month(grouped(&["hour"]))),
        page(FIRST_PAGE, json!({"limit": 50})),
        page(DEEP_PAGE, json!({"limit": 50, "before": deep})),
        page("first page of 1000", json!({"limit": 1000})),
        page(
            "a filter that nothing passes",
            json!({"limit": 50, "min_cost": "1000"}),
        ),
    ])
}

fn question(name: &'static str, function: &str, more: &Value) -> Question {
    let mut request = json!({"did": DID});
    for (member, value) in more.as_object().into_iter().flatten() {
        request[member] = value.clone();
    }
    Question {
        name,
        sql: format!("SELECT public.{function}('{request}'::jsonb)"),
    }
}

/// The median time of each question, in milliseconds; its plan is added to `plans`.
fn measure(
    server: &Postgres,
    questions: &[Question],
    runs: u32,
    plans: &mut String,
) -> Result<Vec<f64>> {
    let mut medians = Vec::new();
    for Question { name, sql } in questions {
        let plan = explain(server, sql)?;
        println!("{name}");
        for line in plan
            .lines()
            .filter(|line| line.contains(" on request_logs"))
        {
            println!("    {}", line.trim());
        }
        plans.extend(["── ", name, "\n", &plan, "\n"]);
        let timed = TIMED
            .replace("{question}", sql)
            .replace("{runs}", &runs.to_string());
        medians.push(server.query(&timed)?.trim().parse()?);
    }
    Ok(medians)
}

/// The lines of PostgreSQL's `auto_explain` in the server's log about the query inside the function.
fn explain(server: &Postgres, sql: &str) -> Result<String> {
    let log = server.process().log();
    let before = fs::read_to_string(log)?.len();
    server.query(&format!(
        "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on;
         SET auto_explain.log_buffers = on; SET auto_explain.log_nested_statements = on; {sql}"
    ))?;
    let written = fs::read_to_string(log)?;
    Ok(written.get(before..).unwrap_or_default().to_owned())
}
