//! Costs that are told afterwards: `GET /generation`, and the state of a job.
//!
//! With BYOK `total_cost` is what OpenRouter takes, without the provider's charge, so the two are
//! added. OpenRouter's documentation does not say so of this endpoint; the evidence (as of 2026-11):
//!
//! - Usage accounting: `cost` is "the total amount charged to your account",
//!   `upstream_inference_cost` "the actual cost charged by the upstream AI provider", and its example
//!   has 0.95 and 19: BYOK's fee of 5 %.
//!   <https://openrouter.ai/docs/use-cases/usage-accounting#cost-breakdown>
//! - Kilo Code's gateway, which checks every request's `usage` against `GET /generation` and reports a
//!   difference, takes `total_cost` of a BYOK generation for those 5 % (it multiplies by 20 where
//!   `upstream_inference_cost` is missing): `mapToUsageStats` in
//!   <https://github.com/Kilo-Org/cloud/blob/90ce0c09dff6bafcd3532a2c51dd67f4cac03561/src/lib/processUsage.ts>
//! - "for bring your own key requests, the total cost only covers the openrouter cost, not the
//!   upstream provider cost": <https://github.com/polka-codes/polka-codes/issues/118>
//! - Measured of `usage`, without BYOK: `cost` = `upstream_inference_cost`, a breakdown; with BYOK:
//!   `cost` 0 and `upstream_inference_cost` to be added.
//!   <https://github.com/OpenRouterTeam/ai-sdk-provider/issues/532>

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{OpenRouter, UpstreamError, classify};
use crate::{
    metering::{
        meter::{whole_charge, whole_number},
        money::Usd,
    },
    strict_json::{self, Object},
    upstream::endpoint::Job,
    vault::secret::ApiKey,
};

/// The longest answer that is read. Real ones have about 1 kB.
const LONGEST_ANSWER: usize = 256 * 1024;

/// The final figures of a generation.
/// <https://openrouter.ai/docs/api-reference/get-a-generation>
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generation {
    /// `total_cost`: what OpenRouter takes. With BYOK only its fee, or nothing; see above.
    pub cost: Usd,
    /// The provider's charge; there whenever [`is_byok`](Self::is_byok).
    pub upstream_inference_cost: Option<Usd>,
    /// Whether the provider bills the user's own key.
    pub is_byok: Option<bool>,
    /// The part of the cost that tools run by OpenRouter cost; `GET /generation` does not tell it.
    pub server_tool_cost: Option<Usd>,
    /// Tokens of the prompt, by the model's own tokenizer where that is told, as in `usage`.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, likewise.
    pub output_tokens: Option<u64>,
    /// Tokens of the prompt, read from a cache.
    pub cached_tokens: Option<u64>,
    /// Tokens of the prompt, written to a cache; `GET /generation` does not tell them.
    pub cache_write_tokens: Option<u64>,
    /// Tokens of the reasoning.
    pub reasoning_tokens: Option<u64>,
    /// The service tier that it ran on.
    pub service_tier: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
}

/// Why what was asked for is not known, yet or ever.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// 404, common while it is young; and 400, for an id that is none of a generation (`resp_…`, `msg_…`).
    #[error("OpenRouter does not know it")]
    NotFound,
    /// Any other refusal, of the key for instance.
    #[error("OpenRouter answered {0}")]
    Refused(StatusCode),
    /// There was no answer.
    #[error(transparent)]
    NotAnswered(#[from] UpstreamError),
    /// An answer without a usable cost, or with only a part of it.
    #[error("OpenRouter's answer holds no whole cost")]
    NoCost,
}

