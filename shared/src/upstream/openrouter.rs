//! The one speaker of OpenRouter: builds the upstream request, sends it, and names what can go
//! wrong before an answer is there.

/// Exposed to the fuzz targets alone: answers are read by the questions that they answer.
#[cfg(fuzzing)]
pub mod fuzzing;
mod generation;
mod headers;
mod management;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

pub use self::generation::{Generation, GenerationError};
pub use self::headers::{
    NOT_FORWARDED, NOT_FORWARDED_PREFIXES, NOT_RETURNED, NOT_RETURNED_PREFIX, forwarded_headers,
    returned_headers, without,
};
pub use self::management::{
    KeyCheckError, KeyOrder, MadeKey, MalformedHash, ManagementError, UpstreamHash,
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

/// Why there is no answer to pass on.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be made: OpenRouter has not seen the request.
    #[error("no connection to OpenRouter")]
    Unreachable(#[source] reqwest::Error),
    /// The connection broke after the request may have been received.
    #[error("OpenRouter closed the connection before it answered")]
    Broken(#[source] reqwest::Error),
    /// The answer is not HTTP.
    #[error("OpenRouter's answer is not valid HTTP")]
    Protocol(#[source] reqwest::Error),
    /// It is HTTP, but no answer that can be passed on.
    #[error("OpenRouter's answer has {0}")]
    Unusable(&'static str),
    /// No byte of an answer came in time.
    #[error("OpenRouter did not answer in time")]
    FirstByteTimeout,
    /// The path or query cannot be written as a URL that reads back the same.
    #[error("the path does not survive being made a URL")]
    UnrepresentableUrl,
}

impl UpstreamError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Broken(_) => "upstream_unreachable",
            Self::Protocol(_) | Self::Unusable(_) => "upstream_protocol",
            Self::FirstByteTimeout => "upstream_timeout",
            Self::UnrepresentableUrl => "malformed_path",
        }
    }

    /// Whether OpenRouter may have received, and so billed, the request.
    #[must_use]
    pub fn may_have_been_billed(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::UnrepresentableUrl => false,
            Self::Broken(_) | Self::Protocol(_) | Self::Unusable(_) | Self::FirstByteTimeout => {
                true
            }
        }
    }
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

/// The start of an answer: OpenRouter's status and headers, and a body whose first chunk is here.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers as received.
    pub head: reqwest::Response,
    /// The body's first chunk; `None` where the body is empty.
    pub first_chunk: Option<Bytes>,
}

impl Answer {
    /// The generation that the head names. Of a binary answer, as of speech, nothing else does.
    #[must_use]
    pub fn generation_id(&self) -> Option<&str> {
        generation_id(self.head.headers())
    }

    /// Whether it comes out of OpenRouter's cache.
    #[must_use]
    pub fn is_cache_hit(&self) -> bool {
        let status = self.head.headers().get("x-openrouter-cache-status");
        status.is_some_and(|status| status.as_bytes().trim_ascii().eq_ignore_ascii_case(b"HIT"))
    }

    /// Whether the bytes are in another form than the content type says, though `identity` was asked for.
    #[must_use]
    pub fn is_encoded(&self) -> bool {
        codings(self.head.headers(), &header::CONTENT_ENCODING)
            .any(|coding| !coding.eq_ignore_ascii_case(b"identity"))
    }
}

/// The codings that a header names, in all its lines.
fn codings<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty())
}

