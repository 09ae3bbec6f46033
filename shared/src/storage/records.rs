//! What goes to the storage and what comes back, and both in JSON.

use std::{borrow::Cow, fmt, num::NonZeroU32, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use tokio::time::Instant;
use uuid::Uuid;

use super::{ATTEMPTS_IN_FRONT, Argument, Storage, StorageError};
use crate::{
    identity::auth::ReplayGuard, metering::money::Usd, vault::secret::clipped_without_keys,
};

/// A request about to begin.
#[derive(Debug, Clone)]
pub struct Begin<'a> {
    /// The gateway's id of the request; the id of its row.
    pub id: Uuid,
    /// The verified caller, without a fragment.
    pub did: &'a str,
    /// When the gateway received it.
    pub request_time: Timestamp,
    /// What makes a second use of the same signature a replay. The storage insists on it for a
    /// billable request.
    pub fingerprint: Option<ReplayGuard>,
    /// The rate of a DID whose key names none of its own; `None`: no limit.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Whether it counts towards a rate.
    pub is_counted: bool,
    /// What a billable request leaves in the books; `None` only looks up the key.
    pub books: Option<Books<'a>>,
}

/// The first entry of a billable request in the books.
#[derive(Debug, Clone)]
pub struct Books<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path below the proxy's prefix, without the query.
    pub path: &'a str,
    /// The kind of endpoint.
    pub endpoint: &'a str,
    /// The model that the client asks for.
    pub model: Option<&'a str>,
    /// Whether the client asks for a stream.
    pub streamed: bool,
    /// Whether the model costs nothing: then nothing is reserved, and no credit limit refuses it.
    pub is_free: bool,
    /// Whether it may make several generations.
    pub several_generations: bool,
    /// For a request that creates a job: how many the DID may have whose cost is not known.
    pub max_open_jobs: Option<NonZeroU32>,
    /// What is at least reserved against the DID's credit limit, if it has one, until the
    /// request's cost is known. The storage reserves more where such requests have cost more.
    pub hold: Usd,
}

/// A request that has begun.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Begun {
    /// The caller's sealed key.
    pub sealed_key: String,
    /// The key's name, chosen by its owner.
    pub key_name: String,
}

/// How a request ended.
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
    /// What was counted.
    pub tokens: Tokens,
    /// What is to be paid.
    pub cost: Cost<'a>,
    /// What went wrong.
    pub error: Option<Failure<'a>>,
}

/// The generation of a request that is still running.
#[derive(Debug, Clone, Copy)]
pub struct NoteGeneration<'a> {
    /// The id it began with.
    pub id: Uuid,
    /// `OpenRouter`'s id of the generation; not empty.
    pub generation_id: &'a str,
}

/// What became of a [`NoteGeneration`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Noted {
    /// Whether this call named it. False where the request has ended, names one already, or never
    /// began.
    #[serde(rename = "noted")]
    pub by_this_call: bool,
}

/// Where a request's row stands.
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
    /// `usage.cost_details.upstream_inference_cost`.
    pub upstream_inference: Option<&'a str>,
    /// Whether the user's own provider key paid for the inference.
    pub is_byok: Option<bool>,
}

