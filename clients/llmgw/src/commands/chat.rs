//! `llmgw chat`.

mod answer;
mod conversation;
mod editor;
mod screen;

use std::io::Read;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use shared::request::MAX_BODY;
use tokio::{select, signal};

use self::{
    conversation::Conversation,
    editor::{Input, LineEditor},
    screen::Screen,
};
use crate::{
    args::GatewayArgs,
    client::Client,
    context::{Context, Outcome, block_on},
};

const COMMANDS: &str = "/model NAME changes the model, /clear forgets the conversation, /exit (or \
                        Ctrl-D) ends; Ctrl-C stops an answer; a \\ at the end of a line continues it";

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
    /// The system prompt
    #[arg(short, long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Show the answer as it was written, without rendering Markdown
    #[arg(long)]
    pub raw: bool,
    /// The question [default: read from stdin, or on a terminal a conversation]
    pub question: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  llmgw chat -m openai/gpt-4o-mini
  llmgw chat -m openai/gpt-4o-mini 'What is a DID?'
  llmgw chat -m openai/gpt-4o-mini 'Summarize this:' < notes.txt > summary.md
  export LLMGW_MODEL=openai/gpt-4o-mini

On a terminal, Markdown is rendered and the cost of each answer is shown. `llmgw models` lists models.";

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

/// The question of the arguments, of stdin, or of both. `None` begins a conversation.
fn question(words: &[String], context: &mut Context<'_>) -> Result<Option<String>> {
    let mut parts = Vec::new();
    if !words.is_empty() {
        parts.push(words.join(" "));
    }
    if !context.terminal.stdin {
        parts.push(read_question(context.stdin)?);
    }
    if parts.is_empty() {
        return Ok(None);
    }
    parts.retain(|part| !part.trim().is_empty());
    if parts.is_empty() {
        bail!("there is no question; give one as an argument or on stdin");
    }
    Ok(Some(parts.join("\n\n")))
}

/// Reads stdin, up to the size that a gateway accepts.
fn read_question(stdin: &mut dyn Read) -> Result<String> {
    let limit = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    stdin
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .context("cannot read the question from stdin")?;
    ensure!(
        bytes.len() <= MAX_BODY,
        "the question on stdin is larger than the {} MiB that a gateway accepts",
        MAX_BODY >> 20
    );
    String::from_utf8(bytes).context("the question on stdin is not text")
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
    let mut editor = LineEditor::new(screen.terminal)?;
    loop {
        let (next, input) = editor.read().await?;
        editor = next;
        let question = match input {
            Input::Text(text) => text,
            // The line is discarded.
            Input::Interrupted => continue,
            Input::End => return Ok(Outcome::Success),
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
