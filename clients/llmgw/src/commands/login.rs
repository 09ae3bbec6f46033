//! `llmgw login`: the state of the user's own access; or a token from the user's console, for a program without an
//! identity.
//!
//! The format of the link and of the sealed token is in `docs/use/console.md`.

mod approval;
mod overview;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use zeroize::Zeroizing;

use self::approval::{Ephemeral, LinkParameters};
use super::{
    connect::pkce::{listen, random, receive},
    tokens::{scope::BudgetArg, setup::Program},
};
use crate::{
    args::GatewayArgs,
    context::{Context, Outcome, block_on},
};

/// Arguments of `login`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LoginArgs {
    /// Ask for a token in a browser on this machine
    #[arg(long, group = "way")]
    pub browser: bool,
    /// Use a browser on another machine: paste the code that it shows
    #[arg(long, group = "way")]
    pub headless: bool,
    /// The name that the user sees
    #[arg(long, default_value = "llmgw", requires = "way")]
    pub name: String,
    /// US dollars per day, week, month or in total, as in 5/day; the user may change it
    #[arg(long, value_name = "AMOUNT/PERIOD", requires = "way")]
    pub budget: Option<BudgetArg>,
    /// A model, or a pattern with * such as openai/*; may be repeated [default: all]
    #[arg(long, value_name = "MODEL", requires = "way")]
    pub models: Vec<String>,
    /// Days until the token ends, or never (with a budget)
    #[arg(long, value_name = "DAYS", default_value = "90d", value_parser = expiry, requires = "way")]
    pub expires: String,
    /// Print how a program takes the token
    #[arg(long = "for", value_enum, value_name = "PROGRAM", requires = "way")]
    pub program: Option<Program>,
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

const EXAMPLES: &str = "Examples:
  llmgw login
  llmgw login --browser --gateway https://gw.example.com
  llmgw login --browser --budget 5/day --models 'openai/*' --for claude-code
  llmgw login --headless --name 'build server' --budget 20/month

Alone it shows which gateway, identity and key are there, and the next step of a log-in; exit status 1 if one \
is missing. With --browser or --headless it gets an access token for a program: the user approves in the \
gateway's console; no identity is needed here. The token is printed this once. It is sealed on its way: the \
browser's history and the code on the screen cannot be used by anyone else.";

/// Parses `90d` or `never`, as links have them.
fn expiry(text: &str) -> Result<String, &'static str> {
    let days = text.strip_suffix('d').and_then(|it| it.parse::<u16>().ok());
    if text == "never" || days.is_some_and(|it| (1..10_000).contains(&it)) {
        Ok(text.to_owned())
    } else {
        Err("must be days such as 90d, or never")
    }
}

/// Shows the state of the log-in, or asks for a token and prints it.
pub(super) fn run(args: &LoginArgs, context: &mut Context<'_>) -> Result<Outcome> {
    if args.browser || args.headless {
        token(args, context)
    } else {
        overview::run(args.gateway.clone(), context)
    }
}

fn token(args: &LoginArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let gateway = context.settings.gateway(args.gateway.clone())?;
    let ephemeral = Ephemeral::generate()?;
    let state = random(context.random)?;
    let path = format!("/{}", random(context.random)?.as_str());
    let link = |callback: Option<&str>| {
        let parameters = LinkParameters {
            name: &args.name,
            key: ephemeral.public_key(),
            state: &state,
            budget: args.budget,
            models: &args.models,
            expires: &args.expires,
            callback,
        };
        parameters.link(gateway.base())
    };
    let sealed = if args.headless {
        let address = link(None);
        context.prompt(&format!(
            "Open this address in a browser, approve, and paste the code here:\n\n  {address}\n\nCode: "
        ))?;
        context.read_line()?
    } else {
        let expected = state.to_string();
        block_on(async {
            let (listeners, port) = listen(0).await.context("no port is free")?;
            let address = link(Some(&format!("http://127.0.0.1:{port}{path}")));
            writeln!(
                context.stderr,
                "Open this address in a browser on this machine and approve (elsewhere: --headless):\n\n  \
                 {address}\n"
            )?;
            let read = Box::new(move |query: &str| outcome(query, &expected));
            receive(listeners, port, path, read).await
        })?
    };
    ensure!(*sealed != REFUSED, "the user refused");
    let token = ephemeral
        .open(sealed.trim(), &state)
        .context("this is not the code for this login; begin again")?;
    let base = gateway.base().to_string();
    match args.program {
        Some(program) => write!(context.stdout, "{}", program.text(&base, &token))?,
        None => writeln!(context.stdout, "{}", token.as_str())?,
    }
    Ok(Outcome::Success)
}

/// In place of a sealed token, which is never so short.
const REFUSED: &str = "access_denied";

/// What the browser brings to the callback, if it comes from this login.
fn outcome(query: &str, expected_state: &str) -> Option<String> {
    let value = |wanted: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| Zeroizing::new(value.into_owned()))
    };
    if value("state")?.as_str() != expected_state {
        return None;
    }
    match (value("sealed"), value("error")) {
        (Some(sealed), _) => Some(sealed.to_string()),
        (None, Some(_)) => Some(REFUSED.to_owned()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_this_login_counts() {
        assert_eq!(
            outcome("state=mine&sealed=AAAA", "mine").as_deref(),
            Some("AAAA")
        );
        assert_eq!(
            outcome("state=mine&error=access_denied", "mine").as_deref(),
            Some(REFUSED)
        );
        for query in ["state=other&sealed=AAAA", "sealed=AAAA", "state=mine", ""] {
            assert_eq!(outcome(query, "mine"), None, "{query}");
        }
    }

    #[test]
    fn an_expiry_is_what_a_link_may_have() {
        for text in ["1d", "90d", "9999d", "never"] {
            assert_eq!(expiry(text).as_deref(), Ok(text));
        }
        for text in ["0d", "90", "10000d", "soon", ""] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }
}
