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

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body::{Body, Frame};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use lambda_http::request::LambdaRequest;
use lambda_runtime::{Error, LambdaInvocation, MetadataPrelude};
use serde_json::json;
use shared::{config::Env, http_client::POOL_IDLE, relay::BROKEN_OFF};
use tower::{Layer, Service};

/// The API is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The prelude is JSON, so eight NULs cannot be part of it.
const DELIMITER: [u8; 8] = [0; 8];
/// The trailer that marks the end of a response as broken: Lambda then counts the invocation as
/// failed and breaks the response off.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming>
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
/// The trailer with the same error as JSON, in base64.
const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");
/// Set by Lambda Managed Instances, and to be sent back.
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");

/// A client of the Runtime API, which responses are sent to.
#[derive(Debug)]
pub(crate) struct RuntimeApi<B> {
    client: Client<HttpConnector, Frames<B>>,
    base: String,
}

impl<B> Clone for RuntimeApi<B> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            base: self.base.clone(),
        }
    }
}

impl<B> RuntimeApi<B>
where
    B: Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
{
    /// The API that Lambda names in `AWS_LAMBDA_RUNTIME_API`: host and port, or a stand-in's URL.
    pub(crate) fn from_env(env: &Env<'_>) -> Result<Self, Error> {
        let address = env
            .optional("AWS_LAMBDA_RUNTIME_API")
            .ok_or("AWS_LAMBDA_RUNTIME_API is not set: this program runs in Lambda")?;
        let scheme = if address.contains("://") {
            ""
        } else {
            "http://"
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Ok(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(POOL_IDLE)
                .build(connector),
            base: format!("{scheme}{}", address.trim_end_matches('/')),
        })
    }

    async fn respond(&self, invocation: Origin, response: Response<B>) -> Result<(), Error> {
        let mut request = Request::post(format!(
            "{}/2018-06-01/runtime/invocation/{}/response",
            self.base, invocation.request_id
        ))
        .header("lambda-runtime-function-response-mode", "streaming")
        .header(
            header::CONTENT_TYPE,
            "application/vnd.awslambda.http-integration-response",
        )
        .header(header::TRAILER, format!("{ERROR_TYPE}, {ERROR_BODY}"));
        if let Some(id) = invocation.invocation_id {
            request = request.header(INVOCATION_ID, id);
        }
        let said = self
            .client
            .request(request.body(Frames::of(response)?)?)
            .await?;
        let status = said.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(format!("the Runtime API answered {status}").into());
        }
        Ok(())
    }
}

/// The invocation that an answer is for.
struct Origin {
    request_id: String,
    invocation_id: Option<HeaderValue>,
}

/// Puts [`Respond`] in the place of the runtime's own way to handle an invocation.
pub(crate) struct RespondLayer<H, B> {
    api: RuntimeApi<B>,
    handler: H,
}

impl<H, B> RespondLayer<H, B> {
    pub(crate) fn new(api: RuntimeApi<B>, handler: H) -> Self {
        Self { api, handler }
    }
}

impl<H: Clone, B> Clone for RespondLayer<H, B> {
    fn clone(&self) -> Self {
        Self {
            api: self.api.clone(),
            handler: self.handler.clone(),
        }
    }
}

impl<S, H: Clone, B> Layer<S> for RespondLayer<H, B> {
    type Service = Respond<H, B>;

    fn layer(&self, _runtimes_own: S) -> Respond<H, B> {
        Respond(self.clone())
    }
}

/// Answers one invocation.
pub(crate) struct Respond<H, B>(RespondLayer<H, B>);

impl<H: Clone, B> Clone for Respond<H, B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<H, F, B> Service<LambdaInvocation> for Respond<H, B>
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

impl<B: Body<Data = Bytes, Error = Infallible> + Unpin> Body for Frames<B> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Some(head) = this.prelude.take().or_else(|| this.delimiter.take()) {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        Poll::Ready(frame.map(|Ok(frame)| {
            Ok(match frame.into_trailers() {
                Ok(trailers) => Frame::trailers(error_trailers(&trailers)),
                Err(data) => data,
            })
        }))
    }
}

/// Lambda's trailers for those of a body that broke off; of others there are none.
fn error_trailers(trailers: &HeaderMap) -> HeaderMap {
    let Some(reason) = trailers.get(BROKEN_OFF).and_then(|it| it.to_str().ok()) else {
        return HeaderMap::new();
    };
    let error_type = format!("Function.{reason}");
    let error = json!({"errorType": error_type, "errorMessage": "the answer broke off"});
    let encoded = BASE64_STANDARD.encode(error.to_string());
    [(ERROR_TYPE, error_type), (ERROR_BODY, encoded)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use shared::relay::RelayBody;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_prelude_delimiter_and_body() {
        let mut response = Response::new(RelayBody::from(Bytes::from_static(b"{}")));
        *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
        response.headers_mut().insert("retry-after", 7.into());
        let mut frames = Frames::of(response).unwrap();
        let mut sent = Vec::new();
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut frames).poll_frame(cx)).await {
            sent.push(frame.into_data().unwrap());
        }
        let prelude = br#"{"statusCode":418,"headers":{"retry-after":"7"},"cookies":[]}"#;
        assert_eq!(sent, [&prelude[..], &[0; 8], b"{}"]);
    }

    #[test]
    fn of_trailers_lambda_learns_that_an_answer_broke_off_and_nothing_else() {
        let named = |name: HeaderName| {
            let value = HeaderValue::from_static("upstream_cut");
            error_trailers(&HeaderMap::from_iter([(name, value)]))
        };
        assert!(named(HeaderName::from_static("x-checksum")).is_empty());
        let told = named(BROKEN_OFF);
        assert_eq!(told.len(), 2);
        assert_eq!(told[&ERROR_TYPE], "Function.upstream_cut");
        assert_eq!(
            BASE64_STANDARD.decode(&told[&ERROR_BODY]).unwrap(),
            br#"{"errorMessage":"the answer broke off","errorType":"Function.upstream_cut"}"#
        );
    }
}
