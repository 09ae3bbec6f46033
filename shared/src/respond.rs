//! The gateway's own responses: their shapes and headers. Which status and sentence a failure has is
//! written in `failure`, whether to try again in `retry`, and nowhere else.

mod envelope;
mod failure;
mod retry;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use uuid::Uuid;

use self::{envelope::Envelope, failure::Failure, retry::Retry};
use crate::{causes::causes, error::Error, observe, upstream::endpoint::Dialect};

/// Names the request on every response.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-gateway-request-id");
/// The headers that web pages may read besides the harmless ones.
const EXPOSED_HEADERS: &str =
    "date,link,retry-after,x-gateway-request-id,x-gateway-upstream,x-generation-id,x-should-retry";

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

/// A 200 with a file of a page.
#[must_use]
pub fn file(body: Bytes, media_type: &'static str, id: Uuid) -> Response<Bytes> {
    whole(body, HeaderValue::from_static(media_type), id)
}

/// A 304: the client has it already.
#[must_use]
pub fn not_modified(id: Uuid) -> Response<Bytes> {
    let mut response = identified(Response::new(Bytes::new()), id);
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// A 302 for people, where programs get JSON.
#[must_use]
pub fn page_elsewhere(location: &str, id: Uuid) -> Response<Bytes> {
    let mut response = identified(Response::new(Bytes::new()), id);
    if let Ok(location) = HeaderValue::from_str(location) {
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(header::LOCATION, location);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
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

/// The gateway's error body on routes of its own. The full cause goes to the log under the same id.
#[must_use]
pub fn failure(error: &Error, id: Uuid) -> Response<Bytes> {
    failure_in(Dialect::Unknown, error, id)
}

/// The gateway's error body, as clients of `dialect` read it.
#[must_use]
pub fn failure_in(dialect: Dialect, error: &Error, id: Uuid) -> Response<Bytes> {
    let failure = Failure::of(error);
    log(error, &failure, id);
    let mut response = json(&Envelope::new(dialect, &failure, error.reason(), id), id);
    *response.status_mut() = failure.status;
    for (name, value) in failure
        .headers
        .into_iter()
        .chain(Retry::of(error).headers())
    {
        response.headers_mut().insert(name, value);
    }
    response
}

fn log(error: &Error, failure: &Failure, id: Uuid) {
    let (status, reason) = (failure.status.as_u16(), error.reason());
    observe::record("request.reason", reason);
    if failure.status.is_server_error() {
        tracing::error!(request.id = %id, http.status = status, request.reason = reason, error = causes(error), "request failed");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        identity::auth::AuthError,
        request::MAX_BODY,
        storage::{Refusal, StorageError},
        upstream::openrouter::UpstreamError,
    };

    fn told(dialect: Dialect, error: &Error) -> (StatusCode, Value) {
        let response = failure_in(dialect, error, Uuid::nil());
        let body = serde_json::from_slice(response.body()).unwrap();
        (response.status(), body)
    }

    #[test]
    fn messages_get_anthropics_envelope_with_the_reason_where_it_always_is() {
        let too_large = || AuthError::BodyTooLarge {
            size: MAX_BODY + 1,
            max: MAX_BODY,
        };
        for (error, status, kind, reason) in [
            (
                Error::from(AuthError::ContentEncoding),
                415,
                "invalid_request_error",
                "content_encoding_not_supported",
            ),
            (
                too_large().into(),
                413,
                "request_too_large",
                "body_too_large",
            ),
            (
                StorageError::Refused(Refusal::Replayed).into(),
                401,
                "authentication_error",
                "replayed_request",
            ),
            (
                StorageError::Refused(Refusal::NoKeyForDid).into(),
                402,
                "billing_error",
                "no_key_for_did",
            ),
            (
                StorageError::Refused(Refusal::KeyDisabled).into(),
                403,
                "permission_error",
                "key_disabled",
            ),
            (
                UpstreamError::FirstByteTimeout.into(),
                504,
                "api_error",
                "upstream_timeout",
            ),
        ] {
            let (code, body) = told(Dialect::Messages, &error);
            let message = body["error"]["message"].clone();
            let metadata = body["error"]["metadata"].clone();
            assert_eq!(metadata["reason"], reason);
            let envelope = json!({
                "type": "error",
                "error": {"type": kind, "message": message, "metadata": metadata},
                "request_id": Uuid::nil(),
            });
            assert_eq!((code.as_u16(), body), (status, envelope));
            // The same elsewhere, in the gateway's own form.
            let own = json!({
                "success": false,
                "error": {"code": status, "message": message, "metadata": metadata},
                "request_id": Uuid::nil(),
            });
            for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Unknown] {
                assert_eq!(told(dialect, &error), (code, own.clone()));
            }
        }
        let (_, body) = told(Dialect::Messages, &too_large().into());
        assert_eq!(body["error"]["metadata"]["max_bytes"], MAX_BODY);
    }

    #[test]
    fn a_retry_is_invited_only_where_nothing_may_be_billed() {
        let advice = |error: &Error| {
            let response = failure(error, Uuid::nil());
            let header = |name: &str| {
                let value = response.headers().get(name)?;
                value.to_str().ok().map(str::to_owned)
            };
            (header("x-should-retry"), header("retry-after"))
        };
        for (error, should_retry, after) in [
            (
                Error::from(UpstreamError::FirstByteTimeout),
                Some("false"),
                None,
            ),
            (
                UpstreamError::Unusable("no status").into(),
                Some("false"),
                None,
            ),
            (
                Error::NoRandomness(getrandom::Error::UNSUPPORTED),
                Some("true"),
                Some("5"),
            ),
            (Error::Panicked, Some("false"), None),
            (
                Error::Unhealthy {
                    checks: Value::Null,
                },
                Some("true"),
                Some("5"),
            ),
            (
                StorageError::Refused(Refusal::ProvisioningInProgress).into(),
                Some("true"),
                Some("2"),
            ),
            (StorageError::Refused(Refusal::Replayed).into(), None, None),
            (Error::NotFound, None, None),
        ] {
            let (should_retry, after) = (should_retry.map(str::to_owned), after.map(str::to_owned));
            assert_eq!(advice(&error), (should_retry, after), "{error}");
        }
    }
}
