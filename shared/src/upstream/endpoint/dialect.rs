//! The dialects of event streams.

use serde_json::json;

/// The form of an endpoint's events, as far as the gateway writes some itself or waits for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Chat completions and completions.
    Chat,
    /// Responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Not documented, or no stream at all.
    Unknown,
}

/// The meaning of a stream that lacks its end mark (`[DONE]`, or the dialect's last event).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndMark {
    /// Cut. Such streams tell tokens early on, so a usage says nothing about the end.
    Required,
    /// Cut, unless it has told what it cost: that comes last.
    RequiredWithoutCost,
    /// Possibly whole.
    NotRequired,
}

impl Dialect {
    /// The meaning of a stream that lacks its end mark.
    #[must_use]
    pub fn end_mark(self) -> EndMark {
        match self {
            Self::Chat => EndMark::RequiredWithoutCost,
            Self::Responses | Self::Messages => EndMark::Required,
            Self::Unknown => EndMark::NotRequired,
        }
    }

    /// An error event: the status that would have said it, had it not been sent already, the stable
    /// name of the failure, and a sentence.
    #[must_use]
    pub fn error_event(self, code: u16, reason: &str, message: &str) -> String {
        match self {
            Self::Messages => format!(
                "event: error\ndata: {}\n\n",
                json!({"type": "error", "error": {"type": "api_error", "message": message, "reason": reason}})
            ),
            Self::Responses => format!(
                "event: error\ndata: {}\n\n",
                json!({"type": "error", "code": reason, "message": message, "param": null})
            ),
            Self::Chat | Self::Unknown => format!(
                "data: {}\n\n",
                json!({"error": {"code": code, "message": message, "metadata": {"reason": reason}}})
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_events_speak_the_endpoints_dialect() {
        insta::assert_snapshot!(Dialect::Chat.error_event(502, "upstream_cut", "M."), @r#"data: {"error":{"code":502,"message":"M.","metadata":{"reason":"upstream_cut"}}}"#);
        insta::assert_snapshot!(Dialect::Messages.error_event(502, "upstream_cut", "M."), @r#"
        event: error
        data: {"error":{"message":"M.","reason":"upstream_cut","type":"api_error"},"type":"error"}
        "#);
    }
}
