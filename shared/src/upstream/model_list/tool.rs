//! Tools and plugins: which of them run a model, and who chooses it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::context::Context;
use crate::strict_json;

/// OpenRouter's tools that run no model but the request's own, without their prefix.
const WITHOUT_MODEL: [&str; 15] = [
    "apply_patch",
    "bash",
    "code_interpreter",
    "datetime",
    "experimental__search_models",
    "file_search",
    "files",
    "mcp",
    "memory",
    "shell",
    // Without a model of its own it takes the request's.
    "subagent",
    "text_editor",
    "tool_search",
    "web_fetch",
    "web_search",
];

/// The plugins that run no model of the caller's or of their own choice.
const PLUGINS_WITHOUT_MODEL: [&str; 11] = [
    "alignment",
    "armor",
    "auto-beta-router",
    "auto-router",
    "context-compression",
    "file-parser",
    "moderation",
    "pareto-router",
    "response-healing",
    "web",
    "web-fetch",
];

const OPENROUTER: &str = "openrouter:";

/// Whether a plugin runs no model that it does not name.
pub(super) fn is_plain_plugin(id: &str) -> bool {
    PLUGINS_WITHOUT_MODEL.contains(&id)
}

/// The members that say what kind of tool a tool is, as JSON of any type.
#[derive(Debug, Deserialize)]
pub(super) struct Tool<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

/// The settings of OpenRouter's own tools.
#[derive(Debug, Deserialize)]
struct Parameters<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

impl<'a> Tool<'a> {
    /// Reads a tool that is an object.
    pub(super) fn read(json: &'a str) -> Option<Self> {
        strict_json::from_str(json).ok()
    }

    /// The context in which the tool's members are read.
    pub(super) fn context(&self) -> Context {
        match self.kind.map(text) {
            Some(Some(kind)) if kind == "function" => Context::FunctionTool,
            Some(Some(kind)) if kind != "custom" => Context::Setting,
            Some(None) => Context::Setting,
            None | Some(Some(_)) => Context::CustomTool,
        }
    }

    /// The type, if the tool runs a model that the request does not name: one of a panel, a default, or the
    /// one that the model asks for.
    pub(super) fn unnamed_model(&self) -> Option<String> {
        let kind = text(self.kind?)?;
        let lower_case = kind.to_ascii_lowercase();
        let is_named = match lower_case.strip_prefix(OPENROUTER) {
            Some("advisor" | "image_generation") => self.has_model_in_parameters(),
            Some(tool) => WITHOUT_MODEL.contains(&tool),
            // Short for the one with the prefix.
            None if lower_case == "advisor" => self.has_model_in_parameters(),
            None if lower_case == "fusion" => false,
            // Anthropic's, with a date behind it, and OpenAI's.
            None if lower_case.starts_with("advisor") || lower_case == "image_generation" => {
                is_name(self.model)
            }
            None => true,
        };
        (!is_named).then_some(kind)
    }

    fn has_model_in_parameters(&self) -> bool {
        self.parameters
            .and_then(|json| strict_json::from_str::<Parameters<'_>>(json.get()).ok())
            .is_some_and(|parameters| is_name(parameters.model))
    }
}

fn is_name(model: Option<&RawValue>) -> bool {
    model.and_then(text).is_some_and(|model| !model.is_empty())
}

/// The text that a JSON value is, if it is one.
fn text(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok()
}
