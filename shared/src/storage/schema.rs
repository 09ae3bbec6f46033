//! The database's schema, as the database describes it.

use std::fmt;

use serde::Deserialize;
use tokio::time::Instant;

use super::{ATTEMPTS_IN_FRONT, Argument, Storage, StorageError};

/// The version of the schema that this library was built with: the date of the last migration.
pub const SCHEMA_VERSION: &str = "20260104000000";

/// The schema.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Schema {
    /// The date of the last migration: `YYYYMMDDhhmmss`.
    pub version: String,
    /// Tables and functions of that migration which do not exist, or which the gateway may not use.
    pub missing: Vec<String>,
    /// One column of each table, and every function that is called by HTTP.
    pub features: Vec<Feature>,
}

/// A column or a function.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Feature {
    /// A column of a table.
    Column {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A function with one jsonb argument.
    Function {
        /// The function's name.
        name: String,
        /// The argument's name.
        argument: String,
    },
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column { table, column } => write!(f, "{table}.{column}"),
            Self::Function { name, .. } => write!(f, "{name}()"),
        }
    }
}

impl Storage {
    /// Asks the database for its schema.
    pub async fn schema(&self, deadline: Instant) -> Result<Schema, StorageError> {
        self.call(
            "gateway_schema_version",
            &Argument::Request(()),
            ATTEMPTS_IN_FRONT,
            deadline,
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_version_is_the_date_of_the_last_migration() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
        let files = fs::read_dir(folder).unwrap();
        let last = files
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "sql"))
            .max();
        let last = last.unwrap().file_stem().unwrap().to_owned();
        let last = last.into_string().unwrap();
        assert_eq!(last.split_once('_').unwrap().0, SCHEMA_VERSION, "{last}");
    }
}
