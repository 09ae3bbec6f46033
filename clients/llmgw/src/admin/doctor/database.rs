//! Checks of the database: its connection, its schema, its grants, the keys that it stores, and its sums.

use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use shared::{
    causes::causes,
    config::{Env, StorageConfig},
    storage::{Feature, Period, RollupQuery, SCHEMA_VERSION, StorageKey},
    vault::keyset::Keyset,
};
use url::Url;

use super::{
    super::{
        output::Rows,
        row,
        services::{Services, deadline},
        storage::{Access, SealedPage, probe},
    },
    findings::Findings,
};

/// The timeout of each request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The number of concurrent requests.
const CONCURRENCY: usize = 8;
/// The number of sealed keys per request.
const PAGE: u16 = 500;
/// The days whose sums are compared with their requests. Older ones hardly change: what is open is settled
/// within a week.
const SUMMED_DAYS: i64 = 35;

pub(super) struct DatabaseChecks<'a, 'b, 'c> {
    services: &'a Services,
    findings: &'a mut Findings<'b, 'c>,
}

impl<'a, 'b, 'c> DatabaseChecks<'a, 'b, 'c> {
    pub(super) fn new(services: &'a Services, findings: &'a mut Findings<'b, 'c>) -> Self {
        Self { services, findings }
    }

    /// Checks that the database answers and accepts the key. Returns its configuration and its time.
    pub(super) async fn connection(
        &mut self,
    ) -> Result<Option<(StorageConfig, Option<Timestamp>)>> {
        let check = "storage";
        let Ok(config) = StorageConfig::read(Env::process()) else {
            // The check of the configuration reports the faults.
            self.findings
                .fail(check, "not found", "complete the configuration")?;
            return Ok(None);
        };
        // A column of the original schema, which every migrated database has.
        let feature = Feature::Column {
            table: "user_api_keys".to_owned(),
            column: "id".to_owned(),
        };
        match self.probe(&config.url, Some(&config.key), &feature).await {
            Ok((Access::Refused, _)) => {
                self.findings.fail(
                    check,
                    "it does not accept SUPABASE_SECRET_KEY",
                    "set it to the project's secret key (sb_secret_…) or service_role JWT",
                )?;
                Ok(None)
            }
            Ok((Access::Granted | Access::Missing, date)) => {
                self.findings
                    .ok(check, &format!("answers at {}", config.url))?;
                Ok(Some((config, date)))
            }
            Err(error) => {
                self.findings.fail(
                    check,
                    &error,
                    "check SUPABASE_URL, and that the project is not paused",
                )?;
                Ok(None)
            }
        }
    }

    /// Checks that the database has the schema that this program was built with, and that the gateway
    /// may use it. Returns the tables and functions that exist.
    pub(super) async fn schema(&mut self) -> Result<Vec<Feature>> {
        let check = "migrations";
        let schema = match self.services.storage()?.schema(deadline()).await {
            Ok(schema) => schema,
            Err(error) => {
                self.findings.fail(
                    check,
                    &causes(&error),
                    "apply them (migrations/apply.sh); if they are applied, `NOTIFY pgrst, 'reload \
                     schema'`",
                )?;
                return Ok(Vec::new());
            }
        };
        let found = schema.version.as_str();
        if !schema.missing.is_empty() {
            self.findings.fail(
                check,
                &format!("no {} for the gateway", schema.missing.join(", ")),
                "apply migrations/*_functions.sql again, as the owner of the tables",
            )?;
        } else if found < SCHEMA_VERSION {
            self.findings.fail(
                check,
                &format!("the database is at {found}, this program needs {SCHEMA_VERSION}"),
                "apply the migrations (migrations/apply.sh)",
            )?;
        } else if found > SCHEMA_VERSION {
            self.findings.ok(
                check,
                &format!(
                    "applied up to {found}, later than this program, which knows {SCHEMA_VERSION}"
                ),
            )?;
        } else {
            self.findings.ok(check, &format!("applied up to {found}"))?;
        }
        Ok(schema.features)
    }

    /// Checks that the public is refused everywhere: with the publishable key, or, for a bare
    /// `PostgREST`, without one. Supabase's own gateway refuses requests without a key whatever the
    /// database grants, so such a request would check nothing.
    pub(super) async fn grants(
        &mut self,
        config: &StorageConfig,
        features: Vec<Feature>,
        anon_key: Option<&str>,
    ) -> Result<()> {
        let check = "grants";
        if anon_key.is_none() && !Env::process().is_set("SUPABASE_REST_URL") {
            return self.findings.skip(check, "set SUPABASE_ANON_KEY");
        }
        if features.is_empty() {
            return self.findings.skip(check, "apply the migrations");
        }
        let anon = match anon_key.map(StorageKey::parse).transpose() {
            Ok(anon) => anon,
            Err(error) => {
                return self
                    .findings
                    .fail(check, &error.to_string(), "correct --anon-key");
            }
        };
        let mut open = Vec::new();
        let mut failed = None;
        let how = if anon.is_some() {
            "with the publishable key"
        } else {
            "without a key"
        };
        for (feature, access) in self.probed(config, anon.as_ref(), features).await {
            match access {
                Ok(Access::Granted) => open.push(feature.to_string()),
                Ok(Access::Refused | Access::Missing) => {}
                Err(error) => failed = Some(format!("{feature}: {error}")),
            }
        }
        if !open.is_empty() {
            return self.findings.fail(
                check,
                &format!("{how} anybody may use {}", open.join(", ")),
                "REVOKE ALL … FROM PUBLIC, anon, authenticated, as the migrations do (PGlite, on \
                 developers' machines, cannot)",
            );
        }
        match failed {
            Some(error) => {
                self.findings
                    .fail(check, &error, "try again; then see the database's own log")
            }
            None => self
                .findings
                .ok(check, &format!("the public is refused ({how})")),
        }
    }