impl OpenRouter {
    /// Asks what the generation `id` cost, with the key of the user who made it. One attempt, the
    /// answer's body included, within `time`.
    pub async fn generation(
        &self,
        id: &str,
        key: &ApiKey,
        time: Duration,
    ) -> Result<Generation, GenerationError> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("id", id)
            .finish();
        let mut body = Vec::new();
        self.read("/generation", &query, key, time, |chunk| {
            // One byte too many tells that it is too long.
            let room = (LONGEST_ANSWER + 1).saturating_sub(body.len());
            body.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
        })
        .await
        .map_err(|error| match error {
            GenerationError::Refused(StatusCode::BAD_REQUEST) => GenerationError::NotFound,
            error => error,
        })?;
        (body.len() <= LONGEST_ANSWER)
            .then(|| Generation::from_json(&body))
            .flatten()
            .ok_or(GenerationError::NoCost)
    }

    /// Asks how far `job` is, with the key of the user who created it, and gives the answer's bytes to
    /// `read` as they come: a batch's holds all its results. One attempt within `time`.
    pub async fn job(
        &self,
        job: &Job,
        key: &ApiKey,
        time: Duration,
        read: impl FnMut(&[u8]),
    ) -> Result<(), GenerationError> {
        self.read(&job.path(), "", key, time, read).await
    }

    /// Reads the body of a 200.
    async fn read(
        &self,
        path: &str,
        query: &str,
        key: &ApiKey,
        time: Duration,
        mut read: impl FnMut(&[u8]),
    ) -> Result<(), GenerationError> {
        let caller_request = self
            .client
            .get(self.url(path, query)?)
            .header(header::AUTHORIZATION, key.authorization_header())
            .header(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            )
            .send();
        timeout(time, async {
            let mut answer = caller_request.await.map_err(classify)?;
            match answer.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Err(GenerationError::NotFound),
                status => return Err(GenerationError::Refused(status)),
            }
            while let Some(chunk) = answer.chunk().await.map_err(classify)? {
                read(&chunk);
            }
            Ok(())
        })
        .await
        .unwrap_or(Err(GenerationError::NotAnswered(
            UpstreamError::FirstByteTimeout,
        )))
    }
}

impl Generation {
    /// What the user pays in all.
    #[must_use]
    pub fn charge(&self) -> Usd {
        let byok = self
            .upstream_inference_cost
            .filter(|_| self.is_byok == Some(true));
        self.cost
            .checked_add(byok.unwrap_or_default())
            .unwrap_or(self.cost)
    }

