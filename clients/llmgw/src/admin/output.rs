//! The output of an operator's command: text or JSON on stdout, progress on stderr.

use std::{
    fmt,
    io::{self, Write},
};

use serde::Serialize;

use crate::terminal::{Style, Terminal};

/// The width of a progress bar.
const BAR: usize = 30;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    Failed,
    /// The check needs something that is missing.
    Skipped,
}

/// Writes reports and progress.
pub(super) struct Output<'a> {
    json: bool,
    terminal: Terminal,
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        json: bool,
        terminal: Terminal,
        stdout: &'a mut dyn Write,
        stderr: &'a mut dyn Write,
    ) -> Self {
        Self {
            json,
            terminal,
            stdout,
            stderr,
        }
    }

    /// Prints a command's report, as JSON or as text.
    pub(super) fn report(&mut self, report: &(impl Serialize + fmt::Display)) -> io::Result<()> {
        if self.json {
            return self.json(report);
        }
        writeln!(self.stdout, "{report}")
    }

    /// Prints a report that only exists as JSON, if JSON was asked for.
    pub(super) fn json(&mut self, report: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        serde_json::to_writer(&mut *self.stdout, report)?;
        writeln!(self.stdout)
    }

    /// Prints a line of a report, unless the report is JSON.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        writeln!(self.stdout, "{text}")
    }

    /// Prints the result of a check, unless the report is JSON.
    pub(super) fn verdict(&mut self, verdict: Verdict, text: &str) -> io::Result<()> {
        let (style, word) = match verdict {
            Verdict::Ok => (Style::Green, "ok"),
            Verdict::Failed => (Style::Red, "FAIL"),
            Verdict::Skipped => (Style::Yellow, "skip"),
        };
        let word = self.terminal.paint(style, format!("{word:4}"));
        self.line(&format!("{word}  {text}"))
    }

    /// Prints a message to stderr, unless the report is JSON.
    pub(super) fn summary(&mut self, text: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        self.warn(text)
    }

    /// Prints a message to stderr.
    pub(super) fn warn(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.stderr, "{text}")
    }

    pub(super) fn terminal(&self) -> Terminal {
        self.terminal
    }

    /// Prints a question to stderr. The answer is typed on the same line.
    pub(super) fn prompt(&mut self, text: &str) -> io::Result<()> {
        write!(self.stderr, "{text}")?;
        self.stderr.flush()
    }

    /// Shows that `done` of `total` rows are done: as a bar on a terminal, else as a line.
    pub(super) fn progress(&mut self, what: &str, done: u64, total: u64) -> io::Result<()> {
        // Rows are inserted and deleted meanwhile.
        let total = total.max(done);
        if !self.terminal.progress {
            return writeln!(self.stderr, "{what}: {done} of {total} rows");
        }
        let width = u64::try_from(BAR).unwrap_or(u64::MAX);
        let filled = (done * width).checked_div(total).unwrap_or(width);
        let filled = usize::try_from(filled).unwrap_or(BAR);
        write!(
            self.stderr,
            "\r{what} [{}{}] {done}/{total}",
            "#".repeat(filled),
            "-".repeat(BAR - filled),
        )?;
        self.stderr.flush()
    }

    /// Ends the line of a progress bar.
    pub(super) fn end_progress(&mut self) -> io::Result<()> {
        if self.terminal.progress {
            writeln!(self.stderr)
        } else {
            Ok(())
        }
    }
}

/// A number of rows: `1 row`, `2 rows`.
pub(super) struct Rows(pub(super) u64);

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 row"),
            n => write!(f, "{n} rows"),
        }
    }
}

#[cfg(test)]
mod tests;
