//! The management API, stricter than the real one: it refuses a name that was ever used, fields that it
//! does not know, and any key but a management key. It lists three keys on a page, and knows which
//! keys are live, so that tests can count them.
//!
//! The management key chooses the fault: see [`Fault`].

use std::{collections::BTreeMap, sync::Mutex};

use axum::response::Response;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    lock,
    response::{json_response, refusal},
    server::Received,
};

/// Keys on a page of the list; the real API has 100.
const PAGE: usize = 3;

/// The fault of the management API, for one management key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// Creating a key is refused.
    Refuses,
    /// Creating a key is answered with 500, and creates none.
    Fails,
    /// Creating a key is answered with 500, and creates it.
    FailsAfterwards,
    /// The key is created, and the connection closed.
    HangsUp,
    /// The key is created, and the request never answered.
    Silent,
    /// Deleting a key is answered with 500, and deletes nothing.
    DeletesNothing,
}

/// A key that was created.
#[derive(Debug, Clone)]
pub struct CreatedKey {
    /// The name that the request gave.
    pub name: String,
    /// The name that the management API gave.
    pub hash: String,
    /// The key.
    pub key: String,
    /// The request's body.
    pub order: Value,
    /// Whether the key is still good.
    pub is_live: bool,
}

/// The keys, and the management keys.
#[derive(Debug, Default)]
pub struct Management {
    managers: Mutex<BTreeMap<String, Fault>>,
    created: Mutex<Vec<CreatedKey>>,
}

impl Management {
    /// Makes `key` a management key.
    pub fn add_manager(&self, key: &str, fault: Fault) {
        lock(&self.managers).insert(key.to_owned(), fault);
    }

    /// All keys that were created so far.
    #[must_use]
    pub fn created(&self) -> Vec<CreatedKey> {
        lock(&self.created).clone()
    }

    /// Whether `key` was created here and is valid for inference.
    #[must_use]
    pub fn is_live(&self, key: &str) -> bool {
        lock(&self.created)
            .iter()
            .any(|created| created.is_live && created.key == key)
    }

