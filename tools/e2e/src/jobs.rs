//! The asynchronous part of the OpenRouter stub: videos and batches, which cost something only later.

use std::sync::Mutex;

use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::upstream::{CUT_COST, CUT_INFERENCE_COST, json_response, lock, refusal};

/// What becomes of a job, by the last segment of its model's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    /// Runs when it is asked for the first time, completed from then on.
    Completes {
        /// With a key of the user's own, so that only the generation tells the whole cost.
        byok: bool,
    },
    /// Comes to nothing.
    Ends(&'static str),
    /// Goes on for ever.
    Runs,
}

impl Script {
    fn of(model: &str) -> Option<Self> {
        Some(match model.strip_prefix("stub/job-")? {
            "completes" => Self::Completes { byok: false },
            "completes-byok" => Self::Completes { byok: true },
            "fails" => Self::Ends("failed"),
            "is-cancelled" => Self::Ends("cancelled"),
            "expires" => Self::Ends("expired"),
            "runs" => Self::Runs,
            _ => return None,
        })
    }
}

/// A job of one key's.
#[derive(Debug)]
pub(crate) struct Job {
    key: String,
    path: String,
    id: String,
    script: Script,
    /// How often it was asked for.
    asked: u32,
}

pub(crate) fn is_one(path: &str) -> bool {
    ["/api/v1/videos", "/api/v1/batches"]
        .iter()
        .any(|folder| path.starts_with(folder))
}

pub(crate) fn answer(
    jobs: &Mutex<Vec<Job>>,
    key: &str,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Response {
    let mut jobs = lock(jobs);
    if *method == Method::POST {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(script) = request["model"].as_str().and_then(Script::of) else {
            return refusal(StatusCode::BAD_REQUEST, "not a valid model ID");
        };
        let id = request["user"].as_str().unwrap_or("job").to_owned();
        let job = Job {
            key: key.to_owned(),
            path: format!("{path}/{id}"),
            id,
            script,
            asked: 0,
        };
        let answer = job.state("pending", &Value::Null);
        jobs.push(job);
        return json_response(StatusCode::ACCEPTED, answer.into_bytes());
    }
    let mine = |job: &&mut Job| job.key == key && job.path == path;
    let Some(job) = jobs.iter_mut().find(mine) else {
        return refusal(StatusCode::NOT_FOUND, "Job not found");
    };
    job.asked += 1;
    let answer = match job.script {
        Script::Completes { byok } if job.asked > 1 => job.state("completed", &json!(byok)),
        Script::Completes { .. } | Script::Runs => job.state("in_progress", &Value::Null),
        Script::Ends(status) => job.state(status, &Value::Null),
    };
    json_response(StatusCode::OK, answer.into_bytes())
}

impl Job {
    /// In the shapes of OpenRouter's `VideoGenerationResponse` and `BatchObject`, the latter's results
    /// before its status, and with an address that nobody must follow.
    fn state(&self, status: &str, byok: &Value) -> String {
        let id = &self.id;
        let over = byok.is_boolean();
        if self.path.contains("/batches/") {
            let results = if over {
                json!([{"custom_id": "1", "status": "completed", "response": {"usage": {"cost": 9}}}])
            } else {
                Value::Null
            };
            let usage = if over {
                format!(
                    r#"{{"prompt_tokens":11,"completion_tokens":21,"total_tokens":32,"cost":{CUT_COST},"is_byok":{byok},"cost_details":{{"upstream_inference_cost":{CUT_INFERENCE_COST}}}}}"#
                )
            } else {
                "null".to_owned()
            };
            return format!(
                r#"{{"completion_window":"24h","created_at":1735689600,"endpoint":"/v1/chat/completions","error":null,"id":"{id}","model":"stub/served-model","object":"batch","results":{results},"status":"{status}","usage":{usage}}}"#
            );
        }
        // A video's usage has no provider's charge.
        let usage = if over {
            format!(r#","generation_id":"{id}","usage":{{"cost":{CUT_COST},"is_byok":{byok}}}"#)
        } else {
            String::new()
        };
        format!(
            r#"{{"id":"{id}","polling_url":"http://127.0.0.1:9/stolen/{id}","status":"{status}"{usage}}}"#
        )
    }
}
