//! Reading a passphrase: typed without being shown, or from a pipe. Never from the command line,
//! which every user of the machine can read.

use std::io::{self, BufRead, BufReader, IsTerminal, Read};

use anyhow::{Context, Result, bail};
use zeroize::Zeroizing;

use super::output::Output;
use crate::terminal;

/// Longer than any that a person has.
const MAX: u64 = 4096;

/// Reads one line.
pub(super) fn read(stdin: &mut dyn Read, output: &mut Output<'_>) -> Result<Zeroizing<String>> {
    if io::stdin().is_terminal() {
        output.prompt("The original system's passphrase (not shown): ")?;
    }
    let mut line = terminal::hidden(|| {
        let mut line = Zeroizing::new(String::with_capacity(4096));
        BufReader::with_capacity(1, stdin.take(MAX)).read_line(&mut line)?;
        Ok(line)
    })
    .context("cannot read the passphrase from stdin")?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    if line.is_empty() {
        bail!("no passphrase came from stdin; type it, or `… < passphrase.txt`");
    }
    Ok(line)
}
