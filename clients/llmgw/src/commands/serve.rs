//! `llmgw serve`: a local OpenAI, Anthropic and OpenRouter API that signs each request of the programs
//! that use it.
//!
//! ```text
//! guard (host, origin, token) → route → the whole body, decompressed → sign → gateway → the response as it
//! arrives
//! ```

mod check;
mod codings;
mod cors;
mod error;
mod forward;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod route;
mod variables;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use axum::{Router, serve::ListenerExt};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Args;
use futures_util::FutureExt as _;
use shared::clock::Clock;
use tokio::{
    net::TcpListener,
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::sleep,
};

use self::{
    forward::{Log, Proxy},
    guard::{Guard, Origin, TokenParser},
};
pub(super) use self::{guard::Token, variables::variables};
use crate::{
    args::GatewayArgs,
    client::{Client, FillRandom, NO_RANDOMNESS},
    context::{Context, Outcome},
    curl,
};

/// The time that open responses have after the first signal.
const GRACE: Duration = Duration::from_secs(30);

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// The port to listen on; 0 for any free one
    #[arg(short, long, default_value_t = 4117)]
    pub port: u16,
    /// The address to listen on; all but loopback require a token
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub bind: IpAddr,
    /// The API key that programs must send. All users of a machine can see arguments: prefer the
    /// variable
    #[arg(
        long,
        env = "LLMGW_SERVE_TOKEN",
        value_name = "TOKEN",
        value_parser = TokenParser,
        hide_env_values = true
    )]
    pub token: Option<Token>,
    /// Generate a token and print it
    #[arg(long, conflicts_with = "token")]
    pub generate_token: bool,
    /// Another name of this machine, like host.docker.internal; may be repeated
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// An allowed origin.
    #[arg(long, value_name = "ORIGIN", help = ORIGIN_HELP)]
    pub allow_origin: Vec<Origin>,
    /// Log every request to stderr
    #[arg(short, long)]
    pub verbose: bool,
}

const ORIGIN_HELP: &str =
    "The origin of web pages that may use it, like https://app.example.com; may be repeated";

const EXAMPLES: &str = r#"Examples:
  llmgw serve
  curl http://127.0.0.1:4117/v1/chat/completions -H 'content-type: application/json' \
      -d '{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"Hello!"}]}'
  OPENAI_BASE_URL=http://127.0.0.1:4117/v1 OPENAI_API_KEY=unused python program.py
  ANTHROPIC_BASE_URL=http://127.0.0.1:4117 ANTHROPIC_AUTH_TOKEN=unused claude
  env=$(mktemp); llmgw serve --generate-token > "$env" &    # . "$env" sets all base URLs and keys

Prints the variables that common programs read to stdout. They include the token: keep them in a file
that only you can read, like one of mktemp. The first Ctrl-C (or SIGTERM) lets open responses end, within
30 seconds; the second does not."#;

