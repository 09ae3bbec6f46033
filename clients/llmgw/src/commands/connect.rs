//! `llmgw connect`: stores an OpenRouter key at the gateway.

pub(super) mod pkce;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use http::Method;
use serde::Serialize;
use shared::vault::secret::ApiKey;
use zeroize::Zeroizing;

use super::keys::Key;
use crate::{
    api::{self, KEYS},
    args::GatewayArgs,
    context::{Context, Outcome, block_on},
};

/// The beginning of every OpenRouter key.
const PREFIX: &str = "sk-or-";

/// Arguments of `connect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConnectArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// The key's name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Log in to OpenRouter in a browser, which creates a key
    #[arg(long, conflicts_with = "provision")]
    pub browser: bool,
    /// Use a browser on another machine: paste the address that it ends at
    #[arg(long, requires = "browser")]
    pub headless: bool,
    /// Have the gateway create a key in its operator's account
    #[arg(long)]
    pub provision: bool,
    /// OpenRouter's login.
    #[command(flatten)]
    pub openrouter: pkce::OpenRouterArgs,
}

const EXAMPLES: &str = "Examples:
  llmgw connect                               # asks for the key without showing it
  llmgw connect < openrouter-key.txt
  pass show openrouter | llmgw connect --name laptop
  llmgw connect --browser
  llmgw connect --browser --headless
  llmgw connect --provision

A key is never an argument: all users of a machine can see those. The gateway seals the key and never
shows it again. A key that is stored already is replaced.";

/// Stores a key.
pub(super) fn run(args: ConnectArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let client = context.client(args.gateway)?;
    let key_name = args.name.as_deref();
    let draft = if args.provision {
        let body = serde_json::to_vec(&ProvisionKeyBody { key_name })?;
        api::send(Method::POST, KEYS, body)?
    } else {
        let key = if args.browser {
            pkce::log_in(&args.openrouter, args.headless, context)?
        } else {
            read_key(context)?
        };
        let body = StoreKeyBody {
            api_key: key.expose_secret(),
            key_name,
        };
        api::send(Method::PUT, KEYS, serde_json::to_vec(&body)?)?
    };
    let key: Key = block_on(api::ask(&client, draft))?;
    key.write(context.terminal, context.stdout)?;
    Ok(Outcome::Success)
}

/// The body of `PUT /api/v1/keys`.
#[derive(Serialize)]
struct StoreKeyBody<'a> {
    api_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Option<&'a str>,
}

/// The body of `POST /api/v1/keys`.
#[derive(Serialize)]
struct ProvisionKeyBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Option<&'a str>,
}

/// Reads a key: hidden while it is typed, or from a file or a pipe.
fn read_key(context: &mut Context<'_>) -> Result<ApiKey> {
    if context.terminal.stdin {
        context.prompt("OpenRouter key (sk-or-…): ")?;
    }
    let text = context.read_secret()?;
    let key = Zeroizing::new(text.trim().to_owned());
    match ApiKey::new(key) {
        Ok(key) if key.expose_secret().starts_with(PREFIX) => Ok(key),
        Ok(_) => bail!(
            "this is not an OpenRouter key: those begin with {PREFIX}; yours are at \
             https://openrouter.ai/settings/keys"
        ),
        Err(_) if text.trim().is_empty() => {
            bail!("there is no key; `llmgw connect --browser` creates one at OpenRouter")
        }
        Err(fault) => Err(fault).context("this is not an OpenRouter key"),
    }
}
