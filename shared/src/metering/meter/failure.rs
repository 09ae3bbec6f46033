//! Errors inside an answer, which may well have the HTTP status 200.

use std::borrow::Cow;

use crate::metering::json_scan::{Found, Scanner, Want, decode_string};

/// Most characters of an error's message that are kept.
const MESSAGE_LIMIT: usize = 1_000;
/// Most characters of an error's code that are kept.
const CODE_LIMIT: usize = 100;

/// An error that the upstream reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamError {
    /// The code, or where there is none the type: a number's text or a
    /// string, cut to 100 characters.
    pub code: Option<String>,
    /// The message, cut to 1,000 characters. Empty if there is none.
    pub message: String,
}

#[derive(Debug, Clone, Copy)]
enum Member {
    Code,
    Type,
    Message,
}

static ERROR: Want<Member> = Want::Members(&[
    ("code", Want::Value(Member::Code)),
    ("type", Want::Value(Member::Type)),
    ("message", Want::Value(Member::Message)),
]);

impl UpstreamError {
    /// An error of which these JSON texts are known.
    pub(super) fn new(code: Option<&[u8]>, message: Option<&[u8]>) -> Self {
        Self {
            code: code.and_then(scalar),
            message: message
                .and_then(decode_string)
                .map(|message| bounded(&message, MESSAGE_LIMIT))
                .unwrap_or_default(),
        }
    }

    /// Reads the value of an `error` member: an object or a plain string. Null, false and the empty
    /// string are no errors; anything else is one, even if it says nothing.
    pub(super) fn from_json(text: &[u8]) -> Option<Self> {
        match text {
            b"null" | b"false" | b"\"\"" => return None,
            [b'"', ..] => return Some(Self::new(None, Some(text))),
            _ => {}
        }
        let mut error = Self::default();
        let mut kind = None;
        Scanner::new(&ERROR).feed(text, |member, found| {
            let Found::Text(text) = found else { return };
            match member {
                Member::Code => error.code = scalar(text).or(error.code.take()),
                Member::Type => kind = scalar(text),
                Member::Message => error.message = Self::new(None, Some(text)).message,
            }
        });
        error.code = error.code.or(kind);
        Some(error)
    }
}

/// A number's text or a string.
fn scalar(text: &[u8]) -> Option<String> {
    let value = match text {
        [b'"', ..] => decode_string(text)?,
        [b'-' | b'0'..=b'9', ..] => Cow::Borrowed(str::from_utf8(text).ok()?),
        _ => return None,
    };
    Some(bounded(&value, CODE_LIMIT))
}

fn bounded(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_shape_of_error() {
        for (text, code, message) in [
            (
                r#"{"code":429,"message":"slow down","metadata":{"code":1}}"#,
                Some("429"),
                "slow down",
            ),
            (
                r#"{"message":"m","code":"server_error","type":"t"}"#,
                Some("server_error"),
                "m",
            ),
            (
                r#"{"type":"overloaded_error","message":"Overloaded"}"#,
                Some("overloaded_error"),
                "Overloaded",
            ),
            (r#"{"code":null,"type":"t","message":null}"#, Some("t"), ""),
            (r#"{"message":"no code"}"#, None, "no code"),
            (r#"{"code":{"a":1},"message":["x"]}"#, None, ""),
            (r#""just a string""#, None, "just a string"),
            (r#"{"message":"half \ud83d"}"#, None, r"half \ud83d"),
            ("{}", None, ""),
            ("[]", None, ""),
            ("true", None, ""),
            ("503", None, ""),
        ] {
            let error = UpstreamError::from_json(text.as_bytes()).unwrap();
            assert_eq!(
                (error.code.as_deref(), error.message.as_str()),
                (code, message),
                "{text}"
            );
        }
        for text in ["null", "false", "\"\""] {
            assert_eq!(UpstreamError::from_json(text.as_bytes()), None);
        }
    }

    #[test]
    fn messages_and_codes_are_bounded_in_characters() {
        let text = format!(
            r#"{{"code":"{}","message":"{}"}}"#,
            "c".repeat(101),
            "é".repeat(1001)
        );
        let error = UpstreamError::from_json(text.as_bytes()).unwrap();
        assert_eq!(error.code, Some("c".repeat(100)));
        assert_eq!(error.message, "é".repeat(1000));
    }
}
