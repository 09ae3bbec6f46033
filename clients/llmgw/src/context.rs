//! The context of a command: its settings, the clock, randomness and the standard streams. `main` fills
//! it in; no command reads them from the process itself.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
};

use anyhow::{Context as _, Result};
use shared::{clock::Clock, identity::signing::Nonce};
use zeroize::Zeroizing;

use crate::{
    args::GatewayArgs,
    client::{Client, FillRandom, NO_RANDOMNESS},
    gateway::Gateway,
    identity::Identity,
    settings::Settings,
    terminal::Terminal,
};

/// Everything that a command takes from its surroundings.
pub struct Context<'a> {
    /// The gateway and the identity that were chosen for this run.
    pub settings: Settings,
    /// The source of signing times.
    pub clock: Clock,
    /// The source of nonces and keys.
    pub random: FillRandom,
    /// The terminals among the streams below, and their abilities.
    pub terminal: Terminal,
    /// Request bodies, questions, keys.
    pub stdin: &'a mut dyn Read,
    /// Data.
    pub stdout: &'a mut dyn Write,
    /// Messages for people.
    pub stderr: &'a mut dyn Write,
}

impl Context<'_> {
    /// A client of the chosen gateway that signs with the chosen identity.
    pub fn client(&self, args: GatewayArgs) -> Result<Client> {
        self.client_of(self.settings.gateway(args)?)
    }

    /// A client of `gateway` that signs with the chosen identity.
    pub fn client_of(&self, gateway: Gateway) -> Result<Client> {
        Ok(Client::new(
            gateway,
            self.identity()?,
            self.clock.clone(),
            self.random,
        )?)
    }

    /// The chosen identity.
    pub fn identity(&self) -> Result<Identity> {
        Ok(Identity::load(&self.settings.identity()?)?)
    }

    /// A new nonce.
    pub fn nonce(&self) -> Result<Nonce> {
        let mut bytes = [0; 16];
        (self.random)(&mut bytes).context(NO_RANDOMNESS)?;
        Ok(Nonce::from_random(bytes))
    }

    /// Shows `text` and leaves the cursor behind it.
    pub fn prompt(&mut self, text: &str) -> io::Result<()> {
        write!(self.stderr, "{text}")?;
        self.stderr.flush()
    }

    /// Reads one line of stdin, and no byte beyond it.
    pub fn read_line(&mut self) -> io::Result<Zeroizing<String>> {
        read_line(self.stdin)
    }

    /// Reads a secret line.
    pub fn read_secret(&mut self) -> io::Result<Zeroizing<String>> {
        read_secret(self.terminal, self.stdin)
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("settings", &self.settings)
            .field("clock", &self.clock)
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

/// The longest line that is read.
const MAX_LINE: u64 = 8192;

/// Reads one line of `input`, and no byte beyond it. The line may be a secret.
fn read_line(input: &mut dyn Read) -> io::Result<Zeroizing<String>> {
    // The full capacity at once: a reallocation would leave a copy behind.
    let capacity = usize::try_from(MAX_LINE).unwrap_or(0);
    let mut line = Zeroizing::new(String::with_capacity(capacity));
    BufReader::with_capacity(1, input.take(MAX_LINE)).read_line(&mut line)?;
    Ok(line)
}

/// Reads a secret line of `input`, which is not shown while it is typed on a terminal.
pub(crate) fn read_secret(
    terminal: Terminal,
    input: &mut dyn Read,
) -> io::Result<Zeroizing<String>> {
    if terminal.stdin {
        Ok(Zeroizing::new(rpassword::read_password()?))
    } else {
        read_line(input)
    }
}

/// The result of a command that ran to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Exit status 0.
    Success,
    /// Exit status 1. The command has printed the reason.
    Failure,
    /// The exit status of a program that the command ran.
    Exit(u8),
}

impl Outcome {
    /// Success if `ok`.
    #[must_use]
    pub fn from_ok(ok: bool) -> Self {
        if ok { Self::Success } else { Self::Failure }
    }
}

/// Runs a future on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(future)
}
