//! `llmgw logs`.

use anyhow::Result;
use clap::Args;

use super::history::History;
use crate::{
    context::{Context, Outcome},
    terminal::{Style, printable},
};

/// Arguments of `logs`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LogsArgs {
    /// The number of answers, the latest ones
    #[arg(short = 'n', long, default_value_t = 10, value_name = "NUMBER")]
    pub number: usize,
    /// Print lines of JSON
    #[arg(long)]
    pub json: bool,
    /// Delete the history
    #[arg(long, conflicts_with_all = ["number", "json"])]
    pub clear: bool,
}

const EXAMPLES: &str = "Examples:
  llmgw logs
  llmgw logs -n 1
  llmgw logs --json | jq -r .question
  llmgw logs --clear

The history is llmgw/history.jsonl in $XDG_CONFIG_HOME or ~/.config; only you can read it. `llmgw chat
--no-history` adds nothing to it, `llmgw chat -c` continues its latest conversation.";

/// Prints or deletes the history.
pub(in crate::commands) fn logs(args: &LogsArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let history = History::in_directory(context.settings.directory()?);
    if args.clear {
        history.clear()?;
        writeln!(context.stderr, "The history is deleted.")?;
        return Ok(Outcome::Success);
    }
    let exchanges = history.read()?;
    let first = exchanges.len().saturating_sub(args.number);
    for exchange in exchanges.into_iter().skip(first) {
        if args.json {
            serde_json::to_writer(&mut *context.stdout, &exchange)?;
            writeln!(context.stdout)?;
            continue;
        }
        let cost = exchange.cost.as_deref().unwrap_or("unknown cost");
        let head = format!(
            "{}  {}  {}  {}",
            exchange.time,
            printable(&exchange.conversation),
            printable(&exchange.model),
            printable(cost)
        );
        writeln!(
            context.stdout,
            "{}",
            context.terminal.paint(Style::Dim, head)
        )?;
        for (mark, text) in [("> ", &exchange.question), ("", &exchange.answer)] {
            for line in text.lines() {
                writeln!(context.stdout, "{mark}{}", printable(line))?;
            }
        }
        writeln!(context.stdout)?;
    }
    Ok(Outcome::Success)
}
