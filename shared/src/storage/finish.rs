//! The generation and the end of a request, with their JSON.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    ATTEMPTS_IN_FRONT, Argument, Storage, StorageError,
    columns::{chosen_by_the_client, clamped, storable},
};

/// The end of a request.
#[derive(Debug, Clone)]
pub struct Finish<'a> {
    /// The id it began with.
    pub id: Uuid,
    /// Whether the client got a complete answer.
    pub status: Status,
    /// When the last byte was through.
    pub response_time: Timestamp,
    /// From the start to the answer's first byte.
    pub first_byte: Option<Duration>,
    /// The upstream's status.
    pub http_status: Option<u16>,
    /// The model that answered.
    pub model: Option<&'a str>,
    /// `OpenRouter`'s id of the generation.
    pub generation_id: Option<&'a str>,
    /// The asynchronous job that the request created.
    pub job_id: Option<&'a str>,
    /// The counted tokens.
    pub tokens: Tokens,
    /// The service tier that it ran on.
    pub service_tier: Option<&'a str>,
    /// The cost.
    pub cost: Cost<'a>,
    /// The failure, if it failed.
    pub error: Option<Failure<'a>>,
}

impl Finish<'_> {
    /// The end of a request that failed, of which nothing more is known.
    #[must_use]
    pub fn failed(id: Uuid, response_time: Timestamp) -> Self {
        Self {
            id,
            status: Status::Failed,
            response_time,
            first_byte: None,
            http_status: None,
            model: None,
            generation_id: None,
            job_id: None,
            tokens: Tokens::default(),
            service_tier: None,
            cost: Cost {
                state: CostState::Pending,
                openrouter: None,
                server_tool: None,
                upstream_inference: None,
                is_byok: None,
            },
            error: None,
        }
    }
}

/// The generation of a request that is still running.
#[derive(Debug, Clone, Copy)]
pub struct NoteGeneration<'a> {
    /// The id it began with.
    pub id: Uuid,
    /// `OpenRouter`'s id of the generation; not empty.
    pub generation_id: &'a str,
}

/// The result of a [`NoteGeneration`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Noted {
    /// Whether this call named it. False where the request has ended, names one already, or never
    /// began.
    #[serde(rename = "noted")]
    pub by_this_call: bool,
}

/// The status of a request's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The answer was complete.
    Completed,
    /// It was an error, or broke off.
    Failed,
}

impl Status {
    /// As it stands in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// Tokens as the upstream counted them; `None` where it did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt.
    pub input: Option<u64>,
    /// Of the answer.
    pub output: Option<u64>,
    /// Of the prompt, read from a cache.
    pub cached: Option<u64>,
    /// Of the prompt, written to a cache.
    pub cache_write: Option<u64>,
    /// Of the answer, spent on reasoning.
    pub reasoning: Option<u64>,
}

/// The cost as the upstream reported it: US dollars, decimal text as received (an exponent is
/// fine). The storage adds the two up where [`is_byok`](Self::is_byok).
#[derive(Debug, Clone, Copy)]
pub struct Cost<'a> {
    /// Whether the amounts below are all there is.
    pub state: CostState,
    /// `usage.cost`.
    pub openrouter: Option<&'a str>,
    /// The part of it that tools run by `OpenRouter` cost: `usage.cost_details.server_tool_cost`.
    pub server_tool: Option<&'a str>,
    /// `usage.cost_details.upstream_inference_cost`.
    pub upstream_inference: Option<&'a str>,
    /// Whether the user's own provider key paid for the inference.
    pub is_byok: Option<bool>,
}

/// The state of knowledge about a request's cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CostState {
    /// Nothing is to be paid.
    None,
    /// It costs something that is not known yet: the stream was cut. Never free.
    Pending,
    /// As the upstream reported it.
    Final,
}

impl CostState {
    /// As it stands in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pending => "pending",
            Self::Final => "final",
        }
    }
}

impl Finish<'_> {
    /// The argument of `finish_request` as JSON: what an operator gives the database by hand when
    /// it could not be reached. Holds no secret.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Why a request failed.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// The stable, machine-readable name.
    pub reason: &'a str,
    /// The cause, free of secrets. The storage keeps 2,000 characters.
    pub message: &'a str,
}

/// A request whose books are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Finished {
    /// Whether this call closed them. False after an earlier one did, be it an attempt of the
    /// same call whose answer was lost.
    #[serde(rename = "finished")]
    pub by_this_call: bool,
    /// The status with which they were closed.
    pub status: Status,
}

impl Storage {
    /// Names the generation of a request that is still running, so that its cost can be asked for
    /// should the function not live to finish it. May come before [`finish`](Self::finish), after it,
    /// or twice; it is only of use before, so it is repeated at most twice, until `deadline`.
    pub async fn note_generation(
        &self,
        note: &NoteGeneration<'_>,
        deadline: Instant,
    ) -> Result<Noted, StorageError> {
        let argument = Argument::Request(note);
        self.call("note_generation", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }

    /// Closes the books of one request, exactly once however often it is called. Retries until
    /// `deadline`, because nobody else knows what the request cost.
    pub async fn finish(
        &self,
        finish: &Finish<'_>,
        deadline: Instant,
    ) -> Result<Finished, StorageError> {
        let argument = Argument::Outcome(finish);
        self.call("finish_request", &argument, u32::MAX, deadline)
            .await
    }
}

/// The argument of `finish_request`.
impl Serialize for Finish<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("id", &self.id)?;
        fields.serialize_entry("status", &self.status)?;
        fields.serialize_entry("response_time", &self.response_time.as_millisecond())?;
        let first_byte = self.first_byte.map(|it| it.as_millis());
        let first_byte = first_byte.map(|it| i32::try_from(it).unwrap_or(i32::MAX));
        fields.serialize_entry("first_byte_ms", &first_byte)?;
        fields.serialize_entry("http_status", &self.http_status)?;
        fields.serialize_entry("model", &self.model.map(chosen_by_the_client))?;
        fields.serialize_entry("generation_id", &self.generation_id.map(storable))?;
        fields.serialize_entry("job_id", &self.job_id)?;
        fields.serialize_entry("input_tokens", &self.tokens.input.map(clamped))?;
        fields.serialize_entry("output_tokens", &self.tokens.output.map(clamped))?;
        fields.serialize_entry("cached_tokens", &self.tokens.cached.map(clamped))?;
        let cache_write = self.tokens.cache_write.map(clamped);
        fields.serialize_entry("cache_write_tokens", &cache_write)?;
        fields.serialize_entry("reasoning_tokens", &self.tokens.reasoning.map(clamped))?;
        fields.serialize_entry("service_tier", &self.service_tier.map(storable))?;
        fields.serialize_entry("cost_state", &self.cost.state)?;
        fields.serialize_entry("openrouter_cost", &self.cost.openrouter)?;
        fields.serialize_entry("server_tool_cost", &self.cost.server_tool)?;
        fields.serialize_entry("upstream_inference_cost", &self.cost.upstream_inference)?;
        fields.serialize_entry("is_byok", &self.cost.is_byok)?;
        fields.serialize_entry("error_reason", &self.error.map(|it| it.reason))?;
        fields.serialize_entry("error_message", &self.error.map(|it| storable(it.message)))?;
        fields.end()
    }
}

/// The argument of `note_generation`.
impl Serialize for NoteGeneration<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("id", &self.id)?;
        fields.serialize_entry("generation_id", &storable(self.generation_id))?;
        fields.end()
    }
}
