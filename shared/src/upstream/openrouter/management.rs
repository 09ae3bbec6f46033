//! The management API, by which the gateway makes and deletes keys of its own.
//! <https://openrouter.ai/docs/features/provisioning-api-keys>
//!
//! Bodies with plaintext keys are read into memory that is wiped, and appear in no error.

use std::{str::FromStr, time::Duration};

use http::{HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{OpenRouter, UpstreamError, classify};
use crate::{
    metering::money::Usd,
    strict_json::{self, Object},
    vault::secret::{ApiKey, ApiKeyFault},
};

/// The longest answer that is read: a page of 100 keys has about 60 kB.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// Pages of a list that are read at most; each has 100 keys, the youngest first, half of them new.
const MOST_PAGES: usize = 200;

/// The properties of a key that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct KeyOrder<'a> {
    /// Unique, so that the key can be found by it.
    pub name: &'a str,
    /// US dollars.
    pub limit: Usd,
    /// `daily`, `weekly`, `monthly`; `None`: never.
    pub limit_reset: Option<&'a str>,
}

/// A key that OpenRouter has made.
#[derive(Debug)]
pub struct MadeKey {
    /// OpenRouter's name of it.
    pub hash: UpstreamHash,
    /// The key itself, which is told once.
    pub key: ApiKey,
}

/// OpenRouter's name of a key: 1 to 128 letters, digits, `-` or `_`, so that it fits a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamHash(String);

/// A text that is no [`UpstreamHash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hash that names one of OpenRouter's keys")]
pub struct MalformedHash;

impl UpstreamHash {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UpstreamHash {
    type Err = MalformedHash;

    fn from_str(text: &str) -> Result<Self, MalformedHash> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MalformedHash)
        }
    }
}

/// Why the management API did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// It refused: a 4xx. Nothing has changed.
    #[error("the management API answered {0}")]
    Refused(StatusCode),
    /// It failed: a 5xx, or something else that is no answer. What was asked may have been done.
    #[error("the management API failed with {0}")]
    Failed(StatusCode),
    /// There was no answer.
    #[error(transparent)]
    NotAnswered(#[from] UpstreamError),
    /// A success whose body cannot be used. What was asked has been done.
    #[error("the management API's answer cannot be read")]
    Unreadable,
}

impl ManagementError {
    /// Whether what was asked for may have been done all the same.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Failed(_) | Self::Unreadable => true,
            Self::NotAnswered(error) => error.may_have_been_billed(),
        }
    }
}

impl OpenRouter {
    /// Makes a key. One attempt, within `time`: a second one could make a second key.
    pub async fn make_key(
        &self,
        management: &ApiKey,
        order: KeyOrder<'_>,
        time: Duration,
    ) -> Result<MadeKey, ManagementError> {
        let body = order.to_json().ok_or(ManagementError::Unreadable)?;
        let (status, body) = self
            .exchange(Method::POST, "/keys", "", management, Some(body), time)
            .await?;
        succeeded(status)?;
        MadeKey::from_json(&body).ok_or(ManagementError::Unreadable)
    }

    /// Deletes a key; one that is gone already counts as deleted. One attempt, within `time`.
    pub async fn delete_key(
        &self,
        management: &ApiKey,
        hash: &UpstreamHash,
        time: Duration,
    ) -> Result<(), ManagementError> {
        let path = format!("/keys/{}", hash.as_str());
        let (status, _) = self
            .exchange(Method::DELETE, &path, "", management, None, time)
            .await?;
        match status {
            StatusCode::NOT_FOUND => Ok(()),
            status => succeeded(status),
        }
    }

