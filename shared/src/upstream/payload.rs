//! The facts about a request's body that the gateway needs: the model, whether the answer is to be
//! streamed, and whether the body is JSON that its sender mislabelled. The body itself is never
//! changed.

use http::{HeaderMap, header};

use crate::metering::json_scan::{Found, Scanner, Status, Want, decode_string};

/// A request's body, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about a body"
)]
pub struct Payload {
    /// The requested model, where the body is JSON and names one as text.
    pub model: Option<String>,
    /// Whether the body asks for a streamed answer.
    pub streamed: bool,
    /// The body is a JSON object, but the client sent no content type or curl's default for `-d`.
    pub is_mislabelled_json: bool,
    /// The request may make several generations, each billed by itself: it has tools that OpenRouter runs
    /// (subagent, advisor, fusion, search). What a preset adds is not seen.
    pub delegates: bool,
    /// The number of requests in a batch.
    pub inline_requests: u32,
    /// Something besides the model may cost something.
    has_extras: bool,
}

/// Longer model names are not recorded: none exists, and the books are not a place to store data.
const LONGEST_MODEL: usize = 256;

/// What is read of a body. It is scanned, not built: whatever a client sends takes no memory beyond it.
static BODY: Want<Member> = Want::Members(&[
    ("model", Want::Value(Member::Model)),
    ("models", Want::Elements(&Want::Value(Member::Fallback))),
    ("stream", Want::Value(Member::Stream)),
    (
        "tools",
        Want::Elements(&Want::Members(&[("type", Want::Value(Member::Tool))])),
    ),
    (
        "plugins",
        Want::Elements(&Want::Members(&[("id", Want::Value(Member::Plugin))])),
    ),
    ("preset", Want::Value(Member::Extra)),
    ("web_search_options", Want::Value(Member::Extra)),
    ("requests", Want::Elements(&Want::Value(Member::Request))),
]);

#[derive(Debug, Clone, Copy)]
enum Member {
    Model,
    Fallback,
    Stream,
    Tool,
    Plugin,
    Extra,
    Request,
}

impl Payload {
    /// Reads `body`. What cannot be read is left out: OpenRouter says what is wrong with it. Of a field
    /// that is given twice the last value counts, as it does for OpenRouter.
    #[must_use]
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let mut payload = Self::default();
        let mut scanner = Scanner::new(&BODY);
        scanner.feed(body, |member, found| payload.note(member, found));
        let is_object = body.trim_ascii_start().starts_with(b"{");
        if scanner.status() != Status::Complete || !is_object {
            return Self::default();
        }
        payload.is_mislabelled_json = !says_what_it_is(headers);
        payload
    }

    /// Whether the model costs nothing (`…:free`), and nothing else in the body may cost something: no other
    /// model to fall back to, no preset, plugin or tool that OpenRouter or the provider runs.
    #[must_use]
    pub fn is_free(&self) -> bool {
        !self.has_extras && self.model.as_ref().is_some_and(|it| it.ends_with(FREE))
    }

    fn note(&mut self, member: Member, found: Found<'_>) {
        let text = match found {
            Found::Text(text) => text,
            // Longer than any value that means something here.
            Found::TooLong => b"",
        };
        match member {
            Member::Model => {
                self.model = decode_string(text)
                    .filter(|model| model.len() <= LONGEST_MODEL && !model.contains('\0'))
                    .map(Into::into);
                self.delegates |= names(text, |model| model.starts_with(FUSION));
            }
            Member::Fallback => {
                self.has_extras |= !names(text, |model| model.ends_with(FREE));
                self.delegates |= names(text, |model| model.starts_with(FUSION));
            }
            Member::Extra => self.has_extras |= text != b"null",
            Member::Stream => self.streamed = text == b"true",
            // OpenRouter runs its own tools within the request, and Anthropic's advisor likewise.
            Member::Tool => {
                self.has_extras |= !names(text, |tool| matches!(tool, "function" | "custom"));
                self.delegates |= names(text, |tool| {
                    tool.starts_with("openrouter:") || tool.starts_with("advisor")
                });
            }
            Member::Plugin => {
                self.has_extras = true;
                self.delegates |= names(text, |plugin| plugin == "fusion");
            }
            Member::Request => self.inline_requests = self.inline_requests.saturating_add(1),
        }
    }
}

/// The end of the names of models that cost nothing.
const FREE: &str = ":free";

/// The model behind whose name a panel of models answers.
const FUSION: &str = "openrouter/fusion";

