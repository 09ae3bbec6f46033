//! `llmgw doctor`: everything on the way from this machine to an answer, checked in that order.

use std::{fmt, io::Write};

use anyhow::Result;
use clap::Args;
use http::{HeaderMap, header::DATE};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use serde::Deserialize;
use shared::identity::auth::TIMESTAMP_WINDOW;

use super::{Outcome, Surroundings, block_on, keys::Key};
use crate::{
    answer::Refusal,
    api::{self, KEYS, Money, USAGE},
    cli::GatewayArgs,
    client::Client,
    settings::Settings,
    terminal::{Style, Terminal, printable},
};

const HEALTH: &str = "/api/v1/health";
const OPENROUTER_KEY: &str = "/api/v1/openrouter/key";
/// What `Date` is rounded to, and a slow network takes, is no skew.
const HARMLESS_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

const EXAMPLES: &str = "Examples:
  llmgw doctor
  llmgw --profile work doctor

It checks configuration, identity, gateway, clock, signature, key and balance, in that order, and
costs nothing. Exit status: 1 if something does not work.";

/// Checks, and tells what it found.
pub fn run(
    settings: &Settings,
    args: DoctorArgs,
    around: &mut Surroundings<'_>,
) -> Result<Outcome> {
    let mut report = Report {
        terminal: around.terminal,
        failed: false,
        out: &mut *around.stdout,
    };
    let gateway = settings.gateway(args.gateway);
    let identity = settings
        .identity()
        .map_err(anyhow::Error::from)
        .and_then(|path| Ok((crate::identity::Identity::load(&path)?, path)));
    match &gateway {
        Ok(gateway) if gateway.base() == gateway.audience() => {
            report.good("configuration", gateway.base())?;
        }
        Ok(gateway) => {
            let both = format!("{}, as {}", gateway.base(), gateway.audience());
            report.good("configuration", both)?;
        }
        Err(error) => report.bad("configuration", shared::causes::causes(error))?,
    }
    match &identity {
        Ok((identity, path)) => {
            let found = format!("{} in {}", identity.did(), path.display());
            report.good("identity", found)?;
        }
        Err(error) => report.bad("identity", format!("{error:#}"))?,
    }
    if let (Ok(gateway), Ok((identity, _))) = (gateway, identity) {
        let clock = around.clock.clone();
        let client = Client::new(gateway, identity, clock.clone(), around.random)?;
        block_on(online(&client, || clock.now(), &mut report))?;
    }
    Ok(if report.failed {
        Outcome::Refused
    } else {
        Outcome::Done
    })
}

async fn online(
    client: &Client,
    now: impl Fn() -> Timestamp,
    report: &mut Report<'_>,
) -> Result<()> {
    let answer = match client.send(api::get(HEALTH, &[])?).await {
        Ok(answer) => answer,
        Err(error) => return report.bad("gateway", shared::causes::causes(&error)),
    };
    let arrived = now();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.unwrap_or_default();
    if status.is_success() {
        report.good("gateway", "healthy")?;
    } else {
        report.bad("gateway", Refusal::new(status, &headers, &body))?;
    }
    skew(&headers, arrived, report)?;

    if let Err(error) = api::fetch(client, api::get(USAGE, &[])?).await {
        return report.bad("signature", format!("{error:#}"));
    }
    report.good("signature", "accepted")?;

    let key = match api::ask::<Key>(client, api::get(KEYS, &[])?).await {
        Ok(key) => key,
        Err(error) => return report.bad("key", format!("{error:#}")),
    };
    if key.disabled {
        return report.bad("key", "disabled by the operator; ask them");
    }
    let source = printable(key.source.as_deref().unwrap_or("unknown source"));
    report.good("key", format!("stored ({source})"))?;
    match (key.limit, key.remaining) {
        (Some(limit), Some(remaining)) if remaining == Money::default() => {
            let text = format!("nothing remains of {limit}; ask the operator for more");
            report.bad("balance", text)?;
        }
        (Some(limit), Some(remaining)) => {
            report.good("balance", format!("{remaining} of {limit} remaining"))?;
        }
        (_, _) => report.good("balance", "no limit at the gateway")?,
    }
    openrouter(client, report).await
}

fn skew(headers: &HeaderMap, now: Timestamp, report: &mut Report<'_>) -> Result<()> {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let there = date.and_then(|date| rfc2822::parse(date).ok());
    let Some(there) = there else {
        return report.perhaps("clock", "the gateway does not tell its time");
    };
    let skew = now.duration_since(there.timestamp());
    let text = format!("{:+} s from the gateway's", skew.as_secs());
    if skew.abs() <= HARMLESS_SKEW {
        report.good("clock", text)
    } else if skew.abs() < TIMESTAMP_WINDOW {
        report.perhaps("clock", format!("{text}; set it before it is too far off"))
    } else {
        report.bad("clock", format!("{text}, more than it accepts; set it"))
    }
}

/// Whether OpenRouter takes the key, and what it allows it.
async fn openrouter(client: &Client, report: &mut Report<'_>) -> Result<()> {
    #[derive(Deserialize)]
    struct Allowed {
        limit_remaining: Option<serde_json::Number>,
    }

    match api::ask::<Allowed>(client, api::get(OPENROUTER_KEY, &[])?).await {
        Ok(Allowed { limit_remaining }) => {
            let rest = limit_remaining.map_or_else(
                || "no limit of its own".to_owned(),
                |dollars| format!("${dollars} of its limit remaining"),
            );
            report.good("OpenRouter", format!("accepts the key; {rest}"))
        }
        Err(error) => report.bad("OpenRouter", format!("{error:#}")),
    }
}

struct Report<'a> {
    terminal: Terminal,
    failed: bool,
    out: &'a mut dyn Write,
}

impl Report<'_> {
    fn good(&mut self, what: &str, found: impl fmt::Display) -> Result<()> {
        self.line(Style::Green, "ok", what, found)
    }

    fn perhaps(&mut self, what: &str, found: impl fmt::Display) -> Result<()> {
        self.line(Style::Yellow, "?", what, found)
    }

    fn bad(&mut self, what: &str, found: impl fmt::Display) -> Result<()> {
        self.failed = true;
        self.line(Style::Red, "BAD", what, found)
    }

    fn line(
        &mut self,
        style: Style,
        mark: &str,
        what: &str,
        found: impl fmt::Display,
    ) -> Result<()> {
        let mark = self.terminal.paint(style, format!("{mark:3}"));
        // Advice comes on a line of its own.
        let found = found.to_string().replace("\nllmgw: ", "; ");
        writeln!(self.out, "{mark}  {what:13}  {found}")?;
        Ok(())
    }
}
