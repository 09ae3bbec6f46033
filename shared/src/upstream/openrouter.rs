//! The one speaker of OpenRouter: builds the upstream request, sends it, and names what can go
//! wrong before an answer is there.

/// Exposed to the fuzz targets alone: answers are read by the questions that they answer.
#[cfg(fuzzing)]
pub mod fuzzing;

mod answer;
mod error;
mod generation;
mod headers;
mod key_check;
mod management;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

pub use self::{
    answer::Answer,
    error::{PingError, UpstreamError},
    generation::{Generation, GenerationError},
    headers::{
        NOT_FORWARDED, NOT_FORWARDED_PREFIXES, NOT_RETURNED, NOT_RETURNED_PREFIX,
        forwarded_headers, returned_headers, without,
    },
    key_check::KeyCheckError,
    management::{KeyOrder, MadeKey, MalformedHash, ManagementError, UpstreamHash},
};
use self::{
    answer::{generation_id, unusable},
    error::classify,
};
use crate::vault::secret::ApiKey;

/// The time limits of OpenRouter's answers.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From sending the request to the first byte of the answer's body.
    pub first_byte: Duration,
    /// Between two chunks of the answer.
    pub idle: Duration,
}

/// A request for OpenRouter, made only of what was authenticated.
#[derive(Debug)]
pub struct UpstreamRequest<'a> {
    /// The method.
    pub method: Method,
    /// The path below the base URL, canonical, with its leading slash.
    pub path: &'a str,
    /// The canonical query, possibly empty.
    pub query: &'a str,
    /// The client's headers; [`forwarded_headers`] decides which of them go on.
    pub headers: &'a HeaderMap,
    /// The body, byte for byte as signed.
    pub body: Bytes,
    /// Send `content-type: application/json` instead of the client's.
    pub force_json: bool,
}

/// The time for which a head may wait for its body before it counts as alone. Short JSON answers
/// come with theirs.
const HEAD_ALONE: Duration = Duration::from_millis(100);

/// OpenRouter.
#[derive(Debug, Clone)]
pub struct OpenRouter {
    client: reqwest::Client,
    base: Url,
    timeouts: Timeouts,
}

impl OpenRouter {
    /// `base` is the API's root, e.g. `https://openrouter.ai/api/v1`, without a trailing slash.
    #[must_use]
    pub fn new(client: reqwest::Client, base: Url, timeouts: Timeouts) -> Self {
        Self {
            client,
            base,
            timeouts,
        }
    }

    /// The configured limits.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Sends `request` with the user's `key` and waits for the first byte of the answer's body,
    /// so that an upstream that dies before it still becomes an honest status.
    ///
    /// `head_alone` gets the id of the generation where the head names it and the first byte is late,
    /// or never comes: who dies in between, or gives up, has spent money all the same.
    pub async fn send(
        &self,
        request: UpstreamRequest<'_>,
        key: &ApiKey,
        deadline: Instant,
        head_alone: impl FnOnce(&str),
    ) -> Result<Answer, UpstreamError> {
        let url = self.url(request.path, request.query)?;
        let mut headers = forwarded_headers(request.headers);
        if request.force_json {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
        }
        headers.insert(header::AUTHORIZATION, key.authorization_header());
        let sending = self
            .client
            .request(request.method, url)
            .headers(headers)
            .body(request.body)
            .send();
        let deadline = deadline.min(Instant::now() + self.timeouts.first_byte);
        timeout_at(deadline, async {
            let mut head = sending.await.map_err(classify)?;
            let generation_id = generation_id(head.headers()).map(str::to_owned);
            if let Some(fault) = unusable(&head) {
                if let Some(id) = generation_id {
                    head_alone(&id);
                }
                return Err(UpstreamError::Unusable(fault));
            }
            // Losing this future loses nothing: a chunk is taken out only when it is returned.
            let first_chunk = match timeout(HEAD_ALONE, head.chunk()).await {
                Ok(Ok(chunk)) => chunk,
                late_or_broken => {
                    if let Some(id) = generation_id {
                        head_alone(&id);
                    }
                    match late_or_broken {
                        Ok(broken) => broken,
                        Err(_) => head.chunk().await,
                    }
                    .map_err(classify)?
                }
            };
            Ok(Answer { head, first_chunk })
        })
        .await
        .unwrap_or(Err(UpstreamError::FirstByteTimeout))
    }

    /// Whether OpenRouter answers at all, without a key: any status below 500.
    pub async fn ping(&self, timeout: Duration) -> Result<(), PingError> {
        let answer = self
            .client
            .get(self.url("/key", "")?)
            .timeout(timeout)
            .send()
            .await?;
        if answer.status().is_server_error() {
            Err(PingError::Status(answer.status()))
        } else {
            Ok(())
        }
    }

    fn url(&self, path: &str, query: &str) -> Result<Url, UpstreamError> {
        let mut url = self.base.clone();
        let whole_path = format!("{}{path}", self.base.path().trim_end_matches('/'));
        url.set_path(&whole_path);
        url.set_query((!query.is_empty()).then_some(query));
        // The path that was checked is the path that is sent: the URL library must not have changed
        // anything.
        if url.path() == whole_path && url.query().unwrap_or_default() == query {
            Ok(url)
        } else {
            Err(UpstreamError::UnrepresentableUrl)
        }
    }
}

#[cfg(test)]
mod tests;
