//! Access to the tables and functions of the database.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use reqwest::RequestBuilder;
use shared::storage::{self, Feature, StorageKey, Unavailable};
use url::Url;

use crate::response::date;

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
    let request = request(feature, client, rest_url.as_str().trim_end_matches('/'));
    let response = storage::probe(request, key, timeout).await?;
    let date = date(&response.headers);
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

/// A request that uses `feature`. The migrations' names need no escaping.
fn request(feature: &Feature, client: &reqwest::Client, rest_url: &str) -> RequestBuilder {
    match feature {
        Feature::Column { table, column } => {
            client.get(format!("{rest_url}/{table}?select={column}&limit=0"))
        }
        Feature::Function { name, argument } => client
            .post(format!("{rest_url}/rpc/{name}"))
            .header(CONTENT_TYPE, "application/json")
            .body(format!(r#"{{"{argument}":{{}}}}"#)),
    }
}
