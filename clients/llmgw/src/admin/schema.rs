//! What the migrations make, so that it can be looked for by name: `PostgREST` tells nobody which
//! migrations were applied.
//!
//! Only their style is understood, not SQL: `CREATE FUNCTION public.name(argument jsonb) RETURNS
//! jsonb` (an RPC), `CREATE TABLE`, `ADD COLUMN` and `DROP …`, each beginning a line. A migration
//! that makes none of these cannot be seen.

use shared::storage::administration::Feature;

/// Names and texts, in order.
const MIGRATIONS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// Something a migration made, and that no later one removed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) migration: &'static str,
    pub(super) feature: Feature,
}

/// All that the migrations make.
pub(super) fn features() -> Vec<Made> {
    made(MIGRATIONS)
}

fn made(migrations: &[(&'static str, &str)]) -> Vec<Made> {
    let mut all: Vec<Made> = Vec::new();
    for (migration, text) in migrations {
        let mut table: Option<&str> = None;
        let mut creating = false;
        for line in text.lines() {
            let trimmed = line.trim();
            if let Some(rest) = after(
                trimmed,
                &["CREATE FUNCTION ", "CREATE OR REPLACE FUNCTION "],
            ) {
                if let Some(feature) = rpc(rest)
                    && !all.iter().any(|it| it.feature == feature)
                {
                    all.push(Made { migration, feature });
                }
            } else if let Some(rest) =
                after(trimmed, &["DROP FUNCTION ", "DROP FUNCTION IF EXISTS "])
            {
                let gone = name(rest);
                all.retain(
                    |it| !matches!(&it.feature, Feature::Function { name, .. } if name == gone),
                );
            } else if let Some(rest) =
                after(trimmed, &["CREATE TABLE ", "CREATE TABLE IF NOT EXISTS "])
            {
                table = Some(name(rest));
                creating = true;
            } else if let Some(rest) = after(trimmed, &["DROP TABLE ", "DROP TABLE IF EXISTS "]) {
                let gone = name(rest);
                all.retain(
                    |it| !matches!(&it.feature, Feature::Column { table, .. } if table == gone),
                );
            } else if let Some(rest) = after(trimmed, &["ALTER TABLE ", "ALTER TABLE IF EXISTS "]) {
                table = Some(name(rest));
                creating = false;
            } else if let (Some(table), Some(rest)) = (
                table,
                after(trimmed, &["ADD COLUMN ", "ADD COLUMN IF NOT EXISTS "]),
            ) {
                all.push(column(migration, table, name(rest)));
            } else if let (Some(table), Some(rest)) = (table, after(trimmed, &["DROP COLUMN "])) {
                let gone = Feature::Column {
                    table: table.to_owned(),
                    column: name(rest).to_owned(),
                };
                all.retain(|it| it.feature != gone);
            } else if creating && trimmed.starts_with(')') {
                creating = false;
            } else if let (true, Some(table)) = (creating, table) {
                let first = name(trimmed);
                let is_column =
                    !first.is_empty() && first.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                if is_column {
                    all.push(column(migration, table, first));
                }
            }
        }
    }
    all
}

fn column(migration: &'static str, table: &str, column: &str) -> Made {
    Made {
        migration,
        feature: Feature::Column {
            table: table.to_owned(),
            column: column.to_owned(),
        },
    }
}

/// `public.name(argument jsonb) RETURNS jsonb`: what `PostgREST` offers as an RPC.
fn rpc(text: &str) -> Option<Feature> {
    let (signature, returns) = text.split_once(") RETURNS ")?;
    let (_, argument) = signature.split_once('(')?;
    let argument = argument.strip_suffix(" jsonb")?;
    (returns.trim_end() == "jsonb" && !argument.contains([' ', ','])).then(|| Feature::Function {
        name: name(text).to_owned(),
        argument: argument.to_owned(),
    })
}

/// The longest prefix that fits, taken away.
fn after<'a>(line: &'a str, prefixes: &[&str]) -> Option<&'a str> {
    prefixes
        .iter()
        .filter_map(|prefix| line.strip_prefix(prefix))
        .min_by_key(|rest| rest.len())
}

/// The first identifier, without its schema.
fn name(text: &str) -> &str {
    let text = text.strip_prefix("public.").unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(all: &[Made]) -> Vec<String> {
        all.iter()
            .map(|it| format!("{} {}", it.migration, it.feature))
            .collect()
    }

    #[test]
    fn what_was_made_and_not_removed_is_found() {
        let all = made(&[
            (
                "1",
                "-- CREATE TABLE no (\nCREATE TABLE a (\n  id uuid,\n  did TEXT NOT NULL,\n  UNIQUE (did)\n);\nCREATE FUNCTION public.f(request jsonb) RETURNS jsonb\nCREATE FUNCTION public.g(p text) RETURNS jsonb\n",
            ),
            (
                "2",
                "ALTER TABLE public.a\n  ADD COLUMN b text,\n  ADD COLUMN c text;\nCREATE OR REPLACE FUNCTION public.f(request jsonb) RETURNS jsonb\nCREATE FUNCTION public.h(outcome jsonb) RETURNS jsonb\n",
            ),
            (
                "3",
                "ALTER TABLE public.a\n  DROP COLUMN b;\nDROP FUNCTION public.h(jsonb);\n",
            ),
        ]);
        assert_eq!(told(&all), ["1 a.id", "1 a.did", "1 f()", "2 a.c"]);
    }

    /// A migration in another style would be taken for applied.
    #[test]
    fn the_migrations_are_understood() {
        let all = told(&features());
        for expected in [
            "20260101000000_original_schema.sql user_api_keys.encrypted_api_key",
            "20260101000000_original_schema.sql request_logs.total_cost",
            "20260102000000_gateway.sql user_api_keys.seal_key_id",
            "20260102000000_gateway.sql request_fingerprints.expires_at",
            "20260103000000_functions.sql begin_request()",
            "20260102000000_gateway.sql accounts.rate_tat",
            "20260103000000_functions.sql settle_request()",
            "20260102000000_gateway.sql key_events.seal_key_id",
            "20260103000000_functions.sql reseal_keys()",
        ] {
            assert!(
                all.iter().any(|it| it == expected),
                "{expected} in {all:#?}"
            );
        }
        for (migration, _) in MIGRATIONS {
            assert!(
                all.iter().any(|it| it.starts_with(migration)),
                "{migration} makes nothing that can be looked for"
            );
        }
    }
}
