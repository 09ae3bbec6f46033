//! Forwarding a request to the gateway.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, EXPECT, LOCATION, UPGRADE},
    request::Parts,
};
use shared::{
    causes::causes,
    request::MAX_BODY,
    upstream::openrouter::{
        NOT_FORWARDED, NOT_FORWARDED_PREFIXES, NOT_RETURNED, NOT_RETURNED_PREFIX, without,
    },
};
use tokio::{sync::mpsc::UnboundedSender, time::timeout};

use super::{
    codings::Codings,
    cors,
    error::ProxyError,
    guard::Guard,
    route::{self, Dialect},
};
use crate::{
    client::Client,
    gateway::Draft,
    response::{REQUEST_ID, UPSTREAM},
};

/// Request headers that concern the caller's page, which the gateway does not know, and the coding of the
/// body, which is sent decoded.
const OF_THE_CALLER: [&str; 3] = ["content-encoding", "origin", "referer"];
/// Headers of browsers about the page.
const OF_BROWSERS: [&str; 2] = ["sec-", "access-control-"];

/// The most of a refused body that is read. Most clients read a response only after sending the body.
const MAX_IGNORED: usize = 64 << 20;
const IGNORE_TIMEOUT: Duration = Duration::from_secs(10);

/// The state that all requests share.
#[derive(Debug)]
pub(super) struct Proxy {
    /// The client that signs and sends requests.
    pub client: Client,
    /// The access rules.
    pub guard: Guard,
    /// The log.
    pub log: Log,
}

/// The log on stderr.
#[derive(Debug)]
pub(super) struct Log {
    /// The channel of its lines.
    pub lines: UnboundedSender<String>,
    /// Whether successful requests are logged, too.
    pub verbose: bool,
    /// The channel of the ids of the gateway's responses, if somebody wants them.
    pub answered: Option<UnboundedSender<String>>,
}

impl Log {
    /// Tells the id of a response.
    fn answered(&self, response: &reqwest::Response) {
        let id = response.headers().get(REQUEST_ID);
        if let (Some(answered), Some(id)) = (&self.answered, id.and_then(|id| id.to_str().ok())) {
            // The receiver is closed once the program has ended.
            let _ = answered.send(id.to_owned());
        }
    }

    fn request(&self, head: &Parts, status: StatusCode) {
        if self.verbose {
            self.say(head, status.as_str());
        }
    }

    fn failure(&self, head: &Parts, failure: &dyn std::fmt::Display) {
        self.say(head, &format!("failed: {failure}"));
    }

    /// Logs the path without its query, which may be private.
    fn say(&self, head: &Parts, what: &str) {
        let line = format!("{} {} {what}", head.method, head.uri.path());
        // The receiver is closed while the proxy stops.
        let _ = self.lines.send(line);
    }
}

/// Handles a request.
pub(super) async fn handle(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let dialect = Dialect::of(head.uri.path(), &head.headers);
    let page = match proxy.guard.admit(&head) {
        Ok(page) => page,
        Err(denied) => {
            let error = ProxyError::from(denied);
            return refuse(&proxy, &head, body, &error, dialect).await;
        }
    };
    if let Some(page) = page
        && cors::is_preflight(&head)
    {
        return cors::preflight(&head, page);
    }
    let mut response = match forward(&proxy, &head, &mut body).await {
        Ok(response) => response,
        Err(error) => refuse(&proxy, &head, body, &error, dialect).await,
    };
    if let Some(page) = page {
        cors::expose(response.headers_mut(), page);
    }
    response
}

async fn forward(
    proxy: &Arc<Proxy>,
    head: &Parts,
    body: &mut Body,
) -> Result<Response, ProxyError> {
    proxy.guard.authorize(&head.headers)?;
    check_upgrade(&head.headers)?;
    let target = route::target(head.uri.path(), head.uri.query())?;
    let codings = Codings::of(&head.headers)?;
    let body = codings.decode(read(&head.headers, body).await?)?;
    let headers = sent(&head.headers);
    let draft = Draft::new(head.method.clone(), target, headers, body);
    let response = proxy.client.send_by_server_clock(draft).await?;
    check_redirect(&response)?;
    proxy.log.request(head, response.status());
    proxy.log.answered(&response);
    Ok(pass_on(response, head.clone(), proxy.clone()))
}

/// Streams the gateway's response. If it breaks off, so does the connection to the caller: an incomplete
/// response must not look complete.
fn pass_on(response: reqwest::Response, head: Parts, proxy: Arc<Proxy>) -> Response {
    let status = response.status();
    let headers = without(
        response.headers(),
        &[&NOT_RETURNED],
        &[&[NOT_RETURNED_PREFIX]],
    );
    let bytes = response.bytes_stream().inspect_err(move |_| {
        proxy
            .log
            .failure(&head, &"the gateway's response broke off");
    });
    let mut response = Response::new(Body::from_stream(bytes));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

async fn refuse(
    proxy: &Proxy,
    head: &Parts,
    body: Body,
    error: &ProxyError,
    dialect: Dialect,
) -> Response {
    match error {
        ProxyError::Send(error) => {
            proxy.log.failure(head, &causes(error));
        }
        _ => proxy.log.request(head, error.status()),
    }
    // A client with `Expect: 100-continue` has not sent the body and will not.
    if !head.headers.contains_key(EXPECT) {
        let _ = timeout(IGNORE_TIMEOUT, ignore(body)).await;
    }
    error.response(dialect)
}

/// Refuses the upgrade to a WebSocket. Programs that try one first (Codex) then send the request over HTTP.
fn check_upgrade(headers: &HeaderMap) -> Result<(), ProxyError> {
    let mut protocols = headers
        .get_all(UPGRADE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket")) {
        Err(ProxyError::WebSocket)
    } else {
        Ok(())
    }
}

/// Refuses a redirect of the gateway, which the caller would follow with an unsigned request. Redirects
/// of OpenRouter are passed on.
fn check_redirect(response: &reqwest::Response) -> Result<(), ProxyError> {
    if response.headers().contains_key(UPSTREAM) {
        return Ok(());
    }
    match response.headers().get(LOCATION) {
        Some(location) if response.status().is_redirection() => Err(ProxyError::Redirected {
            location: String::from_utf8_lossy(location.as_bytes()).into_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// Reads the whole body, because its digest is signed.
async fn read(headers: &HeaderMap, body: &mut Body) -> Result<Bytes, ProxyError> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > MAX_BODY) {
        return Err(ProxyError::BodyTooLarge);
    }
    let mut read = Vec::with_capacity(declared.unwrap_or_default());
    let mut chunks = std::mem::take(body).into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ProxyError::BodyBroken)?;
        if read.len() + chunk.len() > MAX_BODY {
            *body = Body::from_stream(chunks);
            return Err(ProxyError::BodyTooLarge);
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.into())
}

async fn ignore(body: Body) {
    let mut chunks = body.into_data_stream();
    let mut ignored = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        ignored += chunk.len();
        if ignored > MAX_IGNORED {
            break;
        }
    }
}

/// The caller's headers that go to the gateway.
pub(super) fn sent(headers: &HeaderMap) -> HeaderMap {
    without(
        headers,
        &[&NOT_FORWARDED, &OF_THE_CALLER],
        &[&NOT_FORWARDED_PREFIXES, &OF_BROWSERS],
    )
}
