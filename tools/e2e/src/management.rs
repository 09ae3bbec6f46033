//! OpenRouter's keys and its management API, stricter than the real one: it refuses a name that was
//! ever used, members that it does not know, and any key but a management key; it lists three keys to a
//! page; and it knows which keys live, so that tests can count them.
//!
//! The management key chooses how a request fails: see [`Fault`].

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::upstream::{json_response, refusal};

/// Keys on a page of the list; the real API has 100.
const PAGE: usize = 3;

/// How the management API fails, for one management key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    None,
    /// It refuses to make a key.
    Refuses,
    /// It answers 500 and has made no key.
    Fails,
    /// It answers 500 and has made the key.
    FailsAfterwards,
    /// It makes the key and closes the connection.
    HangsUp,
    /// It makes the key and says nothing.
    Silent,
    /// It deletes nothing.
    DeletesNothing,
}

/// A key that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// What it was to be called.
    pub name: String,
    /// Its name here.
    pub hash: String,
    /// The key.
    pub key: String,
    /// What was ordered.
    pub order: Value,
    /// Whether it is good still.
    pub is_live: bool,
}

/// The keys, and who may manage them.
#[derive(Debug, Default)]
pub struct Management {
    managers: Mutex<BTreeMap<String, Fault>>,
    made: Mutex<Vec<Made>>,
}

/// A request for `/key` or `/keys`.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) key: &'a str,
    pub(crate) body: &'a [u8],
}

impl Management {
    /// Makes `key` a management key.
    pub fn appoint(&self, key: &str, fault: Fault) {
        lock(&self.managers).insert(key.to_owned(), fault);
    }

    /// All keys that were made so far.
    #[must_use]
    pub fn made(&self) -> Vec<Made> {
        lock(&self.made).clone()
    }

    /// Whether `key` was made here and is good for inference.
    #[must_use]
    pub fn is_live(&self, key: &str) -> bool {
        lock(&self.made)
            .iter()
            .any(|made| made.is_live && made.key == key)
    }

    /// `GET /key`, where `is_known` says whether the key is good.
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

    /// `/keys` and below.
    pub(crate) async fn answer(&self, asked: Asked<'_>) -> Response {
        let Some(fault) = lock(&self.managers).get(asked.key).copied() else {
            return refusal(StatusCode::UNAUTHORIZED, "Invalid management key");
        };
        let hash = asked.path.strip_prefix("/api/v1/keys/");
        match (asked.method, hash) {
            (&Method::POST, None) => self.make(&asked, fault).await,
            (&Method::GET, None) => self.list(asked.query),
            (&Method::DELETE, Some(hash)) if !hash.contains('/') => self.delete(hash, fault),
            _ => refusal(StatusCode::NOT_FOUND, "Not Found"),
        }
    }

    async fn make(&self, asked: &Asked<'_>, fault: Fault) -> Response {
        match fault {
            Fault::Refuses => return refusal(StatusCode::FORBIDDEN, "No keys today"),
            Fault::Fails => return refusal(StatusCode::INTERNAL_SERVER_ERROR, "scripted"),
            _ => {}
        }
        let made = match self.order(asked) {
            Ok(made) => made,
            Err((status, message)) => return refusal(status, message),
        };
        match fault {
            Fault::FailsAfterwards => refusal(StatusCode::INTERNAL_SERVER_ERROR, "scripted"),
            // hyper closes a connection whose service panics, without an answer.
            Fault::HangsUp => std::panic::resume_unwind(Box::new("scripted")),
            Fault::Silent => std::future::pending().await,
            _ => {
                let answer = json!({"data": data(&made), "key": made.key});
                json_response(StatusCode::CREATED, answer.to_string().into_bytes())
            }
        }
    }

    fn order(&self, asked: &Asked<'_>) -> Result<Made, (StatusCode, &'static str)> {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        let is_json = asked
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value == "application/json");
        let order: Value = serde_json::from_slice(asked.body).unwrap_or_default();
        let (Some(members), true) = (order.as_object(), is_json) else {
            return Err((BAD, "not JSON"));
        };
        if members
            .keys()
            .any(|name| !["name", "limit", "limit_reset"].contains(&name.as_str()))
        {
            return Err((BAD, "unknown member"));
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
            return Err((BAD, "a name that nobody finds again"));
        };
        let mut all = lock(&self.made);
        if all.iter().any(|made| made.name == name) {
            return Err((StatusCode::CONFLICT, "a key of this name was made before"));
        }
        let made = Made {
            name: name.to_owned(),
            hash: random(),
            key: format!("sk-or-v1-planted-made-{}", random()),
            order,
            is_live: true,
        };
        all.push(made.clone());
        Ok(made)
    }

    /// The youngest first, as the real one.
    fn list(&self, query: &str) -> Response {
        let offset = query
            .strip_prefix("include_disabled=true&offset=")
            .and_then(|offset| offset.parse().ok());
        let Some(offset) = offset else {
            return refusal(StatusCode::BAD_REQUEST, "not a page of the whole list");
        };
        let all = lock(&self.made);
        let page: Vec<Value> = all
            .iter()
            .rev()
            .filter(|made| made.is_live)
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
        let mut all = lock(&self.made);
        match all
            .iter_mut()
            .find(|made| made.is_live && made.hash == hash)
        {
            Some(made) => {
                made.is_live = false;
                json_response(StatusCode::OK, br#"{"deleted":true}"#.to_vec())
            }
            None => refusal(StatusCode::NOT_FOUND, "API key not found"),
        }
    }
}

fn data(made: &Made) -> Value {
    json!({
        "hash": made.hash, "name": made.name, "label": "sk-or-v1-abc...123", "disabled": false,
        "limit": made.order["limit"], "limit_remaining": made.order["limit"],
        "limit_reset": made.order["limit_reset"], "usage": 0, "include_byok_in_limit": false,
    })
}

#[expect(
    clippy::expect_used,
    reason = "without randomness no key can be made, and every test fails"
)]
fn random() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("randomness");
    hex::encode(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
