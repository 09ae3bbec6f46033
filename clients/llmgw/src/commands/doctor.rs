//! `llmgw doctor`: checks every step from this machine to a response of OpenRouter.

use std::{fmt, io::Write};

use anyhow::Result;
use clap::Args;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use shared::identity::auth::TIMESTAMP_WINDOW;

use super::keys::Key;
use crate::{
    api::{self, KEYS, Money, USAGE},
    args::GatewayArgs,
    client::Client,
    context::{Context, Outcome, block_on},
    response::{ErrorResponse, date},
    settings::SettingsError,
    terminal::{Style, Terminal, printable},
};

const HEALTH: &str = "/api/v1/health";
const OPENROUTER_KEY: &str = "/api/v1/openrouter/key";
/// The difference that the resolution of `Date` and a slow network explain.
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
costs nothing. Exit status: 1 if a check fails.";

/// Runs the checks.
pub(super) fn run(args: DoctorArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let mut report = Report {
        terminal: context.terminal,
        failed: false,
        out: &mut *context.stdout,
    };
    let gateway = context.settings.gateway(args.gateway);
    let identity = context
        .settings
        .identity()
        .map_err(anyhow::Error::from)
        .and_then(|path| Ok((crate::identity::Identity::load(&path)?, path)));
    match &gateway {
        Ok(gateway) if gateway.base() == gateway.audience() => {
            report.ok("configuration", gateway.base())?;
        }
        Ok(gateway) => {
            let both = format!("{}, as {}", gateway.base(), gateway.audience());
            report.ok("configuration", both)?;
        }
        Err(error) => report.fail("configuration", shared::causes::causes(error))?,
    }
    match &identity {
        Ok((identity, path)) => {
            let found = format!("{} in {}", identity.did(), path.display());
            report.ok("identity", found)?;
        }
        // The same fault.
        Err(error) if is_of_config(error) && gateway.is_err() => {
            report.warn("identity", "not known without the configuration")?;
        }
        Err(error) => report.fail("identity", format!("{error:#}"))?,
    }
    if let (Ok(gateway), Ok((identity, _))) = (gateway, identity) {
        let clock = context.clock.clone();
        let client = Client::new(gateway, identity, clock.clone(), context.random)?;
        block_on(online(&client, || clock.now(), &mut report))?;
    }
    Ok(Outcome::from_ok(!report.failed))
}

/// Whether the configuration file is what cannot be used.
fn is_of_config(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(SettingsError::Config(_)))
}

async fn online(
    client: &Client,
    now: impl Fn() -> Timestamp,
    report: &mut Report<'_>,
) -> Result<()> {
    let answer = match client.send(api::get(HEALTH, &[])?).await {
        Ok(answer) => answer,
        Err(error) => return report.fail("gateway", shared::causes::causes(&error)),
    };
    let arrived = now();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.unwrap_or_default();
    if status.is_success() {
        let health: Option<Health> = serde_json::from_slice(&body).ok();
        if !health.is_some_and(|it| it.success && it.data.status == "healthy") {
            let text = "something else than LLM Gateway answers there; check its address";
            return report.fail("gateway", text);
        }
        report.ok("gateway", "healthy")?;
    } else {
        report.fail("gateway", ErrorResponse::new(status, &headers, &body))?;
    }
    skew(&headers, arrived, report)?;

    if let Err(error) = api::ask::<Usage>(client, api::get(USAGE, &[])?).await {
        return report.fail("signature", format!("{error:#}"));
    }
    report.ok("signature", "accepted")?;

    let key = match api::ask::<Key>(client, api::get(KEYS, &[])?).await {
        Ok(key) => key,
        Err(error) => return report.fail("key", format!("{error:#}")),
    };
    if key.disabled {
        return report.fail("key", "disabled; ask the gateway's operator");
    }
    let source = printable(key.source.as_deref().unwrap_or("unknown source"));
    report.ok("key", format!("stored ({source})"))?;
    match (key.limit, key.remaining) {
        (Some(limit), Some(remaining)) if remaining == Money::default() => {
            let text = format!("nothing remains of {limit}; ask the operator for more");
            report.fail("balance", text)?;
        }
        (Some(limit), Some(remaining)) => {
            report.ok("balance", format!("{remaining} of {limit} remaining"))?;
        }
        (_, _) => report.ok("balance", "no limit at the gateway")?,
    }
    openrouter(client, report).await
}

/// The part of a health report that other servers do not have.
#[derive(Deserialize)]
struct Health {
    success: bool,
    data: HealthData,
}

#[derive(Deserialize)]
struct HealthData {
    status: String,
}

/// The part of a usage report that other servers do not have.
#[derive(Deserialize)]
struct Usage {
    #[expect(dead_code, reason = "only its presence matters")]
    total_requests: u64,
}

fn skew(headers: &HeaderMap, now: Timestamp, report: &mut Report<'_>) -> Result<()> {
    let Some(there) = date(headers) else {
        return report.warn("clock", "the gateway's responses have no date");
    };
    let skew = now.duration_since(there);
    let text = format!("{:+} s from the gateway's", skew.as_secs());
    if skew.abs() <= HARMLESS_SKEW {
        report.ok("clock", text)
    } else if skew.abs() < TIMESTAMP_WINDOW {
        report.warn("clock", format!("{text}; set this machine's clock"))
    } else {
        report.fail(
            "clock",
            format!("{text}, more than it accepts; set this machine's clock"),
        )
    }
}

/// Checks that OpenRouter accepts the key.
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
            report.ok("OpenRouter", format!("accepts the key; {rest}"))
        }
        Err(error) => report.fail("OpenRouter", format!("{error:#}")),
    }
}

struct Report<'a> {
    terminal: Terminal,
    failed: bool,
    out: &'a mut dyn Write,
}

impl Report<'_> {
    fn ok(&mut self, what: &str, found: impl fmt::Display) -> Result<()> {
        self.line(Style::Green, "ok", what, found)
    }

    fn warn(&mut self, what: &str, found: impl fmt::Display) -> Result<()> {
        self.line(Style::Yellow, "?", what, found)
    }

    fn fail(&mut self, what: &str, found: impl fmt::Display) -> Result<()> {
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
        // The advice is on a second line.
        let found = found.to_string().replace("\nllmgw: ", "; ");
        let found = found.trim_end();
        writeln!(self.out, "{mark}  {what:13}  {found}")?;
        Ok(())
    }
}
