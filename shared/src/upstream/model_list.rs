//! The models that a request names, for a token's list of models that cannot be got around.
//!
//! OpenRouter takes a model from many places: `model`, the fallbacks in `models`, the settings of plugins
//! and of the tools that it runs itself, the requests inside a batch. So it is not one member that is
//! compared with the list, but **every string below a member named `model`, `models`, or ending in
//! `_model` or `_models`** (also `-model`, `…Model`, in any case), at any depth, outside message content.
//! A request that cannot be read for certain is refused: one with a member twice, with names compared
//! after unescaping, or in which two JSON parsers could see different things.
//!
//! # Message content
//!
//! The parts that are only read by a model, or say what it may answer. Nothing in them chooses a model:
//!
//! - `messages`, `input`, `system`, `instructions` of a request: an array's elements, the `model` that wrote
//!   a message among them, and the blocks of their `content`, but not the tools that they add (`tools` of
//!   an item, `tool` of a block). A router that takes the model from a message (`pin_model`) is refused;
//! - `prompt` and `documents`, `query`, if they are text or arrays; `variables` of a stored prompt;
//! - JSON schemas: `parameters` and `output_schema` of tools of the type `function` and of `functions`;
//!   `input_schema`, `output_schema` and `input_examples` of those and of tools that have no type or
//!   `custom`; `schema` in `response_format`, `text.format`, `output_format` and `output_config.format`.
//!
//! The same members of the requests inside a batch (`requests`, and their `body` or `params`) are content.
//! An object where content is text or an array is searched like any setting, and so is every `parameters`
//! of another type of tool: there OpenRouter's own tools have their settings.
//!
//! # Names that must be in the list literally
//!
//! A pattern with `*` does not allow what stands for models that are not named: presets (`@preset/…`, the
//! member `preset`), routers (`openrouter/…`), interns, and the tools and plugins that run a model of their
//! own choice (fusion, an advisor or an image generation without a model, any of OpenRouter's that is
//! unknown here).

mod context;
mod json;
mod mention;
mod multipart;
mod name;
mod pattern;
mod tool;

use http::{HeaderMap, header};

use self::{json::Named, mention::Mentions};
pub use self::{
    mention::{Fault, Mention, UnreadableModels},
    pattern::{MalformedPattern, ModelPattern},
};
use crate::{
    identity::canonical::CanonicalQuery,
    upstream::endpoint::{Endpoint, Route},
};

/// The models that a request names: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelMentions(Vec<Mention>);

impl ModelMentions {
    /// Reads a request that costs money. Each model is given once, with the first place that names it.
    pub fn read(
        route: &Route,
        headers: &HeaderMap,
        query: &CanonicalQuery,
        body: &[u8],
    ) -> Result<Self, UnreadableModels> {
        let mut mentions = Mentions::default();
        if let Some(intern) = intern_of(route.upstream_path()) {
            mentions.add_literal(intern, || "path".to_owned())?;
        }
        for (name, value) in query.pairs() {
            let place = || format!("?{name}");
            if name::is_of_models(&name) {
                mentions.add(&value, place)?;
            } else if name::is_of_presets(&name) {
                mentions.add_preset(&value, place)?;
            }
        }
        let endpoint = route.endpoint();
        if endpoint == Endpoint::Other {
            return Err(Fault::UnknownEndpoint.at("path"));
        }
        let named = match BodyForm::of(headers)? {
            BodyForm::Json => json::read_body(body, &mut mentions)?,
            BodyForm::Multipart { boundary } => multipart::read(&boundary, body, &mut mentions)?,
        };
        check(endpoint, &named)?;
        Ok(Self(mentions.into_vec()))
    }

    /// The models, by the place that names them, in the order of the request.
    pub fn iter(&self) -> impl Iterator<Item = &Mention> {
        self.0.iter()
    }

    /// The first model that no pattern of a list allows.
    #[must_use]
    pub fn first_outside(&self, list: &[ModelPattern]) -> Option<&Mention> {
        self.iter()
            .find(|mention| !list.iter().any(|pattern| pattern.allows(mention)))
    }
}

/// The request itself must say which model answers: without one OpenRouter takes the account's default. A
/// batch's requests must stand in it, not in a file.
fn check(endpoint: Endpoint, named: &Named) -> Result<(), UnreadableModels> {
    if !named.a_model {
        return Err(Fault::NoModel.at(""));
    }
    if endpoint == Endpoint::Batches && (named.a_file || !named.inline_requests) {
        return Err(Fault::NoInlineRequests.at("/requests"));
    }
    Ok(())
}

/// The intern that a path is below, with `interns/` before its name: its models are its own.
fn intern_of(path: &str) -> Option<&str> {
    let path = path.trim_start_matches('/');
    let below = path.strip_prefix("interns/")?;
    let name = below.split('/').next().unwrap_or_default();
    path.get(..path.len() - below.len() + name.len())
}

/// The form of a body, by its `Content-Type`.
enum BodyForm {
    /// JSON, whatever the type says: OpenRouter may take it for JSON, and everything else is refused.
    Json,
    /// A form with files.
    Multipart { boundary: String },
}

impl BodyForm {
    fn of(headers: &HeaderMap) -> Result<Self, UnreadableModels> {
        let refused = || Fault::ContentType.at("content-type");
        let mut values = headers.get_all(header::CONTENT_TYPE).iter();
        let Some(value) = values.next() else {
            return Ok(Self::Json);
        };
        let value = value.to_str().map_err(|_| refused())?;
        let mut parts = value.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        // A comma: an event's joined values of a repeated header.
        if values.next().is_some() || essence.contains(',') {
            return Err(refused());
        }
        let is_multipart = essence == "multipart/form-data";
        if essence.starts_with("multipart/") && !is_multipart {
            return Err(refused());
        }
        let mut boundary = None;
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(refused)?;
            let value = match value.strip_prefix('"') {
                Some(quoted) => quoted.strip_suffix('"').ok_or_else(refused)?,
                None => value,
            };
            match name.to_ascii_lowercase().as_str() {
                "boundary" if boundary.is_none() => boundary = Some(value),
                "boundary" => return Err(refused()),
                // In another one the same bytes could be another text.
                "charset" if !is_utf8(value) => return Err(refused()),
                _ => {}
            }
        }
        if !is_multipart {
            return Ok(Self::Json);
        }
        boundary
            .filter(|boundary| multipart::is_boundary(boundary))
            .map(|boundary| Self::Multipart {
                boundary: boundary.to_owned(),
            })
            .ok_or_else(refused)
    }
}

fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"]
        .iter()
        .any(|it| it.eq_ignore_ascii_case(charset))
}

#[cfg(test)]
mod tests;
