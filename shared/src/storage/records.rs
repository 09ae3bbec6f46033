//! What goes to the storage and what comes back, and both in JSON.

use std::{borrow::Cow, collections::BTreeMap, fmt, num::NonZeroU32, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::money::Usd;

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
    /// What a billable request leaves in the books; `None` only looks up the key.
    pub books: Option<Books<'a>>,
}

/// The digest of what the caller signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayGuard {
    /// SHA-256 of the signed bytes (not of the signature, whose encoding can vary).
    pub digest: [u8; 32],
    /// From then on the timestamp check refuses the request by itself.
    pub expires_at: Timestamp,
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
        serde_json::to_string(&FinishJson::from(self)).unwrap_or_default()
    }
}

/// What a [`Finish`] left in the log because the database did not hear it: the argument of
/// `finish_request`, as [`Finish::to_json`] wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmergencyRecord {
    id: Uuid,
    json: String,
}

/// Why a text is no emergency record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no record of a finished request: id, status and cost_state are needed, and amounts as text"
)]
pub struct NotARecord;

impl EmergencyRecord {
    /// Reads one. Members that it does not know are kept: the database knows which it takes.
    pub fn parse(text: &str) -> Result<Self, NotARecord> {
        let members: RecordMembers<'_> = serde_json::from_str(text).map_err(|_| NotARecord)?;
        let id = members.id.parse().map_err(|_| NotARecord)?;
        let is_record = ["none", "pending", "final"].contains(&members.cost_state.as_ref())
            && ["completed", "failed"].contains(&members.status.as_ref())
            && [members.openrouter_cost, members.upstream_inference_cost]
                .into_iter()
                .flatten()
                .all(|amount| amount.parse::<Usd>().is_ok());
        is_record
            .then(|| Self {
                id,
                json: text.trim().to_owned(),
            })
            .ok_or(NotARecord)
    }

    /// The request's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }
}

/// Amounts are text: as numbers they may have lost digits on their way.
#[derive(Deserialize)]
struct RecordMembers<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    cost_state: Cow<'a, str>,
    #[serde(borrow)]
    openrouter_cost: Option<Cow<'a, str>>,
    #[serde(borrow)]
    upstream_inference_cost: Option<Cow<'a, str>>,
}

/// The named argument of `finish_request`, already JSON.
#[derive(Serialize)]
pub(super) struct RestoreArguments<'a> {
    outcome: &'a RawValue,
}

impl<'a> RestoreArguments<'a> {
    /// `None` only for what is no JSON, which no record is.
    pub(super) fn of(record: &'a EmergencyRecord) -> Option<Self> {
        let outcome = serde_json::from_str(&record.json).ok()?;
        Some(Self { outcome })
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

/// One user's question about usage.
#[derive(Debug, Clone)]
pub struct UsageQuery<'a> {
    /// The gateway's id of the request.
    pub id: Uuid,
    /// The caller.
    pub did: &'a str,
    /// When it arrived.
    pub request_time: Timestamp,
    /// Set where the signed request may pass only once.
    pub fingerprint: Option<ReplayGuard>,
    /// The time asked about.
    pub period: Period,
}

/// A time, on the requests' `request_time`. An absent side is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Period {
    /// The first moment in it.
    pub start: Option<Timestamp>,
    /// The first moment after it.
    pub end: Option<Timestamp>,
}

/// The sums of one DID's requests. Pending ones count in `total_requests` and `requests_by_model`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct UsageSummary {
    /// All that began.
    #[serde(deserialize_with = "count")]
    pub total_requests: u64,
    /// Those that completed.
    #[serde(deserialize_with = "count")]
    pub successful_requests: u64,
    /// Those that failed.
    #[serde(deserialize_with = "count")]
    pub failed_requests: u64,
    /// Tokens of all prompts.
    #[serde(deserialize_with = "count")]
    pub total_input_tokens: u64,
    /// Tokens of all answers.
    #[serde(deserialize_with = "count")]
    pub total_output_tokens: u64,
    /// The exact sum in US dollars, decimal text. Serialised as a JSON number with all its digits.
    #[serde(serialize_with = "number")]
    pub total_cost: String,
    /// Requests by the model that answered, or was asked for.
    #[serde(deserialize_with = "counts")]
    pub requests_by_model: BTreeMap<String, u64>,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun")
            .field("key_name", &self.key_name)
            .finish_non_exhaustive()
    }
}

/// The named argument of `begin_request`.
#[derive(Serialize)]
pub(super) struct BeginArguments<'a> {
    pub(super) request: BeginJson<'a>,
}

#[derive(Serialize)]
pub(super) struct BeginJson<'a> {
    id: String,
    did: &'a str,
    request_time: i64,
    fingerprint: Option<String>,
    fingerprint_expires_at: Option<i64>,
    requests_per_minute: Option<NonZeroU32>,
    billable: bool,
    #[serde(flatten)]
    books: Option<BooksJson<'a>>,
}

#[derive(Serialize)]
struct BooksJson<'a> {
    method: &'a str,
    path: Cow<'a, str>,
    endpoint: &'a str,
    model: Option<Cow<'a, str>>,
    streamed: bool,
    hold: Usd,
}

impl<'a> From<&Begin<'a>> for BeginJson<'a> {
    fn from(begin: &Begin<'a>) -> Self {
        Self {
            id: begin.id.to_string(),
            did: begin.did,
            request_time: begin.request_time.as_millisecond(),
            fingerprint: begin.fingerprint.map(|f| hex::encode(f.digest)),
            fingerprint_expires_at: begin.fingerprint.map(|f| f.expires_at.as_millisecond()),
            requests_per_minute: begin.requests_per_minute,
            billable: begin.books.is_some(),
            books: begin.books.as_ref().map(|books| BooksJson {
                method: books.method,
                path: storable(books.path),
                endpoint: books.endpoint,
                model: books.model.map(storable),
                streamed: books.streamed,
                hold: books.hold,
            }),
        }
    }
}

