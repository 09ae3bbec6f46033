//! The rules of accounting: what the books say of a request, by how it ended. `docs/operate/books.md`
//! has them as a table.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Ending, Outcome};
use crate::{
    metering::meter::{Malformed, Reading, Usage},
    storage::{Cost, CostState, Failure, Finish, Status, Tokens},
    upstream::endpoint::{Endpoint, Job},
    vault::secret::without_keys,
};

/// The contents of a closed row, by the rules of accounting.
#[derive(Debug, Default)]
pub(super) struct Record {
    failure: Option<(&'static str, String)>,
    malformed: Option<Malformed>,
    cost_state: Option<CostState>,
    cost: Option<String>,
    upstream_inference_cost: Option<String>,
    server_tool_cost: Option<String>,
    is_byok: Option<bool>,
    tokens: Tokens,
    http_status: Option<u16>,
    first_byte: Option<Duration>,
    generation_id: Option<String>,
    job: Option<Job>,
    model: Option<String>,
    service_tier: Option<String>,
}

impl Record {
    pub(super) fn of(endpoint: Endpoint, outcome: Outcome) -> Self {
        match outcome {
            Outcome::NotAnswered {
                reason,
                message,
                may_have_been_billed,
            } => Self {
                failure: Some((reason, message)),
                cost_state: may_have_been_billed.then_some(CostState::Pending),
                ..Self::default()
            },
            Outcome::Answered {
                http_status,
                ending,
                mut reading,
                generation_id,
                cache_hit,
                first_byte,
            } => {
                if cache_hit && is_free_hit(http_status, &reading) {
                    reading.usage = Some(reading.usage.unwrap_or_default().free());
                }
                // The id in the body of such an endpoint is the job's.
                let job = reading
                    .generation_id
                    .as_deref()
                    .and_then(|id| Job::new(endpoint, id));
                let named = reading
                    .generation_id
                    .clone()
                    .filter(|_| !endpoint.creates_jobs());
                let has_generation = generation_id.is_some() || reading.generation_id.is_some();
                Self {
                    failure: failure(http_status, ending, &reading),
                    malformed: reading.malformed,
                    cost_state: Some(cost_state(
                        endpoint,
                        http_status,
                        ending,
                        &reading,
                        has_generation,
                    )),
                    http_status: Some(http_status),
                    first_byte: Some(first_byte),
                    // The header's is the real one: bodies may name `resp_…` or `msg_…`.
                    generation_id: generation_id.or(named),
                    job,
                    model: reading.model,
                    service_tier: reading.service_tier,
                    ..reading
                        .usage
                        .as_ref()
                        .map(Self::of_usage)
                        .unwrap_or_default()
                }
            }
        }
    }

    fn of_usage(usage: &Usage) -> Self {
        Self {
            tokens: tokens(usage),
            cost: usage.cost.as_ref().map(ToString::to_string),
            upstream_inference_cost: usage
                .upstream_inference_cost
                .as_ref()
                .map(ToString::to_string),
            server_tool_cost: usage.server_tool_cost.as_ref().map(ToString::to_string),
            is_byok: usage.is_byok,
            ..Self::default()
        }
    }

    /// Adds the generation that was named before, unless the outcome names one itself.
    pub(super) fn with_generation(mut self, noted: Option<&str>) -> Self {
        self.generation_id = self.generation_id.or_else(|| noted.map(str::to_owned));
        self
    }

    /// The first way in which the answer was not as documented.
    pub(super) fn malformed(&self) -> Option<Malformed> {
        self.malformed
    }

    /// The record in the storage's terms.
    pub(super) fn finish(&self, id: Uuid, response_time: Timestamp) -> Finish<'_> {
        Finish {
            id,
            status: if self.failure.is_none() {
                Status::Completed
            } else {
                Status::Failed
            },
            response_time,
            first_byte: self.first_byte,
            http_status: self.http_status,
            model: self.model.as_deref(),
            generation_id: self.generation_id.as_deref(),
            job_id: self.job.as_ref().map(Job::id),
            tokens: self.tokens,
            service_tier: self.service_tier.as_deref(),
            cost: Cost {
                state: self.cost_state.unwrap_or(CostState::None),
                openrouter: self.cost.as_deref(),
                server_tool: self.server_tool_cost.as_deref(),
                upstream_inference: self.upstream_inference_cost.as_deref(),
                is_byok: self.is_byok,
            },
            error: self
                .failure
                .as_ref()
                .map(|(reason, message)| Failure { reason, message }),
        }
    }
}

