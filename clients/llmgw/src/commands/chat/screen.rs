//! The display of a conversation.

use std::io::{self, Write};

use shared::metering::money::Usd;

use super::answer::Turn;
use crate::{
    api::Money,
    markdown::Renderer,
    terminal::{Style, Terminal, printable},
};

/// The output of a conversation.
pub(super) struct Screen<'a> {
    pub(super) terminal: Terminal,
    pub(super) renders: bool,
    /// Whether answers are printed as JSON, once they are whole.
    pub(super) is_json: bool,
    pub(super) out: &'a mut dyn Write,
    pub(super) err: &'a mut dyn Write,
}

impl Screen<'_> {
    pub(super) fn answer(&mut self, text: &str, renderer: &mut Renderer) -> io::Result<()> {
        if self.is_json {
            return Ok(());
        }
        if self.renders {
            self.out.write_all(renderer.push(text).as_bytes())?;
        } else if self.terminal.stdout {
            let steers = |it: char| crate::terminal::steers(it) && !matches!(it, '\n' | '\t');
            self.out.write_all(text.replace(steers, "").as_bytes())?;
        } else {
            self.out.write_all(text.as_bytes())?;
        }
        self.out.flush()
    }

    /// Ends an answer that was interrupted.
    pub(super) fn stopped(&mut self) -> io::Result<()> {
        if self.renders {
            // The rest of the answer would have ended the style.
            write!(self.out, "\u{1b}[0m")?;
            self.out.flush()?;
        }
        writeln!(self.err, "\n(stopped)")
    }

    /// Ends the answer's last line. On a terminal, shows the cost of the answer and of the whole
    /// conversation.
    pub(super) fn end_answer(&mut self, turn: &Turn, model: &str, total: Usd) -> io::Result<()> {
        writeln!(self.out)?;
        self.out.flush()?;
        if !self.terminal.stdout {
            return Ok(());
        }
        let mut parts = vec![printable(turn.model.as_deref().unwrap_or(model))];
        if let Some(usage) = &turn.usage {
            let counts = [
                (usage.prompt_tokens, "in"),
                (usage.completion_tokens, "out"),
            ];
            for (count, what) in counts {
                parts.extend(count.map(|count| format!("{count} {what}")));
            }
            parts.extend(usage.cost.map(|cost| cost.to_string()));
        }
        parts.push(format!("{} in total", Money(total)));
        let line = parts.join(" · ");
        writeln!(self.err, "{}", self.terminal.paint(Style::Dim, line))
    }
}
