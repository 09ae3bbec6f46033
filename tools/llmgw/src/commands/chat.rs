//! `llmgw chat`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::fd::AsFd,
    thread,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Method;
use serde::{Deserialize, Serialize};
use shared::{
    money::Usd,
    sse::{Framer, Piece},
};
use tokio::{select, signal, sync::mpsc};

use super::{Outcome, Surroundings, block_on};
use crate::{
    answer::Refusal,
    api::{self, Money, Refused},
    cli::GatewayArgs,
    client::Client,
    markdown::Renderer,
    settings::Settings,
    terminal::{Style, Terminal, printable},
};

const CHAT: &str = "/api/v1/openrouter/chat/completions";
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

/// Asks once, or converses.
pub fn run(settings: &Settings, args: ChatArgs, around: &mut Surroundings<'_>) -> Result<Outcome> {
    let gateway = settings.gateway(args.gateway)?;
    let client = around.client(gateway, &settings.identity()?)?;
    let mut conversation = Conversation::new(args.model, args.system);
    let question = question(&args.question, around)?;
    let mut screen = Screen {
        terminal: around.terminal,
        renders: around.terminal.colours && !args.raw,
        out: &mut *around.stdout,
        err: &mut *around.stderr,
    };
    block_on(async {
        match question {
            Some(question) => once(&client, &mut conversation, question, &mut screen).await,
            None => converse(&client, &mut conversation, &mut screen).await,
        }
    })
}