/// The named argument of `finish_request`.
#[derive(Serialize)]
pub(super) struct FinishArguments<'a> {
    pub(super) outcome: FinishJson<'a>,
}

#[derive(Serialize)]
pub(super) struct FinishJson<'a> {
    id: String,
    status: Status,
    response_time: i64,
    first_byte_ms: Option<i32>,
    http_status: Option<u16>,
    model: Option<Cow<'a, str>>,
    generation_id: Option<Cow<'a, str>>,
    job_id: Option<&'a str>,
    input_tokens: Option<i32>,
    output_tokens: Option<i32>,
    cached_tokens: Option<i32>,
    reasoning_tokens: Option<i32>,
    cost_state: CostState,
    openrouter_cost: Option<&'a str>,
    upstream_inference_cost: Option<&'a str>,
    is_byok: Option<bool>,
    error_reason: Option<&'a str>,
    error_message: Option<Cow<'a, str>>,
}

impl<'a> From<&Finish<'a>> for FinishJson<'a> {
    fn from(finish: &Finish<'a>) -> Self {
        Self {
            id: finish.id.to_string(),
            status: finish.status,
            response_time: finish.response_time.as_millisecond(),
            first_byte_ms: finish
                .first_byte
                .map(|time| time.as_millis().try_into().unwrap_or(i32::MAX)),
            http_status: finish.http_status,
            model: finish.model.map(storable),
            generation_id: finish.generation_id.map(storable),
            job_id: finish.job_id,
            input_tokens: finish.tokens.input.map(clamped),
            output_tokens: finish.tokens.output.map(clamped),
            cached_tokens: finish.tokens.cached.map(clamped),
            reasoning_tokens: finish.tokens.reasoning.map(clamped),
            cost_state: finish.cost.state,
            openrouter_cost: finish.cost.openrouter,
            upstream_inference_cost: finish.cost.upstream_inference,
            is_byok: finish.cost.is_byok,
            error_reason: finish.error.map(|error| error.reason),
            error_message: finish.error.map(|error| storable(error.message)),
        }
    }
}

/// The named argument of `note_generation`.
#[derive(Serialize)]
pub(super) struct NoteArguments<'a> {
    pub(super) request: NoteJson<'a>,
}

#[derive(Serialize)]
pub(super) struct NoteJson<'a> {
    id: String,
    generation_id: Cow<'a, str>,
}

impl<'a> From<&NoteGeneration<'a>> for NoteJson<'a> {
    fn from(note: &NoteGeneration<'a>) -> Self {
        Self {
            id: note.id.to_string(),
            generation_id: storable(note.generation_id),
        }
    }
}

/// The named argument of `usage_summary`.
#[derive(Serialize)]
pub(super) struct UsageArguments<'a> {
    pub(super) request: UsageJson<'a>,
}

#[derive(Serialize)]
pub(super) struct UsageJson<'a> {
    id: String,
    did: &'a str,
    request_time: i64,
    fingerprint: Option<String>,
    fingerprint_expires_at: Option<i64>,
    start: Option<String>,
    end: Option<String>,
}

impl<'a> From<&UsageQuery<'a>> for UsageJson<'a> {
    fn from(query: &UsageQuery<'a>) -> Self {
        Self {
            id: query.id.to_string(),
            did: query.did,
            request_time: query.request_time.as_millisecond(),
            fingerprint: query.fingerprint.map(|f| hex::encode(f.digest)),
            fingerprint_expires_at: query.fingerprint.map(|f| f.expires_at.as_millisecond()),
            start: query.period.start.map(|time| time.to_string()),
            end: query.period.end.map(|time| time.to_string()),
        }
    }
}

/// Text that others chose, fit for a `text` column: `PostgreSQL` has no NUL, and one in a model's
/// name would make the books unwritable. The storage cuts each column to its own length.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 2000;
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

/// The columns are `integer`. An absurd count must not cost us the row that holds the cost.
pub(super) fn clamped(count: u64) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}

/// Decimal text as a JSON number, without passing through a float.
fn number<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(text.to_owned())
        .map_err(ser::Error::custom)?
        .serialize(serializer)
}

/// A count that travels as text.
#[derive(Deserialize)]
struct Count(#[serde(deserialize_with = "count")] u64);

pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Cow::<'de, str>::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

fn counts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, u64>, D::Error> {
    let counts = BTreeMap::<String, Count>::deserialize(deserializer)?;
    Ok(counts.into_iter().map(|(key, Count(n))| (key, n)).collect())
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
            books: None,
        };
        let json = serde_json::to_value(BeginJson::from(&begin)).unwrap();
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
    fn numbers_of_a_summary_are_text() {
        let text = r#"{"total_requests":"3","successful_requests":"2","failed_requests":"1",
            "total_input_tokens":"9007199254740993","total_output_tokens":"0",
            "total_cost":"0.0076509169000000005","requests_by_model":{"m\"x":"3"}}"#;
        let summary: UsageSummary = serde_json::from_str(text).unwrap();
        assert_eq!(summary.total_input_tokens, 9_007_199_254_740_993);
        assert_eq!(summary.total_cost, "0.0076509169000000005");
        assert_eq!(summary.requests_by_model["m\"x"], 3);

        assert!(serde_json::from_str::<UsageSummary>(&text.replace("\"3\"", "3")).is_err());
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
