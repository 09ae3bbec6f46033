//! `llmgw keys`: the user's OpenRouter key at the gateway.

use std::io::Write;

use anyhow::{Result, ensure};
use clap::Args;
use http::Method;
use serde::Deserialize;

use crate::{
    api::{self, KEYS, Money},
    args::GatewayArgs,
    context::{Context, Outcome, block_on},
    terminal::{Style, Terminal, printable},
};

/// Arguments of `keys`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct KeysArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Print JSON
    #[arg(long, conflicts_with = "revoke")]
    pub json: bool,
    /// Delete the key from the gateway, and from OpenRouter if the gateway created it
    #[arg(long)]
    pub revoke: bool,
    /// Revoke without asking
    #[arg(long, requires = "revoke")]
    pub yes: bool,
}

const EXAMPLES: &str = "Examples:
  llmgw keys
  llmgw keys --json | jq -r .remaining
  llmgw keys --revoke";

/// Shows the key's state, or revokes it.
pub(super) fn run(args: KeysArgs, context: &mut Context<'_>) -> Result<Outcome> {
    #[derive(Deserialize)]
    struct Revoked {
        hash: Option<String>,
    }

    let client = context.client(args.gateway)?;
    let get = || Ok::<_, anyhow::Error>(api::get(KEYS, &[])?);
    if args.json {
        let key = block_on(async { api::ask_raw(&client, get()?).await })?;
        writeln!(context.stdout, "{key}")?;
    } else if args.revoke {
        if !args.yes {
            let key: Key = block_on(async { api::ask(&client, get()?).await })?;
            confirm(&key, context)?;
        }
        let draft = api::send(Method::DELETE, KEYS, "")?;
        let Revoked { hash } = block_on(api::ask(&client, draft))?;
        let hash = printable(&hash.unwrap_or_default());
        writeln!(context.stdout, "revoked  {hash}")?;
    } else {
        let key: Key = block_on(async { api::ask(&client, get()?).await })?;
        key.write(context.terminal, context.stdout)?;
    }
    Ok(Outcome::Success)
}

fn confirm(key: &Key, context: &mut Context<'_>) -> Result<()> {
    ensure!(
        context.terminal.stdin,
        "revoking cannot be undone; without a terminal, confirm with --yes"
    );
    let name = printable(key.name.as_deref().unwrap_or("the key"));
    context.prompt(&format!(
        "Revoke {name}? The gateway deletes it. Type yes: "
    ))?;
    let answer = context.read_line()?;
    ensure!(answer.trim() == "yes", "nothing was revoked");
    Ok(())
}

/// The gateway's description of a key. Amounts are US dollars; `None` is no limit.
#[derive(Debug, Deserialize)]
pub(super) struct Key {
    /// The name that its owner chose.
    #[serde(rename = "key_name")]
    pub(super) name: Option<String>,
    /// OpenRouter's identifier.
    pub(super) hash: Option<String>,
    /// The key's origin: its owner, or the gateway.
    pub(super) source: Option<String>,
    /// Whether the operator has blocked its owner.
    #[serde(default)]
    pub(super) disabled: bool,
    /// The credit limit.
    pub(super) limit: Option<Money>,
    /// The cost of finished requests.
    pub(super) spent: Option<Money>,
    /// The amount reserved for requests in flight.
    pub(super) held: Option<Money>,
    /// The rest of the limit.
    pub(super) remaining: Option<Money>,
}

impl Key {
    pub(super) fn write(&self, terminal: Terminal, out: &mut dyn Write) -> Result<()> {
        let money = |amount: &Option<Money>| amount.map(|amount| amount.to_string());
        let limit = money(&self.limit).unwrap_or_else(|| "none".to_owned());
        for (label, value) in [
            ("name", self.name.as_deref().map(printable)),
            ("hash", self.hash.as_deref().map(printable)),
            ("source", self.source.as_deref().map(printable)),
            ("limit", Some(limit)),
            ("spent", money(&self.spent)),
            ("held", money(&self.held)),
            ("remaining", money(&self.remaining)),
        ] {
            if let Some(value) = value {
                let label = terminal.paint(Style::Dim, format!("{label:9}"));
                writeln!(out, "{label}  {value}")?;
            }
        }
        if self.disabled {
            let text = "disabled by the operator";
            writeln!(out, "{}", terminal.paint(Style::Red, text))?;
        }
        Ok(())
    }
}
