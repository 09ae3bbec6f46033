//! The schema of the database, and access to it.

use std::{fmt, time::Duration};

use http::header::{self, CONTENT_TYPE};
use jiff::Timestamp;
use serde::Deserialize;
use shared::storage::{self, StorageError, StorageKey, Unavailable};
use tokio::time::Instant;
use url::Url;

use super::client::AdminStorage;

/// The schema as the database describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Schema {
    /// The date of the last migration: `YYYYMMDDhhmmss`.
    pub version: String,
    /// Tables and functions of that migration which do not exist, or which the gateway may not use.
    pub missing: Vec<String>,
    /// One column of each table, and every function that is called by HTTP.
    pub features: Vec<Feature>,
}

impl AdminStorage {
    /// The schema.
    pub async fn schema(&self, deadline: Instant) -> Result<Schema, StorageError> {
        self.request("gateway_schema_version", (), deadline).await
    }
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

impl Feature {
    /// A request that uses it. The migrations' names need no escaping.
    fn request(&self, client: &reqwest::Client, rest_url: &str) -> reqwest::RequestBuilder {
        match self {
            Self::Column { table, column } => {
                client.get(format!("{rest_url}/{table}?select={column}&limit=0"))
            }
            Self::Function { name, argument } => client
                .post(format!("{rest_url}/rpc/{name}"))
                .header(CONTENT_TYPE, "application/json")
                .body(format!(r#"{{"{argument}":{{}}}}"#)),
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column { table, column } => write!(f, "{table}.{column}"),
            Self::Function { name, .. } => write!(f, "{name}()"),
        }
    }
}

/// The access that a key has to a [`Feature`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It may be used.
    Granted,
    /// It may not be used.
    Refused,
    /// It does not exist, or is invisible.
    Missing,
}

/// Requests a feature with `key`, or without one. Neither changes nor reads anything: it selects no row,
/// or calls a function without its arguments. Returns also the `Date` of the response.
pub async fn probe(
    client: &reqwest::Client,
    rest_url: &Url,
    key: Option<&StorageKey>,
    feature: &Feature,
    timeout: Duration,
) -> Result<(Access, Option<Timestamp>), Unavailable> {
    let request = feature.request(client, rest_url.as_str().trim_end_matches('/'));
    let response = storage::probe(request, key, timeout).await?;
    let date = response
        .headers
        .get(header::DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .map(|date| date.timestamp());
    let access = match (response.status.as_u16(), response.code.as_deref()) {
        // Raised by the function itself, so it ran.
        (_, Some(code)) if code.starts_with("PT") => Access::Granted,
        // Undefined column, table or function, in the codes of PostgreSQL and PostgREST.
        (_, Some("42703" | "42P01" | "42883" | "PGRST202" | "PGRST204" | "PGRST205"))
        | (404, _) => Access::Missing,
        (200..=299, _) => Access::Granted,
        (401 | 403, _) => Access::Refused,
        _ => {
            return Err(Unavailable::Status {
                status: response.status,
                code: response.code,
            });
        }
    };
    Ok((access, date))
}
