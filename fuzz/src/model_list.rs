//! The models of a request, beside a careless walk through `serde_json`'s value.

use http::{HeaderMap, Method};
use serde_json::Value;
use shared::{
    identity::canonical::CanonicalQuery,
    request::RawQuery,
    upstream::{
        endpoint::{AllowedFamilies, PROXY_PREFIX, Route},
        model_list::{ModelMentions, ModelPattern},
    },
};

use crate::{
    input::{Fields, text},
    json::members,
    planted,
};

/// Members below which there may be message content. The gateway searches parts of some of them, too.
const CONTENT: [&str; 15] = [
    "messages",
    "input",
    "system",
    "instructions",
    "prompt",
    "documents",
    "query",
    "variables",
    "functions",
    "parameters",
    "input_schema",
    "output_schema",
    "input_examples",
    "schema",
    "requests",
];
const ENDPOINTS: [&str; 4] = ["chat/completions", "responses", "messages", "embeddings"];

/// Of what is read, every model that OpenRouter could take is among the mentions, the body names one, and no object
/// has a member twice; and what a list refuses has a mention that none of its patterns allows.
pub(crate) fn no_model_is_missed(data: &[u8]) {
    let fields = Fields::of(data);
    let body = fields.bytes(0);
    let query = CanonicalQuery::from_raw(&RawQuery::Encoded(fields.text(1))).unwrap_or_default();
    for endpoint in ENDPOINTS {
        let path = format!("{PROXY_PREFIX}/{endpoint}");
        let route = Route::parse(&Method::POST, &path, &AllowedFamilies::default()).unwrap();
        let Ok(mentions) = ModelMentions::read(&route, &HeaderMap::new(), &query, body) else {
            continue;
        };
        let mut found: Vec<_> = mentions.iter().map(|it| it.value.clone()).collect();
        if planted() && found.len() > 1 {
            found.pop();
        }
        let read = text(body);
        let value: Value = serde_json::from_str(&read).expect("what is read is JSON");
        assert!(value.is_object());
        has_no_member_twice(&read);
        let mut named = Vec::new();
        walk(&value, false, &mut named);
        for (name, value) in query.pairs() {
            if is_of_models(&name) {
                named.push(value.into_owned());
            }
        }
        for model in &named {
            assert!(found.contains(model), "{model:?} is missed in {read:?}");
        }
        assert!(value.get("model").or(value.get("models")).is_some() || !found.is_empty());
        is_judged(&mentions, &fields.text(2));
    }
}

fn is_of_models(name: &str) -> bool {
    let is = |word: &str| name == word || name.ends_with(&format!("_{word}"));
    is("model") || is("models")
}

/// Every string below a member that holds models, outside what may be content.
fn walk(value: &Value, is_model: bool, named: &mut Vec<String>) {
    match value {
        Value::String(text) if is_model => named.push(text.clone()),
        Value::Array(elements) => {
            for element in elements {
                walk(element, is_model, named);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if !CONTENT.contains(&name.as_str()) {
                    walk(value, is_model || is_of_models(name), named);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Of the request itself; the gateway looks into every object.
fn has_no_member_twice(body: &str) {
    let fields = members(body).expect("an object");
    for (at, (name, _)) in fields.iter().enumerate() {
        let twice = fields.iter().skip(at + 1).any(|(other, _)| other == name);
        assert!(!twice, "{name:?} stands twice in {body:?}");
    }
}

fn is_judged(mentions: &ModelMentions, pattern: &str) {
    let Ok(pattern) = pattern.parse::<ModelPattern>() else {
        return;
    };
    let list = [pattern];
    let outside = mentions.first_outside(&list);
    let all_allowed = mentions
        .iter()
        .all(|it| list.iter().any(|pattern| pattern.allows(it)));
    assert_eq!(outside.is_none(), all_allowed);
}
