//! Asynchronous jobs: videos and batches, which are billed on completion.

use std::sync::Mutex;

use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::json;

use crate::{
    answer::{Charge, Tokens},
    endpoint::Endpoint,
    lock,
    response::{json_response, refusal},
    scripted::{self, JobScript},
    server::Received,
};

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The job is still running, under one of the endpoint's statuses for that.
    Open(&'static str),
    /// The job has ended without a result, at no cost.
    Ended(&'static str),
    /// The job has completed.
    Completed,
}

/// The names in a job's body.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The job's id.
    pub id: &'a str,
    /// The id of the generation that a video's completion names.
    pub generation_id: &'a str,
    /// The model that a batch names.
    pub model: &'a str,
}

/// The body in which `endpoint` tells a job's state.
///
/// In the shapes of OpenRouter's `VideoGenerationResponse` and `BatchObject`, the latter's results
/// before its status, and with an address that nobody must follow.
#[must_use]
pub fn body(
    endpoint: Endpoint,
    names: &Names<'_>,
    state: State,
    charge: &Charge,
    tokens: &Tokens,
) -> Vec<u8> {
    let (status, completed) = match state {
        State::Open(status) | State::Ended(status) => (status, false),
        State::Completed => ("completed", true),
    };
    let Names {
        id,
        generation_id,
        model,
    } = names;
    let (cost, byok) = (&charge.cost, charge.byok);
    if endpoint == Endpoint::Batch {
        let results = if completed {
            json!([{"custom_id": "1", "status": "completed", "response": {"usage": {"cost": 9}}}])
        } else {
            json!(null)
        };
        let usage = if completed {
            let Tokens { input, output, .. } = tokens;
            format!(
                r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{},"cost":{cost},"is_byok":{byok},"cost_details":{{"upstream_inference_cost":{}}}}}"#,
                input + output,
                charge.upstream_json()
            )
        } else {
            "null".to_owned()
        };
        return format!(
            r#"{{"completion_window":"24h","created_at":1735689600,"endpoint":"/v1/chat/completions","error":null,"id":"{id}","model":"{model}","object":"batch","results":{results},"status":"{status}","usage":{usage}}}"#
        )
        .into_bytes();
    }
    // A video's usage has no provider's charge: its generation tells that.
    let usage = if completed {
        format!(r#","generation_id":"{generation_id}","usage":{{"cost":{cost},"is_byok":{byok}}}"#)
    } else {
        String::new()
    };
    format!(
        r#"{{"id":"{id}","polling_url":"http://127.0.0.1:9/stolen/{id}","status":"{status}"{usage}}}"#
    )
    .into_bytes()
}

/// Jobs whose course their model's name decides.
#[derive(Debug, Default)]
pub struct Jobs(Mutex<Vec<Job>>);

#[derive(Debug)]
struct Job {
    key: String,
    path: String,
    id: String,
    endpoint: Endpoint,
    script: JobScript,
    /// The number of polls so far.
    polls: u32,
}

impl Jobs {
    /// The endpoint of jobs that `path` belongs to.
    pub(crate) fn endpoint(path: &str) -> Option<Endpoint> {
        match path.split('/').next()? {
            "videos" => Some(Endpoint::Video),
            "batches" => Some(Endpoint::Batch),
            _ => None,
        }
    }

    /// Accepts a job, or tells the state of one. `default` is the course of a job whose model names none.
    pub(crate) fn answer(
        &self,
        key: &str,
        endpoint: Endpoint,
        request: &Received,
        default: Option<JobScript>,
    ) -> Response {
        let mut jobs = lock(&self.0);
        if request.method == Method::POST {
            let body = request.json();
            let model = body["model"].as_str().unwrap_or_default();
            let Some(script) = JobScript::of(model).or(default) else {
                return refusal(StatusCode::BAD_REQUEST, "not a valid model ID");
            };
            let id = body["user"]
                .as_str()
                .map_or_else(|| format!("job-{}", jobs.len()), str::to_owned);
            let job = Job {
                key: key.to_owned(),
                path: format!("{}/{id}", request.path()),
                id,
                endpoint,
                script,
                polls: 0,
            };
            let answer = job.body(State::Open("pending"));
            jobs.push(job);
            return json_response(StatusCode::ACCEPTED, answer);
        }
        let found = jobs
            .iter_mut()
            .find(|job| job.key == key && job.path == request.path());
        let Some(job) = found else {
            return refusal(StatusCode::NOT_FOUND, "Job not found");
        };
        job.polls += 1;
        let state = match job.script {
            JobScript::Completes { .. } if job.polls > 1 => State::Completed,
            JobScript::Completes { .. } | JobScript::Runs => State::Open("in_progress"),
            JobScript::Ends(status) => State::Ended(status),
        };
        json_response(StatusCode::OK, job.body(state))
    }
}

impl Job {
    fn body(&self, state: State) -> Vec<u8> {
        let byok = self.script == JobScript::Completes { byok: true };
        let (charge, tokens) = (scripted::cut_charge(byok), scripted::CUT_TOKENS);
        let names = Names {
            id: &self.id,
            generation_id: &self.id,
            model: scripted::SERVED_MODEL,
        };
        body(self.endpoint, &names, state, &charge, &tokens)
    }
}
