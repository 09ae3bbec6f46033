//! Sends streamed answers to the Lambda Runtime API.
//!
//! `lambda_runtime` runs the loop, but its own response path is not used. Its client leaves Nagle's
//! algorithm on and writes the prelude, its delimiter and the first chunk one by one, so that the
//! second waits for the peer's delayed acknowledgement of the first: 44 ms on every answer, measured
//! on loopback. Here the connection has `TCP_NODELAY`.
//!
//! Protocol: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming>

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderName, Response, header};
use http_body::Body;
use lambda_http::request::LambdaRequest;
use lambda_runtime::{Error, LambdaInvocation, MetadataPrelude};
use shared::{config::Env, http_client};
use tower::{Layer, Service};

/// The API is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The prelude is JSON, so eight NULs cannot be part of it.
const DELIMITER: [u8; 8] = [0; 8];
/// Set by Lambda Managed Instances, and to be sent back.
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");

/// Where answers go.
#[derive(Debug, Clone)]
pub(crate) struct RuntimeApi {
    client: reqwest::Client,
    base: String,
}

impl RuntimeApi {
    /// The API that Lambda names in `AWS_LAMBDA_RUNTIME_API`: host and port, or a stand-in's URL.
    pub(crate) fn from_env(env: &Env<'_>) -> Result<Self, Error> {
        let address = env
            .optional("AWS_LAMBDA_RUNTIME_API")
            .ok_or("AWS_LAMBDA_RUNTIME_API is not set: this program runs in Lambda")?;
        Ok(Self::new(
            http_client::without_tls(CONNECT_TIMEOUT)?,
            &address,
        ))
    }

    fn new(client: reqwest::Client, address: &str) -> Self {
        let scheme = if address.contains("://") {
            ""
        } else {
            "http://"
        };
        Self {
            client,
            base: format!("{scheme}{}", address.trim_end_matches('/')),
        }
    }

    async fn respond<B>(&self, invocation: Origin, response: Response<B>) -> Result<(), Error>
    where
        B: Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
    {
        let url = format!(
            "{}/2018-06-01/runtime/invocation/{}/response",
            self.base, invocation.request_id
        );
        let mut request = self
            .client
            .post(url)
            .header("lambda-runtime-function-response-mode", "streaming")
            .header(
                header::CONTENT_TYPE,
                "application/vnd.awslambda.http-integration-response",
            )
            .body(reqwest::Body::wrap_stream(Frames::of(response)?));
        if let Some(id) = invocation.invocation_id {
            request = request.header(INVOCATION_ID, id);
        }
        request.send().await?.error_for_status()?;
        Ok(())
    }
}

/// The invocation that an answer is for.
struct Origin {
    request_id: String,
    invocation_id: Option<http::HeaderValue>,
}

/// Puts [`Respond`] in the place of the runtime's own way to handle an invocation.
#[derive(Clone)]
pub(crate) struct RespondLayer<H> {
    api: RuntimeApi,
    handler: H,
}

impl<H> RespondLayer<H> {
    pub(crate) fn new(api: RuntimeApi, handler: H) -> Self {
        Self { api, handler }
    }
}

impl<S, H: Clone> Layer<S> for RespondLayer<H> {
    type Service = Respond<H>;

    fn layer(&self, _runtimes_own: S) -> Respond<H> {
        Respond(self.clone())
    }
}

/// Answers one invocation.
#[derive(Clone)]
pub(crate) struct Respond<H>(RespondLayer<H>);

impl<H, F, B> Service<LambdaInvocation> for Respond<H>
where
    H: Fn(Result<LambdaRequest, serde_json::Error>, lambda_runtime::Context) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let api = self.0.api.clone();
        let origin = Origin {
            request_id: invocation.context.request_id.clone(),
            invocation_id: invocation.parts.headers.get(INVOCATION_ID).cloned(),
        };
        let answering =
            (self.0.handler)(serde_json::from_slice(&invocation.body), invocation.context);
        Box::pin(async move {
            let response = answering.await;
            // An answer that nobody took is no reason to stop serving.
            if let Err(error) = api.respond(origin, response).await {
                tracing::error!(
                    error = shared::causes::causes(&*error),
                    "the answer could not be sent"
                );
            }
            Ok(())
        })
    }
}

/// An answer in Lambda's format: prelude, delimiter, body. Each is a chunk of its own, which Lambda
/// does not ask for and `cargo lambda watch` does; those that are there already leave in one write.
struct Frames<B> {
    prelude: Option<Bytes>,
    delimiter: Option<Bytes>,
    body: B,
}

impl<B: Body<Data = Bytes>> Frames<B> {
    fn of(response: Response<B>) -> Result<Self, serde_json::Error> {
        let (parts, body) = response.into_parts();
        let prelude = MetadataPrelude {
            status_code: parts.status,
            headers: parts.headers,
            cookies: Vec::new(),
        };
        Ok(Self {
            prelude: Some(serde_json::to_vec(&prelude)?.into()),
            delimiter: Some(Bytes::from_static(&DELIMITER)),
            body,
        })
    }
}

impl<B: Body<Data = Bytes, Error = Infallible> + Unpin> Stream for Frames<B> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(head) = this.prelude.take().or_else(|| this.delimiter.take()) {
            return Poll::Ready(Some(Ok(head)));
        }
        loop {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                // Trailers have no place in Lambda's format.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use shared::relay::RelayBody;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_prelude_delimiter_and_body() {
        let mut response = Response::new(RelayBody::from(Bytes::from_static(b"{}")));
        *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
        response.headers_mut().insert("retry-after", 7.into());
        let sent: Vec<Bytes> = Frames::of(response)
            .unwrap()
            .map(Result::unwrap)
            .collect()
            .await;
        let prelude = br#"{"statusCode":418,"headers":{"retry-after":"7"},"cookies":[]}"#;
        assert_eq!(sent, [&prelude[..], &[0; 8], b"{}"]);
    }
}
