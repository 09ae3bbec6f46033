//! What of the database can be checked from outside: that it answers, what it has, who may use it,
//! and whether the stored keys open.

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
    super::{output::Rows, rewrap::opened, services::patience},
    Doctor, Finding, PATIENCE,
};

/// How many questions the database is asked at once.
const AT_ONCE: usize = 8;
const PAGE: u16 = 500;
/// The date of the last migration.
const SCHEMA_VERSION: &str = env!("SCHEMA_VERSION");

impl Doctor<'_, '_> {
    /// Whether the database answers, and to the key.
    pub(super) async fn storage(&mut self) -> Result<Option<StorageConfig>> {
        let check = "storage";
        let Ok(config) = StorageConfig::read(Env::process()) else {
            // The configuration's line says why.
            self.bad(check, "not looked for", "complete the configuration")?;
            return Ok(None);
        };
        // Of the original schema, so it is there unless no migration was applied.
        let feature = Feature::Column {
            table: "user_api_keys".to_owned(),
            column: "id".to_owned(),
        };
        match self.probe(&config.url, Some(&config.key), &feature).await {
            Ok((Access::Refused, _)) => {
                self.bad(
                    check,
                    "it does not accept SUPABASE_SECRET_KEY",
                    "set it to the project's secret key (sb_secret_…) or service_role JWT",
                )?;
                Ok(None)
            }
            Ok((Access::Granted | Access::Missing, date)) => {
                self.clock("storage", date);
                self.good(check, &format!("answers at {}", config.url))?;
                Ok(Some(config))
            }
            Err(error) => {
                self.bad(
                    check,
                    &error,
                    "check SUPABASE_URL, and that the project is not paused",
                )?;
                Ok(None)
            }
        }
    }

    /// Whether the database has the schema that this program was built with, and the gateway may
    /// use it. Returns what there is to use.
    pub(super) async fn schema(&mut self) -> Result<Vec<Feature>> {
        let check = "migrations";
        let schema = match self.services.storage()?.schema(patience()).await {
            Ok(schema) => schema,
            Err(error) => {
                self.bad(
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
            self.bad(
                check,
                &format!("no {} for the gateway", schema.missing.join(", ")),
                "apply migrations/*_functions.sql again, as the owner of the tables",
            )?;
        } else if found < SCHEMA_VERSION {
            self.bad(
                check,
                &format!("the database is at {found}, this program needs {SCHEMA_VERSION}"),
                "apply the migrations (migrations/apply.sh)",
            )?;
        } else if found > SCHEMA_VERSION {
            self.good(
                check,
                &format!(
                    "applied up to {found}, later than this program, which knows {SCHEMA_VERSION}"
                ),
            )?;
        } else {
            self.good(check, &format!("applied up to {found}"))?;
        }
        Ok(schema.features)
    }

    /// Whether the public is refused everywhere: with the publishable key, or, asking a bare `PostgREST`,
    /// without one. Supabase's own gateway refuses whoever has no key, whatever the database grants, so
    /// asking it without one says nothing.
    pub(super) async fn grants(
        &mut self,
        config: &StorageConfig,
        features: Vec<Feature>,
        anon_key: Option<&str>,
    ) -> Result<()> {
        let check = "grants";
        if anon_key.is_none() && !Env::process().is_set("SUPABASE_REST_URL") {
            return self.not_checked(check, "set SUPABASE_ANON_KEY");
        }
        if features.is_empty() {
            return self.not_checked(check, "apply the migrations");
        }
        let anon = match anon_key.map(StorageKey::parse).transpose() {
            Ok(anon) => anon,
            Err(error) => return self.bad(check, &error.to_string(), "correct --anon-key"),
        };
        let mut open = Vec::new();
        let mut failed = None;
        let whom = if anon.is_some() {
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
            return self.bad(
                check,
                &format!("{whom} anybody may use {}", open.join(", ")),
                "REVOKE ALL … FROM PUBLIC, anon, authenticated, as the migrations do (PGlite, on a \
                 developer's machine, cannot)",
            );
        }
        match failed {
            Some(error) => self.bad(check, &error, "try again; then see the database's own log"),
            None => self.good(check, &format!("the public is refused ({whom})")),
        }
    }

    /// Whether every stored key opens.
    pub(super) async fn seals(&mut self, keyset: &Keyset) -> Result<()> {
        let check = "sealed keys";
        let storage = self.services.storage()?;
        let (mut after, mut good, mut faults) = (None::<String>, 0, 0_u64);
        loop {
            let page = SealedPage {
                other_than: None,
                after: after.as_deref(),
                limit: PAGE,
            };
            let rows = match storage.sealed_keys(&page, patience()).await {
                Ok(rows) => rows,
                Err(error) => {
                    return self.bad(
                        check,
                        &causes(&error),
                        "apply the migrations, then try again",
                    );
                }
            };
            let Some(last) = rows.last() else { break };
            after = Some(last.did.clone());
            for row in rows {
                match opened(keyset, &row) {
                    Ok(_) => good += 1,
                    Err(fault) => {
                        faults += 1;
                        self.findings.push(Finding {
                            check,
                            ok: false,
                            skipped: false,
                            found: fault.to_string(),
                            advice: Some(fault.advice(row.retired).to_owned()),
                            did: Some(row.did),
                        });
                        self.print_last()?;
                    }
                }
            }
        }
        if faults == 0 {
            return self.good(check, &format!("{} open", Rows(good)));
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
        stream::iter(asked).buffered(AT_ONCE).collect().await
    }

    async fn probe(
        &self,
        url: &Url,
        key: Option<&StorageKey>,
        feature: &Feature,
    ) -> Result<(Access, Option<Timestamp>), String> {
        probe(&self.services.http, url, key, feature, PATIENCE)
            .await
            .map_err(|error| causes(&error))
    }
}
