//! `llmgw chat`.

mod answer;
mod conversation;
mod screen;

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    os::fd::AsFd,
    thread,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tokio::{select, signal, sync::mpsc};

use self::{conversation::Conversation, screen::Screen};
use crate::{
    args::GatewayArgs,
    client::Client,
    context::{Context, Outcome, block_on},
};

const COMMANDS: &str = "/model NAME asks another model, /clear begins anew, /exit (or Ctrl-D) ends; \
                        Ctrl-C stops an answer; a \\ at the end of a line continues it";

/// Arguments of `chat`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ChatArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// The model
    #[arg(short, long, env = "LLMGW_MODEL", value_name = "MODEL")]
    pub model: String,
    /// What the model is told before everything else
    #[arg(short, long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Show the answer as it was written, not as Markdown
    #[arg(long)]
    pub raw: bool,
    /// The question; without one it is read from stdin, or a conversation begins
    pub question: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  llmgw chat -m openai/gpt-4o-mini
  llmgw chat -m openai/gpt-4o-mini 'What is a DID?'
  llmgw chat -m openai/gpt-4o-mini 'Summarize this:' < notes.txt > summary.md
  export LLMGW_MODEL=openai/gpt-4o-mini

On a terminal Markdown is rendered, and what each answer cost is told. `llmgw models` lists models.";

/// Asks one question, or begins a conversation.
pub(super) fn run(args: ChatArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let client = context.client(args.gateway)?;
    let mut conversation = Conversation::new(args.model, args.system);
    let question = question(&args.question, context)?;
    let mut screen = Screen {
        terminal: context.terminal,
        renders: context.terminal.colours && !args.raw,
        out: &mut *context.stdout,
        err: &mut *context.stderr,
    };
    block_on(async {
        match question {
            Some(question) => once(&client, &mut conversation, question, &mut screen).await,
            None => converse(&client, &mut conversation, &mut screen).await,
        }
    })
}

/// The question that was given, by arguments, by a file or a pipe, or by both.
fn question(words: &[String], context: &mut Context<'_>) -> Result<Option<String>> {
    let mut parts = Vec::new();
    if !words.is_empty() {
        parts.push(words.join(" "));
    }
    if !context.terminal.stdin {
        let mut text = String::new();
        context
            .stdin
            .read_to_string(&mut text)
            .context("cannot read the question from stdin")?;
        if !text.trim().is_empty() {
            parts.push(text);
        }
        if parts.is_empty() {
            bail!("there is no question; give one as an argument or on stdin");
        }
    }
    Ok((!parts.is_empty()).then(|| parts.join("\n\n")))
}

async fn once(
    client: &Client,
    conversation: &mut Conversation,
    question: String,
    screen: &mut Screen<'_>,
) -> Result<Outcome> {
    let turn = conversation.ask(client, question, screen).await?;
    screen.end_answer(&turn, &conversation.model, conversation.cost)?;
    Ok(match turn.fault {
        Some(fault) => {
            writeln!(screen.err, "llmgw: {fault}")?;
            Outcome::Failure
        }
        None => Outcome::Success,
    })
}

async fn converse(
    client: &Client,
    conversation: &mut Conversation,
    screen: &mut Screen<'_>,
) -> Result<Outcome> {
    writeln!(screen.err, "{}: {COMMANDS}.", conversation.model)?;
    let mut lines = typed()?;
    loop {
        screen.prompt()?;
        let question = select! {
            question = read_question(&mut lines) => question,
            _ = signal::ctrl_c() => None,
        };
        let Some(question) = question else {
            writeln!(screen.err)?;
            return Ok(Outcome::Success);
        };
        let command = question.trim();
        match command.split_once(' ').unwrap_or((command, "")) {
            ("", _) => {}
            ("/exit" | "/quit", _) => return Ok(Outcome::Success),
            ("/clear", _) => conversation.clear(),
            ("/model", name) if !name.trim().is_empty() => {
                name.trim().clone_into(&mut conversation.model);
            }
            (other, _) if other.starts_with('/') => {
                writeln!(screen.err, "{COMMANDS}")?;
            }
            _ => {
                let asked = select! {
                    asked = conversation.ask(client, question, screen) => Some(asked),
                    _ = signal::ctrl_c() => None,
                };
                match asked {
                    Some(Ok(turn)) => {
                        screen.end_answer(&turn, &conversation.model, conversation.cost)?;
                        if let Some(fault) = turn.fault {
                            writeln!(screen.err, "llmgw: {fault}")?;
                        }
                    }
                    Some(Err(error)) => writeln!(screen.err, "llmgw: {error:#}")?,
                    None => screen.stopped()?,
                }
            }
        }
    }
}

/// Lines from the terminal, while other things happen. The thread ends with the program.
fn typed() -> Result<mpsc::UnboundedReceiver<String>> {
    // Not `io::stdin()`, which `main` holds locked; on a terminal nothing is read ahead there.
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (sender, lines) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in BufReader::new(stdin).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Ok(lines)
}

async fn read_question(lines: &mut mpsc::UnboundedReceiver<String>) -> Option<String> {
    let mut question = String::new();
    loop {
        let line = lines.recv().await?;
        match line.strip_suffix('\\') {
            Some(begun) => {
                question.push_str(begun);
                question.push('\n');
            }
            None => return Some(question + &line),
        }
    }
}
