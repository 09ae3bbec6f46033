//! Lists of models against requests: attempts to get around one, and honest requests that it must let
//! through.

#![expect(
    clippy::unwrap_used,
    reason = "in tests' helpers, too, what does not work fails the test"
)]

mod attempts;
mod honest;
mod properties;

use http::{HeaderMap, HeaderValue, Method, header};
use shared::{
    identity::canonical::CanonicalQuery,
    request::RawQuery,
    upstream::{
        endpoint::{AllowedFamilies, Route},
        model_list::{ModelMentions, ModelPattern, UnreadableModels},
    },
};

/// A request to OpenRouter and the list that it is held against.
struct Request {
    path: String,
    query: String,
    content_type: Option<String>,
    body: Vec<u8>,
    list: Vec<&'static str>,
}

impl Request {
    fn new(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            query: String::new(),
            content_type: Some("application/json".into()),
            body: body.into(),
            list: vec!["openai/gpt-5-mini", "openai/text-*", "*:free"],
        }
    }

    fn query(mut self, query: &str) -> Self {
        self.query = query.into();
        self
    }

    fn content_type(mut self, content_type: &str) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    fn list(mut self, list: &[&'static str]) -> Self {
        self.list = list.to_vec();
        self
    }

    fn mentions(&self) -> Result<ModelMentions, UnreadableModels> {
        let path = format!("/api/v1/openrouter{}", self.path);
        let route = Route::parse(&Method::POST, &path, &AllowedFamilies::default()).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(content_type) = &self.content_type {
            let value = HeaderValue::from_bytes(content_type.as_bytes()).unwrap();
            headers.insert(header::CONTENT_TYPE, value);
        }
        let query = CanonicalQuery::from_raw(&RawQuery::Encoded(self.query.clone())).unwrap();
        ModelMentions::read(&route, &headers, &query, &self.body)
    }

    /// The refusal, if the list does not let the request through.
    fn refusal(&self) -> Option<String> {
        let list: Vec<ModelPattern> = self.list.iter().map(|it| it.parse().unwrap()).collect();
        match self.mentions() {
            Err(unreadable) => Some(format!("{unreadable} at {:?}", unreadable.place)),
            Ok(mentions) => mentions
                .first_outside(&list)
                .map(|it| format!("{} at {:?}", it.value, it.place)),
        }
    }
}

fn chat(body: &str) -> Request {
    Request::new("/chat/completions", body)
}

fn responses(body: &str) -> Request {
    Request::new("/responses", body)
}

fn messages(body: &str) -> Request {
    Request::new("/messages", body)
}

fn form(path: &str, body: &str) -> Request {
    Request::new(path, body.replace('\n', "\r\n")).content_type("multipart/form-data; boundary=b")
}

#[test]
fn no_attempt_passes() {
    let attempts = attempts::all();
    assert!(attempts.len() >= 60, "{}", attempts.len());
    let passed: Vec<_> = attempts
        .iter()
        .filter(|(_, request)| request.refusal().is_none())
        .map(|(name, _)| name)
        .collect();
    assert!(passed.is_empty(), "{passed:#?}");
    insta::assert_snapshot!(
        attempts
            .iter()
            .map(|(name, request)| format!("{name}: {}", request.refusal().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn no_honest_request_is_refused() {
    let honest = honest::all();
    assert!(honest.len() >= 40, "{}", honest.len());
    let refused: Vec<_> = honest
        .iter()
        .filter_map(|(name, request)| Some(format!("{name}: {}", request.refusal()?)))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

/// An honest request is let through for its models, not because nothing was read.
#[test]
fn honest_requests_are_refused_by_another_list() {
    for (name, request) in honest::all() {
        assert!(request.list(&["x/y"]).refusal().is_some(), "{name}");
    }
}