    /// Answers `GET /key`; `is_known` is true for a key that is good for inference.
    pub(crate) fn describe(&self, key: &str, is_known: bool) -> Response {
        let manages = lock(&self.managers).contains_key(key);
        if key.contains("undecided") {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "try again");
        }
        if !manages && !is_known {
            return refusal(
                StatusCode::UNAUTHORIZED,
                &format!("User not found for {key}"),
            );
        }
        let data = json!({"data": {"label": "sk-or-v1-abc...123", "usage": 0, "limit": null,
            "is_management_key": manages, "is_provisioning_key": manages}});
        json_response(StatusCode::OK, data.to_string().into_bytes())
    }

    /// Answers requests for `/keys` and below.
    pub(crate) async fn answer(&self, request: &Received) -> Response {
        let key = request.key().unwrap_or_default();
        let Some(fault) = lock(&self.managers).get(key).copied() else {
            return refusal(StatusCode::UNAUTHORIZED, "Invalid management key");
        };
        let hash = request.path().strip_prefix("keys/");
        match (&request.method, hash) {
            (&Method::POST, None) => self.create(request, fault).await,
            (&Method::GET, None) => self.list(request.query()),
            (&Method::DELETE, Some(hash)) if !hash.contains('/') => self.delete(hash, fault),
            _ => refusal(StatusCode::NOT_FOUND, "Not Found"),
        }
    }

    async fn create(&self, request: &Received, fault: Fault) -> Response {
        match fault {
            Fault::Refuses => return refusal(StatusCode::FORBIDDEN, "No keys today"),
            Fault::Fails => return refusal(StatusCode::INTERNAL_SERVER_ERROR, "scripted"),
            Fault::None
            | Fault::FailsAfterwards
            | Fault::HangsUp
            | Fault::Silent
            | Fault::DeletesNothing => {}
        }
        let created = match self.order(request) {
            Ok(created) => created,
            Err((status, message)) => return refusal(status, message),
        };
        match fault {
            Fault::FailsAfterwards => refusal(StatusCode::INTERNAL_SERVER_ERROR, "scripted"),
            // hyper closes a connection whose service panics, without an answer.
            Fault::HangsUp => std::panic::resume_unwind(Box::new("scripted")),
            Fault::Silent => std::future::pending().await,
            Fault::None | Fault::Refuses | Fault::Fails | Fault::DeletesNothing => {
                let answer = json!({"data": data(&created), "key": created.key});
                json_response(StatusCode::CREATED, answer.to_string().into_bytes())
            }
        }
    }

    fn order(&self, request: &Received) -> Result<CreatedKey, (StatusCode, &'static str)> {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        let is_json = request
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value == "application/json");
        let order = request.json();
        let (Some(fields), true) = (order.as_object(), is_json) else {
            return Err((BAD, "not JSON"));
        };
        if fields.keys().any(|name| {
            !["name", "limit", "limit_reset", "include_byok_in_limit"].contains(&name.as_str())
        }) {
            return Err((BAD, "unknown field"));
        }
        if !order["limit"].as_f64().is_some_and(|limit| limit > 0.0) {
            return Err((BAD, "a key without a limit"));
        }
        let reset = &order["limit_reset"];
        if !reset.is_null() && !["daily", "weekly", "monthly"].iter().any(|it| reset == it) {
            return Err((BAD, "unknown reset"));
        }
        let Some(name) = order["name"]
            .as_str()
            .filter(|name| name.starts_with("llm-gateway-"))
        else {
            return Err((BAD, "a name without the gateway's prefix"));
        };
        let mut all = lock(&self.created);
        if all.iter().any(|created| created.name == name) {
            return Err((
                StatusCode::CONFLICT,
                "a key of this name was created before",
            ));
        }
        let created = CreatedKey {
            name: name.to_owned(),
            hash: random(),
            key: format!("sk-or-v1-planted-made-{}", random()),
            order,
            is_live: true,
        };
        all.push(created.clone());
        Ok(created)
    }

    /// Lists the youngest first, as the real API does.
    fn list(&self, query: &str) -> Response {
        let offset = query
            .strip_prefix("include_disabled=true&offset=")
            .and_then(|offset| offset.parse().ok());
        let Some(offset) = offset else {
            return refusal(StatusCode::BAD_REQUEST, "not a page of the whole list");
        };
        let all = lock(&self.created);
        let page: Vec<Value> = all
            .iter()
            .rev()
            .filter(|created| created.is_live)
            .skip(offset)
            .take(PAGE)
            .map(data)
            .collect();
        json_response(
            StatusCode::OK,
            json!({"data": page}).to_string().into_bytes(),
        )
    }

    fn delete(&self, hash: &str, fault: Fault) -> Response {
        if fault == Fault::DeletesNothing {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "scripted");
        }
        let mut all = lock(&self.created);
        match all
            .iter_mut()
            .find(|created| created.is_live && created.hash == hash)
        {
            Some(created) => {
                created.is_live = false;
                json_response(StatusCode::OK, br#"{"deleted":true}"#.to_vec())
            }
            None => refusal(StatusCode::NOT_FOUND, "API key not found"),
        }
    }
}

fn data(created: &CreatedKey) -> Value {
    json!({
        "hash": created.hash, "name": created.name, "label": "sk-or-v1-abc...123", "disabled": false,
        "limit": created.order["limit"], "limit_remaining": created.order["limit"],
        "limit_reset": created.order["limit_reset"], "usage": 0, "include_byok_in_limit": created.order["include_byok_in_limit"],
    })
}

#[expect(
    clippy::expect_used,
    reason = "without randomness no key can be created, and every test fails"
)]
fn random() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("randomness");
    hex::encode(bytes)
}
