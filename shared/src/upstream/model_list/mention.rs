//! The models that were found in a request, and the reasons that they cannot be found for certain.

use std::collections::BTreeSet;

use super::name;

/// Most bytes of a model's name. No longer one exists.
const LONGEST_NAME: usize = 256;
/// Most models in one request. OpenRouter takes a handful of fallbacks.
const MOST_MENTIONS: usize = 256;

/// A model that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The name as it stands there. A member `preset` of the value `p` is `@preset/p`.
    pub value: String,
    /// The place: a JSON Pointer into the body, `?name` for the query, or `path`.
    pub place: String,
    /// Whether only a pattern without `*` allows it.
    pub needs_literal: bool,
}

/// The mentions so far, each once.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    found: Vec<Mention>,
    known: BTreeSet<(String, bool)>,
}

impl Mentions {
    pub(super) fn add(
        &mut self,
        value: &str,
        place: impl FnOnce() -> String,
    ) -> Result<(), UnreadableModels> {
        self.insert(value, name::needs_literal(value), place)
    }

    pub(super) fn add_literal(
        &mut self,
        value: &str,
        place: impl FnOnce() -> String,
    ) -> Result<(), UnreadableModels> {
        self.insert(value, true, place)
    }

    pub(super) fn add_preset(
        &mut self,
        value: &str,
        place: impl FnOnce() -> String,
    ) -> Result<(), UnreadableModels> {
        let name = value.strip_prefix(name::PRESET).unwrap_or(value);
        if name.len() > LONGEST_NAME {
            return Err(Fault::LongName.at(place()));
        }
        self.insert(&format!("{}{name}", name::PRESET), true, place)
    }

    fn insert(
        &mut self,
        value: &str,
        needs_literal: bool,
        place: impl FnOnce() -> String,
    ) -> Result<(), UnreadableModels> {
        if value.len() > LONGEST_NAME {
            return Err(Fault::LongName.at(place()));
        }
        let key = (value.to_owned(), needs_literal);
        if self.known.contains(&key) {
            return Ok(());
        }
        if self.found.len() == MOST_MENTIONS {
            return Err(Fault::ManyModels.at(place()));
        }
        self.known.insert(key);
        self.found.push(Mention {
            value: value.to_owned(),
            place: place(),
            needs_literal,
        });
        Ok(())
    }

    pub(super) fn into_vec(self) -> Vec<Mention> {
        self.found
    }
}

/// A request whose models cannot be told for certain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct UnreadableModels {
    /// The reason.
    pub fault: Fault,
    /// The place, as of a [`Mention`]; empty for the whole body.
    pub place: String,
}

/// Why the models of a request cannot be told for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not one JSON text in UTF-8: malformed, cut off, with a byte order mark or something behind its end.
    #[error("the body is not JSON in UTF-8")]
    NotJson,
    /// Another JSON value.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// Containers inside each other, more than are followed.
    #[error("the body is nested too deeply")]
    TooDeep,
    /// A member twice in one object, or a field twice in a form: parsers disagree on which one counts.
    #[error("an object has two members of one name")]
    Repeated,
    /// No model in `model` or `models` of the request itself.
    #[error("the request names no model")]
    NoModel,
    /// More names than are kept.
    #[error("the request names too many models")]
    ManyModels,
    /// A longer name than any model has.
    #[error("the name of a model is too long")]
    LongName,
    /// `pin_model`: the model is taken from the conversation.
    #[error("the model is taken from an earlier message")]
    PinnedModel,
    /// A batch whose requests are in a file, or nowhere.
    #[error("the batch does not hold its requests itself")]
    NoInlineRequests,
    /// A path of which it is not known where it names a model.
    #[error("the models of this endpoint are not known")]
    UnknownEndpoint,
    /// A `Content-Type` of which it is not known how the body is read.
    #[error("the body is of a type that is not read")]
    ContentType,
    /// A form that parsers could read in two ways.
    #[error("the form is malformed")]
    MalformedForm,
    /// A form with another field for models than one `model`.
    #[error("the form has another field for models than model")]
    ModelField,
}

impl Fault {
    pub(super) fn at(self, place: impl Into<String>) -> UnreadableModels {
        UnreadableModels {
            fault: self,
            place: place.into(),
        }
    }
}
