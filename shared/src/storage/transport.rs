//! One HTTP exchange with `PostgREST`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::USER_AGENT};
use jiff::Timestamp;
use postgrest::Postgrest;
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

use super::{Protocol, Refusal, StorageError, StorageKey, TokenRefusal, Unavailable};

/// Supabase refuses secret keys that come with a browser's `User-Agent`, hence our own.
const OUR_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("llm-gateway/", env!("CARGO_PKG_VERSION")));

/// Asks whether something that speaks HTTP stands at the storage's address: any answer below 500
/// counts, because the caller holds no key.
pub async fn ping(
    client: &reqwest::Client,
    rest_url: &Url,
    timeout: Duration,
) -> Result<(), Unavailable> {
    let answer = client
        .get(format!("{}/", base(rest_url)))
        .header(USER_AGENT, OUR_USER_AGENT)
        .timeout(timeout)
        .send()
        .await
        .map_err(Unavailable::from_client)?;
    if answer.status().is_server_error() {
        return Err(Unavailable::Status {
            status: answer.status(),
            code: None,
        });
    }
    Ok(())
}

/// The response to [`probe`], without its body.
#[derive(Debug)]
pub struct Probed {
    /// The status.
    pub status: StatusCode,
    /// The error code of `PostgreSQL` or `PostgREST`.
    pub code: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
}

/// Sends a request with `key`, or without one, to find out whether it is permitted.
pub async fn probe(
    request: reqwest::RequestBuilder,
    key: Option<&StorageKey>,
    timeout: Duration,
) -> Result<Probed, Unavailable> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, OUR_USER_AGENT);
    if let Some(key) = key {
        key.apply(&mut headers);
    }
    let answer = request
        .headers(headers)
        .timeout(timeout)
        .send()
        .await
        .map_err(Unavailable::from_client)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.map_err(Unavailable::from_client)?;
    let Problem { code, .. } = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Probed {
        status,
        code: code.filter(|code| is_code(code)),
        headers,
    })
}

/// Builds requests with the `postgrest` crate and sends them with the gateway's client: the
/// crate's own has neither timeouts nor an error type.
pub(super) struct Transport {
    client: reqwest::Client,
    requests: Postgrest,
    rest_url: String,
    key: StorageKey,
    /// The calls that were made before, by function: all of a call but its arguments stays the same.
    calls: Mutex<BTreeMap<&'static str, Arc<Call>>>,
}

/// A call of a database function, without its arguments.
struct Call {
    method: http::Method,
    url: Url,
    headers: HeaderMap,
}

impl Transport {
    pub(super) fn new(client: reqwest::Client, rest_url: &Url, key: StorageKey) -> Self {
        let rest_url = base(rest_url).to_owned();
        Self {
            client,
            requests: Postgrest::new(&rest_url),
            rest_url,
            key,
            calls: Mutex::default(),
        }
    }

    /// Calls a database function once, with `arguments` in JSON.
    pub(super) async fn rpc<T: DeserializeOwned>(
        &self,
        function: &'static str,
        arguments: Bytes,
        timeout: Duration,
    ) -> Result<T, StorageError> {
        let call = self.call(function)?;
        let answer = self
            .client
            .request(call.method.clone(), call.url.clone())
            .headers(call.headers.clone())
            .body(arguments)
            .timeout(timeout)
            .send()
            .await
            .map_err(Unavailable::from_client)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(Unavailable::from_client)?;
        if status.is_success() {
            // serde_json's message quotes the value it stumbles over, so it is dropped.
            serde_json::from_slice(&body).map_err(|_| Protocol::UnexpectedBody { function }.into())
        } else {
            Err(problem(function, status, &body))
        }
    }

    /// The call of `function`, built the first time.
    fn call(&self, function: &'static str) -> Result<Arc<Call>, Protocol> {
        // Nothing panics while holding it, and a map is whole at any time.
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = calls.get(function) {
            return Ok(Arc::clone(call));
        }
        let call = Arc::new(self.build(function)?);
        calls.insert(function, Arc::clone(&call));
        Ok(call)
    }

    fn build(&self, function: &str) -> Result<Call, Protocol> {
        // A request of reqwest 0.11, whose types are not ours: taken apart and put together again.
        let built = self
            .requests
            .rpc(function, "")
            .build()
            .build()
            .map_err(|_| Protocol::RequestNotBuilt)?;
        let mut headers = HeaderMap::new();
        for (name, value) in built.headers() {
            headers.insert(
                HeaderName::from_bytes(name.as_str().as_bytes())
                    .map_err(|_| Protocol::RequestNotBuilt)?,
                HeaderValue::from_bytes(value.as_bytes()).map_err(|_| Protocol::RequestNotBuilt)?,
            );
        }
        headers.insert(USER_AGENT, OUR_USER_AGENT);
        self.key.apply(&mut headers);
        Ok(Call {
            method: http::Method::from_bytes(built.method().as_str().as_bytes())
                .map_err(|_| Protocol::RequestNotBuilt)?,
            url: built.url().clone(),
            headers,
        })
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("rest_url", &self.rest_url)
            .finish_non_exhaustive()
    }
}

/// The base without the slash that [`Url`] puts behind an empty path.
pub(super) fn base(rest_url: &Url) -> &str {
    rest_url.as_str().trim_end_matches('/')
}

/// `PostgREST`'s error body. <https://docs.postgrest.org/en/stable/references/errors.html>
#[derive(Default, Deserialize)]
struct Problem {
    code: Option<String>,
    details: Option<String>,
    hint: Option<String>,
}

