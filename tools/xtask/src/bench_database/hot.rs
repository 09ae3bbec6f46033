//! Requests, as `pgbench` sends them: begin, note, finish.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use stack::process::run as run_quietly;
use stack::{Postgres, RunDir, Tools};

use super::DID;

const SCRIPT: &str = include_str!("request.sql");
/// DIDs, connections, and whether the DID has budgets.
const LOADS: [(u32, u32, bool); 6] = [
    (1, 1, false),
    (1, 1, true),
    (1, 10, false),
    (1, 30, false),
    (100, 10, false),
    (100, 30, false),
];
/// Three budgets that no load reaches.
const BUDGETS: &str = r#"[{"period": "day", "amount": "1000000", "time_zone": "Europe/Berlin"},
    {"period": "week", "amount": "1000000", "time_zone": "America/New_York"},
    {"period": "total", "amount": "1000000", "time_zone": "UTC"}]"#;

/// Throughput, the times of each call, WAL and the database's CPU time per request.
pub(super) fn measure(
    tools: &Tools,
    server: &Postgres,
    run: &RunDir,
    seconds: u32,
) -> Result<String> {
    let hex: String = DID.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let script = run.path().join("request.sql");
    // Not as text: pgbench takes a colon for a variable, in quotes, too.
    fs::write(&script, SCRIPT.replace("{did}", &hex))?;
    let mut text = String::new();
    for (dids, connections, has_budgets) in LOADS {
        let budgets = if has_budgets { BUDGETS } else { "[]" };
        server.query(&format!(
            "SELECT public.set_budgets('{DID}', NULL, '{budgets}', now())"
        ))?;
        let before = state(server)?;
        let mut pgbench = Command::new(tools.postgres_program("pgbench"));
        pgbench
            .args([
                "--no-vacuum",
                "--report-per-command",
                "--protocol",
                "prepared",
                "--log",
            ])
            .args(["--define", &format!("users={dids}")])
            .args(["--client", &connections.to_string(), "--jobs", "2"])
            .args(["--time", &seconds.to_string(), "--file"])
            .arg(&script)
            .arg(server.url("postgres"))
            .current_dir(run.path());
        let output = run_quietly(&mut pgbench)?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let after = state(server)?;
        let mut times = times(run)?;
        times.sort_unstable();
        let done = u32::try_from(times.len())?.max(1);
        let at = |share: usize| {
            times
                .get(times.len() * share / 100)
                .copied()
                .unwrap_or_default()
        };
        let of = |function: &str| {
            let line = output.lines().find(|line| line.contains(function));
            line.and_then(|line| line.split_whitespace().next())
                .unwrap_or("?")
                .to_owned()
        };
        writeln!(
            text,
            "  {dids:>3} DIDs, {connections:>2} connections{}: {:>6.0} requests/s, p50 {:.1} ms, p99 {:.1} ms; begin {} ms, \
             note {}, finish {}; {:.0} bytes of WAL, {:.2} ms of CPU each",
            if has_budgets { ", 3 budgets" } else { "" },
            f64::from(done) / f64::from(seconds),
            f64::from(at(50)) / 1000.0,
            f64::from(at(99)) / 1000.0,
            of("begin_request"),
            of("note_generation"),
            of("finish_request"),
            (after.wal - before.wal) / f64::from(done),
            (after.cpu - before.cpu) / f64::from(done),
        )?;
    }
    Ok(text)
}

/// Bytes of WAL, and milliseconds of CPU time of connections that have ended.
struct State {
    wal: f64,
    cpu: f64,
}

fn state(server: &Postgres) -> Result<State> {
    let wal = server.query("SELECT pg_current_wal_lsn() - '0/0'")?;
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.process().id()))?;
    // After the name, which may contain blanks: cutime and cstime are fields 16 and 17 of all, in 1/100 s.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks =
        |place: usize| -> Result<f64> { Ok(fields.get(place).context("too short")?.parse()?) };
    Ok(State {
        wal: wal.parse()?,
        cpu: (ticks(13)? + ticks(14)?) * 10.0,
    })
}

/// The microseconds of each request, from pgbench's logs, which it deletes.
fn times(run: &RunDir) -> Result<Vec<u32>> {
    let mut times = Vec::new();
    for entry in fs::read_dir(run.path())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("pgbench_log") {
            for line in fs::read_to_string(&path)?.lines() {
                times.push(
                    line.split_whitespace()
                        .nth(2)
                        .context("too short")?
                        .parse()?,
                );
            }
            fs::remove_file(&path)?;
        }
    }
    Ok(times)
}