pub(super) fn tokens(usage: &Usage) -> Tokens {
    Tokens {
        input: usage.prompt_tokens(),
        output: usage.output_tokens,
        cached: usage.cached_tokens,
        cache_write: usage.cache_write_tokens,
        reasoning: usage.reasoning_tokens,
    }
}

/// Whether an answer out of OpenRouter's cache is as free as documented: it names no cost, nothing that was
/// used, and no error, and all of it could be read.
/// <https://openrouter.ai/docs/features/response-caching>
fn is_free_hit(http_status: u16, reading: &Reading) -> bool {
    (200..300).contains(&http_status)
        && reading.upstream_error.is_none()
        && !reading.may_hide_cost
        && reading.usage.as_ref().is_none_or(Usage::is_zeroed)
}

fn failure(http_status: u16, ending: Ending, reading: &Reading) -> Option<(&'static str, String)> {
    let said = reading
        .upstream_error
        .as_ref()
        .map(|error| match error.message.as_str() {
            "" => "OpenRouter reported an error without a message.".to_owned(),
            message => without_keys(message),
        });
    if http_status >= 300 {
        Some((
            "upstream_status",
            said.unwrap_or_else(|| format!("OpenRouter answered {http_status}.")),
        ))
    } else if let Some(message) = said {
        Some(("upstream_error", message))
    } else {
        ending
            .reason()
            .map(|reason| (reason, ending.message().to_owned()))
    }
}

/// A cost that was read is final. What may have cost something without saying so is pending: it is
/// asked for later, never taken to be free. An error is free only where nothing but comments came
/// besides it.
fn cost_state(
    endpoint: Endpoint,
    http_status: u16,
    ending: Ending,
    reading: &Reading,
    has_generation: bool,
) -> CostState {
    let sold =
        has_generation || reading.may_hide_cost || reading.delivered || reading.usage.is_some();
    let refused = match http_status {
        // The provider had the request, and was only too slow for OpenRouter or its edge.
        504 | 524 => false,
        // A timeout or a failure is a refusal, too, unless a generation had begun.
        408 | 499 | 500.. => !sold,
        300.. => reading.usage.is_none(),
        _ => reading.upstream_error.is_some() && !sold,
    };
    let may_cost = http_status >= 300
        || ending != Ending::Complete
        || sold
        || reading.usage.is_some()
        || endpoint != Endpoint::Other;
    if reading
        .usage
        .as_ref()
        .is_some_and(|usage| usage.charge().is_some())
    {
        CostState::Final
    } else if may_cost && !refused {
        CostState::Pending
    } else {
        CostState::None
    }
}

