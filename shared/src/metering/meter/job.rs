//! Reads what an asynchronous job cost out of the answer to a question about it.

use super::{Unreadable, Usage};
use crate::metering::{
    json_scan::{Found, Scanner, Status, Want, decode_string},
    money::Usd,
};

/// Watches the bytes of an answer of `GET /videos/{id}` or `GET /batches/{id}`. A batch's holds all
/// its results, often before its cost; nothing of them is kept.
#[derive(Debug, Clone)]
pub struct JobMeter {
    scanner: Scanner<Member>,
    reading: JobReading,
}

/// The meter's reading of a job's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobReading {
    /// The job's id.
    pub id: Option<String>,
    /// The generation that it became, under which OpenRouter may tell the cost, too.
    pub generation_id: Option<String>,
    /// The model.
    pub model: Option<String>,
    stage: Stage,
    usage: Reported,
    /// Some of a batch's requests were completed.
    has_results: bool,
}

/// The state of knowledge about a job's cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobCost {
    /// The job goes on, so there is none yet.
    Running,
    /// It is over, and this is its [charge](Usage::charge), whole.
    Final(Usage),
    /// It is over, and only OpenRouter's fee is told: the provider bills the user's own key (BYOK), and
    /// what it takes stands nowhere, as in OpenRouter's own example of a batch.
    FeeOnly(Usd),
    /// The answer tells none of these.
    NotTold,
}

/// The stage of a job: the statuses of videos and batches. An unknown one says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Unknown,
    Running,
    Completed,
    /// Failed, cancelled or expired.
    Aborted,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Reported {
    #[default]
    Nothing,
    Usage(Box<Usage>),
    Unreadable,
}

#[derive(Debug, Clone, Copy)]
enum Member {
    Id,
    GenerationId,
    Model,
    Status,
    Usage,
    CompletedRequests,
}

static JOB: Want<Member> = Want::Members(&[
    ("id", Want::Value(Member::Id)),
    ("generation_id", Want::Value(Member::GenerationId)),
    ("model", Want::Value(Member::Model)),
    ("status", Want::Value(Member::Status)),
    ("usage", Want::Value(Member::Usage)),
    (
        "request_counts",
        Want::Members(&[("completed", Want::Value(Member::CompletedRequests))]),
    ),
]);

impl Default for JobMeter {
    fn default() -> Self {
        Self {
            scanner: Scanner::new(&JOB),
            reading: JobReading::default(),
        }
    }
}

impl JobMeter {
    /// Reads the next bytes, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        let reading = &mut self.reading;
        self.scanner
            .feed(bytes, |member, found| reading.note(member, found));
    }

    /// The reading; an empty one where the answer is not whole JSON.
    #[must_use]
    pub fn finish(self) -> JobReading {
        match self.scanner.status() {
            Status::Complete => self.reading,
            Status::Blank | Status::Incomplete | Status::Malformed(_) => JobReading::default(),
        }
    }
}

impl JobReading {
    /// The cost, as far as it is known. A job that came to nothing and names no usage was free; one
    /// that completed without a whole charge was not, nor was a batch of which some requests were.
    #[must_use]
    pub fn cost(&self) -> JobCost {
        match (self.stage, &self.usage) {
            (Stage::Running, _) => JobCost::Running,
            (Stage::Completed | Stage::Aborted, Reported::Usage(usage))
                if usage.charge().is_some() =>
            {
                JobCost::Final(Usage::clone(usage))
            }
            (Stage::Completed | Stage::Aborted, Reported::Usage(usage))
                if let Usage {
                    cost: Some(fee),
                    is_byok: Some(true),
                    unreadable,
                    ..
                } = **usage
                    && unreadable == Unreadable::default() =>
            {
                JobCost::FeeOnly(fee)
            }
            (Stage::Aborted, Reported::Nothing) if !self.has_results => JobCost::Final(Usage {
                cost: Some(Usd::default()),
                ..Usage::default()
            }),
            (
                Stage::Completed | Stage::Aborted | Stage::Unknown,
                Reported::Nothing | Reported::Usage(_) | Reported::Unreadable,
            ) => JobCost::NotTold,
        }
    }

    /// Whether the job is over: a later answer will tell no more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.stage {
            Stage::Completed | Stage::Aborted => true,
            Stage::Running | Stage::Unknown => false,
        }
    }

    fn note(&mut self, member: Member, found: Found<'_>) {
        let text = match found {
            Found::Text(b"null") => return,
            Found::Text(text) => text,
            // A usage of that length is there, but can't be read; any other member is as good as
            // absent.
            Found::TooLong => b"",
        };
        let string = || decode_string(text).map(String::from);
        match member {
            Member::Id => self.id = string(),
            Member::GenerationId => self.generation_id = string(),
            Member::Model => self.model = string(),
            Member::Status => self.stage = string().map_or(Stage::Unknown, |it| Stage::of(&it)),
            Member::Usage if text.starts_with(b"{") => {
                self.usage = Reported::Usage(Box::new(Usage::from_json(text).0));
            }
            Member::Usage => self.usage = Reported::Unreadable,
            Member::CompletedRequests => self.has_results = text != b"0",
        }
    }
}

