//! `llmgw tokens`: access tokens for programs that take a base URL and a key.

pub(super) mod scope;
pub(super) mod setup;

use std::io::Write;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Deserializer};
use shared::storage::{BudgetState, TokenDescription, TokenState};
use zeroize::Zeroizing;

use self::{
    scope::{ScopeArgs, Span},
    setup::Program,
};
use crate::{
    api::{self, TOKENS},
    args::GatewayArgs,
    client::Client,
    context::{Context, Outcome, block_on},
    table::{Align, Table, bar},
    terminal::{Style, Terminal, printable},
};

/// The number of cells of a budget's bar.
const BAR: usize = 10;

/// A command about tokens.
#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// Make a token, and print it once
    Create(CreateArgs),
    /// List your tokens and what they have spent
    List(ListArgs),
    /// Show a token
    Show(ShowArgs),
    /// Change a token's name, expiry, budgets or scope
    Edit(EditArgs),
    /// Give a token a new secret, and print it once
    Rotate(RotateArgs),
    /// End a token, at once and for good
    Revoke(RevokeArgs),
}

/// Arguments of `tokens create`.
#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
pub struct CreateArgs {
    /// What the token is for
    pub name: String,
    /// Its scope.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Print how a program takes the token
    #[arg(long = "for", value_enum, value_name = "PROGRAM")]
    pub program: Option<Program>,
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Print JSON, the token in it
    #[arg(long, conflicts_with = "program")]
    pub json: bool,
}

const CREATE_EXAMPLES: &str = "Examples:
  llmgw tokens create laptop
  llmgw tokens create demo --budget 5/day --for curl
  llmgw tokens create ci --budget 20/month --models 'openai/*' --models '*:free' --expires never
  llmgw tokens create claude --budget 10/day --for claude-code

The token is printed this once; the gateway keeps only its digest. Without --expires it ends after 90 days.";

/// Arguments of `tokens list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// The ended ones, too
    #[arg(long)]
    pub all: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `tokens show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its name or id
    pub token: String,
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `tokens edit`.
#[derive(Debug, Args)]
pub struct EditArgs {
    /// Its name or id
    pub token: String,
    /// A new name
    #[arg(long)]
    pub name: Option<String>,
    /// Its scope.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Refuse its requests for the time being
    #[arg(long, conflicts_with = "enable")]
    pub disable: bool,
    /// Accept its requests again
    #[arg(long)]
    pub enable: bool,
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// Arguments of `tokens rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Its name or id
    pub token: String,
    /// How long the old secret still passes, up to 7d
    #[arg(long, default_value = "0s", value_name = "SPAN")]
    pub overlap: Span,
    /// Print how a program takes the token
    #[arg(long = "for", value_enum, value_name = "PROGRAM")]
    pub program: Option<Program>,
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// Arguments of `tokens revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Its name or id
    pub token: String,
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Revoke without asking
    #[arg(long)]
    pub yes: bool,
}

/// Runs one of the commands.
pub(super) fn run(command: TokensCommand, context: &mut Context<'_>) -> Result<Outcome> {
    match command {
        TokensCommand::Create(args) => create(args, context),
        TokensCommand::List(args) => list(args, context),
        TokensCommand::Show(args) => show(args, context),
        TokensCommand::Edit(args) => edit(args, context),
        TokensCommand::Rotate(args) => rotate(args, context),
        TokensCommand::Revoke(args) => revoke(args, context),
    }
}

fn create(args: CreateArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let body = args.scope.of_new(&args.name, context.clock.now())?;
    let client = context.client(args.gateway)?;
    let draft = api::send(Method::POST, TOKENS, body)?;
    let body = Zeroizing::new(block_on(api::fetch(&client, draft))?.to_vec());
    if args.json {
        context.stdout.write_all(&body)?;
        writeln!(context.stdout)?;
        return Ok(Outcome::Success);
    }
    print_secret(&read_secret(&body)?, args.program, &client, context)
}

