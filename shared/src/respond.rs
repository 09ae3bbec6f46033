//! The gateway's own responses: their shapes and headers. Which status and sentence a failure has is
//! written in `failure`, and nowhere else.

mod failure;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use self::failure::Failure;
use crate::{causes::causes, error::Error, observe};

/// Names the request on every response.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-gateway-request-id");
/// The headers that web pages may read besides the harmless ones.
const EXPOSED_HEADERS: &str =
    "date,link,retry-after,x-gateway-request-id,x-gateway-upstream,x-generation-id";

/// `{"success":true,"data":…}`
#[must_use]
pub fn data(data: &impl Serialize, id: Uuid) -> Response<Bytes> {
    // Not through `Value`, which would turn exact decimals into floats.
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        success: bool,
        data: &'a T,
    }
    json(
        &Envelope {
            success: true,
            data,
        },
        id,
    )
}

/// A 200 with `body` as it is.
#[must_use]
pub fn json(body: &impl Serialize, id: Uuid) -> Response<Bytes> {
    let body = match serde_json::to_vec(body) {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(request.id = %id, error = causes(&error), "an answer could not be written");
            return failure(&Error::Panicked, id);
        }
    };
    whole(
        body.into(),
        HeaderValue::from_static("application/json"),
        id,
    )
}

/// A 200 with comma-separated values (RFC 4180), to be saved under the name `file`.
#[must_use]
pub fn csv(body: String, file: &'static str, id: Uuid) -> Response<Bytes> {
    let media_type = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    let mut response = whole(body.into(), media_type, id);
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{file}\"")) {
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

/// `response` with the place of the next page (RFC 8288): the same path with another query. It is
/// relative, because behind a stage or a custom domain the gateway does not know its own URL.
#[must_use]
pub fn with_next(mut response: Response<Bytes>, query: &str) -> Response<Bytes> {
    if let Ok(link) = HeaderValue::from_str(&format!("<?{query}>; rel=\"next\"")) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// A 200 that nobody is to keep.
fn whole(body: Bytes, media_type: HeaderValue, id: Uuid) -> Response<Bytes> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    identified(response, id)
}

/// `response` with what every response carries: the request's id, and leave for web pages to read
/// it. Any origin may, because no cookie authenticates anyone; which origins may send a request is
/// API Gateway's preflight to say.
#[must_use]
pub fn identified<B>(mut response: Response<B>, id: Uuid) -> Response<B> {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(EXPOSED_HEADERS),
    );
    response
}

/// The gateway's one error body. The full cause goes to the log under the same id.
#[must_use]
pub fn failure(error: &Error, id: Uuid) -> Response<Bytes> {
    let failure = Failure::of(error);
    log(error, &failure, id);
    let mut metadata = failure.metadata;
    metadata.insert("reason".to_owned(), Value::from(error.reason()));
    let body = ErrorBody {
        success: false,
        error: ErrorMember {
            code: failure.status.as_u16(),
            message: &failure.message,
            metadata,
        },
        request_id: id.to_string(),
    };
    let mut response = json(&body, id);
    *response.status_mut() = failure.status;
    for (name, value) in failure.headers {
        response.headers_mut().insert(name, value);
    }
    response
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    success: bool,
    error: ErrorMember<'a>,
    request_id: String,
}

/// The member in which OpenRouter's and OpenAI's SDKs look for `message` and `code`.
#[derive(Serialize)]
struct ErrorMember<'a> {
    code: u16,
    message: &'a str,
    metadata: Map<String, Value>,
}

fn log(error: &Error, failure: &Failure, id: Uuid) {
    let (status, reason) = (failure.status.as_u16(), error.reason());
    observe::record("request.reason", reason);
    if failure.status.is_server_error() {
        tracing::error!(request.id = %id, http.status = status, request.reason = reason, error = causes(error), "request failed");
    }
}
