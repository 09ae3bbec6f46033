//! Random requests: a model outside of content is always found, and nothing in content is.

use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value, json};

use crate::{Request, chat};

/// A model that no list here allows.
const HIDDEN: &str = "anthropic/claude-opus-4.6";

/// Any JSON, of names that mean something and of others.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("model".to_owned()),
        Just("models".to_owned()),
        Just("draft_model".to_owned()),
        Just("preset".to_owned()),
        Just("plugins".to_owned()),
        Just("type".to_owned()),
        "[a-z\"\\\\é]{0,5}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(Value::from(HIDDEN)),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((name.clone(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A step down from the request: a member that holds no content, or an element of an array.
fn step() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        "[a-z]{1,6}_[xyz]".prop_map(Some),
        prop::sample::select(vec![
            "plugins",
            "tools",
            "provider",
            "options",
            "routing",
            "config",
            "extra",
            "a/b",
            "tool_choice",
            "agents",
        ])
        .prop_map(|name| Some(name.to_owned())),
        Just(None),
    ]
}

fn member() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "model",
        "models",
        "draft_model",
        "allowed_models",
        "Model",
        "MODELS",
        "judgeModel",
        "x-model",
    ])
}

/// JSON without escapes, in which each letter or digit of a text whose turn it is gets escaped.
fn escaped(json: &str, every: usize) -> String {
    let mut is_text = false;
    let characters = json.chars().enumerate().map(|(index, c)| {
        is_text ^= c == '"';
        if is_text && c.is_ascii_alphanumeric() && index % every == 0 {
            format!("\\u{:04x}", u32::from(c))
        } else {
            c.to_string()
        }
    });
    characters.collect()
}

fn mentioned(request: &Request) -> Vec<String> {
    let mentions = request.mentions().unwrap();
    mentions.iter().map(|it| it.value.clone()).collect()
}

proptest! {
    #[test]
    fn a_hidden_model_is_found(
        steps in vec(step(), 0..40),
        name in member(),
        wrappers in vec(any::<bool>(), 0..4),
        every in 1..9_usize,
        is_first: bool,
    ) {
        let mut value = Value::from(HIDDEN);
        for is_array in wrappers {
            value = if is_array { json!([1, value]) } else { json!({"id": value, "n": null}) };
        }
        let mut value = json!({ name: value });
        for step in steps.iter().rev() {
            value = match step {
                Some(name) => json!({ "a": [], name: value }),
                None => json!([{}, value]),
            };
        }
        let honest = r#""model":"openai/gpt-5-mini","messages":[]"#;
        let hidden = escaped(&value.to_string(), every);
        let body = if is_first {
            format!(r#"{{"x":{hidden},{honest}}}"#)
        } else {
            format!(r#"{{{honest},"x":{hidden}}}"#)
        };
        prop_assert!(serde_json::from_str::<Value>(&body).is_ok(), "{}", body);
        prop_assert!(mentioned(&chat(&body)).contains(&HIDDEN.to_owned()), "{}", body);
        prop_assert!(chat(&body).refusal().is_some());
    }

    #[test]
    fn content_names_no_model(content in any_json()) {
        let body = json!({
            "messages": [
                {"role": "assistant", "model": content, "content": [{"type": "tool_use", "input": content}], "audio": content},
                {"role": "tool", "content": [{"type": "tool_result", "content": [{"type": "text", "source": content}]}]},
            ],
            "input": [{"type": "x", "arguments": content, "output": content}],
            "system": [{"type": "text", "citations": content}],
            "documents": [content],
            "prompt": {"variables": content},
            "tools": [
                {"parameters": content, "type": "function", "function": {"parameters": content}},
                {"input_schema": content, "input_examples": [content]},
                {"input_schema": content, "type": "custom"},
            ],
            "functions": [{"parameters": content}],
            "response_format": {"json_schema": {"schema": content}},
            "text": {"format": {"schema": content}},
            "requests": [{"body": {"messages": [{"content": [{"text": content}]}]}}],
            "model": "openai/gpt-5-mini",
        });
        prop_assert_eq!(mentioned(&chat(&body.to_string())), ["openai/gpt-5-mini"]);
    }

    /// What is read is JSON to everyone, in whatever way it was broken.
    #[test]
    fn what_is_read_is_json(content in any_json(), at: prop::sample::Index, byte: u8, is_inserted: bool) {
        let mut members = Map::new();
        members.insert("model".into(), "openai/gpt-5-mini".into());
        members.insert("x".into(), content);
        let mut body = Value::Object(members).to_string().into_bytes();
        let at = at.index(body.len());
        if is_inserted {
            body.insert(at, byte);
        } else {
            body[at] = byte;
        }
        if Request::new("/chat/completions", body.clone()).mentions().is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&body).is_ok());
        }
    }
}