/// The reason why an answer cannot be passed on, if there is one. The HTTP client hands on bytes of
/// a transfer coding that it has not undone, and a provisional status as if it were final.
fn unusable(head: &reqwest::Response) -> Option<&'static str> {
    if head.status().is_informational() {
        Some("a status that is not final")
    } else if codings(head.headers(), &header::TRANSFER_ENCODING)
        .any(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
    {
        Some("a transfer encoding that was not asked for")
    } else {
        None
    }
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

/// Why [`OpenRouter::ping`] failed.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// No usable connection.
    #[error("OpenRouter cannot be reached")]
    Unreachable(#[from] reqwest::Error),
    /// A 5xx.
    #[error("OpenRouter answered {0}")]
    Status(http::StatusCode),
    /// The configured base URL is unusable.
    #[error(transparent)]
    Url(#[from] UpstreamError),
}

/// `x-generation-id`, unless it is empty.
fn generation_id(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("x-generation-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty())
}

fn classify(error: reqwest::Error) -> UpstreamError {
    // The URL may hold the client's query; keep it out of logs.
    let error = error.without_url();
    if error.is_connect() {
        UpstreamError::Unreachable(error)
    } else if is_parse_error(&error) {
        UpstreamError::Protocol(error)
    } else {
        UpstreamError::Broken(error)
    }
}

fn is_parse_error(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<hyper::Error>() {
            return cause.is_parse();
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(
                    HeaderName::try_from(*name).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                );
                map
            })
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn many_names_in_connection_are_looked_up_not_searched() {
        let mut sent = HeaderMap::new();
        for number in 0..10_000 {
            let name = HeaderName::try_from(format!("x-{number}")).unwrap();
            sent.append(name, HeaderValue::from_static("1"));
        }
        let listed: Vec<_> = (0..10_000).map(|number| format!("x-{number}")).collect();
        let listed = HeaderValue::try_from(listed.join(",")).unwrap();
        sent.insert(header::CONNECTION, listed);
        assert_eq!(names(&forwarded_headers(&sent)), ["accept-encoding"]);
    }

    #[test]
    fn nothing_that_identifies_or_authorises_the_client_goes_upstream() {
        let sent = forwarded_headers(&headers(&[
            ("x-did", "did:key:z"),
            ("x-did-signature", "s"),
            ("x-did-timestamp", "1"),
            ("signature-input", "s"),
            ("content-digest", "d"),
            ("authorization", "Bearer sk-other"),
            ("x-api-key", "sk"),
            ("api-key", "sk"),
            ("apikey", "sk"),
            ("x-goog-api-key", "sk"),
            ("ocp-apim-subscription-key", "sk"),
            ("x-access-token", "sk"),
            ("x-auth-token", "sk"),
            ("cookie", "a=b"),
            ("host", "gw"),
            ("forwarded", "for=1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-amzn-trace-id", "Root=1"),
            ("x-amz-date", "1"),
            ("cloudfront-viewer-country", "CH"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("accept-encoding", "gzip, br"),
            ("http-referer", "https://app.example"),
            ("x-title", "App"),
            ("anthropic-version", "2023-06-01"),
            ("content-type", "application/json"),
            ("user-agent", "openai-python"),
        ]));
        assert_eq!(
            names(&sent),
            [
                "accept-encoding",
                "anthropic-version",
                "content-type",
                "http-referer",
                "user-agent",
                "x-title"
            ]
        );
        assert_eq!(sent["accept-encoding"], "identity");
    }

    #[test]
    fn answers_lose_cookies_and_hops_and_repeat_no_name() {
        let returned = returned_headers(&headers(&[
            ("set-cookie", "__cf_bm=1"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("content-length", "12"),
            ("access-control-allow-origin", "*"),
            ("x-gateway-upstream", "forged"),
            ("vary", "Accept-Encoding"),
            ("vary", "Origin"),
            ("retry-after", "7"),
            ("x-generation-id", "gen-1"),
        ]));
        assert_eq!(names(&returned), ["retry-after", "vary", "x-generation-id"]);
        assert_eq!(returned["vary"], "Accept-Encoding, Origin");
    }

    #[test]
    fn headers_that_do_not_fit_are_left_out_and_counted() {
        let long = "x".repeat(5000);
        let returned = returned_headers(&headers(&[
            ("x-a", &long),
            ("x-b", &long),
            ("x-c", "1"),
            ("link", &"y".repeat(20_000)),
            ("x-gateway-omitted-headers", "0"),
            ("x-generation-id", "gen-1"),
            ("content-type", "application/json"),
            ("retry-after", "7"),
        ]));
        let room: usize = returned
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        assert!(room < 9 * 1024, "{room}");
        assert_eq!(returned["x-gateway-omitted-headers"], "2");
        for (name, value) in [
            ("content-type", "application/json"),
            ("retry-after", "7"),
            ("x-generation-id", "gen-1"),
            ("x-c", "1"),
        ] {
            assert_eq!(returned[name], value);
        }
        let returned = returned_headers(&headers(&[("x-a", &long), ("x-c", "1")]));
        assert_eq!(names(&returned), ["x-a", "x-c"]);
    }

    #[test]
    fn refuses_a_path_that_the_url_would_change() {
        let openrouter = OpenRouter::new(
            crate::http_client::build(crate::http_client::web_roots(), Duration::from_secs(1))
                .unwrap(),
            Url::parse("https://openrouter.ai/api/v1").unwrap(),
            Timeouts {
                first_byte: Duration::from_secs(1),
                idle: Duration::from_secs(1),
            },
        );
        let url = openrouter
            .url("/models/deepseek/deepseek-r1:free/endpoints", "a=b%20c")
            .unwrap();
        assert_eq!(
            url.as_str(),
            "https://openrouter.ai/api/v1/models/deepseek/deepseek-r1:free/endpoints?a=b%20c"
        );
        assert!(openrouter.url("/a/../keys", "").is_err());
        assert!(openrouter.url("/a b", "").is_err());
    }
}
