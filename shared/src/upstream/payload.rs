//! The facts about a request's body that the gateway needs: the model, whether the answer is to be
//! streamed, and whether the body is JSON that its sender mislabelled. The body itself is never
//! changed.

use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// A request's body, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// The requested model, where the body is JSON and names one as text.
    pub model: Option<String>,
    /// Whether the body asks for a streamed answer.
    pub streamed: bool,
    /// The body is a JSON object, but the client sent no content type or curl's default for `-d`.
    pub is_mislabelled_json: bool,
}

/// Longer model names are not recorded: none exists, and the books are not a place to store data.
const LONGEST_MODEL: usize = 256;

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
}

impl Payload {
    /// Reads `body`. What cannot be read is left out: OpenRouter says what is wrong with it.
    #[must_use]
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let Ok(members) = serde_json::from_slice::<Members<'_>>(body) else {
            return Self::default();
        };
        let value =
            |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let model = match value(members.model) {
            Some(Value::String(model)) if model.len() <= LONGEST_MODEL && !model.contains('\0') => {
                Some(model)
            }
            _ => None,
        };
        Self {
            model,
            streamed: value(members.stream) == Some(Value::Bool(true)),
            is_mislabelled_json: !says_what_it_is(headers),
        }
    }
}

/// False for no content type and for the one that curl adds to `-d` by itself.
fn says_what_it_is(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let essence = value
            .as_bytes()
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        !essence
            .trim_ascii()
            .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: Option<&str>, body: &str) -> Payload {
        let mut headers = HeaderMap::new();
        if let Some(value) = content_type {
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
        }
        Payload::read(&headers, body.as_bytes())
    }

    #[test]
    fn reads_model_and_stream() {
        let payload = read(
            Some("application/json"),
            r#"{"messages":[{"model":"no"}],"model":"openai/gpt","stream":true}"#,
        );
        assert_eq!(
            payload,
            Payload {
                model: Some("openai/gpt".into()),
                streamed: true,
                is_mislabelled_json: false
            }
        );
    }

    #[test]
    fn curls_default_content_type_does_not_hide_json() {
        assert!(
            read(
                Some("application/x-www-form-urlencoded"),
                r#"{"model":"m"}"#
            )
            .is_mislabelled_json
        );
        assert!(
            read(
                Some("Application/X-WWW-Form-Urlencoded; charset=utf-8"),
                " {}"
            )
            .is_mislabelled_json
        );
        assert!(read(None, "{}").is_mislabelled_json);
        assert!(!read(Some("text/plain"), "{}").is_mislabelled_json);
        assert!(!read(Some("application/x-www-form-urlencoded"), "a=b&c=d").is_mislabelled_json);
    }

    #[test]
    fn what_is_not_json_or_not_text_is_left_out() {
        for body in [
            "",
            "--boundary\r\n",
            "[]",
            "3",
            r#"{"model":"m","model":"#,
            r#"{"model":["m"],"stream":"true"}"#,
        ] {
            let payload = read(Some("application/json"), body);
            assert_eq!((payload.model, payload.streamed), (None, false), "{body}");
        }
        assert_eq!(
            read(None, &format!(r#"{{"model":"{}"}}"#, "m".repeat(300))).model,
            None
        );
        assert_eq!(read(None, r#"{"model":"a\u0000b"}"#).model, None);
    }
}