    /// Finds the key that is called `name`. Reads all pages, each within `time`.
    ///
    /// Keys that are deleted meanwhile move the others forward, past the pages still to be read. So
    /// pages overlap by half, and one that shares no key with the page before is an error: what was not
    /// seen is not known to be gone.
    pub async fn find_key(
        &self,
        management: &ApiKey,
        name: &str,
        time: Duration,
    ) -> Result<Option<UpstreamHash>, ManagementError> {
        let mut offset = 0;
        let mut before: Vec<ListedKey> = Vec::new();
        for _ in 0..MOST_PAGES {
            let page = self.listed(management, offset, time).await?;
            if let Some(key) = page.iter().find(|key| key.name == name) {
                let hash = key.hash.parse().map_err(|_| ManagementError::Unreadable)?;
                return Ok(Some(hash));
            }
            let continues = page
                .iter()
                .any(|key| before.iter().any(|seen| seen.hash == key.hash));
            if page.is_empty() && before.len() < 2 {
                return Ok(None);
            } else if before.len() > 1 && !continues {
                return Err(ManagementError::Unreadable);
            } else if page.len() < before.len() {
                return Ok(None);
            }
            offset += (page.len() / 2).max(1);
            before = page;
        }
        // Not having seen all is not having found nothing.
        Err(ManagementError::Unreadable)
    }

    /// A page of all keys, the youngest first.
    async fn listed(
        &self,
        management: &ApiKey,
        offset: usize,
        time: Duration,
    ) -> Result<Vec<ListedKey>, ManagementError> {
        let query = format!("include_disabled=true&offset={offset}");
        let (status, body) = self
            .exchange(Method::GET, "/keys", &query, management, None, time)
            .await?;
        succeeded(status)?;
        let page: Envelope<Vec<Object<ListedKey>>> =
            strict_json::from_slice(&body).map_err(|_| ManagementError::Unreadable)?;
        Ok(page.data.into_iter().map(|Object(key)| key).collect())
    }

    /// One exchange in JSON. Where there is no whole answer, the error says whether the request may
    /// have arrived.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        query: &str,
        key: &ApiKey,
        body: Option<String>,
        time: Duration,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), UpstreamError> {
        let mut request = self
            .client
            .request(method, self.url(path, query)?)
            .header(header::AUTHORIZATION, key.authorization_header())
            .header(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            );
        if let Some(body) = body {
            request = request
                .header(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                )
                .body(body);
        }
        timeout(time, async {
            let mut answer = request.send().await.map_err(classify)?;
            let mut body = Zeroizing::new(Vec::with_capacity(4096));
            while let Some(chunk) = answer.chunk().await.map_err(classify)? {
                // Cut, it is not JSON any more.
                let room = LONGEST_ANSWER.saturating_sub(body.len());
                body.extend(chunk.iter().take(room));
            }
            Ok((answer.status(), body))
        })
        .await
        .unwrap_or(Err(UpstreamError::FirstByteTimeout))
    }
}

impl KeyOrder<'_> {
    fn to_json(self) -> Option<String> {
        #[derive(Serialize)]
        struct Json<'a> {
            name: &'a str,
            // A number, digit by digit.
            limit: Box<RawValue>,
            limit_reset: Option<&'a str>,
            /// Otherwise what providers charge for a key of one's own is beyond the limit.
            include_byok_in_limit: bool,
        }
        serde_json::to_string(&Json {
            name: self.name,
            limit: RawValue::from_string(self.limit.to_string()).ok()?,
            limit_reset: self.limit_reset,
            include_byok_in_limit: true,
        })
        .ok()
    }
}

impl MadeKey {
    pub(super) fn from_json(body: &[u8]) -> Option<Self> {
        let made: Made = strict_json::from_slice(body).ok()?;
        Some(Self {
            hash: made.data.0.hash.parse().ok()?,
            key: made.key.0.ok()?,
        })
    }
}

fn succeeded(status: StatusCode) -> Result<(), ManagementError> {
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT => Err(ManagementError::Failed(status)),
        _ if status.is_client_error() => Err(ManagementError::Refused(status)),
        _ => Err(ManagementError::Failed(status)),
    }
}

#[derive(Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) data: T,
}

#[derive(Deserialize)]
struct ListedKey {
    hash: String,
    name: String,
}

#[derive(Deserialize)]
struct Made {
    data: Object<MadeData>,
    key: MadeText,
}

#[derive(Deserialize)]
struct MadeData {
    hash: String,
}

/// The key in the clear, owned by nothing that is not wiped.
struct MadeText(Result<ApiKey, ApiKeyFault>);

impl<'de> Deserialize<'de> for MadeText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|key| Self(ApiKey::new(key)))
    }
}

#[cfg(test)]
mod tests;