/// The hint of `credit_limit_reached`.
#[derive(Deserialize)]
struct CreditLimit {
    limit: String,
    spent: String,
    held: String,
    hold: String,
}

/// The hint of `rate_limited`.
#[derive(Deserialize)]
struct RateLimit {
    requests_per_minute: u32,
    retry_after: u32,
}

/// The hint of `too_many_open_requests`.
#[derive(Deserialize)]
struct OpenRequests {
    open_requests: u32,
    max_open_requests: u32,
}

/// The hint of `too_many_open_jobs`.
#[derive(Deserialize)]
struct OpenJobs {
    open_jobs: u32,
    max_open_jobs: u32,
}

/// The hint of `provisioning_used_up`.
#[derive(Deserialize)]
struct UsedUp {
    available_at: Option<String>,
}

/// Reads an error answer. The pair of status and `details` decides: a proxy in between may well
/// answer 401 or 404 by itself, but not with our word in it.
fn problem(function: &'static str, status: StatusCode, body: &[u8]) -> StorageError {
    let Problem {
        code,
        details,
        hint,
    } = serde_json::from_slice(body).unwrap_or_default();
    let code = code.filter(|code| is_code(code));
    match (status.as_u16(), details.as_deref()) {
        (404, Some("no_key_for_did")) => Refusal::NoKeyForDid.into(),
        (403, Some("did_not_allowed")) => Refusal::DidNotAllowed.into(),
        (403, Some("path_needs_own_key")) => Refusal::PathNeedsOwnKey.into(),
        (403, Some("key_disabled")) => Refusal::KeyDisabled.into(),
        (401, Some("replayed_request")) => Refusal::Replayed.into(),
        (402, Some("credit_limit_reached")) => hinted(function, hint, |it: CreditLimit| {
            Refusal::CreditLimitReached {
                limit: it.limit,
                spent: it.spent,
                held: it.held,
                hold: it.hold,
            }
        }),
        (429, Some("rate_limited")) => {
            hinted(function, hint, |it: RateLimit| Refusal::RateLimited {
                requests_per_minute: it.requests_per_minute,
                retry_after: it.retry_after,
            })
        }
        (429, Some("too_many_open_requests")) => hinted(function, hint, |it: OpenRequests| {
            Refusal::TooManyOpenRequests {
                open_requests: it.open_requests,
                max_open_requests: it.max_open_requests,
            }
        }),
        (429, Some("too_many_open_jobs")) => {
            hinted(function, hint, |it: OpenJobs| Refusal::TooManyOpenJobs {
                open_jobs: it.open_jobs,
                max_open_jobs: it.max_open_jobs,
            })
        }
        (402, Some("budget_reached")) => {
            hinted(function, hint, |it| Refusal::BudgetReached(Box::new(it)))
        }
        (401, Some("unknown_token")) => Refusal::from(TokenRefusal::Unknown).into(),
        (401, Some("token_expired")) => Refusal::from(TokenRefusal::Expired).into(),
        (401, Some("token_revoked")) => Refusal::from(TokenRefusal::Revoked).into(),
        (403, Some("token_disabled")) => Refusal::from(TokenRefusal::Disabled).into(),
        (403, Some("endpoint_not_allowed")) => hinted(function, hint, |it| {
            Refusal::Token(TokenRefusal::EndpointNotAllowed(it))
        }),
        (403, Some("model_not_allowed")) => hinted(function, hint, |it| {
            Refusal::Token(TokenRefusal::ModelNotAllowed(it))
        }),
        (404, Some("no_such_token")) => Refusal::from(TokenRefusal::NotFound).into(),
        (409, Some("token_name_taken")) => Refusal::from(TokenRefusal::NameTaken).into(),
        (409, Some("token_unbounded")) => Refusal::from(TokenRefusal::Unbounded).into(),
        (409, Some("too_many_tokens")) => hinted(function, hint, |it| {
            Refusal::Token(TokenRefusal::TooMany(it))
        }),
        (409, Some("key_exists")) => Refusal::KeyExists.into(),
        (409, Some("provisioning_in_progress")) => Refusal::ProvisioningInProgress.into(),
        (403, Some("provisioning_used_up")) => {
            hinted(function, hint, |it: UsedUp| Refusal::ProvisioningUsedUp {
                available_at: it
                    .available_at
                    .and_then(|at| Timestamp::from_second(at.parse().ok()?).ok()),
            })
        }
        (404, Some("no_such_request")) => StorageError::NoSuchRequest,
        (401 | 403, _) => StorageError::Unauthorized { status },
        (408 | 429 | 500.., _) => Unavailable::Status { status, code }.into(),
        _ => Protocol::UnexpectedStatus {
            function,
            status,
            code,
        }
        .into(),
    }
}

/// A refusal whose particulars are JSON in the hint.
fn hinted<T: DeserializeOwned>(
    function: &'static str,
    hint: Option<String>,
    refusal: impl FnOnce(T) -> Refusal,
) -> StorageError {
    match serde_json::from_str(&hint.unwrap_or_default()) {
        Ok(particulars) => refusal(particulars).into(),
        Err(_) => Protocol::UnexpectedBody { function }.into(),
    }
}

/// Whether it is one of `PostgREST`'s or `PostgreSQL`'s codes: anything else is not ours to print.
fn is_code(text: &str) -> bool {
    text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