    /// Checks that every stored key opens.
    pub(super) async fn sealed_keys(&mut self, keyset: &Keyset) -> Result<()> {
        let check = "sealed keys";
        let storage = self.services.storage()?;
        let (mut after, mut good, mut faults) = (None::<String>, 0, 0_u64);
        loop {
            let page = SealedPage {
                other_than: None,
                after: after.as_deref(),
                limit: PAGE,
            };
            let rows = match storage.sealed_keys(&page, deadline()).await {
                Ok(rows) => rows,
                Err(error) => {
                    return self.findings.fail(
                        check,
                        &causes(&error),
                        "apply the migrations, then try again",
                    );
                }
            };
            let Some(last) = rows.last() else { break };
            after = Some(last.did.clone());
            for row in rows {
                match row::open(keyset, &row) {
                    Ok(_) => good += 1,
                    Err(fault) => {
                        faults += 1;
                        let advice = fault.advice(row.retired);
                        let found = fault.to_string();
                        self.findings
                            .fail_for(check, Some(row.did), &found, advice)?;
                    }
                }
            }
        }
        if faults == 0 {
            return self.findings.ok(check, &format!("{} open", Rows(good)));
        }
        Ok(())
    }

    /// Checks, day by day, that the sums from which usage is reported are those of the requests, and that
    /// `open_requests` has those that are open.
    pub(super) async fn usage_sums(&mut self) -> Result<()> {
        let check = "usage sums";
        let storage = self.services.storage()?;
        let day = SignedDuration::from_hours(24);
        // Whole hours are compared, so this one is included.
        let mut end = self.services.clock.now() + SignedDuration::from_hours(1);
        let (mut requests, mut differences, mut untracked, mut first) = (0, 0, 0, None);
        for _ in 0..SUMMED_DAYS {
            let query = RollupQuery {
                period: Period {
                    start: Some(end - day),
                    end: Some(end),
                },
                did: None,
                limit: 1,
            };
            let found = match storage.check_rollup(&query, deadline()).await {
                Ok(found) => found,
                Err(error) => {
                    let advice = "apply the migrations, then try again";
                    return self.findings.fail(check, &causes(&error), advice);
                }
            };
            requests += found.requests;
            differences += found.differences;
            untracked += found.untracked;
            first = found.examples.into_iter().next().or(first);
            end -= day;
        }
        match first {
            None => self.findings.ok(
                check,
                &format!("those of {requests} requests of the last {SUMMED_DAYS} days"),
            )?,
            Some(it) => self.findings.fail_for(
                check,
                Some(it.did),
                &format!(
                    "{differences} sums differ, the first for {} at {} ({}, {}): requests, tokens and cost are {} in \
                     usage_hours, {} in request_logs",
                    it.model,
                    it.hour,
                    it.status,
                    it.cost_state,
                    values(&it.rollup),
                    values(&it.logged),
                ),
                "somebody changed usage_hours, or deleted requests; while none has expired, `TRUNCATE usage_series \
                 CASCADE; SELECT fill_rollup()` recomputes the sums",
            )?,
        }
        if untracked > 0 {
            self.findings.fail(
                "open requests",
                &format!(
                    "open_requests lacks requests that are open, or has some that are not: {}",
                    Rows(untracked)
                ),
                "somebody changed request_logs without its triggers; `SELECT fill_open_requests()` finds them anew",
            )?;
        }
        Ok(())
    }

    async fn probed(
        &self,
        config: &StorageConfig,
        key: Option<&StorageKey>,
        features: Vec<Feature>,
    ) -> Vec<(Feature, Result<Access, String>)> {
        let asked = features.into_iter().map(async |feature| {
            let answer = self.probe(&config.url, key, &feature).await;
            (feature, answer.map(|(access, _)| access))
        });
        stream::iter(asked).buffered(CONCURRENCY).collect().await
    }

    async fn probe(
        &self,
        url: &Url,
        key: Option<&StorageKey>,
        feature: &Feature,
    ) -> Result<(Access, Option<Timestamp>), String> {
        probe(&self.services.http, url, key, feature, TIMEOUT)
            .await
            .map_err(|error| causes(&error))
    }
}

fn values(sums: &[Option<String>]) -> String {
    let sums: Vec<_> = sums
        .iter()
        .map(|sum| sum.as_deref().unwrap_or("-"))
        .collect();
    sums.join("/")
}