/// The question that was given, by arguments, by a file or a pipe, or by both.
fn question(words: &[String], around: &mut Surroundings<'_>) -> Result<Option<String>> {
    let mut parts = Vec::new();
    if !words.is_empty() {
        parts.push(words.join(" "));
    }
    if !around.terminal.stdin {
        let mut text = String::new();
        around
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
    screen.end_answer(&turn, conversation)?;
    Ok(match turn.fault {
        Some(fault) => {
            writeln!(screen.err, "llmgw: {fault}")?;
            Outcome::Refused
        }
        None => Outcome::Done,
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
            return Ok(Outcome::Done);
        };
        let command = question.trim();
        match command.split_once(' ').unwrap_or((command, "")) {
            ("", _) => {}
            ("/exit" | "/quit", _) => return Ok(Outcome::Done),
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
                        screen.end_answer(&turn, conversation)?;
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

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: String,
}

struct Conversation {
    model: String,
    messages: Vec<Message>,
    /// Whether the first message is the system's.
    has_system: bool,
    cost: Usd,
}

/// How an answer went.
struct Turn {
    model: Option<String>,
    usage: Option<Usage>,
    /// Why it is not whole.
    fault: Option<String>,
}

impl Conversation {
    fn new(model: String, system: Option<String>) -> Self {
        let has_system = system.is_some();
        let system = system.map(|content| Message {
            role: "system",
            content,
        });
        Self {
            model,
            messages: system.into_iter().collect(),
            has_system,
            cost: Usd::ZERO,
        }
    }

    fn clear(&mut self) {
        self.messages.truncate(self.has_system.into());
    }

    /// Asks, and shows the answer as it comes. Only a whole answer stays in the conversation.
    async fn ask(
        &mut self,
        client: &Client,
        question: String,
        screen: &mut Screen<'_>,
    ) -> Result<Turn> {
        self.messages.push(Message {
            role: "user",
            content: question,
        });
        let body = serde_json::to_vec(&Request {
            model: &self.model,
            messages: &self.messages,
            stream: true,
        })?;
        // Also where this future is dropped, the question does not stay without an answer.
        let question = self.messages.pop();
        let mut answer = Answer::default();
        let turn = receive(client, body, &mut answer, screen).await?;
        if let Some(cost) = turn.usage.as_ref().and_then(|usage| usage.cost) {
            self.cost = self.cost.checked_add(cost.0).unwrap_or(self.cost);
        }
        if turn.fault.is_none() {
            self.messages.extend(question);
            self.messages.push(Message {
                role: "assistant",
                content: answer.text,
            });
        }
        Ok(turn)
    }
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: &'a [Message],
    stream: bool,
}

async fn receive(
    client: &Client,
    body: Vec<u8>,
    answer: &mut Answer,
    screen: &mut Screen<'_>,
) -> Result<Turn> {
    let mut response = client.send(api::send(Method::POST, CHAT, body)?).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    if !status.is_success() {
        let body = response.bytes().await.unwrap_or_default();
        return Err(Refused(Refusal::new(status, &headers, &body)).into());
    }
    let mut renderer = Renderer::default();
    let mut framer = Framer::new();
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(_) => {
                answer
                    .fault
                    .get_or_insert("the answer broke off".to_owned());
                break;
            }
        };
        let fresh = answer.feed(&mut framer, &chunk);
        screen.answer(&fresh, &mut renderer)?;
    }
    if screen.renders {
        screen.out.write_all(renderer.finish().as_bytes())?;
    }
    if !answer.done {
        answer
            .fault
            .get_or_insert("the answer ended too early".to_owned());
    }
    Ok(Turn {
        model: answer.model.take(),
        usage: answer.usage.take(),
        fault: answer.fault.take(),
    })
}

/// An answer as far as it has come.
#[derive(Default)]
struct Answer {
    text: String,
    model: Option<String>,
    usage: Option<Usage>,
    fault: Option<String>,
    done: bool,
    /// The data of the event that is not whole yet.
    event: Vec<u8>,
}

impl Answer {
    /// Takes a piece of the stream, and gives the text that it added.
    fn feed(&mut self, framer: &mut Framer, chunk: &[u8]) -> String {
        let before = self.text.len();
        framer.feed(chunk, |piece| match piece {
            Piece::Data(bytes) => self.event.extend_from_slice(bytes),
            Piece::End(event) => {
                self.done |= event.done;
                let data = std::mem::take(&mut self.event);
                // Comments and `[DONE]` are no JSON, and nothing is lost with them.
                if let Ok(event) = serde_json::from_slice(&data) {
                    self.event(event);
                }
            }
        });
        self.text.get(before..).unwrap_or_default().to_owned()
    }

    fn event(&mut self, event: Event) {
        let deltas = event.choices.into_iter().flatten();
        for choice in deltas {
            let content = choice.delta.and_then(|delta| delta.content);
            self.text.push_str(&content.unwrap_or_default());
        }
        self.model = event.model.or(self.model.take());
        self.usage = event.usage.or(self.usage.take());
        if let Some(error) = event.error {
            let message = error.message.unwrap_or_default();
            let message = format!("the answer broke off: {}", printable(&message));
            self.fault.get_or_insert(message);
        }
    }
}

#[derive(Deserialize)]
struct Event {
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    cost: Option<Money>,
}

#[derive(Deserialize)]
struct Fault {
    message: Option<String>,
}

/// Where a conversation is shown.
struct Screen<'a> {
    terminal: Terminal,
    renders: bool,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl Screen<'_> {
    fn prompt(&mut self) -> io::Result<()> {
        write!(self.err, "{}", self.terminal.paint(Style::Bold, "> "))?;
        self.err.flush()
    }

    fn answer(&mut self, text: &str, renderer: &mut Renderer) -> io::Result<()> {
        if self.renders {
            self.out.write_all(renderer.push(text).as_bytes())?;
        } else if self.terminal.stdout {
            let steers = |it: char| it.is_control() && !matches!(it, '\n' | '\t');
            self.out.write_all(text.replace(steers, "").as_bytes())?;
        } else {
            self.out.write_all(text.as_bytes())?;
        }
        self.out.flush()
    }

    /// Leaves an answer that its reader does not want any more.
    fn stopped(&mut self) -> io::Result<()> {
        if self.renders {
            // Whatever style the rest would have ended.
            write!(self.out, "\u{1b}[0m")?;
            self.out.flush()?;
        }
        writeln!(self.err, "\n(stopped)")
    }

    /// Ends the answer's last line; tells people what it cost.
    fn end_answer(&mut self, turn: &Turn, conversation: &Conversation) -> io::Result<()> {
        writeln!(self.out)?;
        self.out.flush()?;
        if !self.terminal.stdout {
            return Ok(());
        }
        let mut parts = vec![printable(
            turn.model.as_ref().unwrap_or(&conversation.model),
        )];
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
        parts.push(format!("{} in all", Money(conversation.cost)));
        let line = parts.join(" · ");
        writeln!(self.err, "{}", self.terminal.paint(Style::Dim, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_put_together_wherever_it_is_cut() {
        let stream = ": OPENROUTER PROCESSING\n\n\
            data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"Grüezi\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":null}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\", 世界\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"cost\":7.434e-07}}\n\n\
            data: [DONE]\n\n";
        for cut in 0..=stream.len() {
            let (one, two) = stream.as_bytes().split_at(cut);
            let mut answer = Answer::default();
            let mut framer = Framer::new();
            let shown = answer.feed(&mut framer, one) + &answer.feed(&mut framer, two);
            assert_eq!(shown, "Grüezi, 世界", "{cut}");
            assert_eq!(answer.text, shown);
            assert_eq!(answer.model.as_deref(), Some("m"));
            let cost = answer.usage.unwrap().cost.unwrap();
            assert_eq!(cost.to_string(), "$0.0000007434");
            assert!(answer.done && answer.fault.is_none());
        }
    }

    #[test]
    fn an_error_in_the_middle_is_told() {
        let mut answer = Answer::default();
        let event = b"data: {\"error\":{\"code\":502,\"message\":\"Provider\\u001b[2J gone\"},\"choices\":[]}\n\n";
        assert_eq!(answer.feed(&mut Framer::new(), event), "");
        let fault = answer.fault.unwrap();
        assert_eq!(fault, "the answer broke off: Provider [2J gone");
    }
}