/// Serves until a signal.
pub(super) fn run(args: ServeArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let token = if args.generate_token {
        Some(generate(context.random)?)
    } else {
        args.token
    };
    let local = args.bind.is_loopback();
    ensure!(
        local || token.is_some(),
        "at {} others can reach it and spend your credit; add --generate-token, or set \
         LLMGW_SERVE_TOKEN",
        args.bind
    );
    let client = context.client(args.gateway)?;
    let (lines, log) = mpsc::unbounded_channel();
    let proxy = Proxy {
        client,
        guard: Guard {
            token,
            any_address: !local,
            hosts: args.allow_host,
            origins: args.allow_origin,
        },
        log: Log {
            lines,
            verbose: args.verbose,
            answered: None,
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let address = SocketAddr::new(args.bind, args.port);
    runtime.block_on(serve(address, proxy, log, context))?;
    // Open responses have had their time.
    runtime.shutdown_background();
    Ok(Outcome::Success)
}

async fn serve(
    address: SocketAddr,
    proxy: Proxy,
    mut log: mpsc::UnboundedReceiver<String>,
    context: &mut Context<'_>,
) -> Result<()> {
    let mut signals = Signals::new()?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| {
        format!("cannot listen on {address}; choose another port with --port, or 0 for any")
    })?;
    // At once: programs need the variables, not the check, which a slow gateway delays by seconds.
    announce(listener.local_addr()?, &proxy, context)?;

    let (client, clock) = (proxy.client.clone(), context.clock.clone());
    let mut check = pin!(check::findings(&client, || clock.now()).fuse());
    let (stop, stopped) = oneshot::channel::<()>();
    let mut server = pin!(listen(listener, proxy, stopped));

    loop {
        select! {
            result = &mut server => return result,
            Some(line) = log.recv() => writeln!(context.stderr, "llmgw: {line}")?,
            findings = &mut check => tell(&findings, context)?,
            () = signals.next() => break,
        }
    }
    // The server holds the receiver, unless it has ended already.
    let _ = stop.send(());
    let seconds = GRACE.as_secs();
    writeln!(
        context.stderr,
        "llmgw: stopping; open responses have {seconds} s, or until the next signal"
    )?;
    select! {
        result = &mut server => result,
        () = signals.next() => Ok(()),
        () = sleep(GRACE) => Ok(()),
    }
}

/// Prints the result of the check.
fn tell(findings: &[String], context: &mut Context<'_>) -> Result<()> {
    if findings.is_empty() {
        writeln!(
            context.stderr,
            "The gateway answers, and has a key for this identity."
        )?;
    }
    for finding in findings {
        writeln!(context.stderr, "llmgw: {finding}")?;
    }
    Ok(())
}

/// Serves until `stopped` is sent or dropped and open responses have ended.
async fn listen(listener: TcpListener, proxy: Proxy, stopped: oneshot::Receiver<()>) -> Result<()> {
    // The chunks of a stream are small and must not be delayed by Nagle's algorithm.
    let listener = listener.tap_io(|stream| {
        // A failure means that the connection is closed already.
        let _ = stream.set_nodelay(true);
    });
    let router = Router::new()
        .fallback(forward::handle)
        .with_state(Arc::new(proxy));
    axum::serve(listener, router)
        .with_graceful_shutdown(async {
            // Sent or dropped: both mean to stop.
            let _ = stopped.await;
        })
        .await?;
    Ok(())
}

/// A server on a free port of this machine, for programs that have its token.
pub(super) struct Private {
    /// The address.
    pub(super) address: SocketAddr,
    /// The ids of the gateway's responses.
    pub(super) answered: mpsc::UnboundedReceiver<String>,
    check: JoinHandle<Vec<String>>,
    /// Ends it when it is dropped.
    pub(super) _stop: oneshot::Sender<()>,
}

impl Private {
    /// Starts it, on the runtime in which it is called. Its log goes nowhere: the terminal belongs to the
    /// program that it serves.
    pub(super) async fn start(client: Client, token: Token, clock: Clock) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (ids, answered) = mpsc::unbounded_channel();
        let (lines, _) = mpsc::unbounded_channel();
        let proxy = Proxy {
            client,
            guard: Guard {
                token: Some(token),
                any_address: false,
                hosts: Vec::new(),
                origins: Vec::new(),
            },
            log: Log {
                lines,
                verbose: false,
                answered: Some(ids),
            },
        };
        let client = proxy.client.clone();
        let check = async move { check::findings(&client, || clock.now()).await };
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(listen(listener, proxy, stopped));
        Ok(Self {
            address,
            answered,
            check: tokio::spawn(check),
            _stop: stop,
        })
    }

    /// The faults that the check of the start has found. None if the gateway has not answered it yet.
    pub(super) async fn findings(self) -> Vec<String> {
        if !self.check.is_finished() {
            return Vec::new();
        }
        self.check.await.unwrap_or_default()
    }
}

/// The signals that end the program.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A new token.
pub(super) fn generate(random: FillRandom) -> Result<Token> {
    let mut bytes = zeroize::Zeroizing::new([0; 24]);
    random(bytes.as_mut_slice()).context(NO_RANDOMNESS)?;
    let text = zeroize::Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&bytes));
    Ok(text.parse()?)
}

/// Prints the gateway and the identity to stderr, and the variables for programs to stdout.
fn announce(address: SocketAddr, proxy: &Proxy, context: &mut Context<'_>) -> Result<()> {
    let Proxy { client, guard, .. } = proxy;
    writeln!(
        context.stderr,
        "Signing as {} for {}.",
        client.identity().did(),
        client.gateway().base()
    )?;
    if guard.token.is_none() {
        writeln!(
            context.stderr,
            "Every program on this machine can use it, also those of other users; with \
             --generate-token they need a token."
        )?;
    }
    writeln!(context.stderr, "For programs, until Ctrl-C:")?;

    let key = guard.token.as_ref().map_or("unused", Token::expose_secret);
    for (name, value) in variables(reachable(address), key) {
        writeln!(context.stdout, "export {name}={}", curl::quoted(&value))?;
    }
    context.stdout.flush()?;
    Ok(())
}

/// The address at which this machine's programs reach a listener on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
