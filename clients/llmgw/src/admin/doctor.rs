//! `llmgw admin doctor`: checks everything that the gateway depends on. It changes nothing.

mod database;
mod findings;

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use shared::{
    causes::causes,
    config::{Env, ProxyConfig},
    identity::signing::Audience,
    vault::keyset::Keyset,
};

use self::{database::DatabaseChecks, findings::Findings};
use super::{keyset_edit::KeyStatus, output::Output, services::Services};
use crate::{context::Outcome, response::date};

/// The timeout of each request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Signatures are accepted for 300 s, so a minute leaves room for the user's clock.
const LARGEST_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Supabase's publishable (anon) key, which must not open anything
    #[arg(
        long,
        env = "SUPABASE_ANON_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub anon_key: Option<String>,
}

pub(super) async fn run(
    args: &DoctorArgs,
    services: &Services,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let mut doctor = Doctor {
        services,
        clocks: Vec::new(),
        findings: Findings::new(output),
    };
    doctor.configuration()?;
    let keyset = doctor.keyset().await?;
    doctor.database(args, keyset.as_ref()).await?;
    doctor.openrouter().await?;
    doctor.audiences().await?;
    doctor.clocks()?;
    Ok(Outcome::from_ok(doctor.findings.finish()?))
}

struct Doctor<'a, 'b> {
    services: &'a Services,
    /// The differences of other machines' clocks from this one.
    clocks: Vec<(&'static str, SignedDuration)>,
    findings: Findings<'a, 'b>,
}

impl Doctor<'_, '_> {
    /// Checks the variables of the function that needs most.
    fn configuration(&mut self) -> Result<()> {
        let check = "configuration";
        let Err(faults) = ProxyConfig::read(Env::process()) else {
            return self.findings.ok(check, "complete");
        };
        // A keyset in a file needs no Secrets Manager.
        let from_file = self.services.keyset_file.is_some();
        let faults: Vec<_> = faults
            .0
            .into_iter()
            .filter(|fault| {
                !from_file
                    || !(fault.variable.starts_with("AWS_")
                        || fault.variable.starts_with("KEYSET_"))
            })
            .collect();
        if faults.is_empty() {
            return self.findings.ok(
                check,
                "complete, without Secrets Manager, which --keyset-file replaces",
            );
        }
        for fault in faults {
            let found = format!("{}: {}", fault.variable, fault.problem);
            self.findings.fail(
                check,
                &found,
                "set it as the functions have it, see docs/operate/configuration.md",
            )?;
        }
        Ok(())
    }

    async fn keyset(&mut self) -> Result<Option<Keyset>> {
        let check = "keyset";
        let store = match self.services.keyset() {
            Ok(store) => store,
            Err(error) => {
                self.findings.fail(check, "not found", &one_line(&error))?;
                return Ok(None);
            }
        };
        let read = match store.read().await {
            Ok(read) => read,
            Err(error) => {
                let advice = "check the name, the region, the credentials and their permission \
                              secretsmanager:GetSecretValue";
                self.findings.fail(check, &causes(&error), advice)?;
                return Ok(None);
            }
        };
        match read.keyset().and_then(|keyset| Ok((keyset, read.edit()?))) {
            Ok((keyset, edit)) => {
                let of = |status| edit.keys().filter(|(_, it)| *it == status).count();
                let (enabled, disabled) = (of(KeyStatus::Enabled), of(KeyStatus::Disabled));
                let primary = keyset.primary_id();
                self.findings.ok(
                    check,
                    &format!("primary key {primary}, {enabled} others enabled, {disabled} disabled, in {store}"),
                )?;
                Ok(Some(keyset))
            }
            Err(fault) => {
                self.findings.fail(
                    check,
                    &fault.to_string(),
                    "restore an earlier version; functions keep using the keyset in their memory",
                )?;
                Ok(None)
            }
        }
    }