/// Whether a JSON text is a string for which `is_it`.
fn names(text: &[u8], is_it: impl FnOnce(&str) -> bool) -> bool {
    decode_string(text).is_some_and(|name| is_it(&name))
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
                ..Payload::default()
            }
        );
    }

    #[test]
    fn of_a_field_given_twice_the_last_counts() {
        for (body, model, streamed) in [
            (
                r#"{"model":"m","model":"n","stream":true}"#,
                Some("n"),
                true,
            ),
            (
                r#"{"stream":true,"stream":false,"model":"m"}"#,
                Some("m"),
                false,
            ),
            (r#"{"model":"m","model":7}"#, None, false),
            (
                r#"{"model":"m","model":null,"stream":true,"stream":"true"}"#,
                None,
                false,
            ),
            (r#"{"m\u006fdel":"m","model":"n"}"#, Some("n"), false),
            (r#"{"model":"n","m\u006fdel":"m"}"#, Some("m"), false),
        ] {
            let payload = read(None, body);
            assert_eq!(
                (payload.model.as_deref(), payload.streamed),
                (model, streamed),
                "{body}"
            );
            assert!(payload.is_mislabelled_json, "{body}");
        }
    }

    #[test]
    fn a_large_body_is_scanned_not_built() {
        let large = format!(r#"{{"model":[{}0],"stream":true}}"#, "0,".repeat(3_000_000));
        let payload = read(Some("application/json"), &large);
        assert_eq!((payload.model, payload.streamed), (None, true));
        let deep = format!(
            r#"{{"model":{}1{},"stream":true}}"#,
            "[".repeat(1000),
            "]".repeat(1000)
        );
        assert!(read(None, &deep).streamed);
    }

    #[test]
    fn requests_that_may_make_several_generations_are_known() {
        for (body, delegates) in [
            (r#"{"model":"openrouter/fusion"}"#, true),
            (r#"{"models":["m","openrouter/fusion"]}"#, true),
            (
                r#"{"tools":[{"type":"function"},{"type":"openrouter:subagent"}]}"#,
                true,
            ),
            (
                r#"{"tools":[{"type":"advisor_20260301","name":"advisor"}]}"#,
                true,
            ),
            (r#"{"plugins":[{"id":"web"},{"id":"fusion"}]}"#, true),
            (
                r#"{"model":"openrouter/auto","plugins":[{"id":"web"}]}"#,
                false,
            ),
            (
                r#"{"tools":[{"type":"function","function":{"name":"openrouter:subagent"}}]}"#,
                false,
            ),
            (
                r#"{"tools":null,"messages":[{"type":"openrouter:subagent"}]}"#,
                false,
            ),
        ] {
            assert_eq!(read(None, body).delegates, delegates, "{body}");
        }
    }

    #[test]
    fn only_a_free_model_alone_is_free() {
        for (body, is_free) in [
            (r#"{"model":"m:free"}"#, true),
            (
                r#"{"model":"m:free","models":["n:free"],"tools":[{"type":"function"}],"preset":null}"#,
                true,
            ),
            (r#"{"model":"m"}"#, false),
            (r#"{"models":["m:free"]}"#, false),
            (r#"{"model":"m:free","model":"m"}"#, false),
            (r#"{"model":"m:free","models":["n"]}"#, false),
            (
                r#"{"model":"m:free","tools":[{"type":"openrouter:web_search"}]}"#,
                false,
            ),
            (
                r#"{"model":"m:free","tools":[{"type":"web_search_20250305"}]}"#,
                false,
            ),
            (r#"{"model":"m:free","plugins":[{"id":"web"}]}"#, false),
            (r#"{"model":"m:free","web_search_options":{}}"#, false),
            (r#"{"model":"m:free","preset":"p"}"#, false),
            (r#"{"model":"m:free@preset/p"}"#, false),
            (r#"{"model":"m:free""#, false),
        ] {
            assert_eq!(read(None, body).is_free(), is_free, "{body}");
        }
    }

    #[test]
    fn the_requests_of_a_batch_are_counted() {
        for (body, count) in [
            (
                r#"{"model":"m","requests":[{"custom_id":"a","body":{"requests":[1,2]}},{"custom_id":"b"}]}"#,
                2,
            ),
            (r#"{"requests":[]}"#, 0),
            (r#"{"requests":{"a":1}}"#, 0),
            ("{}", 0),
        ] {
            assert_eq!(read(None, body).inline_requests, count, "{body}");
        }
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
