//! `llmgw chat`.

mod answer;
mod attachment;
mod conversation;
mod editor;
mod history;
mod logs;
mod screen;

use std::{io::Read, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::{Map, Value, json};
use shared::request::MAX_BODY;
use tokio::{select, signal};

pub(super) use self::logs::{LogsArgs, logs};
use self::{
    answer::Turn,
    attachment::Attachment,
    conversation::Conversation,
    editor::{Input, LineEditor},
    history::{Exchange, History},
    screen::Screen,
};
use crate::{
    args::GatewayArgs,
    client::{Client, NO_RANDOMNESS},
    context::{Context, Outcome, block_on},
};

const COMMANDS: &str = "/model NAME changes the model, /clear forgets the conversation, /exit (or \
                        Ctrl-D) ends; Ctrl-C stops an answer; a \\ at the end of a line continues it";

/// Arguments of `chat`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of the command line, each on its own"
)]
pub struct ChatArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// The model [default: the profile's, or with -c the conversation's]
    #[arg(short, long, env = "LLMGW_MODEL", value_name = "MODEL")]
    pub model: Option<String>,
    /// Continue the latest conversation
    #[arg(short = 'c', long = "continue")]
    pub continues: bool,
    /// The system prompt
    #[arg(short, long, value_name = "TEXT")]
    pub system: Option<String>,
    /// A parameter of the request, like temperature=0.2; may be repeated
    #[arg(short, long = "option", value_name = "NAME=VALUE", value_parser = option)]
    pub options: Vec<(String, Value)>,
    /// A file to ask about: text, a PDF or an image; may be repeated
    #[arg(short, long = "attach", value_name = "FILE")]
    pub attachments: Vec<PathBuf>,
    /// Print the answer as one line of JSON, with its tokens and cost
    #[arg(long)]
    pub json: bool,
    /// Keep this conversation out of the history
    #[arg(long)]
    pub no_history: bool,
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
  llmgw chat -c 'And in one sentence?'
  llmgw chat -a photo.png -a notes.md -o temperature=0.2 'What is this?'
  llmgw chat --json 'What is a DID?' | jq -r .cost
  export LLMGW_MODEL=openai/gpt-4o-mini

On a terminal, Markdown is rendered and the cost of each answer is shown. `llmgw models` lists models,\n`llmgw logs` shows what was said.";

