//! `llmgw run`: runs a program with a local API of its own, and tells what it cost.

use std::{
    collections::HashSet, ffi::OsString, os::unix::process::ExitStatusExt, process::ExitStatus,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::metering::money::Usd;
use tokio::{
    process::{Child, Command},
    select,
    signal::unix::{self, SignalKind, signal},
    time::{sleep, timeout},
};

use super::serve::{self, Private};
use crate::{
    api::{self, Money},
    args::GatewayArgs,
    client::Client,
    context::{Context, Outcome},
};

const REQUESTS: &str = "/api/v1/usage/requests";
/// The largest page of the gateway.
const PAGE: &str = "1000";
/// How far this machine's clock may be behind the gateway's.
const CLOCKS: SignedDuration = SignedDuration::from_mins(10);
/// The pauses before the books are asked again for requests whose end they do not know yet.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// The timeout of the books, all pauses included.
const BILL_TIMEOUT: Duration = Duration::from_secs(10);
/// A shell's exit statuses for a program that it does not find, or cannot run.
const NOT_FOUND: u8 = 127;
const CANNOT_RUN: u8 = 126;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Say nothing about the cost
    #[arg(short, long)]
    pub quiet: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

const EXAMPLES: &str = "Examples:
  llmgw run -- claude
  llmgw run -- claude -p 'say hi'
  llmgw run -- aider --model openrouter/anthropic/claude-sonnet-4.5
  llmgw run -- python program.py
  llmgw run -- sh -c 'curl -s $OPENAI_BASE_URL/models -H \"authorization: Bearer $OPENAI_API_KEY\"'

Starts `llmgw serve` on a free port with a token of its own, sets the variables that programs read
(OPENAI_…, ANTHROPIC_…, OPENROUTER_…), runs the program, and ends with its exit status. What its requests
cost is told on stderr.";

/// Runs the program.
pub(super) fn run(args: RunArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let client = context.client(args.gateway)?;
    let token = serve::generate(context.random)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let begun = context.clock.now();
        let mut served =
            Private::start(client.clone(), token.clone(), context.clock.clone()).await?;
        let Some((program, arguments)) = args.command.split_first() else {
            return Ok(Outcome::Failure);
        };
        let signals = Signals::new()?;
        let spawned = Command::new(program)
            .args(arguments)
            .envs(serve::variables(served.address, token.expose_secret()))
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) => {
                writeln!(
                    context.stderr,
                    "llmgw: cannot run {}: {error}",
                    program.display()
                )?;
                let is_missing = error.kind() == std::io::ErrorKind::NotFound;
                return Ok(Outcome::Exit(if is_missing {
                    NOT_FOUND
                } else {
                    CANNOT_RUN
                }));
            }
        };
        let status = wait(child, signals, context.terminal.stdin).await?;
        let mut ids = HashSet::new();
        while let Ok(id) = served.answered.try_recv() {
            ids.insert(id);
        }
        // Not before: until here the terminal is the program's. With stderr closed there is nobody to tell.
        for finding in served.findings().await {
            let _ = writeln!(context.stderr, "llmgw: {finding}");
        }
        if !args.quiet {
            let asked = timeout(BILL_TIMEOUT, Bill::ask(&client, ids, begun - CLOCKS)).await;
            let bill = match asked {
                Ok(Ok(bill)) => bill.to_string(),
                Ok(Err(error)) => format!("what it cost cannot be told: {error:#}"),
                Err(_) => "what it cost cannot be told: the gateway does not answer".to_owned(),
            };
            let _ = writeln!(context.stderr, "llmgw: {bill}");
        }
        anyhow::Ok(Outcome::Exit(code(status)))
    })?;
    runtime.shutdown_background();
    Ok(outcome)
}

/// The signals that are passed on.
struct Signals {
    terminate: unix::Signal,
    hangup: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
}

impl Signals {
    /// From now on, none of them ends this process.
    fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }
}

/// Waits for the program, and passes signals on to it. Those that a terminal sends for keys reach the
/// whole process group, so the program has them already.
async fn wait(mut child: Child, mut signals: Signals, on_terminal: bool) -> Result<ExitStatus> {
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    loop {
        let (received, by_key) = select! {
            status = child.wait() => return status.context("the program is lost"),
            _ = signals.terminate.recv() => (Signal::TERM, false),
            _ = signals.hangup.recv() => (Signal::HUP, false),
            _ = signals.interrupt.recv() => (Signal::INT, true),
            _ = signals.quit.recv() => (Signal::QUIT, true),
        };
        if let Some(pid) = pid
            && !(by_key && on_terminal)
        {
            // It may have ended just now.
            let _ = kill_process(pid, received);
        }
    }
}

