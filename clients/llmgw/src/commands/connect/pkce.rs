//! OpenRouter's login for programs (OAuth with PKCE, RFC 7636), which creates a key in the user's own
//! account: <https://openrouter.ai/docs/guides/overview/auth/oauth>.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use axum::{
    Router,
    extract::{Request, State},
    response::Html,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Args;
use futures_util::future::join_all;
use http::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use shared::{
    config::keeps_secrets, http_client, identity::signing::Audience, vault::secret::ApiKey,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    client::{CONNECT_TIMEOUT, FillRandom, NO_RANDOMNESS},
    context::{Context, block_on},
    response::ErrorResponse,
};

/// The time for logging in.
const LOGIN_TIMEOUT: Duration = Duration::from_mins(10);
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// OpenRouter's address and the port of the callback.
#[derive(Debug, Args)]
pub struct OpenRouterArgs {
    /// The port of the login's callback; OpenRouter allows few others
    #[arg(long, default_value_t = 3000, requires = "browser")]
    pub port: u16,
    /// OpenRouter's base URL
    #[arg(
        long,
        hide = true,
        env = "LLMGW_OPENROUTER",
        default_value = "https://openrouter.ai",
        value_parser = private_url
    )]
    pub openrouter: Audience,
}

/// Parses a URL to which secrets may be sent: plain http goes to this machine only.
fn private_url(text: &str) -> Result<Audience> {
    let audience: Audience = text.parse()?;
    ensure!(
        Url::parse(&audience.to_string()).is_ok_and(|url| keeps_secrets(&url)),
        "it must begin with https:// (http:// only on this machine)"
    );
    Ok(audience)
}

/// Logs the user in with a browser, and returns the key that OpenRouter creates.
pub(super) fn log_in(
    args: &OpenRouterArgs,
    headless: bool,
    context: &mut Context<'_>,
) -> Result<ApiKey> {
    let verifier = Verifier::new(context.random)?;
    // A secret path: others cannot send a code of their own.
    let path = format!("/{}", random(context.random)?.as_str());
    block_on(async {
        let code = if headless {
            let callback = format!("http://localhost:{}{path}", args.port);
            let address = verifier.address(&args.openrouter, &callback);
            context.prompt(&format!(
                "Open this address in a browser and log in:\n\n  {address}\n\nThe browser then shows \
                 an error, because it is on another machine. Paste its address here: "
            ))?;
            parse_pasted(&context.read_line()?)?
        } else {
            let (listeners, port) = listen(args.port).await.with_context(|| {
                format!("port {} is taken; choose another with --port", args.port)
            })?;
            let callback = format!("http://localhost:{port}{path}");
            let address = verifier.address(&args.openrouter, &callback);
            writeln!(
                context.stderr,
                "Open this address in a browser on this machine and log in (elsewhere: \
                 --headless):\n\n  {address}\n"
            )?;
            receive(listeners, port, path, Box::new(code_of)).await?
        };
        exchange(args, &code, &verifier).await
    })
}

/// The secret that proves that the key is requested by the program that began the login.
struct Verifier(Zeroizing<String>);

impl Verifier {
    fn new(fill: FillRandom) -> Result<Self> {
        Ok(Self(random(fill)?))
    }

    /// RFC 7636 §4.2, S256.
    fn challenge(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.0.as_bytes()))
    }

    fn address(&self, openrouter: &Audience, callback: &str) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("callback_url", callback)
            .append_pair("code_challenge", &self.challenge())
            .append_pair("code_challenge_method", "S256")
            .finish();
        format!("{openrouter}/auth?{query}")
    }
}

/// 32 random bytes as 43 characters of base64url.
pub(in crate::commands) fn random(fill: FillRandom) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill(bytes.as_mut_slice()).context(NO_RANDOMNESS)?;
    Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&bytes)))
}

/// Extracts the code from the pasted address, or takes the pasted code.
fn parse_pasted(text: &str) -> Result<Zeroizing<String>> {
    let text = text.trim();
    let code = match text.split_once('?') {
        Some((_, query)) => code_of(query),
        None => Some(text.to_owned()).filter(|text| !text.contains("://")),
    };
    match code {
        Some(code) if !code.is_empty() => Ok(Zeroizing::new(code)),
        Some(_) | None => {
            bail!(
                "this is not the address with the code, which looks like http://localhost:3000/…?code=…"
            )
        }
    }
}