#[cfg(test)]
mod never_free;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metering::meter::{AnswerFormat, BodyEnd, Meter};

    const PRICED: &str =
        r#"{"id":"gen-1","model":"m","usage":{"prompt_tokens":1,"cost":7.434e-07}}"#;
    const UNPRICED: &str = r#"{"id":"gen-1","model":"m","usage":{"prompt_tokens":1}}"#;
    const NAMED: &str = r#"{"id":"gen-1","error":{"code":404,"message":"m"}}"#;
    const REFUSED: &str = r#"{"error":{"code":429,"message":"slow down, sk-or-v1-0123456789"}}"#;

    fn books(
        endpoint: Endpoint,
        http_status: u16,
        ending: Ending,
        body: &str,
    ) -> (Option<&'static str>, CostState, Option<String>) {
        let mut meter = Meter::new(AnswerFormat::Json);
        meter.feed(body.as_bytes());
        let outcome = Outcome::Answered {
            http_status,
            ending,
            reading: meter.finish(BodyEnd::Clean),
            generation_id: None,
            cache_hit: false,
            first_byte: Duration::ZERO,
        };
        let record = Record::of(endpoint, outcome);
        let state = record.cost_state.unwrap_or(CostState::None);
        (record.failure.map(|failure| failure.0), state, record.cost)
    }

    #[test]
    fn the_rules_of_accounting() {
        use {
            CostState::{Final, None as Free, Pending},
            Ending::{Complete, Cut, DeadlineReached, Stalled},
        };
        let chat = Endpoint::ChatCompletions;
        for (endpoint, status, ending, body, reason, state) in [
            (chat, 200, Complete, PRICED, None, Final),
            // A cost that was read is final, whatever came after it.
            (chat, 200, Cut, PRICED, Some("upstream_cut"), Final),
            // An answer that may have cost something is never free.
            (chat, 200, Complete, UNPRICED, None, Pending),
            (chat, 200, Complete, "{}", None, Pending),
            (chat, 200, Cut, "", Some("upstream_cut"), Pending),
            (
                chat,
                200,
                Stalled,
                UNPRICED,
                Some("upstream_stalled"),
                Pending,
            ),
            (
                Endpoint::Other,
                200,
                DeadlineReached,
                "",
                Some("deadline_reached"),
                Pending,
            ),
            (Endpoint::Speech, 200, Complete, "", None, Pending),
            // Nothing was sold.
            (chat, 429, Complete, REFUSED, Some("upstream_status"), Free),
            (chat, 302, Complete, "", Some("upstream_status"), Free),
            (chat, 502, Complete, "", Some("upstream_status"), Free),
            (chat, 404, Complete, NAMED, Some("upstream_status"), Free),
            // A server's failure after a generation had begun, or at the edge in front of it.
            (
                chat,
                502,
                Complete,
                UNPRICED,
                Some("upstream_status"),
                Pending,
            ),
            (chat, 524, Complete, "", Some("upstream_status"), Pending),
            (
                Endpoint::Other,
                504,
                Complete,
                "{}",
                Some("upstream_status"),
                Pending,
            ),
            (chat, 200, Complete, REFUSED, Some("upstream_error"), Free),
            (Endpoint::Other, 200, Complete, "{}", None, Free),
        ] {
            let (got_reason, got_state, cost) = books(endpoint, status, ending, body);
            assert_eq!(
                (got_reason, got_state),
                (reason, state),
                "{endpoint:?} {status} {ending:?} {body}"
            );
            assert_eq!(cost.as_deref(), (state == Final).then_some("0.0000007434"));
        }
    }

    #[test]
    fn what_cannot_be_read_is_never_free() {
        use crate::metering::json_scan::{CAPTURE_LIMIT, DEPTH_LIMIT};
        let long = "x".repeat(CAPTURE_LIMIT);
        let deep = "[".repeat(DEPTH_LIMIT) + &"]".repeat(DEPTH_LIMIT);
        for body in [
            // A captured value beyond the limit, before and after what it hides.
            format!(r#"{{"id":"gen-1","usage":{{"cost":1,"note":"{long}"}}}}"#),
            format!(r#"{{"usage":{{"note":"{long}","cost":1}},"id":"gen-1"}}"#),
            format!(r#"{{"usage":{{"cost":1,"note":"{long}"}}}}"#),
            // A number longer than any amount.
            format!(
                r#"{{"id":"gen-1","usage":{{"cost":0.{}}}}}"#,
                "1".repeat(CAPTURE_LIMIT)
            ),
            format!(r#"{{"id":"gen-1","usage":{{"cost":{}}}}}"#, "1".repeat(400)),
            // An id that cannot be read, with an error: something was sold.
            format!(r#"{{"id":"{long}","error":{{"message":"late"}}}}"#),
            // Nested deeper than is followed, with the usage behind it.
            format!(r#"{{"id":"gen-1","a":{deep},"usage":{{"cost":1}}}}"#),
            format!(r#"{{"a":{deep},"usage":{{"cost":1}}}}"#),
        ] {
            for endpoint in [Endpoint::ChatCompletions, Endpoint::Other] {
                let (_, state, _) = books(endpoint, 200, Ending::Complete, &body);
                assert_eq!(state, CostState::Pending, "{endpoint:?} {}", &body[..40]);
            }
        }
    }

    #[test]
    fn byok_without_the_providers_charge_is_not_final() {
        let body = r#"{"id":"gen-1","usage":{"cost":0.5,"is_byok":true}}"#;
        assert_eq!(
            books(Endpoint::ChatCompletions, 200, Ending::Complete, body).1,
            CostState::Pending
        );
    }

    #[test]
    fn a_quoted_key_stays_out_of_the_books() {
        let mut meter = Meter::new(AnswerFormat::Json);
        meter.feed(REFUSED.as_bytes());
        let (_, message) = failure(429, Ending::Complete, &meter.finish(BodyEnd::Clean)).unwrap();
        assert_eq!(message, "slow down, sk-…");
    }
}
