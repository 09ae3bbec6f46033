//! Everything that the gateway stands on, checked from where the operator is, one line each.
//!
//! It changes nothing, and shows of what it finds only what an operator may see.

mod database;

use std::{fmt, time::Duration};

use anyhow::Result;
use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use shared::{
    causes::causes,
    config::{Env, ProxyConfig},
    identity::signing::Audience,
    vault::keyset::{KeyStatus, Keyset},
};

use super::{
    cli::DoctorArgs,
    output::{Output, Verdict},
    services::Services,
};
use crate::commands::Outcome;

const PATIENCE: Duration = Duration::from_secs(10);
/// Signatures are accepted for 300 s, so a minute leaves room for the other clock.
const LARGEST_SKEW: SignedDuration = SignedDuration::from_secs(60);

pub(super) async fn run(
    args: &DoctorArgs,
    services: &Services,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let mut doctor = Doctor {
        services,
        output,
        clocks: Vec::new(),
        findings: Vec::new(),
    };
    doctor.configuration()?;
    let keyset = doctor.keyset().await?;
    let storage = doctor.storage().await?;
    if let Some(config) = &storage {
        let features = doctor.schema().await?;
        doctor
            .grants(config, features, args.anon_key.as_deref())
            .await?;
        if let Some(keyset) = &keyset {
            doctor.seals(keyset).await?;
        }
    }
    doctor.openrouter().await?;
    doctor.audiences().await?;
    doctor.clocks()?;
    // What was not checked shows, and is no fault.
    let ok = doctor
        .findings
        .iter()
        .all(|finding| finding.ok || finding.skipped);
    let report = Report {
        ok,
        checks: doctor.findings,
    };
    output.json(&report)?;
    Ok(if ok { Outcome::Done } else { Outcome::Refused })
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Finding>,
}

/// One line.
#[derive(Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    /// It was not checked, so it is not `ok` either.
    #[serde(skip_serializing_if = "is_false")]
    skipped: bool,
    /// Whose key it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    did: Option<String>,
    found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.check)?;
        if let Some(did) = &self.did {
            write!(f, "{did}: ")?;
        }
        f.write_str(&self.found)?;
        match &self.advice {
            Some(advice) if self.skipped => write!(f, ": {advice}"),
            Some(advice) => write!(f, " → {advice}"),
            None => Ok(()),
        }
    }
}

struct Doctor<'a, 'b> {
    services: &'a Services,
    output: &'a mut Output<'b>,
    /// What others' clocks showed, relative to ours.
    clocks: Vec<(&'static str, SignedDuration)>,
    findings: Vec<Finding>,
}

impl Doctor<'_, '_> {
    /// By the reader of the function that needs most.
    fn configuration(&mut self) -> Result<()> {
        let check = "configuration";
        let Err(faults) = ProxyConfig::read(Env::process()) else {
            return self.good(check, "complete");
        };
        // With the keyset in a file nobody here needs the secret.
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
            return self.good(
                check,
                "complete, but for Secrets Manager, which --file replaces",
            );
        }
        for fault in faults {
            let found = format!("{}: {}", fault.variable, fault.problem);
            self.bad(
                check,
                &found,
                "set it as the function has it, see docs/operate/configuration.md",
            )?;
        }
        Ok(())
    }

    async fn keyset(&mut self) -> Result<Option<Keyset>> {
        let check = "keyset";
        let store = match self.services.keyset() {
            Ok(store) => store,
            Err(error) => {
                self.bad(check, "not looked for", &one_line(&error))?;
                return Ok(None);
            }
        };
        let read = match store.read().await {
            Ok(read) => read,
            Err(error) => {
                let advice = "the name, the region, the credentials and their right to \
                              secretsmanager:GetSecretValue";
                self.bad(check, &causes(&error), &format!("check {advice}"))?;
                return Ok(None);
            }
        };
        match read.keyset().and_then(|keyset| Ok((keyset, read.edit()?))) {
            Ok((keyset, edit)) => {
                let of = |status| edit.keys().filter(|(_, it)| *it == status).count();
                let (enabled, disabled) = (of(KeyStatus::Enabled), of(KeyStatus::Disabled));
                let primary = keyset.primary_id();
                self.good(
                    check,
                    &format!("primary key {primary}, {enabled} others enabled, {disabled} disabled, in {store}"),
                )?;
                Ok(Some(keyset))
            }
            Err(fault) => {
                self.bad(
                    check,
                    &fault.to_string(),
                    "put back an earlier version; functions go on with what they have in memory",
                )?;
                Ok(None)
            }
        }
    }

