//! OpenRouter's login for programs (OAuth with PKCE, RFC 7636), which ends in a key of the user's own
//! account: <https://openrouter.ai/docs/guides/overview/auth/oauth>.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use axum::{
    Router,
    extract::{Request, State},
    response::Html,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Args;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use shared::{http_client, identity::signing::Audience, vault::secret::ApiKey};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use zeroize::Zeroizing;

use super::{NO_RANDOMNESS, Surroundings, block_on, keys::line};
use crate::{answer::Refusal, client::FillRandom};

/// How long a person may take.
const PATIENCE: Duration = Duration::from_mins(10);
const EXCHANGE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);

/// How to reach OpenRouter.
#[derive(Debug, Args)]
pub struct OpenRouterArgs {
    /// The port that the browser comes back to; OpenRouter allows few others
    #[arg(long, default_value_t = 3000, requires = "browser")]
    pub port: u16,
    /// OpenRouter's address
    #[arg(
        long,
        hide = true,
        env = "LLMGW_OPENROUTER",
        default_value = "https://openrouter.ai"
    )]
    pub openrouter: Audience,
}

/// Has the user log in with a browser, and gives the key that OpenRouter makes.
pub fn log_in(
    args: &OpenRouterArgs,
    headless: bool,
    around: &mut Surroundings<'_>,
) -> Result<ApiKey> {
    let verifier = Verifier::new(around.random)?;
    // Whoever does not know it cannot send a code of his own.
    let path = format!("/{}", random(around.random)?.as_str());
    block_on(async {
        let code = if headless {
            let callback = format!("http://localhost:{}{path}", args.port);
            let address = verifier.address(&args.openrouter, &callback);
            write!(
                around.stderr,
                "Open this address in a browser and log in:\n\n  {address}\n\nThe browser then shows \
                 an error, because it is on another machine. Paste its address here: "
            )?;
            around.stderr.flush()?;
            pasted(&line(around)?)?
        } else {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await;
            let listener = listener.with_context(|| {
                format!("port {} is taken; choose another with --port", args.port)
            })?;
            let port = listener.local_addr()?.port();
            let callback = format!("http://localhost:{port}{path}");
            let address = verifier.address(&args.openrouter, &callback);
            writeln!(
                around.stderr,
                "Open this address in a browser on this machine and log in (elsewhere: \
                 --headless):\n\n  {address}\n"
            )?;
            come_back(listener, path).await?
        };
        exchange(args, &code, &verifier).await
    })
}

/// The secret that proves that who asks for the key is who sent the user to log in.
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

/// 32 bytes in 43 characters.
fn random(fill: FillRandom) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill(bytes.as_mut_slice()).context(NO_RANDOMNESS)?;
    Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&bytes)))
}

/// The code in an address, or alone.
fn pasted(text: &str) -> Result<Zeroizing<String>> {
    let text = text.trim();
    let code = match text.split_once('?') {
        Some((_, query)) => code_of(query),
        None => Some(text.to_owned()).filter(|text| !text.contains("://")),
    };
    match code {
        Some(code) if !code.is_empty() => Ok(Zeroizing::new(code)),
        Some(_) | None => {
            bail!("there is no code in it; it is like http://localhost:3000/…?code=…")
        }
    }
}

fn code_of(query: &str) -> Option<String> {
    let query = query.split('#').next().unwrap_or(query);
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (_, code) = pairs.find(|(name, _)| name == "code")?;
    Some(code.into_owned())
}

/// Waits for the browser at `path`.
async fn come_back(listener: TcpListener, path: String) -> Result<Zeroizing<String>> {
    struct Expected {
        path: String,
        codes: mpsc::Sender<String>,
    }

    async fn answer(
        State(expected): State<Arc<Expected>>,
        request: Request,
    ) -> (StatusCode, Html<&'static str>) {
        let code = request.uri().query().and_then(code_of);
        let code = code.filter(|_| request.uri().path() == expected.path);
        match code {
            Some(code) => {
                // There is room for the first, and one is enough.
                let _ = expected.codes.try_send(code);
                (StatusCode::OK, Html("<p>Done. Go back to the terminal."))
            }
            None => (StatusCode::NOT_FOUND, Html("<p>Nothing is here.")),
        }
    }

    let (codes, mut first) = mpsc::channel(1);
    let router = Router::new()
        .fallback(answer)
        .with_state(Arc::new(Expected { path, codes }));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        // Whether it is sent or dropped, it is time.
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    let code = timeout(PATIENCE, first.recv()).await;
    let code = code
        .ok()
        .flatten()
        .context("nobody came back from OpenRouter")?;
    // Lets the browser have its answer.
    let _ = stop.send(());
    let _ = timeout(Duration::from_secs(1), server).await;
    Ok(Zeroizing::new(code))
}

async fn exchange(args: &OpenRouterArgs, code: &str, verifier: &Verifier) -> Result<ApiKey> {
    #[derive(Deserialize)]
    struct Made {
        key: String,
    }

    let body = json!({
        "code": code,
        "code_verifier": *verifier.0,
        "code_challenge_method": "S256",
    });
    let client = http_client::build(http_client::web_roots(), CONNECT)?;
    let answer = client
        .post(format!("{}/api/v1/auth/keys", args.openrouter))
        .header("content-type", "application/json")
        .timeout(EXCHANGE)
        .body(body.to_string())
        .send()
        .await
        .context("OpenRouter cannot be reached")?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = Zeroizing::new(Vec::from(answer.bytes().await?));
    ensure!(
        status.is_success(),
        "{}; try again",
        Refusal::new(status, &headers, &body).of_openrouter()
    );
    // The error would quote the key.
    let made: Option<Made> = serde_json::from_slice(&body).ok();
    let made = made.context("OpenRouter's answer holds no key")?;
    Ok(ApiKey::new(made.key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    #[test]
    fn the_challenge() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let verifier = Verifier(Zeroizing::new(verifier.to_owned()));
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(verifier.challenge(), challenge);
        let openrouter = "https://openrouter.ai".parse().unwrap();
        assert_eq!(
            verifier.address(&openrouter, "http://localhost:3000/x"),
            format!(
                "https://openrouter.ai/auth?callback_url=http%3A%2F%2Flocalhost%3A3000%2Fx\
                 &code_challenge={challenge}&code_challenge_method=S256"
            )
        );
    }

    #[test]
    fn what_people_paste() {
        for text in [
            "a-b_c",
            " a-b_c\n",
            "http://localhost:3000/x?code=a-b_c",
            "http://localhost:3000/x?state=1&code=a-b_c#top",
        ] {
            assert_eq!(pasted(text).unwrap().as_str(), "a-b_c", "{text}");
        }
        for text in [
            "",
            "\n",
            "http://localhost:3000/x",
            "http://localhost:3000/x?error=denied",
            "x?code=",
        ] {
            assert!(pasted(text).is_err(), "{text}");
        }
    }
}
