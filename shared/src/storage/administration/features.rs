//! The schema of the storage, and what a key may do with it.

use std::{fmt, time::Duration};

use http::header::{self, CONTENT_TYPE};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::super::{
    ATTEMPTS_IN_FRONT, Argument, Storage, StorageError, StorageKey, Unavailable, transport,
};

/// The schema as the storage describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Schema {
    /// The date of the last migration: `YYYYMMDDhhmmss`.
    pub version: String,
    /// Tables and functions of that migration which do not exist, or which the gateway may not use.
    pub missing: Vec<String>,
    /// One column of each table, and every function that is called by HTTP.
    pub features: Vec<Feature>,
}

impl Storage {
    /// The storage's schema.
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

/// Something that a migration made.
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
    /// A function that takes one jsonb.
    Function {
        /// Its name.
        name: String,
        /// Its argument's.
        argument: String,
    },
}

impl Feature {
    /// A request that uses it. The names are the migrations' own, which need no escaping.
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

/// What somebody with a certain key may do with a [`Feature`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Use it.
    Granted,
    /// It is not for them.
    Refused,
    /// There is no such thing, as far as they can see.
    Missing,
}

/// Asks for a feature with `key`, or with none at all, without changing or reading anything: no
/// row, or a call that lacks its arguments. Also the time on the storage's clock, where it tells it.
pub async fn probe(
    client: &reqwest::Client,
    rest_url: &Url,
    key: Option<&StorageKey>,
    feature: &Feature,
    timeout: Duration,
) -> Result<(Access, Option<Timestamp>), Unavailable> {
    let request = feature.request(client, transport::base(rest_url));
    let answer = transport::probe(request, key, timeout).await?;
    let date = answer
        .headers
        .get(header::DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .map(|date| date.timestamp());
    let access = match (answer.status.as_u16(), answer.code.as_deref()) {
        // The function itself refuses, for lack of arguments: it ran.
        (_, Some(code)) if code.starts_with("PT") => Access::Granted,
        // Undefined column, table or function, in PostgreSQL's words and PostgREST's.
        (_, Some("42703" | "42P01" | "42883" | "PGRST202" | "PGRST204" | "PGRST205"))
        | (404, _) => Access::Missing,
        (200..=299, _) => Access::Granted,
        (401 | 403, _) => Access::Refused,
        _ => {
            return Err(Unavailable::Status {
                status: answer.status,
                code: answer.code,
            });
        }
    };
    Ok((access, date))
}
