//! The bills of generations, and `GET /generation`, which tells them.

use std::sync::Mutex;

use axum::response::Response;
use http::StatusCode;

use crate::{
    answer::{Charge, Tokens},
    lock,
    response::{json_response, refusal},
};

/// The bill of one generation.
#[derive(Debug, Clone)]
pub struct Bill {
    /// The key that it was made with, which alone may ask for it.
    pub key: String,
    /// The generation's id.
    pub generation_id: String,
    /// The model that served.
    pub model: String,
    /// The cost.
    pub charge: Charge,
    /// The tokens.
    pub tokens: Tokens,
    /// The number of questions that are answered with 404 before the bill is known.
    pub hidden_for: u32,
}

/// All bills.
#[derive(Debug, Default)]
pub struct Bills(Mutex<Vec<Bill>>);

impl Bills {
    /// Adds a bill.
    pub fn add(&self, bill: Bill) {
        lock(&self.0).push(bill);
    }

    /// Answers `GET /generation?{query}`.
    #[must_use]
    pub fn tell(&self, key: &str, query: &str) -> Response {
        let mut bills = lock(&self.0);
        let bill = bills
            .iter_mut()
            .find(|bill| bill.key == key && query == format!("id={}", bill.generation_id));
        match bill {
            Some(bill) if bill.hidden_for == 0 => {
                let body = generation(&bill.generation_id, &bill.model, &bill.charge, &bill.tokens);
                json_response(StatusCode::OK, body)
            }
            Some(bill) => {
                bill.hidden_for -= 1;
                not_found()
            }
            None => not_found(),
        }
    }
}

/// The answer to a question about an unknown generation.
#[must_use]
pub fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "Generation not found")
}

/// The body of `GET /generation`.
#[must_use]
pub fn generation(id: &str, model: &str, charge: &Charge, tokens: &Tokens) -> Vec<u8> {
    let Tokens { input, output, .. } = tokens;
    let (cost, upstream, byok) = (&charge.cost, charge.upstream_json(), charge.byok);
    let (cached, reasoning) = (or_null(tokens.cached), or_null(tokens.reasoning));
    format!(
        r#"{{"data":{{"id":"{id}","model":"{model}","total_cost":{cost},"upstream_inference_cost":{upstream},"is_byok":{byok},"cancelled":true,"tokens_prompt":10,"tokens_completion":20,"native_tokens_prompt":{input},"native_tokens_completion":{output},"native_tokens_cached":{cached},"native_tokens_reasoning":{reasoning}}}}}"#
    )
    .into_bytes()
}

fn or_null(count: Option<u64>) -> String {
    count.map_or("null".to_owned(), |count| count.to_string())
}