fn code_of(query: &str) -> Option<String> {
    let query = query.split('#').next().unwrap_or(query);
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (_, code) = pairs.find(|(name, _)| name == "code")?;
    Some(code.into_owned())
}

/// Listens on every loopback address that the callback's `localhost` can mean, so that no other program
/// on this machine gets what the browser brings there.
pub(in crate::commands) async fn listen(port: u16) -> io::Result<(Vec<TcpListener>, u16)> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = first.local_addr()?.port();
    let mut listeners = vec![first];
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
        Ok(second) => listeners.push(second),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        // A machine without IPv6.
        Err(_) => {}
    }
    Ok((listeners, port))
}

/// Reads what the browser was sent to bring, out of the callback's query.
pub(in crate::commands) type ReadQuery = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Serves `path` until the browser brings what `read` finds. The path is the secret that OAuth calls `state`; a
/// page that names this machine differently in `Host` is not the callback.
pub(in crate::commands) async fn receive(
    listeners: Vec<TcpListener>,
    port: u16,
    path: String,
    read: ReadQuery,
) -> Result<Zeroizing<String>> {
    struct Expected {
        path: String,
        hosts: [String; 3],
        read: ReadQuery,
        codes: mpsc::Sender<String>,
    }

    async fn answer(
        State(expected): State<Arc<Expected>>,
        request: Request,
    ) -> (StatusCode, Html<&'static str>) {
        let host = request.headers().get(header::HOST);
        let is_expected = request.uri().path() == expected.path
            && host.is_some_and(|host| expected.hosts.iter().any(|it| host == it.as_str()));
        if is_expected && request.method() != Method::GET {
            return (StatusCode::METHOD_NOT_ALLOWED, Html("<p>Not allowed."));
        }
        let code = request.uri().query().and_then(|it| (expected.read)(it));
        match code.filter(|_| is_expected) {
            Some(code) => {
                // Only the first code is used.
                let _ = expected.codes.try_send(code);
                (StatusCode::OK, Html("<p>Done. Return to the terminal."))
            }
            None => (StatusCode::NOT_FOUND, Html("<p>Not found.")),
        }
    }

    let (codes, mut first) = mpsc::channel(1);
    let hosts = ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("{host}:{port}"));
    let router = Router::new()
        .fallback(answer)
        .with_state(Arc::new(Expected {
            path,
            hosts,
            read,
            codes,
        }));
    let (stop, stopped) = watch::channel(false);
    let servers: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let mut stopped = stopped.clone();
            let server = axum::serve(listener, router.clone()).with_graceful_shutdown(async move {
                // Sent or dropped: both mean to stop.
                let _ = stopped.changed().await;
            });
            tokio::spawn(server.into_future())
        })
        .collect();
    let code = timeout(LOGIN_TIMEOUT, first.recv()).await;
    let code = code
        .ok()
        .flatten()
        .context("the login was not completed in time")?;
    // The browser still receives its response.
    let _ = stop.send(true);
    let _ = timeout(Duration::from_secs(1), join_all(servers)).await;
    Ok(Zeroizing::new(code))
}

async fn exchange(args: &OpenRouterArgs, code: &str, verifier: &Verifier) -> Result<ApiKey> {
    #[derive(Deserialize)]
    struct Created {
        key: String,
    }

    let body = json!({
        "code": code,
        "code_verifier": *verifier.0,
        "code_challenge_method": "S256",
    });
    let client = http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?;
    let answer = client
        .post(format!("{}/api/v1/auth/keys", args.openrouter))
        .header("content-type", "application/json")
        .timeout(EXCHANGE_TIMEOUT)
        .body(body.to_string())
        .send()
        .await
        .context("OpenRouter cannot be reached")?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = Zeroizing::new(Vec::from(answer.bytes().await?));
    ensure!(
        status.is_success(),
        "{}; try again",
        ErrorResponse::new(status, &headers, &body).of_openrouter()
    );
    // The parser's error would quote the key.
    let created: Option<Created> = serde_json::from_slice(&body).ok();
    let created = created.context("OpenRouter's response contains no key")?;
    Ok(ApiKey::new(created.key)?)
}

#[cfg(test)]
mod tests;
