//! A conversation: its messages, and asking for the next one.

use anyhow::Result;
use http::Method;
use serde::Serialize;
use serde_json::{Map, Value, json};
use shared::metering::{money::Usd, sse::Framer};

use super::{
    answer::{Answer, Turn},
    attachment::Attachment,
    history::Exchange,
    screen::Screen,
};
use crate::{api, client::Client, markdown::Renderer, response::ErrorResponse};

const CHAT: &str = "/api/v1/openrouter/chat/completions";

pub(super) struct Conversation {
    /// Its name in the history.
    pub(super) id: String,
    pub(super) model: String,
    /// More members of the request: `temperature` and the like.
    options: Map<String, Value>,
    messages: Vec<Message>,
    /// Whether the first message is the system prompt.
    has_system: bool,
    /// The cost of all answers.
    pub(super) cost: Usd,
}

impl Conversation {
    pub(super) fn new(
        id: String,
        model: String,
        system: Option<String>,
        options: Map<String, Value>,
    ) -> Self {
        let has_system = system.is_some();
        let system = system.map(|content| Message {
            role: "system",
            content: content.into(),
        });
        Self {
            id,
            model,
            options,
            messages: system.into_iter().collect(),
            has_system,
            cost: Usd::ZERO,
        }
    }

    /// Adds what was said before.
    pub(super) fn remember(&mut self, exchanges: &[Exchange]) {
        for exchange in exchanges {
            for (role, text) in [
                ("user", &exchange.question),
                ("assistant", &exchange.answer),
            ] {
                self.messages.push(Message {
                    role,
                    content: text.as_str().into(),
                });
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.messages.truncate(self.has_system.into());
    }

    /// Sends the conversation with `question`, and shows the answer as it arrives. Only complete answers
    /// are kept in the conversation.
    pub(super) async fn ask(
        &mut self,
        client: &Client,
        question: &str,
        attachments: &[Attachment],
        screen: &mut Screen<'_>,
    ) -> Result<Turn> {
        self.messages.push(Message {
            role: "user",
            content: content(question, attachments),
        });
        let body = serde_json::to_vec(&Request {
            model: &self.model,
            messages: &self.messages,
            stream: true,
            options: &self.options,
        })?;
        // Taken back, so that the question is not kept if this future is dropped.
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
                content: turn.text.as_str().into(),
            });
        }
        Ok(turn)
    }
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: Value,
}

/// The content of a question: text alone, or a list of parts.
fn content(question: &str, attachments: &[Attachment]) -> Value {
    if attachments.is_empty() {
        return question.into();
    }
    let text = json!({"type": "text", "text": question});
    let parts = attachments.iter().map(|attachment| attachment.part.clone());
    std::iter::once(text).chain(parts).collect()
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: &'a [Message],
    stream: bool,
    #[serde(flatten)]
    options: &'a Map<String, Value>,
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
        return Err(ErrorResponse::new(status, &headers, &body).into());
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
        let text = answer.feed(&mut framer, &chunk);
        screen.answer(&text, &mut renderer)?;
    }
    if screen.renders && !screen.is_json {
        screen.out.write_all(renderer.finish().as_bytes())?;
    }
    if !answer.done {
        answer
            .fault
            .get_or_insert("the answer ended too early".to_owned());
    }
    Ok(Turn {
        text: std::mem::take(&mut answer.text),
        model: answer.model.take(),
        usage: answer.usage.take(),
        fault: answer.fault.take(),
    })
}
