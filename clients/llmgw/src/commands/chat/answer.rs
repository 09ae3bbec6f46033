//! A model's streamed answer, assembled from its events.

use serde::Deserialize;
use shared::metering::sse::{Framer, Piece};

use crate::{api::Money, terminal::printable};

/// The part of an answer that has arrived.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) model: Option<String>,
    pub(super) usage: Option<Usage>,
    /// The reason why it is incomplete.
    pub(super) fault: Option<String>,
    pub(super) done: bool,
    /// The data of the incomplete event.
    event: Vec<u8>,
}

impl Answer {
    /// Adds a chunk of the stream. Returns the text that it contained.
    pub(super) fn feed(&mut self, framer: &mut Framer, chunk: &[u8]) -> String {
        let before = self.text.len();
        framer.feed(chunk, |piece| match piece {
            Piece::Data(bytes) => self.event.extend_from_slice(bytes),
            Piece::End(event) => {
                self.done |= event.done;
                let data = std::mem::take(&mut self.event);
                // Comments and `[DONE]` are not JSON and contain no text.
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

/// The end of an answer.
pub(super) struct Turn {
    /// What was answered.
    pub(super) text: String,
    pub(super) model: Option<String>,
    pub(super) usage: Option<Usage>,
    /// The reason why the answer is incomplete.
    pub(super) fault: Option<String>,
}

impl Turn {
    pub(super) fn cost(&self) -> Option<Money> {
        self.usage.as_ref()?.cost
    }
}

/// The tokens and the cost that the stream reports.
#[derive(Deserialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    pub(super) cost: Option<Money>,
}

#[derive(Deserialize)]
struct Fault {
    message: Option<String>,
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
