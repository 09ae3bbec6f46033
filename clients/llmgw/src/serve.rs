//! `llmgw serve`: a local API that other programs use as they would use OpenAI's, Anthropic's or
//! OpenRouter's, and that signs each of their requests.
//!
//! ```text
//! guard (host, page, token) → route → the whole body → sign → gateway → the answer as it arrives
//! ```

pub mod cors;
pub mod forward;
pub mod guard;
pub mod refusal;
pub mod route;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use axum::{Router, serve::ListenerExt};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Args;
use tokio::{
    net::TcpListener,
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    time::sleep,
};

use self::{
    forward::{Log, Proxy},
    guard::{Guard, Origin, Token},
};
use crate::{
    cli::GatewayArgs,
    client::FillRandom,
    commands::{Outcome, Surroundings},
    curl,
    settings::Settings,
};

/// How long open answers may go on after the first signal.
const GRACE: Duration = Duration::from_secs(30);

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// The port to listen on; 0 takes any that is free
    #[arg(short, long, default_value_t = 4117)]
    pub port: u16,
    /// The address to listen on; any but loopback needs a token
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub bind: IpAddr,
    /// What programs must show as their API key. Arguments can be seen by all users of the machine:
    /// prefer the variable
    #[arg(
        long,
        env = "LLMGW_SERVE_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    pub token: Option<Token>,
    /// Make up a token and print it
    #[arg(long, conflicts_with = "token")]
    pub generate_token: bool,
    /// Another name that this machine is called by, like host.docker.internal; may be repeated
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// A web page that may use it.
    #[arg(long, value_name = "ORIGIN", help = ORIGIN_HELP)]
    pub allow_origin: Vec<Origin>,
    /// Tell of every request
    #[arg(short, long)]
    pub verbose: bool,
}

const ORIGIN_HELP: &str =
    "A web page that may use it, like https://app.example.com; may be repeated";

const EXAMPLES: &str = r#"Examples:
  llmgw serve
  curl http://127.0.0.1:4117/v1/chat/completions -H 'content-type: application/json' \
      -d '{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"Hello!"}]}'
  OPENAI_BASE_URL=http://127.0.0.1:4117/v1 OPENAI_API_KEY=unused python program.py
  ANTHROPIC_BASE_URL=http://127.0.0.1:4117 ANTHROPIC_API_KEY=unused claude
  env=$(mktemp); llmgw serve --generate-token > "$env" &    # . "$env" sets all base URLs and keys

On stdout are the variables that common programs read; the token is one, so keep them in a file that only
you can read, as mktemp makes it. The first Ctrl-C (or SIGTERM) lets open
answers end, within 30 seconds; the second does not."#;

/// Serves until a signal ends it.
pub fn run(settings: &Settings, args: ServeArgs, around: &mut Surroundings<'_>) -> Result<Outcome> {
    let token = if args.generate_token {
        Some(generate(around.random)?)
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
    let client = around.client(settings.gateway(args.gateway)?, &settings.identity()?)?;
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
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let address = SocketAddr::new(args.bind, args.port);
    runtime.block_on(serve(address, proxy, log, around))?;
    // What is still open was given its time.
    runtime.shutdown_background();
    Ok(Outcome::Done)
}

async fn serve(
    address: SocketAddr,
    proxy: Proxy,
    mut log: mpsc::UnboundedReceiver<String>,
    around: &mut Surroundings<'_>,
) -> Result<()> {
    let mut signals = Signals::new()?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| {
        format!("cannot listen on {address}; choose another port with --port, or 0 for any")
    })?;
    announce(listener.local_addr()?, &proxy, around)?;

    let (stop, stopped) = oneshot::channel::<()>();
    // Pieces of a stream are small and must not wait for each other.
    let listener = listener.tap_io(|stream| {
        // If it fails, the connection is gone already.
        let _ = stream.set_nodelay(true);
    });
    let router = Router::new()
        .fallback(forward::handle)
        .with_state(Arc::new(proxy));
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        // Whether it is sent or dropped, it is time.
        let _ = stopped.await;
    });
    let mut server = pin!(server.into_future());

    loop {
        select! {
            result = &mut server => return Ok(result?),
            Some(line) = log.recv() => writeln!(around.stderr, "llmgw: {line}")?,
            () = signals.next() => break,
        }
    }
    // Nobody but this sender can have gone.
    let _ = stop.send(());
    let seconds = GRACE.as_secs();
    writeln!(
        around.stderr,
        "llmgw: stopping; open answers have {seconds} s, or until the next signal"
    )?;
    select! {
        result = &mut server => Ok(result?),
        () = signals.next() => Ok(()),
        () = sleep(GRACE) => Ok(()),
    }
}

/// What asks the program to end.
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

fn generate(random: FillRandom) -> Result<Token> {
    let mut bytes = zeroize::Zeroizing::new([0; 24]);
    random(bytes.as_mut_slice()).context("the system has no randomness to give")?;
    let text = zeroize::Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&bytes));
    Ok(text.parse()?)
}

/// Tells people on stderr what is served, and programs on stdout how to use it.
fn announce(address: SocketAddr, proxy: &Proxy, around: &mut Surroundings<'_>) -> Result<()> {
    let Proxy { client, guard, .. } = proxy;
    writeln!(
        around.stderr,
        "Signing as {} for {}.",
        client.identity().did(),
        client.gateway().base()
    )?;
    if guard.token.is_none() {
        writeln!(
            around.stderr,
            "Every program on this machine can use it, other users' too; --generate-token asks \
             for a token."
        )?;
    }
    writeln!(around.stderr, "For programs, until Ctrl-C:")?;

    let key = guard.token.as_ref().map_or("unused", Token::expose_secret);
    let base = format!("http://{}", reachable(address));
    let key = curl::quoted(key);
    for (provider, path) in [
        ("OPENAI", "/v1"),
        ("ANTHROPIC", ""),
        ("OPENROUTER", "/api/v1"),
    ] {
        writeln!(
            around.stdout,
            "export {provider}_BASE_URL={base}{path}\nexport {provider}_API_KEY={key}"
        )?;
    }
    around.stdout.flush()?;
    Ok(())
}

/// Where this machine's programs find what listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