/// How far a request's cost is known.
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
    /// How they were closed.
    pub status: Status,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun")
            .field("key_name", &self.key_name)
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// Begins a request: looks up the caller's sealed key, refuses a replay and, for a billable
    /// request, opens its books and takes the hold, all in one transaction.
    ///
    /// Repeating it with the same id, DID and fingerprint is safe, and is done here up to twice
    /// until `deadline`. After [`StorageError::Unavailable`] the request may or may not have begun:
    /// the caller does not go upstream, and [finishes](Self::finish) a billable request as failed
    /// ([`StorageError::NoSuchRequest`] then says that it never began).
    pub async fn begin(&self, begin: &Begin<'_>, deadline: Instant) -> Result<Begun, StorageError> {
        let argument = Argument::Request(begin);
        let (answer, is_repeated) = self
            .attempt("begin_request", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await;
        answer.map_err(|error| match error {
            StorageError::Refused(refusal) if is_repeated => StorageError::RefusedInDoubt(refusal),
            error => error,
        })
    }

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

/// The argument of `begin_request`.
impl Serialize for Begin<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("id", &self.id)?;
        fields.serialize_entry("did", self.did)?;
        fields.serialize_entry("request_time", &self.request_time.as_millisecond())?;
        let fingerprint = self.fingerprint.map(|it| hex::encode(it.digest));
        fields.serialize_entry("fingerprint", &fingerprint)?;
        let expires_at = self.fingerprint.map(|it| it.expires_at.as_millisecond());
        fields.serialize_entry("fingerprint_expires_at", &expires_at)?;
        fields.serialize_entry("requests_per_minute", &self.requests_per_minute)?;
        if !self.is_counted {
            fields.serialize_entry("uncounted", &true)?;
        }
        fields.serialize_entry("billable", &self.books.is_some())?;
        if let Some(books) = &self.books {
            fields.serialize_entry("method", books.method)?;
            fields.serialize_entry("path", &chosen_by_the_client(books.path))?;
            fields.serialize_entry("endpoint", books.endpoint)?;
            fields.serialize_entry("model", &books.model.map(chosen_by_the_client))?;
            fields.serialize_entry("streamed", &books.streamed)?;
            fields.serialize_entry("free", &books.is_free)?;
            fields.serialize_entry("several_generations", &books.several_generations)?;
            fields.serialize_entry("max_open_jobs", &books.max_open_jobs)?;
            fields.serialize_entry("hold", &books.hold)?;
        }
        fields.end()
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
        fields.serialize_entry("cost_state", &self.cost.state)?;
        fields.serialize_entry("openrouter_cost", &self.cost.openrouter)?;
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

/// The most characters of a text that others chose.
const LONGEST: usize = 2000;

/// Text that others chose, fit for a `text` column: `PostgreSQL` has no NUL, and one in a model's
/// name would make the books unwritable. The storage cuts each column to its own length.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    let text = match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    };
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// As [`storable`]. Clients have put keys into paths and models; those are nowhere in the clear.
fn chosen_by_the_client(text: &str) -> Cow<'static, str> {
    Cow::Owned(storable(&clipped_without_keys(text, LONGEST)).into_owned())
}

/// The columns are `integer`. An absurd count must not cost us the row that holds the cost.
pub(super) fn clamped(count: u64) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}

/// A count that travels as text.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Cow::<'de, str>::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_made_storable() {
        assert_eq!(storable("gpt"), "gpt");
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert_eq!(storable(&"é".repeat(3000)).chars().count(), 2000);
    }

    #[test]
    fn no_key_is_stored_as_a_path_or_a_model() {
        let key = "sk-or-v1-0123456789abcdef";
        assert_eq!(
            chosen_by_the_client(&format!("/chat/{key}/x")),
            "/chat/sk-…/x"
        );
        assert_eq!(chosen_by_the_client(&format!("{key}\0")), "sk-…\u{fffd}");
        assert_eq!(chosen_by_the_client("openai/gpt-4o"), "openai/gpt-4o");
    }

    #[test]
    fn an_absurd_count_is_clamped() {
        assert_eq!(clamped(7), 7);
        assert_eq!(clamped(u64::MAX), i32::MAX);
    }

    #[test]
    fn a_look_up_has_no_books() {
        let begin = Begin {
            id: Uuid::nil(),
            did: "did:key:z",
            request_time: Timestamp::UNIX_EPOCH,
            fingerprint: None,
            requests_per_minute: NonZeroU32::new(60),
            is_counted: true,
            books: None,
        };
        let json = serde_json::to_value(&begin).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "id": "00000000-0000-0000-0000-000000000000", "did": "did:key:z", "billable": false,
                "request_time": 0, "fingerprint": null, "fingerprint_expires_at": null,
                "requests_per_minute": 60,
            })
        );
    }

    #[test]
    fn a_sealed_key_does_not_print() {
        let begun = Begun {
            sealed_key: "v1.planted".to_owned(),
            key_name: "mine".to_owned(),
        };
        assert_eq!(format!("{begun:?}"), r#"Begun { key_name: "mine", .. }"#);
    }
}
