//! Keys, as OpenRouter sees them: whether one is good (`GET /key`), and the management API, by which
//! the gateway makes and deletes keys of its own.
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

/// Why a key is not known to be good.
#[derive(Debug, thiserror::Error)]
pub enum KeyCheckError {
    /// OpenRouter does not accept it.
    #[error("OpenRouter does not accept the key ({0})")]
    Refused(StatusCode),
    /// It is one for the management API, which answers no completion.
    #[error("the key is a management key")]
    ManagementKey,
    /// OpenRouter said something else.
    #[error("OpenRouter answered {0}")]
    Undecided(StatusCode),
    /// There was no answer.
    #[error(transparent)]
    NotAnswered(#[from] UpstreamError),
}

impl KeyCheckError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(_) | Self::ManagementKey => "key_refused",
            Self::Undecided(_) | Self::NotAnswered(_) => "key_not_checked",
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
    /// Asks whether `key` is good for inference. One attempt, within `time`.
    pub async fn check_key(&self, key: &ApiKey, time: Duration) -> Result<(), KeyCheckError> {
        let (status, body) = self
            .exchange(Method::GET, "/key", "", key, None, time)
            .await?;
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(KeyCheckError::Refused(status));
            }
            _ => return Err(KeyCheckError::Undecided(status)),
        }
        let manages = strict_json::from_slice::<Envelope<Object<KeyKind>>>(&body)
            .is_ok_and(|it| it.data.0.is_management_key || it.data.0.is_provisioning_key);
        if manages {
            return Err(KeyCheckError::ManagementKey);
        }
        Ok(())
    }

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
    async fn exchange(
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
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
struct KeyKind {
    #[serde(default)]
    is_management_key: bool,
    /// Its former name.
    #[serde(default)]
    is_provisioning_key: bool,
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
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;
    use crate::{http_client, upstream::openrouter::Timeouts};

    /// An OpenRouter with `count` keys, `k0` the youngest, of which somebody deletes `deleted` of the
    /// youngest after each page that is read.
    fn listing(count: usize, deleted: usize) -> OpenRouter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let mut keys: Vec<String> = (0..count).map(|index| format!("k{index}")).collect();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let asked = lines.next().unwrap().unwrap();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                let (_, offset) = asked.split_once("offset=").unwrap();
                let offset = offset.split(' ').next().unwrap().parse().unwrap();
                let page: Vec<_> = keys
                    .iter()
                    .skip(offset)
                    .take(100)
                    .map(|name| serde_json::json!({"name": name, "hash": format!("h-{name}")}))
                    .collect();
                let body = serde_json::json!({ "data": page }).to_string();
                let head = "HTTP/1.1 200 OK\r\nconnection: close";
                let length = body.len();
                let _ = write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{body}");
                keys.drain(..deleted.min(keys.len()));
            }
        });
        let timeouts = Timeouts {
            first_byte: Duration::from_secs(5),
            idle: Duration::from_secs(5),
        };
        let client = http_client::without_tls(Duration::from_secs(5)).unwrap();
        OpenRouter::new(client, url.parse().unwrap(), timeouts)
    }

    async fn found(
        openrouter: &OpenRouter,
        name: &str,
    ) -> Result<Option<UpstreamHash>, ManagementError> {
        let management = ApiKey::new("sk-or-v1-management".to_owned()).unwrap();
        openrouter
            .find_key(&management, name, Duration::from_secs(5))
            .await
    }

    #[tokio::test]
    async fn a_key_is_found_on_every_page_and_none_is_none() {
        for count in [0, 1, 2, 3, 99, 100, 101, 149, 150, 151, 250] {
            let openrouter = listing(count, 0);
            assert_eq!(found(&openrouter, "other").await.unwrap(), None, "{count}");
            for index in [0, 1, 99, 100, 101, 149, 150, 249] {
                let hash = found(&openrouter, &format!("k{index}")).await.unwrap();
                assert_eq!(hash.is_some(), index < count, "k{index} of {count}");
            }
        }
    }

    #[tokio::test]
    async fn a_key_that_moves_to_a_page_already_read_is_not_taken_for_gone() {
        for deleted in [1, 30, 49] {
            for index in 100..160 {
                let openrouter = listing(400, deleted);
                let hash = found(&openrouter, &format!("k{index}")).await.unwrap();
                assert!(hash.is_some(), "k{index}, {deleted} deleted a page");
            }
        }
        // Faster than can be followed: no answer, and in the end one that is right.
        for count in [120, 160, 400] {
            for index in (100..count).step_by(7) {
                let hash = found(&listing(count, 110), &format!("k{index}")).await;
                assert!(!matches!(hash, Ok(None)), "k{index} of {count}: {hash:?}");
            }
        }
    }

    #[test]
    fn an_order_keeps_its_digits() {
        let order = |limit_reset| KeyOrder {
            name: "llm-gateway-1",
            limit: "0.10000000000000000001".parse().unwrap(),
            limit_reset,
        };
        assert_eq!(
            order(Some("monthly")).to_json().unwrap(),
            r#"{"name":"llm-gateway-1","limit":0.10000000000000000001,"limit_reset":"monthly","include_byok_in_limit":true}"#
        );
        assert!(
            order(None)
                .to_json()
                .unwrap()
                .ends_with(r#""limit_reset":null,"include_byok_in_limit":true}"#)
        );
    }

    #[test]
    fn a_made_key_is_read_and_does_not_print() {
        // The members of OpenRouter's own example.
        let body = r#"{"data":{"hash":"f01d52606dc8f0a8303a7b5cc3fa07109c2e346cec7c0a16b40de462992ce943",
            "name":"Analytics Service Key","label":"sk-or-v1-abc...123","disabled":false,"limit":50,
            "limit_remaining":50,"limit_reset":null,"include_byok_in_limit":true,"usage":0},
            "key":"sk-or-v1-planted"}"#;
        let made = MadeKey::from_json(body.as_bytes()).unwrap();
        assert_eq!(made.hash.as_str().len(), 64);
        assert_eq!(made.key.expose_secret(), "sk-or-v1-planted");
        assert!(!format!("{made:?}").contains("planted"));
    }

    #[test]
    fn half_a_made_key_is_none() {
        for body in [
            r#"{"data":{"hash":"ab"}}"#,
            r#"{"data":{},"key":"sk-or-v1-x"}"#,
            r#"{"data":{"hash":"../keys"},"key":"sk-or-v1-x"}"#,
            r#"{"data":{"hash":"ab"},"key":"with blank"}"#,
            r#"{"data":{"hash":"ab"},"key":"sk-or-v1-"#,
            "",
        ] {
            assert!(MadeKey::from_json(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn only_a_refusal_is_certain() {
        for (status, may_have_happened) in [
            (400, false),
            (401, false),
            (409, false),
            (429, false),
            (408, true),
            (302, true),
            (500, true),
            (503, true),
        ] {
            let error = succeeded(StatusCode::from_u16(status).unwrap()).unwrap_err();
            assert_eq!(error.may_have_happened(), may_have_happened, "{status}");
        }
        assert!(ManagementError::Unreadable.may_have_happened());
        assert!(ManagementError::from(UpstreamError::FirstByteTimeout).may_have_happened());
    }
}
