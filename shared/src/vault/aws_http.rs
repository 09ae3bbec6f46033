//! The AWS SDK's transport over the gateway's [`http_client`](crate::http_client): the SDK's own
//! would bring a second pool and a second TLS stack.

use std::time::Duration;

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

/// Hands the SDK's requests to `reqwest`. Connections and connect timeouts are the client's
/// business; the SDK's read timeout, if it sets one, applies to each request.
#[derive(Debug, Clone)]
pub(crate) struct AwsHttp(pub(crate) reqwest::Client);

impl HttpClient for AwsHttp {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            client: self.0.clone(),
            read_timeout: settings.read_timeout(),
        })
    }
}

#[derive(Debug)]
struct Connector {
    client: reqwest::Client,
    read_timeout: Option<Duration>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.client.clone();
        let read_timeout = self.read_timeout;
        HttpConnectorFuture::new(async move {
            let mut request = to_reqwest(request).map_err(ConnectorError::user)?;
            *request.timeout_mut() = read_timeout;
            let response = client.execute(request).await.map_err(classify)?;
            let response = http::Response::<reqwest::Body>::from(response);
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn to_reqwest(request: HttpRequest) -> Result<reqwest::Request, BoxError> {
    let (parts, body) = request.try_into_http1x()?.into_parts();
    // Streams are for uploads to other services.
    let body = body.bytes().ok_or("the request's body is a stream")?;
    let body = Bytes::copy_from_slice(body);
    Ok(http::Request::from_parts(parts, body).try_into()?)
}

/// Tells the SDK what it may retry.
fn classify(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_builder() {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
