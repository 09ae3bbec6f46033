//! The columns and functions that the migrations create. `PostgREST` does not tell which migrations were
//! applied, so these are looked for by name.
//!
//! Only the migrations' style is understood, not SQL: `CREATE FUNCTION public.name(argument jsonb) RETURNS
//! jsonb` (an RPC), `CREATE TABLE`, `ADD COLUMN` and `DROP …`, each beginning a line. A migration
//! that creates none of these is invisible.

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
mod tests;