fn rotate(args: RotateArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let client = context.client(args.gateway)?;
    let found = block_on(find(&client, &args.token))?;
    let body = serde_json::json!({"overlap_seconds": args.overlap.seconds()}).to_string();
    let draft = api::send(Method::POST, &format!("{TOKENS}/{}/rotate", found.id), body)?;
    let body = Zeroizing::new(block_on(api::fetch(&client, draft))?.to_vec());
    print_secret(&read_secret(&body)?, args.program, &client, context)
}

/// A token with its text.
#[derive(Deserialize)]
struct WithSecret {
    #[serde(deserialize_with = "secret")]
    token: Zeroizing<String>,
    data: TokenDescription,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

fn read_secret(body: &[u8]) -> Result<WithSecret> {
    serde_json::from_slice(body)
        .context("the gateway's response is not what this version of llmgw expects")
}

/// Prints the token, or how a program takes it, to stdout, and what it is to stderr.
fn print_secret(
    made: &WithSecret,
    program: Option<Program>,
    client: &Client,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    let token = &made.data;
    let until = token.expires_at.map_or_else(
        || "has no expiry".to_owned(),
        |at| format!("ends on {}", at.strftime("%Y-%m-%d")),
    );
    writeln!(
        context.stderr,
        "{} ({}) {until}. It is shown this once:",
        printable(&token.name),
        token.label
    )?;
    match program {
        None => writeln!(context.stdout, "{}", made.token.as_str())?,
        Some(program) => {
            let base = client.gateway().base().to_string();
            write!(context.stdout, "{}", program.text(&base, &made.token))?;
        }
    }
    context.stdout.flush()?;
    Ok(Outcome::Success)
}

fn list(args: ListArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let client = context.client(args.gateway)?;
    let draft = api::get(TOKENS, &[("all", args.all.then_some("true"))])?;
    if args.json {
        let tokens = block_on(async { api::ask_raw(&client, draft).await })?;
        writeln!(context.stdout, "{tokens}")?;
        return Ok(Outcome::Success);
    }
    let tokens: Vec<TokenDescription> = block_on(api::ask(&client, draft))?;
    let mut table = Table::new([
        ("NAME", Align::Left),
        ("TOKEN", Align::Left),
        ("STATE", Align::Left),
        ("EXPIRES", Align::Left),
        ("LAST USED", Align::Left),
        ("REQUESTS", Align::Right),
        ("SPENT", Align::Right),
        ("BUDGET", Align::Left),
    ]);
    for token in &tokens {
        let day = |at: Option<jiff::Timestamp>, none: &str| {
            at.map_or_else(|| none.to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
        };
        let budgets = token.budgets.iter().map(|it| budget(it, context.terminal));
        table.row([
            printable(&token.name),
            token.label.clone(),
            state(token.state).to_owned(),
            day(token.expires_at, "never"),
            day(token.last_used_at, "never"),
            token.requests.clone(),
            format!("${}", token.cost),
            budgets.collect::<Vec<_>>().join("  "),
        ]);
    }
    table.write(context.terminal, context.stdout)?;
    if tokens.is_empty() {
        writeln!(
            context.stderr,
            "no tokens; make one with `llmgw tokens create NAME`"
        )?;
    }
    Ok(Outcome::Success)
}

fn show(args: ShowArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let client = context.client(args.gateway)?;
    let found = block_on(find(&client, &args.token))?;
    if args.json {
        let draft = api::get(&format!("{TOKENS}/{}", found.id), &[])?;
        let token = block_on(async { api::ask_raw(&client, draft).await })?;
        writeln!(context.stdout, "{token}")?;
    } else {
        write(&found, context.terminal, context.stdout)?;
    }
    Ok(Outcome::Success)
}

fn edit(args: EditArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let disabled = (args.disable || args.enable).then_some(args.disable);
    let body = args
        .scope
        .of_change(args.name.as_deref(), disabled, context.clock.now())?;
    let client = context.client(args.gateway)?;
    let found = block_on(find(&client, &args.token))?;
    let draft = api::send(Method::PATCH, &format!("{TOKENS}/{}", found.id), body)?;
    let token: TokenDescription = block_on(api::ask(&client, draft))?;
    write(&token, context.terminal, context.stdout)?;
    Ok(Outcome::Success)
}

fn revoke(args: RevokeArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let client = context.client(args.gateway)?;
    let found = block_on(find(&client, &args.token))?;
    if !args.yes {
        ensure!(
            context.terminal.stdin,
            "revoking cannot be undone; without a terminal, confirm with --yes"
        );
        let name = printable(&found.name);
        context.prompt(&format!(
            "Revoke {name} ({})? Its programs stop working at once. Type yes: ",
            found.label
        ))?;
        let answer = context.read_line()?;
        ensure!(answer.trim() == "yes", "nothing was revoked");
    }
    let draft = api::send(Method::DELETE, &format!("{TOKENS}/{}", found.id), "")?;
    let token: TokenDescription = block_on(api::ask(&client, draft))?;
    writeln!(context.stdout, "revoked  {}", token.label)?;
    Ok(Outcome::Success)
}

/// Finds a token by its id or, among the live ones, its name.
async fn find(client: &Client, wanted: &str) -> Result<TokenDescription> {
    let draft = api::get(TOKENS, &[("all", Some("true"))])?;
    let tokens: Vec<TokenDescription> = api::ask(client, draft).await?;
    let is_named = |it: &&TokenDescription| it.name == wanted && it.state != TokenState::Revoked;
    let by_id = tokens.iter().find(|it| it.id.to_string() == wanted);
    match by_id.or_else(|| tokens.iter().find(is_named)) {
        Some(found) => Ok(found.clone()),
        None => bail!(
            "no token is called {}; `llmgw tokens list` shows yours",
            printable(wanted)
        ),
    }
}

fn write(token: &TokenDescription, terminal: Terminal, out: &mut dyn Write) -> Result<()> {
    let time = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string());
    let list = |values: &Option<Vec<String>>| {
        let joined = values.as_ref().map(|it| it.join(", "));
        Some(joined.unwrap_or_else(|| "all".to_owned()))
    };
    let rate = token.requests_per_minute;
    for (label, value) in [
        ("name", Some(printable(&token.name))),
        ("id", Some(token.id.to_string())),
        ("token", Some(token.label.clone())),
        ("state", Some(state(token.state).to_owned())),
        ("created", Some(token.created_at.to_string())),
        (
            "expires",
            time(token.expires_at).or(Some("never".to_owned())),
        ),
        ("revoked", time(token.revoked_at)),
        ("last used", time(token.last_used_at)),
        ("models", list(&token.models)),
        ("endpoints", list(&token.endpoints)),
        (
            "rate",
            rate.map(|rate| format!("{rate} requests per minute")),
        ),
        (
            "usage",
            (!token.read_usage).then(|| "may not be read".to_owned()),
        ),
        ("tag", token.tag.clone()),
        ("requests", Some(token.requests.clone())),
        ("spent", Some(format!("${}", token.cost))),
    ] {
        if let Some(value) = value {
            let label = terminal.paint(Style::Dim, format!("{label:9}"));
            writeln!(out, "{label}  {value}")?;
        }
    }
    for state in &token.budgets {
        let label = terminal.paint(Style::Dim, format!("{:9}", "budget"));
        let resets = state
            .resets_at
            .map(|at| format!(", again at {at} ({})", state.time_zone));
        writeln!(
            out,
            "{label}  {}{}",
            budget(state, terminal),
            resets.unwrap_or_default()
        )?;
    }
    Ok(())
}

/// `██▌ $1.25 of $5/day`, with what is held.
fn budget(state: &BudgetState, terminal: Terminal) -> String {
    let number = |text: &str| text.parse::<f64>().unwrap_or(0.0);
    let mut text = format!(
        "${} of ${}/{}",
        state.spent,
        state.amount,
        state.period.as_str()
    );
    if state.held != "0" {
        text = format!("{text} (${} held)", state.held);
    }
    if terminal.stdout {
        let used = number(&state.spent) + number(&state.held);
        let bar = bar(used, number(&state.amount), BAR);
        text = format!("{bar:BAR$} {text}");
    }
    text
}

fn state(state: TokenState) -> &'static str {
    match state {
        TokenState::Live => "live",
        TokenState::Disabled => "disabled",
        TokenState::Expired => "expired",
        TokenState::Revoked => "revoked",
    }
}