/// The exit status, as a shell tells it.
fn code(status: ExitStatus) -> u8 {
    let of_signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(of_signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The sums of the requests that the program sent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bill {
    requests: usize,
    failed: usize,
    input_tokens: u64,
    output_tokens: u64,
    cost: Usd,
    /// The requests whose cost is not known yet.
    unknown: usize,
}

impl Bill {
    /// Asks the books, again while they do not know all ends: the last row is closed after its response.
    async fn ask(client: &Client, ids: HashSet<String>, since: Timestamp) -> Result<Self> {
        let mut bill = Self::default();
        if ids.is_empty() {
            return Ok(bill);
        }
        for pause in PAUSES {
            sleep(pause).await;
            let rows = rows(client, &ids, since).await?;
            let is_open = rows.iter().any(|row| row.status == "pending");
            bill = Self::of(&rows);
            if !is_open {
                break;
            }
        }
        Ok(bill)
    }

    fn of(rows: &[Row]) -> Self {
        let mut bill = Self {
            requests: rows.len(),
            ..Self::default()
        };
        for row in rows {
            bill.failed += usize::from(row.status == "failed");
            bill.input_tokens += row.input_tokens.unwrap_or_default();
            bill.output_tokens += row.output_tokens.unwrap_or_default();
            if matches!(row.cost_state.as_str(), "pending" | "unknown") || row.status == "pending" {
                bill.unknown += 1;
            } else if let Some(Money(cost)) = row.total_cost {
                bill.cost = bill.cost.checked_add(cost).unwrap_or(bill.cost);
            }
        }
        bill
    }
}

impl std::fmt::Display for Bill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.requests {
            0 => return f.write_str("no request was billed"),
            1 => f.write_str("1 request")?,
            count => write!(f, "{count} requests")?,
        }
        if self.failed > 0 {
            write!(f, " ({} failed)", self.failed)?;
        }
        write!(
            f,
            ", {} tokens in, {} out, {}",
            self.input_tokens,
            self.output_tokens,
            Money(self.cost)
        )?;
        match self.unknown {
            0 => Ok(()),
            1 => f.write_str(" and 1 cost that is not known yet"),
            count => write!(f, " and {count} costs that are not known yet"),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    status: String,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cost_state: String,
    total_cost: Option<Money>,
}

/// The rows of the requests `ids`. Requests that are not billed have none.
async fn rows(client: &Client, ids: &HashSet<String>, since: Timestamp) -> Result<Vec<Row>> {
    #[derive(Deserialize)]
    struct Page {
        requests: Vec<Box<RawValue>>,
        next_cursor: Option<String>,
    }

    let since = since.to_string();
    let mut cursor: Option<String> = None;
    let mut found = Vec::new();
    loop {
        let parameters = [
            ("start_date", Some(since.as_str())),
            ("limit", Some(PAGE)),
            ("cursor", cursor.as_deref()),
        ];
        let page: Page = api::ask(client, api::get(REQUESTS, &parameters)?).await?;
        for row in &page.requests {
            let row: Row = api::read(row)?;
            if ids.contains(&row.id) {
                found.push(row);
            }
        }
        match page.next_cursor {
            Some(next) if found.len() < ids.len() => cursor = Some(next),
            Some(_) | None => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_sums_up_what_is_known() {
        let row = |status: &str, state: &str, cost: &str| Row {
            id: "1".to_owned(),
            status: status.to_owned(),
            input_tokens: Some(2),
            output_tokens: Some(1),
            cost_state: state.to_owned(),
            total_cost: cost.parse().ok().map(Money),
        };
        let said = |rows: &[Row]| Bill::of(rows).to_string();
        assert_eq!(said(&[]), "no request was billed");
        let one = row("completed", "final", "0.0076509169000000005");
        let whole = "1 request, 2 tokens in, 1 out, $0.0076509169000000005";
        assert_eq!(said(std::slice::from_ref(&one)), whole);
        let rows = [one, row("failed", "none", ""), row("failed", "pending", "")];
        let whole = "3 requests (2 failed), 6 tokens in, 3 out, $0.0076509169000000005 and 1 cost that is not known yet";
        assert_eq!(said(&rows), whole);
    }
}
