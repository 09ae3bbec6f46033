//! The dialects of answers.

mod error_event;

pub use self::error_event::BrokenStream;
use super::{Endpoint, PROXY_PREFIX, route::is_below, unwrapped};

/// The form of an endpoint's answers, as far as the gateway writes some itself or waits for the last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Chat completions.
    Chat,
    /// Completions.
    Completions,
    /// Responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Images.
    Images,
    /// Not documented, or no stream at all.
    Unknown,
}

/// The event that ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastEvent {
    /// `[DONE]`, or the dialect's own last event.
    OfDialect,
    /// `[DONE]` alone: others come once for each image.
    Done,
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
    /// The dialect of a path as it was sent, before anything of it is checked: what comes before the
    /// gateway's own part, such as a stage, does not matter.
    #[must_use]
    pub fn of_path(raw_path: &str) -> Self {
        let Some((_, below)) = raw_path.split_once(PROXY_PREFIX) else {
            return Self::Unknown;
        };
        let path = below.trim_matches('/');
        let path = path.strip_prefix("v1/").unwrap_or(path);
        // Counting tokens is no endpoint of its own.
        if is_below(unwrapped(path), "messages") {
            return Self::Messages;
        }
        Endpoint::of(path).dialect()
    }

    /// The event that ends a stream.
    #[must_use]
    pub fn last_event(self) -> LastEvent {
        match self {
            Self::Images => LastEvent::Done,
            Self::Chat | Self::Completions | Self::Responses | Self::Messages | Self::Unknown => {
                LastEvent::OfDialect
            }
        }
    }

    /// The meaning of a stream that lacks its end mark.
    #[must_use]
    pub fn end_mark(self) -> EndMark {
        match self {
            Self::Chat | Self::Completions => EndMark::RequiredWithoutCost,
            Self::Responses | Self::Messages => EndMark::Required,
            Self::Images | Self::Unknown => EndMark::NotRequired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_its_dialect_before_it_is_checked() {
        for (path, dialect) in [
            ("/api/v1/openrouter/messages", Dialect::Messages),
            ("/api/v1/openrouter/v1/messages", Dialect::Messages),
            ("/api/v1/openrouter/v1/messages/", Dialect::Messages),
            (
                "/prod/api/v1/openrouter/messages/count_tokens",
                Dialect::Messages,
            ),
            ("/api/v1/openrouter/interns/7/messages", Dialect::Messages),
            ("/api/v1/openrouter/messages_too", Dialect::Unknown),
            ("/api/v1/openrouter/presets/mine/messages", Dialect::Unknown),
            ("/api/v1/openrouter/chat/completions", Dialect::Chat),
            ("/api/v1/openrouter/", Dialect::Unknown),
            ("/api/v1/usage", Dialect::Unknown),
            ("", Dialect::Unknown),
        ] {
            assert_eq!(Dialect::of_path(path), dialect, "{path}");
        }
    }
}
