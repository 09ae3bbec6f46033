//! Reading a passphrase: typed without being shown, or from a pipe. Never from the command line,
//! which every user of the machine can read.

use std::io::{self, BufRead, BufReader, IsTerminal, Read};

use anyhow::{Context, Result, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::output::Output;

/// Longer than any that a person has.
const MAX: u64 = 4096;

/// Reads one line.
pub(super) fn read(stdin: &mut dyn Read, output: &mut Output<'_>) -> Result<Zeroizing<String>> {
    let hidden = if io::stdin().is_terminal() {
        output.prompt("The original system's passphrase (not shown): ")?;
        Some(Hidden::new().context("the terminal cannot be kept from showing it; use a pipe")?)
    } else {
        None
    };
    let mut line = Zeroizing::new(String::with_capacity(4096));
    let read = BufReader::with_capacity(1, stdin.take(MAX)).read_line(&mut line);
    if hidden.is_some() {
        drop(hidden);
        output.note("")?;
    }
    read.context("cannot read the passphrase from stdin")?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    if line.is_empty() {
        bail!("no passphrase came from stdin; type it, or `… < passphrase.txt`");
    }
    Ok(line)
}

/// The terminal shows nothing of what is typed, as long as this lives.
struct Hidden(Termios);

impl Hidden {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // If it fails, `stty echo` helps.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