    async fn openrouter(&mut self) -> Result<()> {
        let check = "OpenRouter";
        let base = match ProxyConfig::read(Env::process()) {
            Ok(config) => config.openrouter.to_string(),
            // Its own fault, if it has one, is in the configuration's lines.
            Err(_) => Env::process()
                .optional("OPENROUTER_BASE_URL")
                .unwrap_or_else(|| "https://openrouter.ai/api/v1".to_owned()),
        };
        let url = format!("{}/key", base.trim_end_matches('/'));
        match self.get(&url).await {
            Ok(answer) if !answer.status.is_server_error() => {
                self.clock("OpenRouter", date(&answer.headers));
                self.good(check, &format!("answers at {base}"))
            }
            Ok(answer) => self.bad(
                check,
                &format!("HTTP {}", answer.status),
                "see https://status.openrouter.ai",
            ),
            Err(error) => self.bad(check, &error, "check OPENROUTER_BASE_URL and the network"),
        }
    }

    /// Whether the gateway is where its users think it is.
    async fn audiences(&mut self) -> Result<()> {
        let check = "audience";
        let list = Env::process()
            .optional("GATEWAY_AUDIENCES")
            .unwrap_or_default();
        for audience in list
            .split(',')
            .filter_map(|it| Audience::parse(it.trim()).ok())
        {
            let answer = self.get(&format!("{audience}/api/v1/health")).await;
            let healthy = |body: &str| {
                serde_json::from_str::<serde_json::Value>(body)
                    .is_ok_and(|body| body["success"] == true)
            };
            match answer {
                Ok(answer) if answer.status == 200 && healthy(&answer.body) => {
                    self.clock("the gateway", date(&answer.headers));
                    self.good(check, &format!("{audience} is healthy"))?;
                }
                Ok(answer) => self.bad(
                    check,
                    &format!("{audience}/api/v1/health answers HTTP {}", answer.status),
                    "is that the gateway's public address, stage and base path included?",
                )?,
                Err(error) => self.bad(
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
            return self.bad(check, "nobody told the time", "see the lines above");
        };
        let seconds = skew.as_secs();
        if skew.abs() > LARGEST_SKEW {
            return self.bad(
                check,
                &format!("that of {whose} differs from this machine's by {seconds} s"),
                "set this machine's by NTP; if it is right, whose time differs refuses good \
                 signatures, or accepts old ones",
            );
        }
        let others = self.clocks.len();
        self.good(
            check,
            &format!("within {} s of {others} others", seconds.abs()),
        )
    }

    async fn get(&self, url: &str) -> Result<Answer, String> {
        let told = |error: reqwest::Error| causes(&error.without_url());
        let answer = self.services.http.get(url).timeout(PATIENCE).send();
        let answer = answer.await.map_err(told)?;
        Ok(Answer {
            status: answer.status(),
            headers: answer.headers().clone(),
            body: answer.text().await.map_err(told)?,
        })
    }

    fn clock(&mut self, whose: &'static str, shown: Option<Timestamp>) {
        if let Some(shown) = shown {
            let skew = shown.duration_since(self.services.clock.now());
            self.clocks.push((whose, skew));
        }
    }

    fn good(&mut self, check: &'static str, found: &str) -> Result<()> {
        self.findings.push(Finding {
            check,
            ok: true,
            skipped: false,
            did: None,
            found: found.to_owned(),
            advice: None,
        });
        self.print_last()
    }

    fn bad(&mut self, check: &'static str, found: &str, advice: &str) -> Result<()> {
        self.findings.push(Finding {
            check,
            ok: false,
            skipped: false,
            did: None,
            found: found.to_owned(),
            advice: Some(advice.to_owned()),
        });
        self.print_last()
    }

    fn not_checked(&mut self, check: &'static str, advice: &str) -> Result<()> {
        self.findings.push(Finding {
            check,
            ok: false,
            skipped: true,
            did: None,
            found: "not checked".to_owned(),
            advice: Some(advice.to_owned()),
        });
        self.print_last()
    }

    fn print_last(&mut self) -> Result<()> {
        let Some(finding) = self.findings.last() else {
            return Ok(());
        };
        let verdict = match (finding.ok, finding.skipped) {
            (_, true) => Verdict::NotChecked,
            (true, false) => Verdict::Good,
            (false, false) => Verdict::Bad,
        };
        self.output.verdict(verdict, &finding.to_string())?;
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

struct Answer {
    status: http::StatusCode,
    headers: HeaderMap,
    body: String,
}

/// What the answering machine's clock shows.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

/// An error that lists faults in lines, in one.
fn one_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        let mut headers = HeaderMap::new();
        assert_eq!(date(&headers), None);
        headers.insert(
            header::DATE,
            "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap(),
        );
        assert_eq!(date(&headers), Some(Timestamp::constant(784_111_777, 0)));
    }
}
