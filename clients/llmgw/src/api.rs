//! Requests to the gateway's own routes. A response of 400 or above is an error.

use std::fmt;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;
use shared::metering::money::Usd;

use crate::{
    client::Client,
    gateway::Draft,
    response::ErrorResponse,
    target::{Target, TargetError},
};

/// The caller's OpenRouter key.
pub(crate) const KEYS: &str = "/api/v1/keys";
/// The caller's access tokens.
pub(crate) const TOKENS: &str = "/api/v1/tokens";
/// OpenRouter's models.
pub(crate) const MODELS: &str = "/api/v1/openrouter/models";
/// The caller's usage.
pub(crate) const USAGE: &str = "/api/v1/usage";

/// Sends `draft` and reads the whole response.
pub(crate) async fn fetch(client: &Client, draft: Draft) -> Result<Bytes> {
    let response = client.send(draft).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.context("the response broke off")?;
    if status.is_success() {
        Ok(body)
    } else {
        Err(ErrorResponse::new(status, &headers, &body).into())
    }
}

/// Sends `draft` and reads the response's `data`.
pub(crate) async fn ask<T: DeserializeOwned>(client: &Client, draft: Draft) -> Result<T> {
    #[derive(Deserialize)]
    struct Envelope<T> {
        data: T,
    }

    let body = fetch(client, draft).await?;
    let envelope: Envelope<T> = serde_json::from_slice(&body).context(
        "the response is not what this version of llmgw expects; is that address a gateway?",
    )?;
    Ok(envelope.data)
}

/// Sends `draft` and reads the response's `data`, keeping every digit of its numbers.
pub(crate) async fn ask_raw(client: &Client, draft: Draft) -> Result<Box<RawValue>> {
    ask(client, draft).await
}

/// Reads a part of a response.
pub(crate) fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T> {
    serde_json::from_str(raw.get())
        .context("the gateway's response is not what this version of llmgw expects")
}

/// A `GET` request with those parameters that have a value.
pub(crate) fn get(path: &str, parameters: &[(&str, Option<&str>)]) -> Result<Draft, TargetError> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    Ok(Draft::get(Target::parse(&format!(
        "{path}?{}",
        query.finish()
    ))?))
}

/// A request with a JSON body or an empty one.
pub(crate) fn send(
    method: Method,
    path: &str,
    json: impl Into<Bytes>,
) -> Result<Draft, TargetError> {
    let target = Target::parse(path)?;
    Ok(Draft::new(method, target, http::HeaderMap::new(), json))
}

/// A US dollar amount, which the gateway writes as a number or as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Money(pub(crate) Usd);

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let amount = Usd::from_json(raw.get()).map_err(serde::de::Error::custom)?;
        Ok(Self(amount))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("${}", self.0))
    }
}
