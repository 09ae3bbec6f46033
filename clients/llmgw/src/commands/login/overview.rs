//! `llmgw login` without a way to log in: what exists of the user's own access, and the next step.

use std::fmt;

use anyhow::Result;

use crate::{
    api::{self, KEYS},
    args::GatewayArgs,
    client::Client,
    commands::keys::Key,
    context::{Context, Outcome, block_on},
    identity::{Identity, IdentityError},
    response::ErrorResponse,
    settings::SettingsError,
    terminal::{Style, printable},
};

const FOR_PROGRAMS: &str = "A program without an identity gets an access token by your approval in the console: \
     `llmgw login --browser`, or --headless with a browser elsewhere.";

/// Prints gateway, identity and key, as far as they exist, and the next step.
pub(super) fn run(args: GatewayArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let gateway = match context.settings.gateway(args) {
        Ok(gateway) => gateway,
        Err(SettingsError::NoGateway) => {
            line(context, "gateway", "none")?;
            return next(
                context,
                "`llmgw profile add NAME URL` names your gateway; with --gateway URL it is named once",
            );
        }
        Err(error) => return Err(error.into()),
    };
    line(context, "gateway", gateway.base())?;
    let path = context.settings.identity()?;
    let identity = match Identity::load(&path) {
        Ok(identity) => identity,
        Err(IdentityError::Missing { .. }) => {
            line(context, "identity", "none")?;
            return next(
                context,
                "`llmgw identity new` makes your identity, and `llmgw identity import FILE` brings that of another \
                 machine, or of the console",
            );
        }
        Err(error) => return Err(error.into()),
    };
    let found = format!("{} in {}", identity.did(), path.display());
    line(context, "identity", found)?;
    let client = Client::new(gateway, identity, context.clock.clone(), context.random)?;
    match block_on(async { api::ask::<Key>(&client, api::get(KEYS, &[])?).await }) {
        Ok(key) if key.disabled => {
            line(context, "key", "disabled by the gateway's operator")?;
            next(
                context,
                "ask the operator; `llmgw usage` shows what was spent",
            )
        }
        Ok(key) => {
            let source = printable(key.source.as_deref().unwrap_or("unknown source"));
            line(context, "key", format!("stored ({source})"))?;
            writeln!(
                context.stdout,
                "\nYou are logged in. `llmgw chat` talks to a model, `llmgw run -- PROGRAM` runs a program, `llmgw \
                 status` checks everything.\n{FOR_PROGRAMS}"
            )?;
            Ok(Outcome::Success)
        }
        Err(error) => {
            let reason = error.downcast_ref().and_then(ErrorResponse::reason);
            if reason != Some("no_key_for_did") {
                return Err(error);
            }
            line(context, "key", "none")?;
            next(
                context,
                "`llmgw connect --browser` logs in to OpenRouter and stores a key at the gateway; `llmgw connect` \
                 takes one that you have",
            )
        }
    }
}

fn line(context: &mut Context<'_>, label: &str, found: impl fmt::Display) -> Result<()> {
    let label = context
        .terminal
        .paint(Style::Dim, format!("{label:8}"))
        .to_string();
    writeln!(context.stdout, "{label}  {found}")?;
    Ok(())
}

/// Prints the next step. The login is not complete.
fn next(context: &mut Context<'_>, step: &str) -> Result<Outcome> {
    writeln!(context.stdout, "\nNext: {step}.\n{FOR_PROGRAMS}")?;
    Ok(Outcome::Failure)
}
