//! The gateway's own routes, asked by commands: an answer of 400 or above is an error.

use std::fmt;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;
use shared::metering::money::Usd;

use crate::{
    answer::Refusal,
    client::Client,
    gateway::Draft,
    target::{Target, TargetError},
};

/// The caller's OpenRouter key.
pub const KEYS: &str = "/api/v1/keys";
/// The caller's sums.
pub const USAGE: &str = "/api/v1/usage";

/// Sends `draft` and reads the whole answer; refuses one of 400 or above.
pub async fn fetch(client: &Client, draft: Draft) -> Result<Bytes> {
    let answer = client.send(draft).await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.context("the answer broke off")?;
    if status.is_success() {
        Ok(body)
    } else {
        Err(Refused(Refusal::new(status, &headers, &body)).into())
    }
}

/// Sends `draft` and reads the `data` of the answer.
pub async fn ask<T: DeserializeOwned>(client: &Client, draft: Draft) -> Result<T> {
    #[derive(Deserialize)]
    struct Answer<T> {
        data: T,
    }

    let body = fetch(client, draft).await?;
    let answer: Answer<T> = serde_json::from_slice(&body)
        .context("the answer is not what this version of llmgw expects; is it a gateway?")?;
    Ok(answer.data)
}

/// Sends `draft` and reads the `data` of the answer, with every digit of its numbers.
pub async fn ask_raw(client: &Client, draft: Draft) -> Result<Box<RawValue>> {
    ask(client, draft).await
}

/// Reads a part of an answer.
pub fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T> {
    serde_json::from_str(raw.get())
        .context("the gateway's answer is not what this version of llmgw expects")
}

/// A request with parameters; those without a value are left out.
pub fn get(path: &str, parameters: &[(&str, Option<&str>)]) -> Result<Draft, TargetError> {
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

/// A request with a JSON body, or with none.
pub fn send(method: Method, path: &str, json: impl Into<Bytes>) -> Result<Draft, TargetError> {
    let target = Target::parse(path)?;
    Ok(Draft::new(method, target, http::HeaderMap::new(), json))
}

/// An answer of 400 or above, and what to do next.
#[derive(Debug)]
pub struct Refused(pub Refusal);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        match self.0.advice() {
            Some(advice) => write!(f, "\nllmgw: {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}

/// An amount that the gateway writes as a number or as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Money(pub Usd);

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
