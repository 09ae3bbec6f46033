//! `llmgw sign`.

use anyhow::Result;
use clap::Args;

use super::request::Prepared;
use crate::{
    args::RequestArgs,
    context::{Context, Outcome},
    curl,
};

/// Arguments of `sign`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The request.
    #[command(flatten)]
    pub request: RequestArgs,
    /// Print a curl command that sends the request; it works once, within five minutes
    #[arg(long)]
    pub curl: bool,
}

/// Signs a request and prints its headers.
pub(super) fn run(args: SignArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let Prepared {
        gateway,
        draft,
        body_file,
    } = Prepared::new(args.request, context)?;
    let identity = context.identity()?;
    let (now, nonce) = (context.clock.now(), context.nonce()?);
    if args.curl {
        let request = gateway.signed(&identity, draft, now, &nonce)?;
        let command = curl::command(&request, body_file.as_deref())?;
        writeln!(context.stdout, "{command}")?;
    } else {
        for (name, value) in gateway.sign(&identity, &draft, now, &nonce)? {
            writeln!(context.stdout, "{name}: {value}")?;
        }
    }
    Ok(Outcome::Success)
}
