//! The demonstration of `cargo xtask dev`: one signed, streamed chat completion, its row in the books,
//! and commands to go on with.

use std::io::{Write as _, stderr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::Request;
use llmgw::curl;
use llmgw::gateway::{Draft, Gateway};
use llmgw::identity::{Existing, Identity};
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::http_client;
use shared::identity::signing::{Audience, Nonce};
use shared::metering::sse::{Framer, Piece};
use shared::vault::secret::ApiKey;
use stack::progress::step;
use stack::{Database, Moto, Vault};
use stub::demo;

const CHAT: &str = "openrouter/chat/completions";
const MODEL: &str = "openai/gpt-4o-mini";
/// The key of the demonstration's user at OpenRouter's stand-in, which accepts any.
const STAND_IN_KEY: &str = "sk-or-v1-for-the-stand-in-only";
/// The DID that signed the samples in `events/`, of the key of RFC 8032's first test.
const SAMPLES_DID: &str = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw";
/// The timeout for the row of a finished request.
const BOOKS: Duration = Duration::from_secs(10);

/// The running stack, as the demonstration uses it.
pub(crate) struct Running<'a> {
    /// The gateway's base URL, without a trailing slash; its only audience.
    pub(crate) gateway: String,
    pub(crate) database: &'a Database,
    /// The place for the keyset, under the name `keyset_secret`, before the first request.
    pub(crate) secrets: &'a Moto,
    pub(crate) keyset_secret: &'static str,
    /// The folder of the run.
    pub(crate) folder: &'a Path,
    /// The real OpenRouter key, if the real OpenRouter is used.
    pub(crate) openrouter_key: Option<&'a str>,
}

/// The user and the keyset of the demonstration.
pub(crate) struct Demonstrated {
    pub(crate) vault: Vault,
    pub(crate) identity_file: PathBuf,
    /// A command that sends one more signed request.
    pub(crate) curl: String,
}

/// Shows the gateway at work.
pub(crate) fn run(stack: &Running<'_>) -> Result<Demonstrated> {
    let vault = Vault::create(stack.secrets, stack.keyset_secret)?;
    let identity_file = stack.folder.join("identity.json");
    let identity = Identity::generate(getrandom::fill)?;
    identity.save(&identity_file, Existing::Replace)?;
    let key = ApiKey::new(stack.openrouter_key.unwrap_or(STAND_IN_KEY).to_owned())?;
    vault.store_key(stack.database, identity.did(), &key)?;
    if stack.openrouter_key.is_none() {
        // Anyone can sign as the samples' identity, so it never gets a real key.
        vault.store_key(stack.database, &SAMPLES_DID.parse()?, &key)?;
    }

    let user = User {
        gateway: Gateway::new(Audience::parse(&stack.gateway)?),
        identity,
    };
    step("First request (starts the functions)", || {
        user.get("/api/v1/health").map(drop)
    })?;
    eprintln!("\nYou are {}", user.identity.did());
    eprintln!("{MODEL} is asked: {}", demo::PROMPT);
    user.chat()?;
    show_row(&user.finished_row(stack)?);
    eprintln!("  GET /api/v1/usage: {}", user.get("usage")?);
    let request = user.sign(Draft::post(CHAT.parse()?, chat_body()))?;
    Ok(Demonstrated {
        vault,
        identity_file,
        curl: curl::command(&request, None)?,
    })
}

struct User {
    gateway: Gateway,
    identity: Identity,
}

impl User {
    fn sign(&self, draft: Draft) -> Result<Request<Bytes>> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        let now = Clock::system().now();
        Ok(self
            .gateway
            .signed(&self.identity, draft, now, &Nonce::from_random(nonce))?)
    }

    /// A signed GET's body.
    fn get(&self, target: &str) -> Result<String> {
        let request = self.sign(Draft::get(target.parse()?))?;
        wait_for(async {
            let answer = send(request).await?;
            let status = answer.status();
            let text = answer.text().await?;
            ensure!(status.is_success(), "{target} answers {status}: {text}");
            Ok(text)
        })
    }

    /// Streams a chat completion to the terminal.
    fn chat(&self) -> Result<()> {
        let request = self.sign(Draft::post(CHAT.parse()?, chat_body()))?;
        wait_for(async {
            let mut answer = send(request).await?;
            let status = answer.status();
            ensure!(
                status.is_success(),
                "the chat answers {status}: {}",
                answer.text().await?
            );
            let (mut framer, mut event) = (Framer::new(), Vec::new());
            eprint!("  ");
            while let Some(chunk) = answer.chunk().await? {
                framer.feed(&chunk, |piece| match piece {
                    Piece::Data(data) => event.extend_from_slice(data),
                    Piece::End(_) => show_text(&std::mem::take(&mut event)),
                });
            }
            eprintln!("\n");
            Ok(())
        })
    }

    /// The request's row, once it is complete.
    fn finished_row(&self, stack: &Running<'_>) -> Result<Value> {
        let did = self.identity.did().as_str().replace(':', "%3A");
        let query = format!("request_logs?did=eq.{did}");
        for _ in 0..BOOKS.as_millis() / 100 {
            let mut rows = stack.database.select(&query)?;
            let row = rows
                .get_mut(0)
                .map(Value::take)
                .context("the request has no row")?;
            match row["status"].as_str() {
                Some("completed") => return Ok(row),
                Some("pending") => std::thread::sleep(Duration::from_millis(100)),
                _ => bail!("the request failed: {row}"),
            }
        }
        bail!("the request is still pending after {} s", BOOKS.as_secs())
    }
}

fn chat_body() -> String {
    json!({
        "model": MODEL,
        "stream": true,
        "messages": [{"role": "user", "content": demo::PROMPT}],
    })
    .to_string()
}

pub(crate) async fn send(request: Request<Bytes>) -> Result<reqwest::Response> {
    let client = http_client::build(http_client::web_roots(), Duration::from_secs(5))?;
    Ok(client.execute(request.try_into()?).await?)
}

/// Prints what an event adds to the answer.
fn show_text(event: &[u8]) {
    let event: Value = serde_json::from_slice(event).unwrap_or_default();
    if let Some(text) = event["choices"][0]["delta"]["content"].as_str() {
        eprint!("{text}");
        let _ = stderr().flush();
    }
}

fn show_row(row: &Value) {
    eprintln!("The books:");
    for column in [
        "id",
        "status",
        "model",
        "input_tokens",
        "output_tokens",
        "total_cost",
        "first_byte_ms",
    ] {
        eprintln!(
            "  {column:<14} {}",
            row[column].to_string().trim_matches('"')
        );
    }
}

pub(crate) fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}