    async fn database(&mut self, args: &DoctorArgs, keyset: Option<&Keyset>) -> Result<()> {
        let mut checks = DatabaseChecks::new(self.services, &mut self.findings);
        let Some((config, date)) = checks.connection().await? else {
            return Ok(());
        };
        let features = checks.schema().await?;
        let anon_key = args.anon_key.as_deref();
        checks.grants(&config, features, anon_key).await?;
        if let Some(keyset) = keyset {
            checks.sealed_keys(keyset).await?;
        }
        checks.usage_sums().await?;
        self.clock("the database", date);
        Ok(())
    }

    async fn openrouter(&mut self) -> Result<()> {
        let check = "OpenRouter";
        let base = match ProxyConfig::read(Env::process()) {
            Ok(config) => config.openrouter.to_string(),
            // The check of the configuration reports its faults.
            Err(_) => Env::process()
                .optional("GATEWAY_OPENROUTER_URL")
                .unwrap_or_else(|| "https://openrouter.ai/api/v1".to_owned()),
        };
        let url = format!("{}/key", base.trim_end_matches('/'));
        match self.get(&url).await {
            Ok(response) if !response.status.is_server_error() => {
                self.clock("OpenRouter", date(&response.headers));
                self.findings.ok(check, &format!("answers at {base}"))
            }
            Ok(response) => self.findings.fail(
                check,
                &format!("HTTP {}", response.status),
                "see https://status.openrouter.ai",
            ),
            Err(error) => self.findings.fail(
                check,
                &error,
                "check GATEWAY_OPENROUTER_URL and the network",
            ),
        }
    }

    /// Checks that the gateway answers at its public base URLs.
    async fn audiences(&mut self) -> Result<()> {
        let check = "audience";
        let list = Env::process()
            .optional("GATEWAY_AUDIENCES")
            .unwrap_or_default();
        for audience in list
            .split(',')
            .filter_map(|it| Audience::parse(it.trim()).ok())
        {
            let response = self.get(&format!("{audience}/api/v1/health")).await;
            let healthy = |body: &str| {
                serde_json::from_str::<serde_json::Value>(body)
                    .is_ok_and(|body| body["success"] == true)
            };
            match response {
                Ok(response) if response.status == 200 && healthy(&response.body) => {
                    self.clock("the gateway", date(&response.headers));
                    self.findings.ok(check, &format!("{audience} is healthy"))?;
                }
                Ok(response) => self.findings.fail(
                    check,
                    &format!("{audience}/api/v1/health answers HTTP {}", response.status),
                    "is that the gateway's public address, stage and base path included?",
                )?,
                Err(error) => self.findings.fail(
                    check,
                    &format!("{audience}: {error}"),
                    "check its name, certificate and deployment",
                )?,
            }
        }
        Ok(())
    }

    fn clocks(&mut self) -> Result<()> {
        let check = "clock";
        let Some((whose, skew)) = self
            .clocks
            .iter()
            .max_by_key(|(_, skew)| skew.abs())
            .copied()
        else {
            return self
                .findings
                .fail(check, "no response had a date", "see the lines above");
        };
        let seconds = skew.as_secs();
        if skew.abs() > LARGEST_SKEW {
            return self.findings.fail(
                check,
                &format!("the clock of {whose} differs from this machine's by {seconds} s"),
                "set this machine's clock by NTP; if it is right, the other machine refuses good \
                 signatures or accepts old ones",
            );
        }
        let others = self.clocks.len();
        self.findings.ok(
            check,
            &format!("within {} s of {others} others", seconds.abs()),
        )
    }

    async fn get(&self, url: &str) -> Result<Fetched, String> {
        let text = |error: reqwest::Error| causes(&error.without_url());
        let response = self.services.http.get(url).timeout(TIMEOUT).send();
        let response = response.await.map_err(text)?;
        Ok(Fetched {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.text().await.map_err(text)?,
        })
    }

    fn clock(&mut self, whose: &'static str, date: Option<Timestamp>) {
        if let Some(date) = date {
            let skew = date.duration_since(self.services.clock.now());
            self.clocks.push((whose, skew));
        }
    }
}

struct Fetched {
    status: http::StatusCode,
    headers: HeaderMap,
    body: String,
}

/// Writes an error that lists faults on several lines on one line.
fn one_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
