//! The function that the benchmark compares the proxy with: it forwards a request and streams the answer
//! back. No signature, no key, no database, no metering. Without an address to forward to, it answers by
//! itself, and costs only Lambda's protocol.

use std::{
    convert::Infallible,
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{Response, StatusCode, header};
use http_body::Frame;
use shared::{
    config::Env,
    http_client::{self, HttpClientError},
    request::{Incoming, Invocation},
    upstream::openrouter::{forwarded_headers, returned_headers},
};

const ROUTE: &str = "/api/v1/openrouter";

fn main() -> ExitCode {
    adapter::run_streaming(Upstream::load, forward)
}

struct Upstream {
    client: reqwest::Client,
    base: Option<String>,
}

impl Upstream {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the adapter passes it by value"
    )]
    fn load(env: Env<'_>) -> Result<Self, HttpClientError> {
        Ok(Self {
            // The proxy's own client, so that the client makes no difference.
            client: http_client::build(http_client::web_roots(), Duration::from_secs(5))?,
            base: env.optional("GATEWAY_OPENROUTER_URL"),
        })
    }
}

async fn forward(upstream: Arc<Upstream>, request: Incoming, _: Invocation) -> Response<Forwarded> {
    let Some(base) = &upstream.base else {
        return Response::new(Forwarded::from(Bytes::from_static(b"{}")));
    };
    let below = request.raw_path.strip_prefix(ROUTE).unwrap_or_default();
    let mut headers = forwarded_headers(&request.headers);
    headers.remove(header::HOST);
    let answer = upstream
        .client
        .request(request.method, format!("{base}{below}"))
        .headers(headers)
        .body(request.body)
        .send()
        .await;
    let Ok(answer) = answer else {
        let mut response = Response::new(Forwarded::from(Bytes::new()));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return response;
    };
    let (status, headers) = (answer.status(), returned_headers(answer.headers()));
    let chunks = answer
        .bytes_stream()
        .take_while(|chunk| std::future::ready(chunk.is_ok()))
        .filter_map(|chunk| std::future::ready(chunk.ok()));
    let mut response = Response::new(Forwarded(chunks.boxed()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// An answer's body, as it arrives.
struct Forwarded(Pin<Box<dyn Stream<Item = Bytes> + Send>>);

impl From<Bytes> for Forwarded {
    fn from(whole: Bytes) -> Self {
        Self(stream::once(std::future::ready(whole)).boxed())
    }
}

impl http_body::Body for Forwarded {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_next_unpin(cx)
            .map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
