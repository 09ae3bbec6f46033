//! `GET /console` and below: the console, a page for people. Its files are compiled in. It reads no
//! configuration but the gateway's base URLs, and has no secret and no database.

mod files;
mod headers;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, header::IF_NONE_MATCH};
use serde_json::json;
use shared::{
    config::{ConsoleConfig, Env, StartError},
    error::Error,
    identity::{
        auth::{self, Audience, Audiences},
        canonical::CanonicalPath,
    },
    relay::RelayBody,
    request::{Incoming, Invocation},
    respond,
    routes::Route,
};
use uuid::Uuid;

use self::files::File;

/// The state that the function keeps between requests.
#[derive(Debug)]
pub struct Console {
    audiences: Audiences,
}

impl Console {
    /// Builds it from the environment.
    pub fn load(env: Env<'_>) -> Result<Self, StartError> {
        let config = ConsoleConfig::read(env)?;
        Ok(Self {
            audiences: config.audiences,
        })
    }
}

/// Answers one request.
#[expect(
    clippy::unused_async,
    reason = "the adapter's handlers are asynchronous, and this one waits for nothing"
)]
pub async fn handle(
    console: Arc<Console>,
    request: Incoming,
    invocation: Invocation,
) -> Response<RelayBody> {
    let mut response = match console.answer(&request, invocation.id) {
        Ok(response) => response,
        Err(error) => respond::failure(&error, invocation.id),
    };
    headers::protect(response.headers_mut());
    if request.method == Method::HEAD {
        *response.body_mut() = Bytes::new();
    }
    response.map(RelayBody::from)
}

/// The path of the page's configuration, below `/console`.
const CONFIGURATION: &str = "config.json";

impl Console {
    fn answer(&self, request: &Incoming, id: Uuid) -> Result<Response<Bytes>, Error> {
        let path = CanonicalPath::from_raw(&request.raw_path)?;
        let path = self
            .below_console(&path, request.stage.as_deref())
            .ok_or(Error::NotFound)?;
        Route::Console.check_method(&request.method)?;
        if path == CONFIGURATION {
            return Ok(respond::json(&self.configuration(), id));
        }
        let file = File::at(&path).ok_or(Error::NotFound)?;
        Ok(served(file, request, id))
    }

    /// The path below `/console`, without the slash between.
    fn below_console(&self, path: &CanonicalPath, stage: Option<&str>) -> Option<String> {
        let below = |path: &CanonicalPath| {
            let rest = path.as_str().strip_prefix(Route::Console.path())?;
            match rest.strip_prefix('/') {
                Some(rest) => Some(rest.to_owned()),
                None => rest.is_empty().then(String::new),
            }
        };
        self.audiences.iter().find_map(|audience| {
            let (likely, whole) = auth::paths_below(audience, stage, path);
            below(&likely).or_else(|| below(&whole?))
        })
    }

    /// The page's configuration: what it signs for.
    fn configuration(&self) -> serde_json::Value {
        let audiences: Vec<_> = self.audiences.iter().map(Audience::as_str).collect();
        json!({"audiences": audiences, "version": env!("CARGO_PKG_VERSION")})
    }
}

/// A file, or the news that the client has it already.
fn served(file: &File, request: &Incoming, id: Uuid) -> Response<Bytes> {
    let (coding, body) = file.variant(&request.headers);
    let etag = file.etag(coding);
    let mut response = if is_known(request, &etag) {
        respond::not_modified(id)
    } else {
        respond::file(Bytes::from_static(body), file.media_type(), id)
    };
    headers::describe(response.headers_mut(), file, coding, &etag);
    response
}

/// Whether `If-None-Match` has the tag (RFC 9110 §13.1.2).
fn is_known(request: &Incoming, etag: &str) -> bool {
    let values = request.headers.get_all(IF_NONE_MATCH);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == etag)
}

#[cfg(test)]
mod tests;
