//! Checks of the database: its connection, its schema, its grants, and the keys that it stores.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use shared::{
    causes::causes,
    config::{Env, StorageConfig},
    storage::{
        StorageKey,
        administration::{Access, Feature, SealedPage, probe},
    },
    vault::keyset::Keyset,
};
use url::Url;

use super::{
    super::{
        output::Rows,
        row,
        schema::{self, Made},
        services::{Services, deadline},
    },
    findings::Findings,
};

/// The timeout of each request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The number of concurrent requests.
const CONCURRENCY: usize = 8;
/// The number of sealed keys per request.
const PAGE: u16 = 500;

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
        // The first column of the first migration.
        let Some(Made { feature, .. }) = schema::features().into_iter().next() else {
            return Ok(None);
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

    /// Checks that everything that the migrations create exists.
    pub(super) async fn schema(&mut self, config: &StorageConfig) -> Result<()> {
        let check = "migrations";
        let features = schema::features();
        let total = features.len();
        let mut missing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut failed = None;
        for (made, access) in self.probed(config, Some(&config.key), features).await {
            match access {
                Ok(Access::Granted) => {}
                Ok(Access::Missing | Access::Refused) => {
                    let lacking = missing.entry(made.migration).or_default();
                    lacking.push(made.feature.to_string());
                }
                Err(error) => failed = Some(format!("{}: {error}", made.feature)),
            }
        }
        for (migration, lacking) in &missing {
            self.findings.fail(
                check,
                &format!("{migration}: no {} for the gateway", lacking.join(", ")),
                &format!(
                    "apply migrations/{migration}; if it is applied, `NOTIFY pgrst, 'reload \
                     schema'` and check its GRANTs"
                ),
            )?;
        }
        if let Some(error) = &failed {
            self.findings
                .fail(check, error, "try again; then see the database's own log")?;
        }
        if missing.is_empty() && failed.is_none() {
            self.findings
                .ok(check, &format!("applied ({total} columns and functions)"))?;
        }
        Ok(())
    }

    /// Checks that the public is refused everywhere: with the publishable key, or, for a bare
    /// `PostgREST`, without one. Supabase's own gateway refuses requests without a key whatever the
    /// database grants, so such a request would check nothing.
    pub(super) async fn grants(
        &mut self,
        config: &StorageConfig,
        anon_key: Option<&str>,
    ) -> Result<()> {
        let check = "grants";
        if anon_key.is_none() && !Env::process().is_set("SUPABASE_REST_URL") {
            return self.findings.skip(check, "set SUPABASE_ANON_KEY");
        }
        let mut tables = Vec::new();
        // One column per table, and every function.
        let features: Vec<Made> = schema::features()
            .into_iter()
            .filter(|made| match &made.feature {
                Feature::Function { .. } => true,
                Feature::Column { table, .. } if tables.contains(table) => false,
                Feature::Column { table, .. } => {
                    tables.push(table.clone());
                    true
                }
            })
            .collect();
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
        for (made, access) in self.probed(config, anon.as_ref(), features).await {
            match access {
                Ok(Access::Granted) => open.push(made.feature.to_string()),
                Ok(Access::Refused | Access::Missing) => {}
                Err(error) => failed = Some(format!("{}: {error}", made.feature)),
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

    async fn probed(
        &self,
        config: &StorageConfig,
        key: Option<&StorageKey>,
        features: Vec<Made>,
    ) -> Vec<(Made, Result<Access, String>)> {
        let asked = features.into_iter().map(async |made| {
            let answer = self.probe(&config.url, key, &made.feature).await;
            (made, answer.map(|(access, _)| access))
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
