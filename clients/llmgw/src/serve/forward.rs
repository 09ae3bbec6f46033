//! One request's way through the proxy.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{self, CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, LOCATION},
    request::Parts,
};
use shared::{causes::causes, request::MAX_BODY, upstream::openrouter::HOP_BY_HOP};
use tokio::{sync::mpsc::UnboundedSender, time::timeout};

use super::{
    cors,
    guard::Guard,
    refusal::Refusal,
    route::{self, Dialect},
};
use crate::{client::Client, gateway::Draft};

/// What is between the caller and this proxy: credentials, and what tells where the caller is.
const NOT_SENT: [&str; 10] = [
    "api-key",
    "authorization",
    "content-length",
    "cookie",
    "expect",
    "host",
    "origin",
    "referer",
    "x-api-key",
    "x-goog-api-key",
];
/// The scheme's own headers, and what browsers say about the page.
const NOT_SENT_PREFIXES: [&str; 3] = ["x-did", "sec-", "access-control-"];
/// What is about the gateway's own address.
const NOT_RETURNED: [&str; 3] = ["alt-svc", "set-cookie", "strict-transport-security"];
const NOT_RETURNED_PREFIXES: [&str; 1] = ["access-control-"];

/// On answers of OpenRouter that the gateway passed on.
const UPSTREAM: &str = "x-gateway-upstream";

/// How much of a refused body is read, so that its sender gets to reading the refusal.
const MAX_IGNORED: usize = 64 << 20;
const IGNORE_FOR: Duration = Duration::from_secs(10);

/// What all requests share.
#[derive(Debug)]
pub struct Proxy {
    /// Who sends the requests.
    pub client: Client,
    /// Who may.
    pub guard: Guard,
    /// Takes lines for the one who started the proxy.
    pub log: Log,
}

/// Where lines for people go.
#[derive(Debug)]
pub struct Log {
    /// Takes them.
    pub lines: UnboundedSender<String>,
    /// Whether requests that went well are told, too.
    pub verbose: bool,
}

impl Log {
    fn request(&self, head: &Parts, status: StatusCode) {
        if self.verbose {
            self.say(head, status.as_str());
        }
    }

    fn failure(&self, head: &Parts, failure: &dyn std::fmt::Display) {
        self.say(head, &format!("failed: {failure}"));
    }

    /// Queries may hold what is nobody else's business.
    fn say(&self, head: &Parts, what: &str) {
        let line = format!("{} {} {what}", head.method, head.uri.path());
        // Nobody listens any more once the proxy is being stopped.
        let _ = self.lines.send(line);
    }
}

/// Answers a request.
pub async fn handle(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let dialect = Dialect::of(head.uri.path(), &head.headers);
    let page = match proxy.guard.admit(&head) {
        Ok(page) => page,
        Err(intruder) => {
            let refusal = Refusal::from(intruder);
            return refuse(&proxy, &head, body, &refusal, dialect).await;
        }
    };
    if let Some(page) = page
        && cors::is_preflight(&head)
    {
        return cors::preflight(&head, page);
    }
    let mut response = match forward(&proxy, &head, &mut body).await {
        Ok(response) => response,
        Err(refusal) => refuse(&proxy, &head, body, &refusal, dialect).await,
    };
    if let Some(page) = page {
        cors::expose(response.headers_mut(), page);
    }
    response
}

async fn forward(proxy: &Arc<Proxy>, head: &Parts, body: &mut Body) -> Result<Response, Refusal> {
    proxy.guard.authorize(&head.headers)?;
    let target = route::target(head.uri.path(), head.uri.query())?;
    check_content_encoding(&head.headers)?;
    let body = read(&head.headers, body).await?;
    let headers = without(&head.headers, &NOT_SENT, &NOT_SENT_PREFIXES);
    let draft = Draft::new(head.method.clone(), target, headers, body);
    let answer = proxy.client.send(draft).await?;
    check_redirect(&answer)?;
    proxy.log.request(head, answer.status());
    Ok(passed_on(answer, head.clone(), proxy.clone()))
}

/// The answer, as it arrives. If it breaks off, so does the connection to the caller: an answer must
/// not look whole that is not.
fn passed_on(answer: reqwest::Response, head: Parts, proxy: Arc<Proxy>) -> Response {
    let status = answer.status();
    let headers = without(answer.headers(), &NOT_RETURNED, &NOT_RETURNED_PREFIXES);
    let bytes = answer.bytes_stream().inspect_err(move |_| {
        proxy.log.failure(&head, &"the gateway's answer broke off");
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
    refusal: &Refusal,
    dialect: Dialect,
) -> Response {
    match refusal {
        Refusal::Send(error) => {
            proxy.log.failure(head, &causes(error));
        }
        _ => proxy.log.request(head, refusal.status()),
    }
    // Who waits to be asked for the body learns now that it is not wanted.
    if !head.headers.contains_key(EXPECT) {
        let _ = timeout(IGNORE_FOR, ignore(body)).await;
    }
    refusal.response(dialect)
}

fn check_content_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    if codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")) {
        Ok(())
    } else {
        Err(Refusal::ContentEncoding)
    }
}

/// A redirect of OpenRouter's is the caller's to see; one of the gateway's would have it come back
/// with a request that nobody has signed.
fn check_redirect(answer: &reqwest::Response) -> Result<(), Refusal> {
    if answer.headers().contains_key(UPSTREAM) {
        return Ok(());
    }
    match answer.headers().get(LOCATION) {
        Some(location) if answer.status().is_redirection() => Err(Refusal::Redirected {
            location: String::from_utf8_lossy(location.as_bytes()).into_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The whole body: its digest is signed.
async fn read(headers: &HeaderMap, body: &mut Body) -> Result<Bytes, Refusal> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > MAX_BODY) {
        return Err(Refusal::BodyTooLarge);
    }
    let mut read = Vec::with_capacity(declared.unwrap_or_default());
    let mut chunks = std::mem::take(body).into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::BodyBroken)?;
        if read.len() + chunk.len() > MAX_BODY {
            *body = Body::from_stream(chunks);
            return Err(Refusal::BodyTooLarge);
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

fn without(headers: &HeaderMap, names: &[&str], prefixes: &[&str]) -> HeaderMap {
    let listed: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let stays = |name: &HeaderName| {
        let name = name.as_str();
        HOP_BY_HOP.contains(&name)
            || names.contains(&name)
            || prefixes.iter().any(|prefix| name.starts_with(prefix))
            || listed.iter().any(|listed| listed == name)
    };
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !stays(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}