    /// Reads an answer's body; nothing where the cost is not whole. What else cannot be used is
    /// absent: it must not keep the cost from being known.
    pub(super) fn from_json(body: &[u8]) -> Option<Self> {
        let Envelope { data: Object(data) } = strict_json::from_slice(body).ok()?;
        let generation = Self {
            cost: money(data.total_cost)?,
            upstream_inference_cost: money(data.upstream_inference_cost),
            is_byok: read(data.is_byok),
            server_tool_cost: None,
            input_tokens: count(data.native_tokens_prompt).or(count(data.tokens_prompt)),
            output_tokens: count(data.native_tokens_completion).or(count(data.tokens_completion)),
            cached_tokens: count(data.native_tokens_cached),
            cache_write_tokens: None,
            reasoning_tokens: count(data.native_tokens_reasoning),
            service_tier: read(data.service_tier),
            model: read(data.model),
        };
        if is_unreadable(data.is_byok, generation.is_byok.is_some()) {
            return None;
        }
        whole_charge(
            generation.cost,
            generation.upstream_inference_cost,
            is_unreadable(
                data.upstream_inference_cost,
                generation.upstream_inference_cost.is_some(),
            ),
            generation.is_byok,
        )
        .map(|_| generation)
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Object<Data<'a>>,
}

/// Members as they are written: an amount must not pass through a float.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    total_cost: Option<&'a RawValue>,
    #[serde(borrow)]
    upstream_inference_cost: Option<&'a RawValue>,
    #[serde(borrow)]
    is_byok: Option<&'a RawValue>,
    #[serde(borrow)]
    tokens_prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    tokens_completion: Option<&'a RawValue>,
    #[serde(borrow)]
    native_tokens_prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    native_tokens_completion: Option<&'a RawValue>,
    #[serde(borrow)]
    native_tokens_cached: Option<&'a RawValue>,
    #[serde(borrow)]
    native_tokens_reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

fn money(text: Option<&RawValue>) -> Option<Usd> {
    Usd::from_json(text?.get()).ok()
}

fn count(text: Option<&RawValue>) -> Option<u64> {
    whole_number(text?.get())
}

fn is_unreadable(text: Option<&RawValue>, is_read: bool) -> bool {
    text.is_some_and(|text| text.get() != "null") && !is_read
}

fn read<'a, T: Deserialize<'a>>(text: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(text?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(data: &str) -> Option<Generation> {
        Generation::from_json(format!(r#"{{"data":{data}}}"#).as_bytes())
    }

    #[test]
    fn the_cost_keeps_every_digit() {
        for (text, plain) in [
            ("7.434e-07", "0.0000007434"),
            ("0.0076509169000000005", "0.0076509169000000005"),
            (r#""1E-19""#, "0.0000000000000000001"),
            ("0", "0"),
        ] {
            let read = generation(&format!(r#"{{"total_cost":{text},"is_byok":false}}"#)).unwrap();
            assert_eq!(read.cost.to_string(), plain, "{text}");
        }
    }

    #[test]
    fn the_documented_example_is_read() {
        // The members of OpenRouter's own example.
        let read = generation(
            r#"{"id":"gen-1","total_cost":0.0015,"cache_discount":0.0002,"upstream_inference_cost":0.0012,
                "model":"sao10k/l3-stheno-8b","service_tier":"priority","streamed":true,"cancelled":false,"tokens_prompt":10,
                "tokens_completion":25,"native_tokens_prompt":11,"native_tokens_completion":null,
                "native_tokens_reasoning":5,"native_tokens_cached":3,"usage":0.0015,"is_byok":false}"#,
        )
        .unwrap();
        assert_eq!(
            read,
            Generation {
                cost: "0.0015".parse().unwrap(),
                upstream_inference_cost: "0.0012".parse().ok(),
                is_byok: Some(false),
                server_tool_cost: None,
                input_tokens: Some(11),
                output_tokens: Some(25),
                cached_tokens: Some(3),
                cache_write_tokens: None,
                reasoning_tokens: Some(5),
                service_tier: Some("priority".to_owned()),
                model: Some("sao10k/l3-stheno-8b".to_owned()),
            }
        );
    }

    #[test]
    fn a_generation_is_an_object_and_all_of_it_is_json() {
        let read = |json: &[u8]| Generation::from_json(json).is_some();
        assert!(read(br#"{"data":{"total_cost":1,"is_byok":false}}"#));
        assert!(!read(br#"{"data":[1,null,false,1,1,1,1,0,0,"m"]}"#));
        assert!(!read(br#"[{"total_cost":1,"is_byok":false}]"#));
        assert!(!read(
            b"{\"data\":{\"total_cost\":1,\"is_byok\":false,\"app\":\"\xff\"}}"
        ));
        assert!(!read(
            br#"{"data":{"total_cost":1,"is_byok":false,"app":"\ud800"}}"#
        ));
    }

    #[test]
    fn a_part_of_a_cost_is_no_cost() {
        for data in [
            "{}",
            r#"{"total_cost":null}"#,
            r#"{"total_cost":-1}"#,
            r#"{"total_cost":"free"}"#,
            r#"{"total_cost":0,"is_byok":true}"#,
            r#"{"total_cost":0,"is_byok":true,"upstream_inference_cost":null}"#,
            r#"{"total_cost":999999999999,"is_byok":true,"upstream_inference_cost":1}"#,
            r#"{"total_cost":1,"is_byok":"no"}"#,
            r#"{"total_cost":0,"is_byok":1,"upstream_inference_cost":0.1}"#,
            r#"{"total_cost":0,"upstream_inference_cost":0.1}"#,
            r#"{"total_cost":0,"upstream_inference_cost":"dear"}"#,
            "[]",
            "null",
        ] {
            assert_eq!(generation(data), None, "{data}");
        }
        assert_eq!(Generation::from_json(b"<html>"), None);
        let byok =
            generation(r#"{"total_cost":0,"is_byok":true,"upstream_inference_cost":3.253e-4}"#);
        assert_eq!(
            byok.unwrap().upstream_inference_cost,
            "0.0003253".parse().ok()
        );
    }

    #[test]
    fn an_absurd_count_does_not_hide_the_cost() {
        let read =
            generation(r#"{"total_cost":1,"tokens_prompt":1.5,"tokens_completion":2.0,"model":7}"#);
        assert_eq!(
            read,
            Some(Generation {
                cost: "1".parse().unwrap(),
                output_tokens: Some(2),
                ..Generation::default()
            })
        );
    }
}
