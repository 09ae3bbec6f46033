//! What the commands do.

pub mod chat;
pub mod completions;
pub mod doctor;
pub mod identity;
pub mod keys;
pub mod models;
pub mod pkce;
pub mod profile;
pub mod usage;

use std::{
    fmt, fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method};
use shared::{clock::Clock, identity::signing::Nonce};

use crate::{
    admin, answer,
    api::Refused,
    books,
    cli::{Cli, Command, Data, DraftArgs, Header, RequestArgs, SignArgs},
    client::{Client, FillRandom},
    curl, debug,
    gateway::{Draft, Gateway},
    identity::Identity,
    serve,
    settings::Settings,
    terminal::Terminal,
};

const NO_RANDOMNESS: &str = "the system has no randomness to give";

/// What the commands take from the machine that they run on.
pub struct Surroundings<'a> {
    /// When requests are signed.
    pub clock: Clock,
    /// Fills a buffer with bytes that nobody can guess.
    pub random: FillRandom,
    /// Where the configuration is.
    pub config_directory: Option<PathBuf>,
    /// Which of the three below are terminals, and what these can show.
    pub terminal: Terminal,
    /// For bodies.
    pub stdin: &'a mut dyn Read,
    /// For data.
    pub stdout: &'a mut dyn Write,
    /// For people.
    pub stderr: &'a mut dyn Write,
}

impl Surroundings<'_> {
    /// A client of `gateway` that signs with the key in the file `identity`.
    pub fn client(&self, gateway: Gateway, identity: &Path) -> Result<Client> {
        let identity = Identity::load(identity)?;
        Ok(Client::new(
            gateway,
            identity,
            self.clock.clone(),
            self.random,
        )?)
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("clock", &self.clock)
            .field("config_directory", &self.config_directory)
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// The gateway, or the upstream behind it, answered with 400 or above.
    Refused,
}

/// Runs a command.
pub fn run(cli: Cli, around: &mut Surroundings<'_>) -> Result<Outcome> {
    if cli.debug {
        debug::init().context("the log cannot be shown")?;
    }
    let settings = Settings {
        directory: around.config_directory.clone(),
        profile: cli.profile,
        identity: cli.identity,
    };
    match cli.command {
        Command::Identity(command) => identity::run(command, &settings, around),
        Command::Profile(command) => profile::run(command, &settings, around),
        Command::Connect(args) => keys::connect(&settings, args, around),
        Command::Keys(args) => keys::run(&settings, args, around),
        Command::Models(args) => models::run(&settings, args, around),
        Command::Chat(args) => chat::run(&settings, args, around),
        Command::Usage(args) => usage::run(&settings, args, around),
        Command::Doctor(args) => doctor::run(&settings, args, around),
        Command::Request(args) => request(&settings, args, around),
        Command::Sign(args) => sign(&settings, args, around),
        Command::Serve(args) => serve::run(&settings, args, around),
        Command::Admin(args) => admin::run(args, around),
        Command::Books(command) => books::run(command, around),
        Command::Completions(args) => completions::run(&args, around),
    }
}

fn request(
    settings: &Settings,
    args: RequestArgs,
    around: &mut Surroundings<'_>,
) -> Result<Outcome> {
    let Prepared { gateway, draft, .. } = Prepared::new(settings, args.draft, around.stdin)?;
    let client = around.client(gateway, &settings.identity()?)?;
    let out = &mut *around.stdout;
    let refusal = block_on(async {
        let answer = client.send(draft).await?;
        anyhow::Ok(answer::relay(answer, args.include, out).await?)
    })?;
    match refusal {
        None => Ok(Outcome::Done),
        Some(refusal) => {
            writeln!(around.stderr, "llmgw: {}", Refused(refusal))?;
            Ok(Outcome::Refused)
        }
    }
}

/// Runs what waits for the network.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(future)
}

fn sign(settings: &Settings, args: SignArgs, around: &mut Surroundings<'_>) -> Result<Outcome> {
    let Prepared {
        gateway,
        draft,
        body_file,
    } = Prepared::new(settings, args.draft, around.stdin)?;
    let identity = Identity::load(&settings.identity()?)?;
    let (now, nonce) = (around.clock.now(), nonce(around)?);
    if args.curl {
        let request = gateway.signed(&identity, draft, now, &nonce)?;
        let command = curl::command(&request, body_file.as_deref())?;
        writeln!(around.stdout, "{command}")?;
    } else {
        for (name, value) in gateway.sign(&identity, &draft, now, &nonce)?.iter() {
            writeln!(around.stdout, "{name}: {value}")?;
        }
    }
    Ok(Outcome::Done)
}

/// The arguments of a request, put together.
struct Prepared {
    gateway: Gateway,
    draft: Draft,
    body_file: Option<PathBuf>,
}

impl Prepared {
    fn new(settings: &Settings, args: DraftArgs, stdin: &mut dyn Read) -> Result<Self> {
        let gateway = settings.gateway(args.gateway)?;
        let default_method = match args.data {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        let headers: HeaderMap = args
            .headers
            .into_iter()
            .map(|Header { name, value }| (name, value))
            .collect();
        let body = args.data.as_ref().map(|data| read(data, stdin));
        let draft = Draft::new(
            args.method.unwrap_or(default_method),
            args.path,
            headers,
            body.transpose()?.unwrap_or_default(),
        );
        let body_file = match args.data {
            Some(Data::File(path)) => Some(path),
            Some(Data::Text(_) | Data::Stdin) | None => None,
        };
        Ok(Self {
            gateway,
            draft,
            body_file,
        })
    }
}

/// Unlike curl's `-d`, it leaves line feeds in files alone.
fn read(data: &Data, stdin: &mut dyn Read) -> Result<Bytes> {
    match data {
        Data::Text(text) => Ok(text.clone().into()),
        Data::File(path) => {
            let body = fs::read(path);
            let body = body.with_context(|| format!("cannot read the body {}", path.display()))?;
            Ok(body.into())
        }
        Data::Stdin => {
            let mut body = Vec::new();
            stdin
                .read_to_end(&mut body)
                .context("cannot read the body from stdin")?;
            Ok(body.into())
        }
    }
}

fn nonce(around: &Surroundings<'_>) -> Result<Nonce> {
    let mut bytes = [0; 16];
    (around.random)(&mut bytes).context(NO_RANDOMNESS)?;
    Ok(Nonce::from_random(bytes))
}