impl Stage {
    fn of(status: &str) -> Self {
        match status {
            "pending" | "validating" | "in_progress" | "finalizing" | "cancelling" => Self::Running,
            "completed" => Self::Completed,
            "failed" | "cancelled" | "expired" => Self::Aborted,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> JobReading {
        let mut meter = JobMeter::default();
        for byte in text.as_bytes().chunks(1) {
            meter.feed(byte);
        }
        meter.finish()
    }

    /// The charge as text, or what stands for it.
    fn cost(text: &str) -> String {
        match read(text).cost() {
            JobCost::Running => "running".to_owned(),
            JobCost::Final(usage) => usage.charge().unwrap().to_string(),
            JobCost::FeeOnly(fee) => format!("{fee} and more"),
            JobCost::NotTold => "not told".to_owned(),
        }
    }

    #[test]
    fn every_status_has_its_outcome() {
        for (text, expected) in [
            // Videos.
            (
                r#"{"id":"v","polling_url":"u","status":"pending"}"#,
                "running",
            ),
            (
                r#"{"id":"v","status":"in_progress","usage":{"cost":1}}"#,
                "running",
            ),
            (
                r#"{"id":"v","status":"completed","usage":{"cost":0.5,"is_byok":false}}"#,
                "0.5",
            ),
            (
                r#"{"id":"v","status":"completed","usage":{"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":0.42}}}"#,
                "0.42",
            ),
            // The provider's charge is missing: a part is not the whole.
            (
                r#"{"status":"completed","usage":{"cost":0.5,"is_byok":true}}"#,
                "0.5 and more",
            ),
            (
                r#"{"status":"expired","usage":{"cost":0.5,"is_byok":true,"cost_details":{"upstream_inference_cost":null}}}"#,
                "0.5 and more",
            ),
            (
                r#"{"status":"in_progress","usage":{"cost":0.5,"is_byok":true}}"#,
                "running",
            ),
            (
                r#"{"status":"completed","usage":{"cost":0.5,"is_byok":true,"cost_details":"dear"}}"#,
                "not told",
            ),
            (
                r#"{"status":"completed","usage":{"cost":0,"is_byok":"true","cost_details":{"upstream_inference_cost":0.1}}}"#,
                "not told",
            ),
            (
                r#"{"status":"failed","usage":{"cost":0,"is_byok":{}}}"#,
                "not told",
            ),
            (
                r#"{"status":"completed","usage":{"cost":null}}"#,
                "not told",
            ),
            (r#"{"status":"completed","usage":null}"#, "not told"),
            (r#"{"status":"completed"}"#, "not told"),
            (r#"{"status":"failed","error":"moderated"}"#, "0"),
            (r#"{"status":"cancelled","usage":null}"#, "0"),
            (r#"{"status":"expired"}"#, "0"),
            (
                r#"{"status":"expired","usage":null,"request_counts":{"total":9,"completed":0,"failed":9}}"#,
                "0",
            ),
            (
                r#"{"request_counts":{"completed":900},"status":"expired","usage":null}"#,
                "not told",
            ),
            // Batches: what ran before the end is paid for.
            (
                r#"{"results":[{"id":"x","status":"failed","usage":{"cost":9}}],"status":"expired","usage":{"prompt_tokens":1,"cost":7.434e-07}}"#,
                "0.0000007434",
            ),
            (
                r#"{"status":"failed","usage":{"prompt_tokens":1}}"#,
                "not told",
            ),
            (r#"{"status":"failed","usage":"free"}"#, "not told"),
            (r#"{"status":"failed","usage":{"cost":"free"}}"#, "not told"),
            (r#"{"status":"validating"}"#, "running"),
            (r#"{"status":"finalizing"}"#, "running"),
            (r#"{"status":"cancelling"}"#, "running"),
            // Not known, not whole, not JSON.
            (r#"{"status":"paused"}"#, "not told"),
            (r#"{"usage":{"cost":1}}"#, "not told"),
            (r#"{"status":"failed""#, "not told"),
            ("<html>", "not told"),
            ("", "not told"),
        ] {
            assert_eq!(cost(text), expected, "{text}");
        }
    }

    #[test]
    fn a_usage_that_is_too_long_is_not_taken_for_none() {
        let long = " ".repeat(crate::metering::json_scan::CAPTURE_LIMIT);
        let text = format!(r#"{{"status":"failed","usage":{{"cost":1{long}}}}}"#);
        assert_eq!(cost(&text), "not told");
    }

    #[test]
    fn ids_are_those_of_the_job_itself() {
        let reading = read(
            r#"{"generation_id":"gen-1","id":"gen-vid-1","model":"m","results":[{"id":"other"}],"status":"completed"}"#,
        );
        assert_eq!(
            (reading.id.as_deref(), reading.generation_id.as_deref()),
            (Some("gen-vid-1"), Some("gen-1"))
        );
        assert_eq!(reading.model.as_deref(), Some("m"));
    }
}
