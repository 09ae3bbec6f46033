//! `llmgw keys` and `llmgw connect`: the caller's OpenRouter key at the gateway.

use std::io::{BufRead, Write};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use http::Method;
use serde::{Deserialize, Serialize};
use shared::vault::secret::ApiKey;
use zeroize::Zeroizing;

use super::{Outcome, Surroundings, block_on, pkce};
use crate::{
    api::{self, KEYS, Money},
    cli::GatewayArgs,
    settings::Settings,
    terminal::{self, Style, Terminal, printable},
};

/// Arguments of `keys`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  llmgw keys\n  llmgw keys --json | jq -r .remaining\n  llmgw keys --revoke"
)]
pub struct KeysArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Print it as JSON
    #[arg(long, conflicts_with = "revoke")]
    pub json: bool,
    /// Have the gateway forget the key, and delete it with OpenRouter if the gateway made it
    #[arg(long)]
    pub revoke: bool,
    /// Do not ask before revoking
    #[arg(long, requires = "revoke")]
    pub yes: bool,
}

/// Arguments of `connect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConnectArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// A name for the key
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Log in to OpenRouter in a browser, which makes a key
    #[arg(long, conflicts_with = "provision")]
    pub browser: bool,
    /// The browser is on another machine: paste what its address bar shows in the end
    #[arg(long, requires = "browser")]
    pub headless: bool,
    /// Have the gateway make a key in its operator's account
    #[arg(long)]
    pub provision: bool,
    /// How to reach OpenRouter.
    #[command(flatten)]
    pub openrouter: pkce::OpenRouterArgs,
}

const EXAMPLES: &str = "Examples:
  llmgw connect                               # asks for the key, and does not show it
  llmgw connect < openrouter-key.txt
  pass show openrouter | llmgw connect --name laptop
  llmgw connect --browser
  llmgw connect --browser --headless
  llmgw connect --provision

A key is never an argument, because all users of a machine see those. The gateway seals it and never
shows it again; a key that is there is replaced.";

/// Shows the key's state, or revokes it.
pub fn run(settings: &Settings, args: KeysArgs, around: &mut Surroundings<'_>) -> Result<Outcome> {
    let client = around.client(settings.gateway(args.gateway)?, &settings.identity()?)?;
    let get = || Ok::<_, anyhow::Error>(api::get(KEYS, &[])?);
    if args.revoke {
        if !args.yes {
            let key: Key = block_on(async { api::ask(&client, get()?).await })?;
            confirm(&key, around)?;
        }
        let draft = api::send(Method::DELETE, KEYS, "")?;
        let Revoked { hash } = block_on(api::ask(&client, draft))?;
        writeln!(
            around.stdout,
            "revoked  {}",
            printable(&hash.unwrap_or_default())
        )?;
        return Ok(Outcome::Done);
    }
    if args.json {
        let key = block_on(async { api::ask_raw(&client, get()?).await })?;
        writeln!(around.stdout, "{key}")?;
        return Ok(Outcome::Done);
    }
    let key: Key = block_on(async { api::ask(&client, get()?).await })?;
    key.write(around.terminal, around.stdout)?;
    Ok(Outcome::Done)
}

/// Stores a key.
pub fn connect(
    settings: &Settings,
    args: ConnectArgs,
    around: &mut Surroundings<'_>,
) -> Result<Outcome> {
    let client = around.client(settings.gateway(args.gateway)?, &settings.identity()?)?;
    let name = args.name.as_deref();
    let draft = if args.provision {
        let body = serde_json::to_vec(&Wanted { key_name: name })?;
        api::send(Method::POST, KEYS, body)?
    } else {
        let key = if args.browser {
            pkce::log_in(&args.openrouter, args.headless, around)?
        } else {
            read_key(around)?
        };
        let brought = Brought {
            api_key: key.expose_secret(),
            key_name: name,
        };
        api::send(Method::PUT, KEYS, serde_json::to_vec(&brought)?)?
    };
    let key: Key = block_on(api::ask(&client, draft))?;
    key.write(around.terminal, around.stdout)?;
    Ok(Outcome::Done)
}

#[derive(Serialize)]
struct Brought<'a> {
    api_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Option<&'a str>,
}

#[derive(Serialize)]
struct Wanted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Option<&'a str>,
}

#[derive(Deserialize)]
struct Revoked {
    hash: Option<String>,
}

/// What the gateway tells of a key. Money is in US dollars; no limit, nothing remaining.
#[derive(Debug, Deserialize)]
pub struct Key {
    /// Chosen by its owner.
    pub key_name: Option<String>,
    /// OpenRouter's name of it.
    pub hash: Option<String>,
    /// Who made it.
    pub source: Option<String>,
    /// Whether the operator has blocked its owner.
    #[serde(default)]
    pub disabled: bool,
    /// What may be spent in all.
    pub limit: Option<Money>,
    /// What was spent.
    pub spent: Option<Money>,
    /// What is reserved for requests that are under way.
    pub held: Option<Money>,
    /// What is left.
    pub remaining: Option<Money>,
}

impl Key {
    fn write(&self, terminal: Terminal, out: &mut dyn Write) -> Result<()> {
        let money = |amount: &Option<Money>| amount.map(|amount| amount.to_string());
        let limit = money(&self.limit).unwrap_or_else(|| "none".to_owned());
        for (label, value) in [
            ("name", self.key_name.as_deref().map(printable)),
            ("hash", self.hash.as_deref().map(printable)),
            ("source", self.source.as_deref().map(printable)),
            ("limit", Some(limit)),
            ("spent", money(&self.spent)),
            ("held", money(&self.held)),
            ("remaining", money(&self.remaining)),
        ] {
            if let Some(value) = value {
                writeln!(
                    out,
                    "{}  {value}",
                    terminal.paint(Style::Dim, format!("{label:9}"))
                )?;
            }
        }
        if self.disabled {
            let text = "disabled by the operator";
            writeln!(out, "{}", terminal.paint(Style::Red, text))?;
        }
        Ok(())
    }
}

fn confirm(key: &Key, around: &mut Surroundings<'_>) -> Result<()> {
    ensure!(
        around.terminal.stdin,
        "revoking cannot be undone; add --yes where nobody can be asked"
    );
    let name = key.key_name.as_deref().unwrap_or("the key");
    write!(
        around.stderr,
        "Revoke {}? The gateway forgets it. Type yes: ",
        printable(name)
    )?;
    around.stderr.flush()?;
    let answer = line(around)?;
    ensure!(answer.trim() == "yes", "nothing was revoked");
    Ok(())
}

/// What is typed, unseen, or comes from a file or a pipe.
fn read_key(around: &mut Surroundings<'_>) -> Result<ApiKey> {
    if around.terminal.stdin {
        write!(around.stderr, "OpenRouter key (sk-or-…): ")?;
        around.stderr.flush()?;
    }
    let text = terminal::hidden(|| line(around))?;
    let key = Zeroizing::new(text.trim().to_owned());
    match ApiKey::new(key) {
        Ok(key) => Ok(key),
        Err(_) if text.trim().is_empty() => {
            bail!("there is no key; `llmgw connect --browser` makes one with OpenRouter")
        }
        Err(fault) => Err(fault).context("this is no OpenRouter key"),
    }
}

/// One line of stdin.
pub(super) fn line(around: &mut Surroundings<'_>) -> std::io::Result<Zeroizing<String>> {
    // Enough for no reallocation to leave a copy of a key behind.
    let mut text = Zeroizing::new(String::with_capacity(8192));
    std::io::BufReader::with_capacity(1, &mut *around.stdin).read_line(&mut text)?;
    Ok(text)
}