/// Parses `NAME=VALUE`; a value that is not JSON is text.
fn option(text: &str) -> Result<(String, Value), &'static str> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("an option has the form NAME=VALUE, like temperature=0.2")?;
    if matches!(name, "model" | "messages" | "stream") {
        return Err("model, messages and stream are set by llmgw");
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

/// A conversation, and where it is kept.
struct Session {
    client: Client,
    conversation: Conversation,
    system: Option<String>,
    history: Option<History>,
    clock: shared::clock::Clock,
}

impl Session {
    fn new(args: &mut ChatArgs, context: &Context<'_>) -> Result<Self> {
        let gateway = std::mem::take(&mut args.gateway);
        let client = context.client(gateway)?;
        let directory = context.settings.directory().ok();
        let before = match directory {
            Some(directory) if args.continues => History::in_directory(directory).latest()?,
            Some(_) | None => Vec::new(),
        };
        ensure!(
            !args.continues || !before.is_empty(),
            "there is no conversation to continue"
        );
        let last = before.last();
        let model = args
            .model
            .take()
            .or_else(|| Some(last?.model.clone()))
            .map_or_else(
                || Ok(context.settings.profile()?.model),
                |model| anyhow::Ok(Some(model)),
            )?;
        let model = model.context(
            "which model? name it with -m or LLMGW_MODEL, or store it with `llmgw profile add --model`; \
             `llmgw models` lists them",
        )?;
        let system = args.system.take().or_else(|| last?.system.clone());
        let id = if let Some(last) = last {
            last.conversation.clone()
        } else {
            let mut bytes = [0; 8];
            (context.random)(&mut bytes).context(NO_RANDOMNESS)?;
            hex::encode(bytes)
        };
        let options: Map<_, _> = std::mem::take(&mut args.options).into_iter().collect();
        let mut conversation = Conversation::new(id, model, system.clone(), options);
        conversation.remember(&before);
        Ok(Self {
            client,
            conversation,
            system,
            history: directory
                .filter(|_| !args.no_history)
                .map(History::in_directory),
            clock: context.clock.clone(),
        })
    }

    /// Asks, and keeps a complete answer.
    async fn ask(
        &mut self,
        question: &str,
        attachments: &[Attachment],
        screen: &mut Screen<'_>,
    ) -> Result<Turn> {
        let conversation = &mut self.conversation;
        let turn = conversation
            .ask(&self.client, question, attachments, screen)
            .await?;
        if let (Some(history), None) = (&self.history, &turn.fault) {
            let names = attachments.iter().map(|it| format!("[{}] ", it.name));
            let exchange = Exchange {
                conversation: conversation.id.clone(),
                time: self.clock.now(),
                model: conversation.model.clone(),
                system: self.system.clone(),
                // The files themselves stay where they are.
                question: names.collect::<String>() + question,
                answer: turn.text.clone(),
                cost: turn.cost().map(|cost| cost.0.to_string()),
            };
            if let Err(error) = history.add(&exchange) {
                writeln!(screen.err, "llmgw: {error:#}")?;
            }
        }
        Ok(turn)
    }
}

/// Asks one question, or begins a conversation.
pub(super) fn run(mut args: ChatArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let mut session = Session::new(&mut args, context)?;
    let attachments: Vec<_> = args
        .attachments
        .iter()
        .map(|path| Attachment::read(path))
        .collect::<Result<_>>()?;
    let question = question(&args.question, context)?;
    let mut screen = Screen {
        terminal: context.terminal,
        renders: context.terminal.colours && !args.raw,
        is_json: args.json,
        out: &mut *context.stdout,
        err: &mut *context.stderr,
    };
    block_on(async {
        match question {
            Some(question) => once(&mut session, &question, &attachments, &mut screen).await,
            None if args.json => bail!("there is no question; --json is for single ones"),
            None => converse(&mut session, attachments, &mut screen).await,
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
    session: &mut Session,
    question: &str,
    attachments: &[Attachment],
    screen: &mut Screen<'_>,
) -> Result<Outcome> {
    let turn = session.ask(question, attachments, screen).await?;
    let Conversation {
        id, model, cost, ..
    } = &session.conversation;
    if screen.is_json {
        let answer = json!({
            "conversation": id,
            "model": turn.model.as_deref().unwrap_or(model),
            "answer": turn.text,
            "input_tokens": turn.usage.as_ref().and_then(|usage| usage.prompt_tokens),
            "output_tokens": turn.usage.as_ref().and_then(|usage| usage.completion_tokens),
            "cost": turn.cost().map(|cost| cost.0.to_string()),
            "fault": turn.fault,
        });
        writeln!(screen.out, "{answer}")?;
    } else {
        screen.end_answer(&turn, model, *cost)?;
    }
    Ok(match turn.fault {
        Some(fault) => {
            writeln!(screen.err, "llmgw: {fault}")?;
            Outcome::Failure
        }
        None => Outcome::Success,
    })
}

/// Holds a conversation; the attachments belong to its first question.
async fn converse(
    session: &mut Session,
    mut attachments: Vec<Attachment>,
    screen: &mut Screen<'_>,
) -> Result<Outcome> {
    writeln!(screen.err, "{}: {COMMANDS}.", session.conversation.model)?;
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
            ("/clear", _) => session.conversation.clear(),
            ("/model", name) if !name.trim().is_empty() => {
                name.trim().clone_into(&mut session.conversation.model);
            }
            (other, _) if other.starts_with('/') => {
                writeln!(screen.err, "{COMMANDS}")?;
            }
            _ => {
                let asked = select! {
                    asked = session.ask(&question, &attachments, screen) => Some(asked),
                    _ = signal::ctrl_c() => None,
                };
                match asked {
                    Some(Ok(turn)) => {
                        attachments.clear();
                        let Conversation { model, cost, .. } = &session.conversation;
                        screen.end_answer(&turn, model, *cost)?;
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
